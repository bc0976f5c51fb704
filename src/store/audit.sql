-- What operators change: a row before a change is made and one when it has ended, only ever added and, when old, deleted.
CREATE TABLE audit (
    -- As the id of an attempt.
    id {INTEGER} PRIMARY KEY,
    -- Of an ending: the change that ended.
    ends BIGINT,
    -- Who acts, as far as it was shown, and the name that was claimed.
    identity TEXT,
    claimed TEXT,
    action TEXT,
    project TEXT,
    target TEXT,
    -- Of an ending.
    outcome TEXT,
    detail TEXT
);
CREATE INDEX audit_ends ON audit (ends) WHERE ends IS NOT NULL;
CREATE INDEX audit_project ON audit (project, id) WHERE ends IS NULL;
