-- Projects whose events an operator holds back. A row goes when the project is resumed; who did either is in the audit.
CREATE TABLE pauses (
    project TEXT NOT NULL PRIMARY KEY,
    since_us BIGINT NOT NULL,
    identity TEXT NOT NULL,
    claimed TEXT,
    reason TEXT
){CLUSTERED};
