//! Which endpoints of an application Svix calls for a message, as its source decides (svix-webhooks 1.100,
//! `core/cache` and `worker`): an enabled one whose types, if it names any, have this one, and whose channels, if it names
//! any, share one with the message.

use crate::event::NoTaker;
use serde::Deserialize;

/// An endpoint as far as that goes (`tests/contract/endpoint_list.json`).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Taker {
    pub(super) id: String,
    #[serde(default)]
    pub(super) disabled: bool,
    pub(super) filter_types: Option<Vec<String>>,
    pub(super) channels: Option<Vec<String>>,
}

impl Taker {
    fn wants(&self, kind: &str, channels: &[String]) -> bool {
        let among = |filter: &Option<Vec<String>>, has: &dyn Fn(&String) -> bool| {
            filter.as_ref().is_none_or(|names| names.is_empty() || names.iter().any(has))
        };
        among(&self.filter_types, &|name| name == kind) && among(&self.channels, &|name| channels.contains(name))
    }
}

/// The ids of those that take a message, or why there are none.
pub(super) fn takers<'a>(all: &'a [Taker], kind: &str, channels: &[String]) -> Result<Vec<&'a str>, NoTaker> {
    let wanting = || all.iter().filter(|one| one.wants(kind, channels));
    let enabled: Vec<_> = wanting().filter(|one| !one.disabled).map(|one| one.id.as_str()).collect();
    match (enabled.is_empty(), wanting().next()) {
        (false, _) => Ok(enabled),
        (true, Some(_)) => Err(NoTaker::Disabled),
        (true, None) if all.is_empty() => Err(NoTaker::NoEndpoint),
        (true, None) => Err(NoTaker::Filtered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(endpoints: serde_json::Value, channels: &[&str], expected: Result<Vec<&str>, NoTaker>) {
        let all: Vec<Taker> = serde_json::from_value(endpoints).unwrap();
        let channels: Vec<String> = channels.iter().map(ToString::to_string).collect();
        assert_eq!(takers(&all, "user.created", &channels), expected, "{all:?}");
    }

    #[test]
    fn an_endpoint_takes_a_message_as_svix_has_it() {
        use serde_json::json;
        check(json!([]), &[], Err(NoTaker::NoEndpoint));
        check(json!([{"id": "ep_1", "disabled": false, "filterTypes": null, "channels": null}]), &[], Ok(vec!["ep_1"]));
        check(json!([{"id": "ep_1", "filterTypes": [], "channels": []}]), &["eu"], Ok(vec!["ep_1"]));
        check(json!([{"id": "ep_1", "filterTypes": ["user.created"]}, {"id": "ep_2"}]), &[], Ok(vec!["ep_1", "ep_2"]));
        // A name is a whole name.
        check(json!([{"id": "ep_1", "filterTypes": ["user", "user.created.late"]}]), &[], Err(NoTaker::Filtered));
        check(json!([{"id": "ep_1", "channels": ["eu"]}]), &[], Err(NoTaker::Filtered));
        check(json!([{"id": "ep_1", "channels": ["eu"]}]), &["us"], Err(NoTaker::Filtered));
        check(json!([{"id": "ep_1", "channels": ["eu", "us"]}]), &["us"], Ok(vec!["ep_1"]));
        check(json!([{"id": "ep_1", "disabled": true}]), &[], Err(NoTaker::Disabled));
        check(json!([{"id": "ep_1", "disabled": true, "filterTypes": ["x"]}]), &[], Err(NoTaker::Filtered));
        check(
            json!([{"id": "ep_1", "disabled": true}, {"id": "ep_2", "channels": ["x"]}]),
            &[],
            Err(NoTaker::Disabled),
        );
    }
}
