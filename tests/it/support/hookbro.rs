//! The program itself, as a process: its environment, its log, its pages, its end.

use super::{SOON, until};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
};

/// A running `hookbro run`; killed when dropped.
pub struct Hookbro {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    address: String,
    client: reqwest::Client,
}

/// The program with no configuration but `settings`, as `("broker.queue", value)`.
pub fn command(args: &[&str], settings: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookbro"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOOKBRO__")) {
        command.env_remove(name);
    }
    for (key, value) in settings {
        command.env(format!("HOOKBRO__{}", key.replace('.', "__").to_uppercase()), value);
    }
    command.args(args).stdin(Stdio::null());
    command
}

impl Hookbro {
    /// Starts it and waits until its pages are served.
    pub async fn start(settings: &[(String, String)]) -> Self {
        Self::start_with(settings, &[]).await
    }

    /// As [`Hookbro::start`], with further variables of the environment.
    pub async fn start_with(settings: &[(String, String)], environment: &[(&str, &str)]) -> Self {
        let mut command = command(&["run"], settings);
        command.envs(environment.iter().copied());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, into) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                into.lock().unwrap().push(line);
            }
        });
        // It reads no certificates, which takes as long as hundreds of calls, and keeps no connection open.
        let client = reqwest::Client::builder().tls_certs_only([]).pool_max_idle_per_host(0).build().unwrap();
        let mut hookbro = Self { child, log, address: String::new(), client };
        hookbro.address = until("the pages are served", SOON, async || {
            hookbro.logged("are served").first().and_then(|line| line["fields"]["address"].as_str()).map(str::to_owned)
        })
        .await;
        hookbro
    }

    /// Starts it and waits until it consumes.
    pub async fn ready(settings: &[(String, String)]) -> Self {
        Self::ready_with(settings, &[]).await
    }

    /// As [`Hookbro::ready`], with further variables of the environment.
    pub async fn ready_with(settings: &[(String, String)], environment: &[(&str, &str)]) -> Self {
        let hookbro = Self::start_with(settings, environment).await;
        until("it is ready", SOON, async || (hookbro.status_of("/readyz").await == 200).then_some(())).await;
        hookbro
    }

    /// Log lines whose message has `text` in it.
    pub fn logged(&self, text: &str) -> Vec<Value> {
        let log = self.log.lock().unwrap();
        let quoted = Value::from(text).to_string();
        // As JSON has it. Most lines are none of those, and need not be read.
        let lines = log.iter().filter(|line| line.contains(quoted.trim_matches('"')));
        let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["fields"]["message"].as_str().is_some_and(|m| m.contains(text))).collect()
    }

    /// Everything that it has written so far.
    pub fn whole_log(&self) -> String {
        self.log.lock().unwrap().iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    /// Where its pages are served.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn page(&self, path: &str) -> (u16, String) {
        let response = self.client.get(format!("http://{}{path}", self.address)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// An answer of `/api/v1`, with a token if one is given.
    pub async fn api(&self, path: &str, token: Option<&str>) -> (u16, Value) {
        let request = self.client.get(format!("http://{}/api/v1{path}", self.address));
        let request = token.iter().fold(request, |request, token| request.bearer_auth(token));
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }

    pub async fn status_of(&self, path: &str) -> u16 {
        self.page(path).await.0
    }

    pub async fn status(&self) -> Value {
        serde_json::from_str(&self.page("/status").await.1).unwrap()
    }

    /// The value of a series, written as in the exposition; 0 where it does not exist.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.page("/metrics").await.1;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// The most memory that it has taken so far, in bytes.
    pub fn peak_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
        peak.parse::<usize>().unwrap() * 1024
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by its name, as in `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    pub async fn exit(&mut self) -> ExitStatus {
        until("the process ends", SOON, async || self.child.try_wait().unwrap()).await
    }

    pub async fn stop(mut self) {
        self.signal("TERM");
        let status = self.exit().await;
        assert!(status.success(), "hookbro ended with {status}\n{}", self.whole_log());
    }
}

impl Drop for Hookbro {
    fn drop(&mut self) {
        // Gone already in most tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.whole_log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("--- the end of hookbro's log");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}
