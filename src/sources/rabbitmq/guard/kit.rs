//! How lapin is brought to read through the guard: a runtime whose TCP stream is a guarded one.
//!
//! lapin takes the stream from a closure, but only as the type that its runtime names. So the runtime is tokio's in all but
//! that type; the stream itself is made, with TLS or without, by tokio's own.

use super::stream::Guarded;
use async_rs::{Runtime, Tokio, traits::Reactor, util::RuntimeParts};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;
use lapin::AsyncTcpStream;
use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// A connection to the broker, with the guard above TLS.
pub type GuardedStream = Guarded<AsyncTcpStream<<Tokio as Reactor>::TcpStream>>;

/// Tokio's, but for the type of its streams.
#[derive(Debug, Clone)]
pub struct GuardedReactor(Tokio);

/// A runtime for lapin, on the tokio that this is called in.
pub fn runtime() -> Runtime<RuntimeParts<Tokio, GuardedReactor>> {
    let tokio = Tokio::current();
    Runtime::new(RuntimeParts::new(tokio.clone(), GuardedReactor(tokio)))
}

impl Reactor for GuardedReactor {
    type TcpStream = GuardedStream;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        // lapin registers no sockets, and the trait that tokio asks for here has no public name.
        Err::<GuardedStream, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move { Ok(Guarded::new(AsyncTcpStream::Plain(connecting.await?), 0)) }
    }
}
