//! A sandbox on a port of its own, and the calls the tests make most.

use std::io;

use serde_json::{Value, json};
use svix_sandbox::{Effect, Options, Outcome, RequestKind, Sandbox};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::raw_http::{Answer, send};

/// A sandbox that is being served.
pub(crate) struct Running {
    pub(crate) sandbox: Sandbox,
    pub(crate) at: String,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn new(options: Options) -> Self {
        Self::serve(Sandbox::new(options)).await
    }

    pub(crate) async fn serve(sandbox: Sandbox) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let (stop, serving) = (CancellationToken::new(), sandbox.clone());
        let stopped = stop.clone().cancelled_owned();
        let served = tokio::spawn(async move { serving.serve(listener, stopped).await });
        Self { sandbox, at, stop, served }
    }

    pub(crate) async fn stop(self) -> Sandbox {
        self.stop.cancel();
        self.served.await.unwrap();
        self.sandbox
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> io::Result<Answer> {
        self.call_as("token", method, path, body).await
    }

    pub(crate) async fn call_as(&self, token: &str, method: &str, path: &str, body: Value) -> io::Result<Answer> {
        let auth = format!("Bearer {token}");
        send(&self.at, method, path, &[("authorization", auth.as_str())], Some(body.to_string().as_bytes())).await
    }

    pub(crate) async fn create(&self, app: &str, event: &str) -> io::Result<Answer> {
        self.call("POST", &format!("/api/v1/app/{app}/msg?with_content=false"), message(event)).await
    }

    pub(crate) async fn create_inline(&self, app: &str, event: &str) -> io::Result<Answer> {
        let mut body = message(event);
        body["application"] = json!({ "name": app, "uid": app });
        self.call("POST", &format!("/api/v1/app/{app}/msg?with_content=false"), body).await
    }

    /// The statuses of this many creates, one after the other.
    pub(crate) async fn statuses(&self, app: &str, count: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        for number in 0..count {
            let event = format!("{app}-{number}-{}", self.sandbox.requests().len());
            statuses.push(self.create(app, &event).await.unwrap().status);
        }
        statuses
    }

    pub(crate) async fn with_apps(apps: &[&str]) -> Self {
        let running = Self::new(Options::default()).await;
        for app in apps {
            let made = running.call("POST", "/api/v1/app", json!({ "name": app, "uid": app })).await.unwrap();
            assert_eq!(made.status, 201);
        }
        running
    }
}

pub(crate) fn message(event: &str) -> Value {
    json!({ "eventType": "thing.done", "eventId": event, "payload": { "event": event } })
}

/// How every message create ended, and what it did.
pub(crate) fn creates(sandbox: &Sandbox) -> impl Iterator<Item = (Outcome, Effect)> {
    let lines = sandbox.requests().into_iter().filter(|line| line.kind == RequestKind::MessageCreate);
    lines.map(|line| (line.outcome, line.effect))
}
