//! Serving a router until told to stop.

use axum::Router;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Why the operators' pages are not served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (admin.listen): {source}")]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Binds `address`; the future it answers serves until `shutdown`. Says the real address, since port 0 means any.
pub async fn serve(
    address: SocketAddr,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(SocketAddr, impl Future<Output = std::io::Result<()>>), ListenError> {
    let refused = |source| ListenError { address, source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown);
    Ok((bound, async move { serving.await }))
}
