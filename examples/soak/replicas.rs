//! A hookbro as a process: started, killed, asked to stop, and asked how it is.

use crate::{
    Error,
    broker::{DELAYS, EXCHANGE, QUEUE},
    svix::{Svix, TOKEN},
};
use serde_json::Value;
use std::{
    fs::OpenOptions,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::process::{Child, Command};

const READY_WITHIN: Duration = Duration::from_secs(120);
/// Longer than the 25 s that hookbro itself allows its events in flight.
const STOP_WITHIN: Duration = Duration::from_secs(40);
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// Counters of the steady replica that go into the report.
const COUNTERS: [&str; 7] = [
    "hookbro_events_settled_total{outcome=\"delivered\"}",
    "hookbro_events_settled_total{outcome=\"duplicate\"}",
    "hookbro_events_settled_total{outcome=\"retried\"}",
    "hookbro_events_settled_total{outcome=\"dead\"}",
    "hookbro_broker_reconnects_total",
    "hookbro_watchdog_reconnects_total",
    "hookbro_deliveries_dropped_total",
];

pub(crate) struct Replica {
    name: &'static str,
    program: PathBuf,
    log: PathBuf,
    environment: Vec<(&'static str, String)>,
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Replica {
    /// Starts it and waits until it consumes.
    pub(crate) async fn start(
        name: &'static str,
        program: &Path,
        folder: &Path,
        broker: &str,
        svix: &Svix,
    ) -> Result<Self, Error> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let environment = vec![
            ("HOOKBRO__BROKER__URL", broker.to_owned()),
            ("HOOKBRO__BROKER__EXCHANGE", EXCHANGE.to_owned()),
            ("HOOKBRO__BROKER__QUEUE", QUEUE.to_owned()),
            ("HOOKBRO__RETRY__DELAYS", DELAYS.to_owned()),
            ("HOOKBRO__SVIX__URL", format!("http://{}", svix.address)),
            ("HOOKBRO__SVIX__TOKEN", TOKEN.to_owned()),
            // Shorter than a hanging call.
            ("HOOKBRO__SVIX__TIMEOUT", "3s".to_owned()),
            ("HOOKBRO__ADMIN__LISTEN", address.to_string()),
            ("HOOKBRO__LOG__FORMAT", "json".to_owned()),
            // Without the line per event: hundreds a second would fill the disk.
            ("HOOKBRO__LOG__LEVEL", "info,hookbro::pipeline::consume=error".to_owned()),
        ];
        let log = folder.join(format!("{name}.log"));
        std::fs::write(&log, "")?;
        let child = spawn(program, &log, &environment)?;
        let mut replica = Self { name, program: program.to_owned(), log, environment, address, child };
        replica.ready().await?;
        Ok(replica)
    }

    /// SIGKILL, and started again at once. The broker may be away, so it is not waited for.
    pub(crate) async fn crash(&mut self) -> Result<(), Error> {
        self.still_runs()?;
        self.child.kill().await?;
        self.child = spawn(&self.program, &self.log, &self.environment)?;
        Ok(())
    }

    /// SIGTERM, and started again once it has ended well.
    pub(crate) async fn restart(&mut self) -> Result<(), Error> {
        self.end().await?;
        self.child = spawn(&self.program, &self.log, &self.environment)?;
        Ok(())
    }

    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        self.end().await
    }

    async fn end(&mut self) -> Result<(), Error> {
        self.still_runs()?;
        let pid = self.child.id().ok_or("a hookbro without a process number")?.to_string();
        // The standard library can only send SIGKILL; every shell has a kill of its own.
        Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().await?;
        let ended = tokio::time::timeout(STOP_WITHIN, self.child.wait()).await;
        let status = ended.map_err(|_| format!("hookbro {} did not stop within {STOP_WITHIN:?}", self.name))??;
        if !status.success() {
            return Err(format!("hookbro {}, asked to stop, ended with {status}", self.name).into());
        }
        Ok(())
    }

    /// An error if it ended though nobody asked it to.
    fn still_runs(&mut self) -> Result<(), Error> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("hookbro {} ended by itself: {status}, see its log", self.name).into()),
        }
    }

    async fn ready(&mut self) -> Result<(), Error> {
        let url = format!("http://{}/readyz", self.address);
        let asking = async {
            while !reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
                self.still_runs()?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        };
        let in_time = tokio::time::timeout(READY_WITHIN, asking).await;
        in_time.unwrap_or_else(|_| Err(format!("hookbro {} was not ready within {READY_WITHIN:?}", self.name).into()))
    }

    pub(crate) async fn in_flight(&self) -> Result<u64, Error> {
        status(self.address).await?["in_flight"].as_u64().ok_or_else(|| "no in_flight in /status".into())
    }

    pub(crate) async fn counters(&self) -> Result<Vec<(&'static str, f64)>, Error> {
        let text = get(self.address, "/metrics").await?;
        let value = |series: &str| -> Result<f64, Error> {
            let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            line.and_then(|value| value.parse().ok()).ok_or_else(|| format!("no {series} in /metrics").into())
        };
        COUNTERS.iter().map(|series| Ok((*series, value(series)?))).collect()
    }
}

fn spawn(program: &Path, log: &Path, environment: &[(&'static str, String)]) -> Result<Child, Error> {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOOKBRO__")) {
        command.env_remove(name);
    }
    let log = OpenOptions::new().append(true).open(log)?;
    command.arg("run").envs(environment.iter().map(|(name, value)| (name, value)));
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn()?)
}

/// `/status` of the hookbro there.
pub(crate) async fn status(address: SocketAddr) -> Result<Value, Error> {
    Ok(serde_json::from_str(&get(address, "/status").await?)?)
}

async fn get(address: SocketAddr, path: &str) -> Result<String, Error> {
    let asking = async { reqwest::get(format!("http://{address}{path}")).await?.text().await };
    Ok(tokio::time::timeout(ASK_WITHIN, asking).await??)
}
