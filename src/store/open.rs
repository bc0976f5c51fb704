//! From a location to connections: who may read the file, what each connection is set to first, and how long anything may
//! take.

use super::{
    location::Location,
    schema::{self, Kind},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::{
    AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _,
    any::{AnyConnectOptions, AnyPoolOptions},
    migrate::MigrateError,
};
use std::{io, path::Path, str::FromStr as _, time::Duration};

/// Longest opening, migrations and their waiting for another replica's included.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections that read; each is a thread of its own with SQLite.
const READERS: u32 = 4;
/// Longest wait for one of them, or for the audit's.
const POOL_WAIT: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(60);

/// WAL, so that readers and the writer do not wait for each other; without a sync for each batch, since a lost tail is a
/// gap like any other and the file stays whole. A checkpoint every 16 MiB instead of 4, as pages are touched again and again.
const SQLITE_WRITER: &str = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=5000; \
                             PRAGMA wal_autocheckpoint=4000; PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-16384";
/// An audit's row is on disk before its change is made. It leaves checkpoints to the journal's writer.
const SQLITE_AUDIT: &str = "PRAGMA synchronous=FULL; PRAGMA busy_timeout=4000; PRAGMA wal_autocheckpoint=0; \
                            PRAGMA cache_size=-256";
const SQLITE_READER: &str = "PRAGMA busy_timeout=2000; PRAGMA query_only=1; PRAGMA cache_size=-4096";
/// A transaction whose writer is cut off must not block the one that comes after it.
const POSTGRES_WRITER: &str = "SET application_name='hookbro journal'; SET statement_timeout='10s'; \
                               SET lock_timeout='5s'; SET idle_in_transaction_session_timeout='10s'";
const POSTGRES_AUDIT: &str = "SET application_name='hookbro audit'; SET statement_timeout='4s'; SET lock_timeout='4s'";
const POSTGRES_READER: &str =
    "SET application_name='hookbro reader'; SET statement_timeout='4s'; SET default_transaction_read_only=on";

/// Why there is no journal for now.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot create {path}: {source}")]
    File { path: String, source: io::Error },
    #[error("{0}")]
    Store(#[from] sqlx::Error),
    #[error("cannot bring its schema up to date: {0}")]
    Schema(#[from] MigrateError),
    #[error("it did not open in time")]
    Slow,
    #[error("it does not exist: run this where hookbro runs, with its STATE_DIRECTORY, or set journal.url")]
    Missing,
    #[error("journal.url {0}")]
    Url(String),
}

/// Connections beside the journal's writer, made when they are needed.
#[derive(Debug, Clone)]
pub(super) struct Pools {
    pub read: AnyPool,
    /// One connection, that of the audit.
    pub audit: AnyPool,
}

impl Pools {
    pub async fn close(&self) {
        tokio::join!(self.read.close(), self.audit.close());
    }
}

/// The writing connection, and the pools that others take theirs from.
pub(super) async fn open(location: &Location) -> Result<(AnyConnection, Pools), OpenError> {
    tokio::time::timeout(OPEN_TIMEOUT, open_now(location)).await.unwrap_or(Err(OpenError::Slow))
}

async fn open_now(location: &Location) -> Result<(AnyConnection, Pools), OpenError> {
    sqlx::any::install_default_drivers();
    let (kind, url, writer, reader, audit) = match location {
        Location::Off => return Err(OpenError::Url("is off".to_owned())),
        Location::File(path) => {
            make_private(path).map_err(|source| OpenError::File { path: path.display().to_string(), source })?;
            // Only bytes that a URL carries as they are; sqlx decodes the rest.
            let path = utf8_percent_encode(&path.to_string_lossy(), NON_ALPHANUMERIC).to_string();
            (Kind::Sqlite, format!("sqlite://{path}?mode=rw"), SQLITE_WRITER, SQLITE_READER, SQLITE_AUDIT)
        }
        Location::Server(url) => (Kind::Postgres, url.to_string(), POSTGRES_WRITER, POSTGRES_READER, POSTGRES_AUDIT),
    };
    // The statements are our own, and not worth a log line.
    let options = AnyConnectOptions::from_str(&url)?.disable_statement_logging();
    let mut connection = AnyConnection::connect_with(&options).await?;
    connection.execute(writer).await?;
    schema::migrate(&mut connection, kind).await?;
    let pools = Pools { read: pool(&options, READERS, reader), audit: pool(&options, 1, audit) };
    Ok((connection, pools))
}

/// Up to `most` connections, each of which runs `first` before anything else.
fn pool(options: &AnyConnectOptions, most: u32, first: &'static str) -> AnyPool {
    AnyPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(POOL_WAIT)
        .idle_timeout(IDLE)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                connection.execute(first).await?;
                Ok(())
            })
        })
        .connect_lazy_with(options.clone())
}

/// Makes the file, for its owner alone, and its folder if that is missing; SQLite gives the files beside it the same mode
/// (sqlite.org/wal.html, section 5).
fn make_private(path: &Path) -> io::Result<()> {
    let mut folder = std::fs::DirBuilder::new();
    let mut file = std::fs::OpenOptions::new();
    folder.recursive(true);
    file.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        folder.mode(0o700);
        file.mode(0o600);
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        folder.create(parent)?;
    }
    let file = file.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // One that existed already, made by hand.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}
