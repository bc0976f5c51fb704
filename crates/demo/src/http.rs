//! Just enough HTTP to ask whether a server is ready.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const ASK_EVERY: Duration = Duration::from_millis(100);

/// A server that accepts and then says nothing is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Far more than a health check says.
const LARGEST_ANSWER: u64 = 64 * 1024;

/// Ends once `path` answers with a 2xx status.
pub(crate) async fn answers(address: SocketAddr, path: &str) {
    while !matches!(timeout(ANSWER_WITHIN, status(address, path)).await, Ok(Ok(200..=299))) {
        sleep(ASK_EVERY).await;
    }
}

async fn status(address: SocketAddr, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    // To the end, or the server would see its answer refused.
    let mut answer = Vec::new();
    stream.take(LARGEST_ANSWER).read_to_end(&mut answer).await?;
    let head = answer.get(..12).and_then(|head| std::str::from_utf8(head).ok());
    let status = head.and_then(|head| head.strip_prefix("HTTP/1.")?.get(2..)?.parse().ok());
    status.ok_or_else(|| std::io::Error::other("no HTTP status line"))
}
