//! Connections: which address, how long to wait, when to give up. No reconnect of lapin's own is used, since it hides
//! a loss and knows one address only.

use super::{
    guard::{self, GuardedStream},
    settings::{Access, KEYS},
};
use crate::process::tls;
use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties, ErrorKind,
    protocol::AMQPErrorKind,
    runtime::default_runtime,
    tcp::{AMQPUriTcpExt as _, OwnedTLSConfig},
    uri::{AMQPScheme, AMQPUri},
};
use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle};

/// A frozen broker takes the connection and never answers; lapin's own timeout does not cover that.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds between heartbeats asked for where the URL names none: a frozen broker was noticed after 1.5 of them,
/// and with the broker's default of 60 not within 18 s.
const HEARTBEAT: u16 = 10;
/// Largest frame asked for where the URL names none, RabbitMQ's default. Of a broker without a limit, or with a large one, lapin
/// would take it, and reserves 32 times as much for each direction of each connection.
const FRAME_MAX: u32 = 128 * 1024;
/// How long the outcome of an attempt may take to arrive once lapin's loop has ended; it comes before that, if at all.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for the broker to confirm a close; closing is a courtesy, and counts against the grace.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The parser's message is left out: it repeats the URL, and a URL holds a password.
    #[error("broker.url is no AMQP address, as in amqp://user:password@host:5672/vhost")]
    Url,
    #[error("cannot connect to the broker at {address}: {source}")]
    Refused { address: String, source: lapin::Error },
    #[error("cannot connect to the broker at {address}: no answer within {CONNECT_TIMEOUT:?}")]
    Silent { address: String },
    #[error("cannot connect to the broker at {address}: {problem}")]
    Explained { address: String, problem: String },
    /// As while one of two files has been replaced and the other has not.
    #[error("broker.tls_cert and broker.tls_key do not fit: the private key {0}; replace both files")]
    Identity(String),
}

type Attempt = JoinHandle<lapin::Result<Connection>>;

/// Opens connections to one of several addresses.
pub struct Connector {
    access: Access,
    /// Attempts that have not been answered, by their URL. lapin's side of one lives until the peer closes it, so a
    /// frozen broker is waited for, instead of collecting a thread and a socket with every try.
    unanswered: Mutex<HashMap<String, Attempt>>,
    /// The certificate of the broker at the last connect, as DER.
    server_certificate: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Connector {
    pub fn new(access: impl Into<Access>) -> Self {
        Self { access: access.into(), unanswered: Mutex::default(), server_certificate: Arc::default() }
    }

    /// Tries each address once, in turn, those last that have not answered an earlier try yet. `name` is what RabbitMQ's
    /// own pages show.
    pub async fn connect(&self, name: &'static str) -> Result<Connection, ConnectError> {
        let mut last = ConnectError::Url;
        let urls = self.access.url.current();
        let mut parts: Vec<_> = urls.split(',').map(str::trim).collect();
        let silent = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect::<Vec<_>>();
        parts.sort_by_key(|part| silent.iter().any(|url| url == part));
        for part in parts {
            match self.connect_one(part, name).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The certificate of the broker at the last connect, as DER; none without TLS.
    pub fn server_certificate(&self) -> Option<Vec<u8>> {
        self.server_certificate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn connect_one(&self, url: &str, name: &'static str) -> Result<Connection, ConnectError> {
        let mut uri: AMQPUri = url.parse().map_err(|_| ConnectError::Url)?;
        let address = format!("{}:{}", uri.authority.host, uri.authority.port);
        let encrypted = uri.scheme == AMQPScheme::AMQPS;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        let waiting = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).remove(url);
        let attempt = match waiting {
            Some(attempt) => attempt,
            None => {
                let properties = ConnectionProperties::default().with_connection_name(name.into());
                let tls = if encrypted {
                    self.access.tls().map_err(ConnectError::Identity)?
                } else {
                    OwnedTLSConfig::default()
                };
                tokio::spawn(open(uri, properties, tls, Arc::clone(&self.server_certificate)))
            }
        };
        // Whoever waits here may be cancelled too: the attempt is then kept for the next one.
        let mut waited = Waited { unanswered: &self.unanswered, url, attempt: Some(attempt) };
        let Some(attempt) = &mut waited.attempt else { return Err(ConnectError::Silent { address }) };
        let answered = tokio::time::timeout(CONNECT_TIMEOUT, attempt).await;
        if answered.is_ok() {
            waited.attempt = None;
        }
        match answered {
            Ok(Ok(Ok(connection))) => Ok(connection),
            Ok(Ok(Err(source))) => Err(match explain(&source, encrypted, self.access.has_certificate()) {
                Some(problem) => ConnectError::Explained { address, problem },
                None => ConnectError::Refused { address, source },
            }),
            // The attempt itself broke off, which only the end of the runtime does.
            Ok(Err(_)) => Err(ConnectError::Silent { address }),
            Err(_) => Err(ConnectError::Silent { address }),
        }
    }
}

/// An attempt while somebody waits for it; goes back to the unanswered ones if it is not answered by then.
struct Waited<'c> {
    unanswered: &'c Mutex<HashMap<String, Attempt>>,
    url: &'c str,
    attempt: Option<Attempt>,
}

impl Drop for Waited<'_> {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).insert(self.url.to_owned(), attempt);
        }
    }
}

/// As lapin does it, with three differences. What the broker sends goes through the guard. The broker's certificate is kept.
/// And it always ends: where the broker goes away after its first frame and before lapin has begun to answer, lapin 4.12 never
/// answers whoever waits. Its loop ends all the same, and drops the closure that it was to connect by.
async fn open(
    uri: AMQPUri,
    properties: ConnectionProperties,
    tls: OwnedTLSConfig,
    server_certificate: Arc<Mutex<Option<Vec<u8>>>>,
) -> lapin::Result<Connection> {
    let (lives, ended) = oneshot::channel::<()>();
    let tokio = default_runtime()?;
    let connect = async move |uri: AMQPUri, _| {
        let _kept_by_the_loop = &lives;
        let stream = uri.connect_with_config_async(tls.as_ref(), &tokio).await?;
        let chain = match &stream {
            AsyncTcpStream::Rustls(stream) => stream.get_ref().1.peer_certificates(),
            _ => None,
        };
        let first = chain.and_then(<[_]>::first).map(|der| der.to_vec());
        *server_certificate.lock().unwrap_or_else(PoisonError::into_inner) = first;
        let guarded = GuardedStream::new(stream, uri.query.frame_max.unwrap_or_default());
        Ok(AsyncTcpStream::Plain(guarded))
    };
    let loop_ended = async {
        let _dropped = ended.await;
        tokio::time::sleep(OUTCOME_TIMEOUT).await;
    };
    tokio::select! {
        connected = Connection::connector(uri, guard::runtime(), connect, properties) => connected,
        () = loop_ended => Err(io::Error::from(io::ErrorKind::ConnectionAborted).into()),
    }
}

/// What helps, where lapin's error does not say it.
fn explain(error: &lapin::Error, encrypted: bool, certificate_given: bool) -> Option<String> {
    if let Some(failure) = tls::failure(error) {
        return Some(tls::explain(failure, KEYS));
    }
    let hung_up = tls::is_hung_up(error);
    // A TLS listener answers AMQP with an alert and hangs up, whichever is seen first.
    let not_amqp = match error.kind() {
        ErrorKind::ParsingError(_) => "it does not answer in AMQP".to_owned(),
        _ if hung_up => format!("it hung up before it answered in AMQP ({error})"),
        _ => return None,
    };
    Some(match encrypted {
        true if hung_up => tls::hung_up(KEYS, certificate_given),
        true => format!("{not_amqp}; check the port in broker.url"),
        false => format!("{not_amqp}; if it speaks TLS there, write amqps:// in broker.url"),
    })
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// Closes the connection, without waiting for ever on a broker that does not answer.
pub async fn close(connection: impl Borrow<Connection>) {
    let closing = connection.borrow().close(200, "hookbro is done".into());
    match tokio::time::timeout(CLOSE_TIMEOUT, closing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "broker connection was lost before it was closed"),
        Err(_) => tracing::debug!("broker did not confirm the close of its connection in time"),
    }
}

/// The broker's message, if `error` says that an object exists with other properties (406).
pub(super) fn precondition_failed(error: &lapin::Error) -> Option<String> {
    amqp_error(error, 406)
}

/// The broker's message, if `error` says that an object does not exist (404).
pub(super) fn not_found(error: &lapin::Error) -> Option<String> {
    amqp_error(error, 404)
}

/// Whether it is one channel's end, and not the connection's: lapin reports both as events of the connection.
pub(super) fn is_of_a_channel(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(amqp) if matches!(amqp.kind(), AMQPErrorKind::Soft(_)))
}

/// The broker's message, if it closed the channel or connection with this code.
pub(super) fn amqp_error(error: &lapin::Error, code: u16) -> Option<String> {
    match error.kind() {
        ErrorKind::ProtocolError(amqp) if amqp.get_id() == code => Some(amqp.get_message().to_string()),
        _ => None,
    }
}
