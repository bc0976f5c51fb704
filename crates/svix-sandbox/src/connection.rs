//! One connection's socket, with a way to hang up on the caller from inside a request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Ends the connection it belongs to.
#[derive(Clone, Debug, Default)]
pub(super) struct Hangup {
    end: CancellationToken,
    reset: Arc<AtomicBool>,
}

impl Hangup {
    /// Asks for the end of the connection and never returns: whoever waits is dropped with it.
    pub(super) async fn hang_up(&self, reset: bool) -> ! {
        self.reset.store(reset, Ordering::Relaxed);
        self.end.cancel();
        std::future::pending().await
    }

    pub(super) async fn wanted(&self) {
        self.end.cancelled().await;
    }
}

/// A socket that closes with a reset if its [`Hangup`] says so.
#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    hangup: Hangup,
}

impl Connection {
    pub(super) fn new(socket: TcpStream, hangup: Hangup) -> Self {
        Self { socket, hangup }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.hangup.reset.load(Ordering::Relaxed) {
            // If this fails the socket is closed in the ordinary way; the caller gets no answer either way.
            let _ = self.socket.set_zero_linger();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
