//! Private RabbitMQ nodes that a test may kill: a thin hand on `scripts/broker`, which knows how.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::tls::Authority;

/// Removed, with its processes, when dropped.
pub struct Node {
    dir: tempfile::TempDir,
    pub url: String,
    plugins: &'static str,
}

/// A node that also listens with TLS, and wants a certificate of its clients.
pub struct TlsNode {
    pub node: Node,
    pub port: u16,
}

impl Node {
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// With plugins of RabbitMQ, their names separated by blanks.
    pub async fn with(plugins: &'static str) -> Self {
        let dir = tempfile::Builder::new().prefix("hbt-node").tempdir().unwrap();
        let url = start(dir.path(), plugins).await;
        Self { dir, url, plugins }
    }

    /// The address of its management API; only with the plugin.
    pub fn management(&self) -> String {
        let port = command("port", self.dir.path()).arg("management").output().unwrap();
        format!("http://127.0.0.1:{}", String::from_utf8(port.stdout).unwrap().trim())
    }

    /// Known as `localhost`, by `authority`, which is also the one whose certificates it takes.
    pub async fn with_tls(authority: &Authority) -> TlsNode {
        let dir = tempfile::Builder::new().prefix("hbt-node").tempdir().unwrap();
        let pems = tempfile::tempdir().unwrap();
        let shown = authority.certificate("broker", &["localhost"]);
        for (name, pem) in [("ca.pem", authority.pem()), ("cert.pem", shown.certificate), ("key.pem", shown.key)] {
            std::fs::write(pems.path().join(name), pem).unwrap();
        }
        let mut start = command("start", dir.path());
        start.env("BROKER_TLS", pems.path());
        let url = run(start).await;
        let mut port = command("port", dir.path());
        port.arg("tls");
        TlsNode { node: Self { url, dir, plugins: "" }, port: run(port).await.parse().unwrap() }
    }

    /// SIGKILL; the data stays.
    pub async fn kill(&self) {
        broker("kill", self.dir.path()).await;
    }

    pub async fn restart(&self) {
        assert_eq!(start(self.dir.path(), self.plugins).await, self.url, "a node comes back where it was");
    }

    /// SIGSTOP: connections stay, and nothing answers.
    pub async fn freeze(&self) {
        self.signal("-STOP").await;
    }

    /// SIGCONT
    pub async fn thaw(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let pid = broker("pid", self.dir.path()).await;
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// One of RabbitMQ's own tools, with its arguments.
    pub async fn tool(&self, words: &[&str]) -> String {
        tool(self.dir.path(), words).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        remove(self.dir.path());
    }
}

/// Nodes that form a cluster. Removed, with their processes, when dropped.
pub struct Cluster {
    /// The cluster's own folder is in it, for the script to make.
    dir: tempfile::TempDir,
    pub urls: Vec<String>,
}

impl Cluster {
    pub async fn start(nodes: usize) -> Self {
        let dir = tempfile::Builder::new().prefix("hbt-node").tempdir().unwrap();
        let mut cluster = Self { dir, urls: Vec::new() };
        let mut start = command("cluster", &cluster.folder());
        start.arg(nodes.to_string());
        cluster.urls = run(start).await.lines().map(str::to_owned).collect();
        cluster
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("c")
    }

    fn node(&self, index: usize) -> PathBuf {
        self.folder().join((index + 1).to_string())
    }

    /// SIGKILL; the data stays.
    pub async fn kill(&self, index: usize) {
        broker("kill", &self.node(index)).await;
    }

    pub async fn restart(&self, index: usize) {
        assert_eq!(broker("start", &self.node(index)).await, self.urls[index], "a node comes back where it was");
    }

    /// The node that leads this quorum queue, as the node `asked` says.
    pub async fn leader(&self, queue: &str, asked: usize) -> usize {
        let words = ["rabbitmqctl", "-q", "--no-table-headers", "list_queues", "name", "leader"];
        let queues = tool(&self.node(asked), &words).await;
        let leader = queues.lines().find_map(|line| line.strip_prefix(queue)?.strip_prefix('\t'));
        let leader = leader.unwrap_or_else(|| panic!("{queue} has no leader in\n{queues}"));
        let names = std::fs::read_to_string(self.folder().join("cluster")).unwrap();
        names.lines().position(|line| line.ends_with(leader)).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        remove(&self.folder());
    }
}

fn remove(dir: &Path) {
    let done = command("remove", dir).status();
    if !done.is_ok_and(|status| status.success()) {
        eprintln!("what runs in {} could not be removed", dir.display());
    }
}

async fn tool(dir: &Path, words: &[&str]) -> String {
    let mut command = command("tool", dir);
    command.args(words);
    run(command).await
}

async fn broker(verb: &str, dir: &Path) -> String {
    run(command(verb, dir)).await
}

async fn start(dir: &Path, plugins: &str) -> String {
    let mut command = command("start", dir);
    command.env("BROKER_PLUGINS", plugins);
    run(command).await
}

async fn run(mut command: Command) -> String {
    let output = tokio::task::spawn_blocking(move || command.stderr(Stdio::inherit()).output()).await.unwrap().unwrap();
    assert!(output.status.success(), "scripts/broker failed");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn command(verb: &str, dir: &Path) -> Command {
    let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/broker");
    let mut command = Command::new(script);
    command.arg(verb).arg(dir);
    command
}
