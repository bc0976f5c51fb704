//! Where a journal is kept in tests: a file of its own, or a PostgreSQL of its own.

use hookbro::{
    observe::{health::Health, metrics::Metrics},
    pipeline::journal::{Recorder, journal},
    process::secret::Secret,
    store::{Reader, Settings, Writer},
};
use std::{path::PathBuf, process::Command, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A store that ends with the test.
pub struct Store {
    pub url: String,
    folder: TempDir,
    server: bool,
}

/// A journal that is open, in this process.
pub struct Journal {
    pub recorder: Recorder,
    pub reader: Reader,
    pub metrics: Arc<Metrics>,
    pub writing: JoinHandle<()>,
}

impl Store {
    pub fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("sub").join("journal.sqlite3").display());
        Self { url, folder, server: false }
    }

    /// A real server; `None`, and a loud word, where none can be had.
    pub fn server() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // The server runs as another user when the tests are root's.
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut store = Self { url: String::new(), folder, server: true };
        store.start().then_some(store)
    }

    /// Starts the server, again or for the first time.
    pub fn start(&mut self) -> bool {
        let output = self.script("start").output().unwrap();
        if output.status.code() == Some(3) {
            eprintln!("SKIPPED: no PostgreSQL here and none could be installed; the journal was not tried on it");
            assert!(std::env::var_os("CI").is_none(), "PostgreSQL is needed where the result counts");
            return false;
        }
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.url = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        true
    }

    pub fn stop(&self) {
        assert!(self.script("stop").status().unwrap().success());
    }

    pub fn path(&self) -> PathBuf {
        self.url.strip_prefix("sqlite:").unwrap().into()
    }

    fn script(&self, order: &str) -> Command {
        let mut command = Command::new("scripts/postgres");
        command.arg(order).arg(self.folder.path().join("server"));
        command
    }

    pub fn open(&self) -> Journal {
        self.open_keeping(Duration::from_secs(86_400))
    }

    pub fn open_keeping(&self, retention: Duration) -> Journal {
        self.open_with(retention, u64::MAX)
    }

    pub fn open_with(&self, retention: Duration, max_bytes: u64) -> Journal {
        let (metrics, health) = (Arc::new(Metrics::new().unwrap()), Arc::new(Health::new()));
        let (recorder, inbox) = journal(Arc::clone(&metrics));
        let settings = Settings { url: Secret::fixed(&self.url), retention, max_bytes };
        let (writer, reader) = Writer::new(settings, inbox, Arc::clone(&metrics), health);
        Journal { recorder, reader, metrics, writing: tokio::spawn(writer.run()) }
    }
}

impl Journal {
    /// Writes what is left and ends.
    pub async fn end(self) -> Reader {
        drop(self.recorder);
        self.writing.await.unwrap();
        self.reader
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.server {
            let _ = self.script("remove").status();
        }
    }
}
