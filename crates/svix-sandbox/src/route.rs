//! Paths: which route a request means, and which methods that route takes. Repeated and trailing slashes are
//! forgiven, as Svix does.

use hyper::Method;
use percent_encoding::percent_decode_str;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Health,
    Ping,
    Apps,
    App(String),
    Messages(String),
    Message(String, String),
    Content(String, String),
    Endpoints(String),
    Endpoint(String, String, EndpointPart),
    /// A message of an application, once more to one endpoint.
    Resend(String, String, String),
    /// The attempts of a message of an application.
    Attempts(String, String),
    /// The endpoints that were called for it.
    Destinations(String, String),
    EventTypes,
    EventType(String),
    Portal(String),
    Logout,
    /// The control API, and the rest of the path.
    Control(Vec<String>),
    Unknown,
}

/// An endpoint, or what belongs to it under a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndpointPart {
    Itself,
    Secret,
    Rotate,
    Headers,
    Example,
    Recover,
}

/// What a request wants of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestKind {
    MessageCreate,
    MessageGet,
    MessageList,
    MessageExpunge,
    AppCreate,
    AppGet,
    AppUpdate,
    AppDelete,
    AppList,
    /// Anything else about endpoints.
    Endpoint,
    SendExample,
    Recover,
    Resend,
    /// The attempts of a message, or the endpoints that were called for it.
    Attempts,
    /// Anything about event types.
    EventType,
    /// Links to the customer portal, and the end of its sessions.
    Portal,
    Health,
    /// A path or method the sandbox does not have.
    Unknown,
}

impl Route {
    pub(super) fn of(path: &str) -> Self {
        let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        let own = |word: &str| word.to_owned();
        match words.as_slice() {
            ["api", "v1", "health"] => Self::Health,
            ["api", "v1", "health", "ping"] => Self::Ping,
            ["api", "v1", "app"] => Self::Apps,
            ["api", "v1", "app", app] => Self::App(own(app)),
            ["api", "v1", "app", app, "msg"] => Self::Messages(own(app)),
            ["api", "v1", "app", app, "msg", id] => Self::Message(own(app), own(id)),
            ["api", "v1", "app", app, "msg", id, "content"] => Self::Content(own(app), own(id)),
            ["api", "v1", "app", app, "msg", id, "endpoint", endpoint, "resend"] => {
                Self::Resend(own(app), own(id), own(endpoint))
            }
            ["api", "v1", "app", app, "msg", id, "endpoint"] => Self::Destinations(own(app), own(id)),
            ["api", "v1", "app", app, "attempt", "msg", id] => Self::Attempts(own(app), own(id)),
            ["api", "v1", "app", app, "endpoint"] => Self::Endpoints(own(app)),
            ["api", "v1", "app", app, "endpoint", id, part @ ..] => {
                let part = match part {
                    [] => EndpointPart::Itself,
                    ["secret"] => EndpointPart::Secret,
                    ["secret", "rotate"] => EndpointPart::Rotate,
                    ["headers"] => EndpointPart::Headers,
                    ["send-example"] => EndpointPart::Example,
                    ["recover"] => EndpointPart::Recover,
                    _ => return Self::Unknown,
                };
                Self::Endpoint(own(app), own(id), part)
            }
            ["api", "v1", "event-type"] => Self::EventTypes,
            ["api", "v1", "event-type", name] => Self::EventType(own(name)),
            ["api", "v1", "auth", "app-portal-access", app] => Self::Portal(own(app)),
            ["api", "v1", "auth", "logout"] => Self::Logout,
            ["sandbox", "v1", rest @ ..] => Self::Control(rest.iter().map(|word| own(word)).collect()),
            _ => Self::Unknown,
        }
    }

    pub(super) fn app(&self) -> Option<&str> {
        match self {
            Self::App(app) | Self::Messages(app) | Self::Message(app, _) | Self::Content(app, _) => Some(app),
            Self::Attempts(app, _) | Self::Destinations(app, _) => Some(app),
            Self::Endpoints(app) | Self::Endpoint(app, ..) | Self::Resend(app, ..) | Self::Portal(app) => Some(app),
            _ => None,
        }
    }

    /// `HEAD` is a `GET` whose body stays away.
    pub(super) fn kind(&self, method: &Method) -> RequestKind {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        match (self, method) {
            (Self::Health | Self::Ping, &Method::GET) => RequestKind::Health,
            (Self::Apps, &Method::POST) => RequestKind::AppCreate,
            (Self::Apps, &Method::GET) => RequestKind::AppList,
            (Self::App(_), &Method::GET) => RequestKind::AppGet,
            (Self::App(_), &Method::PUT) => RequestKind::AppUpdate,
            (Self::App(_), &Method::DELETE) => RequestKind::AppDelete,
            (Self::Messages(_), &Method::POST) => RequestKind::MessageCreate,
            (Self::Messages(_), &Method::GET) => RequestKind::MessageList,
            (Self::Message(..), &Method::GET) => RequestKind::MessageGet,
            (Self::Content(..), &Method::DELETE) => RequestKind::MessageExpunge,
            (Self::Endpoints(_), &Method::POST | &Method::GET) => RequestKind::Endpoint,
            (Self::Endpoint(.., EndpointPart::Example), &Method::POST) => RequestKind::SendExample,
            (Self::Endpoint(.., EndpointPart::Recover), &Method::POST) => RequestKind::Recover,
            (Self::Resend(..), &Method::POST) => RequestKind::Resend,
            (Self::Attempts(..) | Self::Destinations(..), &Method::GET) => RequestKind::Attempts,
            (Self::Endpoint(.., part), method) if part.takes(method) => RequestKind::Endpoint,
            (Self::EventTypes, &Method::POST | &Method::GET) => RequestKind::EventType,
            (Self::EventType(_), &Method::GET) => RequestKind::EventType,
            (Self::Portal(_) | Self::Logout, &Method::POST) => RequestKind::Portal,
            _ => RequestKind::Unknown,
        }
    }

    /// The methods a known path takes, in the order Svix lists them.
    pub(super) fn allow(&self) -> Option<&'static str> {
        match self {
            Self::Health | Self::Ping | Self::Message(..) | Self::EventType(_) => Some("GET,HEAD"),
            Self::Attempts(..) | Self::Destinations(..) => Some("GET,HEAD"),
            Self::Apps | Self::Messages(_) | Self::Endpoints(_) | Self::EventTypes => Some("POST,GET,HEAD"),
            Self::Endpoint(.., part) => Some(part.allow()),
            Self::Portal(_) | Self::Logout | Self::Resend(..) => Some("POST"),
            Self::App(_) => Some("GET,HEAD,PUT,DELETE"),
            Self::Content(..) => Some("DELETE"),
            Self::Control(_) | Self::Unknown => None,
        }
    }
}

impl EndpointPart {
    fn takes(self, method: &Method) -> bool {
        self.allow().split(',').any(|allowed| method.as_str() == allowed)
    }

    fn allow(self) -> &'static str {
        match self {
            Self::Itself => "GET,HEAD,DELETE,PATCH",
            Self::Secret => "GET,HEAD",
            Self::Rotate | Self::Example | Self::Recover => "POST",
            Self::Headers => "GET,HEAD,PUT",
        }
    }
}
