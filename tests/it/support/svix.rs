//! The stand-in for Svix on a port of its own; it can go away and come back with all that it knew.

use std::net::SocketAddr;
use svix_sandbox::{Options, Outcome, RequestKind, RequestLine, Sandbox};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// The one token that [`TestSvix::start`] accepts.
pub const TOKEN: &str = "testsk_right";

pub struct TestSvix {
    pub sandbox: Sandbox,
    pub address: SocketAddr,
    serving: Option<(CancellationToken, JoinHandle<()>)>,
}

impl TestSvix {
    pub async fn start() -> Self {
        Self::with(Options { tokens: vec![(TOKEN.into(), "org_test".into())], ..Options::default() }).await
    }

    pub async fn with(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut svix = Self { sandbox: Sandbox::new(options), address, serving: None };
        svix.serve(listener);
        svix
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Nobody listens any more; what is in a call is cut.
    pub async fn go_away(&mut self) {
        let (stop, served) = self.serving.take().unwrap();
        stop.cancel();
        served.await.unwrap();
    }

    /// On the same port, with the same memory.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    fn serve(&mut self, listener: TcpListener) {
        let (stop, sandbox) = (CancellationToken::new(), self.sandbox.clone());
        let stopped = stop.clone().cancelled_owned();
        self.serving = Some((stop, tokio::spawn(async move { sandbox.serve(listener, stopped).await })));
    }

    /// Message calls, oldest first.
    pub fn calls(&self) -> Vec<RequestLine> {
        let mut calls = self.sandbox.requests();
        calls.retain(|line| line.kind == RequestKind::MessageCreate);
        calls.sort_by_key(|line| line.at);
        calls
    }

    pub fn calls_for(&self, event_id: &str) -> Vec<RequestLine> {
        self.calls().into_iter().filter(|line| line.event_id.as_deref() == Some(event_id)).collect()
    }

    /// How many message calls got this status.
    pub fn answered(&self, status: u16) -> usize {
        self.calls().iter().filter(|line| line.outcome == Outcome::Answered(status)).count()
    }
}
