//! The listener and its connections: HTTP/1.1, or HTTP/2 with prior knowledge, on plain TCP.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Hangup};
use super::exchange;
use super::instance::{Inner, Sandbox};

/// Far above what a test needs and below the usual limit of open files; more callers wait in the listen queue.
const MAX_CONNECTIONS: usize = 4096;
/// When sockets run out, some have to close before accepting makes sense again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Sandbox {
    /// Serves until `shutdown` is ready: then it stops listening, closes idle connections, gives requests in flight a
    /// short grace (`Options::shutdown_grace`), and returns once every connection is closed.
    ///
    /// What was stored stays; it can be called again with another listener. Dropping it closes everything at once.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let stop = CancellationToken::new();
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((socket, _)) => {
                        connections.spawn(connection(self.inner.clone(), socket, stop.clone()));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
            }
        }
        drop(listener);
        stop.cancel();
        let all_closed = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.inner.options.shutdown_grace, all_closed).await.is_err() {
            connections.shutdown().await;
        }
    }
}

async fn connection(inner: Arc<Inner>, socket: TcpStream, stop: CancellationToken) {
    // Without it small answers wait for the caller's delayed ack. A socket that refuses is closed already.
    let _ = socket.set_nodelay(true);
    let hangup = Hangup::default();
    let socket = TokioIo::new(Connection::new(socket, hangup.clone()));
    let service = service_fn(|request| exchange::answer(inner.clone(), request, hangup.clone()));
    let builder = Builder::new(TokioExecutor::new());
    let mut http = std::pin::pin!(builder.serve_connection(socket, service));
    tokio::select! {
        // A broken connection is the caller's business: it sees it too.
        _ = http.as_mut() => return,
        () = hangup.wanted() => return,
        () = stop.cancelled() => http.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = http => {}
        () = hangup.wanted() => {}
    }
}
