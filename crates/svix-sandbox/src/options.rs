//! The settings of a sandbox. Every bound on its memory is here, with its reason.

use std::time::Duration;

/// Svix took 3.7 ms for a message that creates its application and 1.5 ms for one that does not (recorded): the
/// difference is the time in which a second request still finds the application missing.
const CREATION_GAP: Duration = Duration::from_millis(2);

/// Long enough for any request that no scripted delay holds up, short enough for a test to wait out.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Payloads are the bulk of the memory: half a gigabyte leaves room for the rest on a 1 GiB machine.
const MAX_PAYLOAD_BYTES: usize = 512 * 1024 * 1024;

/// About 400 bytes each without the payload, so 400 MB: more messages than a long soak test sends.
const MAX_MESSAGES: usize = 1_000_000;

/// About 200 bytes each, so 200 MB: as many calls as messages.
const MAX_REQUESTS: usize = 1_000_000;

/// What a bearer token may do, beyond being the token of an organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything, within the organisation of this name.
    Organisation(String),
    /// A portal token: reads within the organisation of this name, and 403 for every write.
    Application(String),
    /// A token whose `sub` is not an organisation: 400.
    BadSubject,
    /// A token without `sub`: 401 that says so.
    NoSubject,
    /// The signing secret used as a token: 401 that says so.
    SigningSecret,
}

/// How a sandbox behaves. The default accepts any bearer token as one organisation and answers at once.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tokens and the organisation each belongs to. None: any token that is not empty is accepted as one organisation.
    pub tokens: Vec<(String, String)>,
    /// Tokens that are something else than the token of an organisation.
    pub roles: Vec<(String, Role)>,
    /// Waited before every answer of the API, as a real server's work would take.
    pub latency: Duration,
    /// Waited between "this application does not exist" and creating it: the window of the creation race.
    pub creation_gap: Duration,
    /// How long requests in flight may still take once `serve` is asked to stop.
    pub shutdown_grace: Duration,
    /// Payload bytes kept; beyond that the oldest payloads are forgotten, their messages stay.
    pub max_payload_bytes: usize,
    /// Messages kept; beyond that the oldest are forgotten with their event ids, so those no longer count as
    /// duplicates.
    pub max_messages: usize,
    /// Lines of the request log kept; beyond that the oldest are forgotten.
    pub max_requests: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            roles: Vec::new(),
            latency: Duration::ZERO,
            creation_gap: CREATION_GAP,
            shutdown_grace: SHUTDOWN_GRACE,
            max_payload_bytes: MAX_PAYLOAD_BYTES,
            max_messages: MAX_MESSAGES,
            max_requests: MAX_REQUESTS,
        }
    }
}
