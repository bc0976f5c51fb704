//! The sandbox that stands in for Svix, in this process, so that what it has can be counted without asking.

use crate::{Error, load::DOOMED};
use std::{net::SocketAddr, time::Duration};
use svix_sandbox::{Fault, Options, Sandbox, StoredMessage};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) const TOKEN: &str = "testsk_soak";
/// Calls are counted as they come; their lines are of no use here.
const REQUEST_LINES: usize = 1000;
/// Payloads of a soak are a quarter of a KiB.
const PAYLOAD_ROOM: usize = 512;

#[derive(Clone)]
pub(crate) struct Svix {
    sandbox: Sandbox,
    pub(crate) address: SocketAddr,
}

impl Svix {
    /// Has room for every event of the run: one that is forgotten could be taken twice.
    pub(crate) async fn start(events: u64, stopped: CancellationToken) -> Result<Self, Error> {
        let events = usize::try_from(events)?;
        let options = Options {
            tokens: vec![(TOKEN.into(), "org_soak".into())],
            max_messages: 2 * events,
            max_payload_bytes: 2 * events * PAYLOAD_ROOM,
            max_requests: REQUEST_LINES,
            ..Options::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let svix = Self { sandbox: Sandbox::new(options), address: listener.local_addr()? };
        svix.sandbox.try_add_fault(Fault { status: Some(500), event_type: Some(DOOMED.into()), ..Fault::default() })?;
        let sandbox = svix.sandbox.clone();
        tokio::spawn(async move { sandbox.serve(listener, stopped.cancelled_owned()).await });
        Ok(svix)
    }

    /// Misbehaves for `lasting`.
    pub(crate) async fn fail(&self, fault: Fault, lasting: Duration) -> Result<(), Error> {
        let id = self.sandbox.try_add_fault(fault)?;
        tokio::time::sleep(lasting).await;
        self.sandbox.remove_fault(id);
        Ok(())
    }

    /// Takes everything from now on, so that what is still on its way ends. Without other traffic a doomed event would be
    /// deferred on its last rung, as hookbro does in an outage.
    pub(crate) fn heal(&self) {
        self.sandbox.clear_faults();
    }

    pub(crate) fn messages(&self) -> Vec<StoredMessage> {
        self.sandbox.messages()
    }

    /// Calls that were answered 409, since the event was there already.
    pub(crate) async fn repeats(&self) -> Result<u64, Error> {
        let url = format!("http://{}/sandbox/v1/summary", self.address);
        let summary: serde_json::Value = serde_json::from_slice(&reqwest::get(url).await?.bytes().await?)?;
        let apps = summary["apps"].as_object().ok_or("the sandbox counts no applications")?;
        Ok(apps.values().filter_map(|app| app["duplicates"].as_u64()).sum())
    }
}
