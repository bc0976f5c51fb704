//! Whether anybody is called for a message that Svix has stored. Stored is not dispatched: Svix commits a message and queues
//! it afterwards, and drops what its caller did not wait for.

/// Why no endpoint of an application takes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTaker {
    /// The application has none.
    NoEndpoint,
    /// Each enabled one leaves this event type or these channels out.
    Filtered,
    /// Those that would take it are disabled.
    Disabled,
}

impl NoTaker {
    pub const ALL: [Self; 3] = [Self::NoEndpoint, Self::Filtered, Self::Disabled];

    /// A word for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no_endpoint",
            Self::Filtered => "filtered",
            Self::Disabled => "endpoints_disabled",
        }
    }
}

/// What is known of the endpoints of a message that was refused as a repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatch {
    /// This process saw Svix accept it, and Svix answers after it has queued.
    SeenAccepted,
    /// An endpoint was called.
    Called,
    /// Nobody is to be called.
    Nobody(NoTaker),
    /// Nobody had been called; Svix was asked to send it to so many endpoints, and agreed.
    Rescued { endpoints: usize },
    /// It could not be looked up, for this reason.
    Unchecked(&'static str),
}

impl Dispatch {
    /// A word for machines, where it says more than the outcome.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::SeenAccepted | Self::Called => None,
            Self::Nobody(why) => Some(why.as_str()),
            Self::Rescued { .. } => Some("rescued"),
            Self::Unchecked(_) => Some("unchecked"),
        }
    }

    /// One line about this event, where there is something to say.
    pub fn detail(self) -> Option<String> {
        Some(match self {
            Self::SeenAccepted | Self::Called => return None,
            Self::Nobody(NoTaker::NoEndpoint) => "the application has no endpoint".to_owned(),
            Self::Nobody(NoTaker::Filtered) => "no endpoint's filter takes this type and these channels".to_owned(),
            Self::Nobody(NoTaker::Disabled) => "every endpoint that would take it is disabled".to_owned(),
            Self::Rescued { endpoints: 1 } => "Svix sends it to 1 endpoint now".to_owned(),
            Self::Rescued { endpoints } => format!("Svix sends it to {endpoints} endpoints now"),
            Self::Unchecked(why) => why.to_owned(),
        })
    }
}

/// Every word of [`Dispatch::reason`].
pub const DISPATCH_REASONS: [&str; 5] = ["no_endpoint", "filtered", "endpoints_disabled", "rescued", "unchecked"];

/// What a timeline says of a message that no endpoint was called for, where one takes it.
pub const NOT_DISPATCHED: &str = "not_dispatched";
