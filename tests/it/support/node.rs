//! A private RabbitMQ node that a test may kill: a thin hand on `scripts/broker`, which knows how.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Removed, with its processes, when dropped.
pub struct Node {
    dir: tempfile::TempDir,
    pub url: String,
}

impl Node {
    pub async fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("hbt-node").tempdir().unwrap();
        let url = broker("start", dir.path()).await;
        Self { dir, url }
    }

    /// SIGKILL; the data stays.
    pub async fn kill(&self) {
        broker("kill", self.dir.path()).await;
    }

    pub async fn restart(&self) {
        assert_eq!(broker("start", self.dir.path()).await, self.url, "a node comes back where it was");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let done = command("remove", self.dir.path()).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("the node in {} could not be removed", self.dir.path().display());
        }
    }
}

async fn broker(verb: &str, dir: &Path) -> String {
    let mut command = command(verb, dir);
    let output = tokio::task::spawn_blocking(move || command.stderr(Stdio::inherit()).output()).await.unwrap().unwrap();
    assert!(output.status.success(), "scripts/broker {verb} failed");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn command(verb: &str, dir: &Path) -> Command {
    let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/broker");
    let mut command = Command::new(script);
    command.arg(verb).arg(dir);
    command
}
