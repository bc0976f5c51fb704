//! The schema, and how a store comes to have it. The two databases differ in two words, which are in braces.

use sqlx::{
    AnyConnection, AssertSqlSafe, SqlSafeStr as _,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

/// Which of the two databases it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    pub fn of(connection: &AnyConnection) -> Self {
        if connection.backend_name() == <sqlx::Sqlite as sqlx::Database>::NAME { Self::Sqlite } else { Self::Postgres }
    }
}

/// Each is applied once, in this order, and never edited afterwards: what changes comes as a new one.
const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "attempts, tallies, projects, gaps", include_str!("schema.sql")),
    (2, "audit", include_str!("audit.sql")),
    (3, "pauses", include_str!("pauses.sql")),
    (4, "pauses are kept by the broker", "DROP TABLE pauses"),
];

/// Brings the store up to date. Replicas that start together wait for each other.
pub(super) async fn migrate(connection: &mut AnyConnection, kind: Kind) -> Result<(), MigrateError> {
    let (integer, clustered) = match kind {
        // The one spelling that makes a key the row's own id.
        Kind::Sqlite => ("INTEGER", " WITHOUT ROWID"),
        Kind::Postgres => ("BIGINT", ""),
    };
    let migration = |(version, what, sql): (i64, &'static str, &str)| {
        let sql = sql.replace("{INTEGER}", integer).replace("{CLUSTERED}", clustered);
        Migration::new(version, what.into(), MigrationType::Simple, AssertSqlSafe(sql).into_sql_str(), false)
    };
    let migrator = Migrator {
        migrations: MIGRATIONS.into_iter().map(migration).collect::<Vec<_>>().into(),
        // A newer replica may have been here first; what it adds is no obstacle.
        ignore_missing: true,
        ..Migrator::DEFAULT
    };
    migrator.run_direct(None, connection, false).await
}
