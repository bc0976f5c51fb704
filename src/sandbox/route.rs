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
    /// The control API, and the rest of the path.
    Control(Vec<String>),
    Unknown,
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
            ["sandbox", "v1", rest @ ..] => Self::Control(rest.iter().map(|word| own(word)).collect()),
            _ => Self::Unknown,
        }
    }

    pub(super) fn app(&self) -> Option<&str> {
        match self {
            Self::App(app) | Self::Messages(app) | Self::Message(app, _) | Self::Content(app, _) => Some(app),
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
            _ => RequestKind::Unknown,
        }
    }

    /// The methods a known path takes, in the order Svix lists them.
    pub(super) fn allow(&self) -> Option<&'static str> {
        match self {
            Self::Health | Self::Ping | Self::Message(..) => Some("GET,HEAD"),
            Self::Apps | Self::Messages(_) => Some("POST,GET,HEAD"),
            Self::App(_) => Some("GET,HEAD,PUT,DELETE"),
            Self::Content(..) => Some("DELETE"),
            Self::Control(_) | Self::Unknown => None,
        }
    }
}
