//! Serving a router until asked to stop, with a bound on connections and on the patience with each.

use axum::{Router, extract::ConnectInfo, extract::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_io_timeout::TimeoutStream;
use tower_service::Service as _;

/// Connections of one listener at once: each may hold a descriptor, and a process commonly has 1,024.
const CONNECTIONS: usize = 512;
/// Longest wait for the head of a request, on a fresh connection and on one that is kept alive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a client that does not read its answer: its connection must not be one that nobody else gets.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Wait after a refused accept, as when descriptors have run out: trying at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why something is not served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({key}): {source}")]
pub struct ListenError {
    address: SocketAddr,
    key: &'static str,
    source: std::io::Error,
}

/// Binds `address`, given as the setting `key`; the future it answers serves until `shutdown`, and then until the requests
/// under way are answered. Says the real address, since port 0 means any.
pub async fn serve(
    address: SocketAddr,
    key: &'static str,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(SocketAddr, impl Future<Output = ()> + Send + 'static), ListenError> {
    let refused = |source| ListenError { address, key, source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    Ok((bound, accept_all(listener, router, shutdown)))
}

async fn accept_all(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()> + Send) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (socket, peer, permit) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &room) => accepted,
        };
        // Answers are written whole; waiting for more to send only delays them. A socket that refuses this is closing.
        let _ = socket.set_nodelay(true);
        let router = router.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().call(request)
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        let mut socket = TimeoutStream::new(socket);
        socket.set_write_timeout(Some(WRITE_TIMEOUT));
        let connection = graceful.watch(http.serve_connection(TokioIo::new(Box::pin(socket)), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, peer.address = %peer, "HTTP connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> (TcpStream, SocketAddr, impl Send + use<>) {
    // Never closed, so there always is a permit in the end.
    let permit = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => return (socket, peer, permit),
            Err(error) => {
                tracing::warn!(%error, "HTTP connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
