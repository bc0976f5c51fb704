//! The keys that the program knows, their spellings, and the nearest one to a word that is none of them.

/// Every key, as in `config/default.toml`.
pub(super) const KEYS: [&str; 39] = [
    "broker.url",
    "broker.tls_ca",
    "broker.tls_cert",
    "broker.tls_key",
    "broker.management_url",
    "broker.exchange",
    "broker.queue",
    "broker.bindings",
    "broker.prefetch",
    "broker.memory_budget",
    "broker.delivery_limit",
    "retry.delays",
    "parking.max_age",
    "watchdog.timeout",
    "svix.url",
    "svix.token",
    "svix.tls_ca",
    "svix.timeout",
    "svix.max_payload_bytes",
    "svix.rate_limit",
    "routing.apps",
    "routing.unknown_project",
    "routing.provision_limit",
    "redact.fields",
    "admin.listen",
    "admin.tokens",
    "ingest.listen",
    "ingest.tokens",
    "ingest.webhook_secrets",
    "metrics.projects",
    "journal.url",
    "journal.retention",
    "journal.max_bytes",
    "shutdown.grace",
    "log.format",
    "log.level",
    "tracing.otlp_endpoint",
    "tracing.sample_ratio",
    "tracing.headers",
];

/// The keys whose value never prints, and which may be given as `KEY_file`. Certificates are no secrets, but they stand in
/// files beside those that are, and change like them.
pub(super) const SECRETS: [&str; 12] = [
    "broker.url",
    "broker.tls_ca",
    "broker.tls_cert",
    "broker.tls_key",
    "broker.management_url",
    "svix.token",
    "svix.tls_ca",
    "admin.tokens",
    "ingest.tokens",
    "ingest.webhook_secrets",
    "journal.url",
    "tracing.headers",
];

/// What environment variables of ours begin with. A variable with one underscore less belongs to another program.
pub(super) const ENV_PREFIX: &str = "HOOKBRO__";

/// Least likeness, of 1, at which a known key is worth suggesting.
const LIKENESS: f64 = 0.5;
/// What likeness of the last word alone is worth: a right key in the wrong section comes after a typing mistake.
const LAST_WORD: f64 = 0.9;

/// A known key in one of its two ways to be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) key: &'static str,
    /// Given as `KEY_file`.
    pub(super) by_file: bool,
}

impl Slot {
    fn all() -> impl Iterator<Item = Self> {
        let plain = KEYS.iter().map(|key| Self { key, by_file: false });
        plain.chain(SECRETS.iter().map(|key| Self { key, by_file: true }))
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::all().find(|slot| slot.name() == name)
    }

    pub(super) fn of_variable(variable: &str) -> Option<Self> {
        Self::all().find(|slot| slot.variable() == variable)
    }

    /// As in flags and, section by section, in files.
    pub(super) fn name(self) -> String {
        format!("{}{}", self.key, if self.by_file { "_file" } else { "" })
    }

    /// As in the environment.
    pub(super) fn variable(self) -> String {
        format!("{ENV_PREFIX}{}", self.name().replace('.', "__").to_uppercase())
    }

    /// The known key that `name` most likely means.
    pub(super) fn nearest(name: &str) -> Option<Self> {
        let likeness = |slot: &Self| {
            let known = slot.name();
            // An entry of a map, given as a key of its own.
            if name.strip_prefix(&known).is_some_and(|rest| rest.starts_with('.') || rest.starts_with("__")) {
                return 1.0;
            }
            let whole = strsim::normalized_damerau_levenshtein(name, &known);
            let last = strsim::normalized_damerau_levenshtein(last_word(name), last_word(&known));
            whole.max(last * LAST_WORD)
        };
        let scored = Self::all().map(|slot| (likeness(&slot), slot));
        let (likeness, slot) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (likeness >= LIKENESS).then_some(slot)
    }
}

fn last_word(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_or_misplaced_key_is_recognised() {
        for (typed, meant) in [
            ("broker.prefech", Some("broker.prefetch")),
            ("brokr.queue", Some("broker.queue")),
            ("prefetch", Some("broker.prefetch")),
            ("svix.prefetch", Some("broker.prefetch")),
            ("admin.token", Some("admin.tokens")),
            ("svix.tokenfile", Some("svix.token_file")),
            ("broker.deliverylimit", Some("broker.delivery_limit")),
            ("retry.delay", Some("retry.delays")),
            ("routing.apps.my.project", Some("routing.apps")),
            ("routing.apps__dev", Some("routing.apps")),
            ("xyzzy", None),
        ] {
            assert_eq!(Slot::nearest(typed).map(Slot::name).as_deref(), meant, "{typed}");
        }
    }
}
