//! A forward proxy that opens tunnels (CONNECT) for whoever has its password, all to one address, and counts them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

/// The one user that is let in, and the password that must be in no output.
pub const USER: &str = "proxyuser";
pub const PASSWORD: &str = "planted-proxy-password-4";
/// `USER:PASSWORD` in base64.
const BASIC: &str = "cHJveHl1c2VyOnBsYW50ZWQtcHJveHktcGFzc3dvcmQtNA==";

pub struct Proxy {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    tunnels: Arc<AtomicUsize>,
    _serving: AbortOnDropHandle<()>,
}

impl Proxy {
    pub async fn start(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, tunnels) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (seen, opened) = (Arc::clone(&connections), Arc::clone(&tunnels));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                seen.fetch_add(1, Ordering::Relaxed);
                let opened = Arc::clone(&opened);
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await.unwrap_or(0) > 0 {}
                    let known = head.lines().any(|line| line.ends_with(&format!("Basic {BASIC}")));
                    if !head.starts_with("CONNECT ") || !known {
                        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
                        let _ = stream.write_all(refusal).await;
                        return;
                    }
                    opened.fetch_add(1, Ordering::Relaxed);
                    let mut outside = TcpStream::connect(behind).await.unwrap();
                    let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut outside).await;
                });
            }
        });
        Self { address, connections, tunnels, _serving: AbortOnDropHandle::new(serving) }
    }

    /// As in HTTPS_PROXY.
    pub fn url(&self, password: &str) -> String {
        format!("http://{USER}:{password}@{}", self.address)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::Relaxed)
    }
}
