-- One delivery with its verdict a row, only ever added and deleted: no row is looked up to be changed, so replicas that
-- share a database never wait for each other.
CREATE TABLE attempts (
    -- Microseconds since 1970 times 4096, plus a number that tells replicas apart: sorted by time, unique, and known
    -- before it is written, so that a batch whose commit was not confirmed can be written again.
    id {INTEGER} PRIMARY KEY,
    project TEXT,
    event TEXT,
    kind TEXT,
    queue TEXT NOT NULL,
    routing_key TEXT,
    attempt BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    -- 1 for every outcome but `delivered`: what people look for is rare, and has indexes of its own.
    remarkable BIGINT NOT NULL,
    reason TEXT,
    status BIGINT,
    latency_us BIGINT,
    calls BIGINT NOT NULL,
    in_hand_us BIGINT NOT NULL,
    message TEXT,
    detail TEXT,
    next_us BIGINT
);
CREATE INDEX attempts_event ON attempts (event, id);
CREATE INDEX attempts_project ON attempts (project, id);
CREATE INDEX attempts_kind ON attempts (kind, id);
CREATE INDEX attempts_remarkable ON attempts (id) WHERE remarkable = 1;
CREATE INDEX attempts_remarkable_project ON attempts (project, id) WHERE remarkable = 1;

-- What the pages of projects are made of, so that they scan no attempts: how often, by project and hour, an outcome came
-- about or a latency fell into a bucket. An empty project stands for events without a readable one.
CREATE TABLE tallies (
    project TEXT NOT NULL,
    hour BIGINT NOT NULL,
    what TEXT NOT NULL,
    amount BIGINT NOT NULL,
    PRIMARY KEY (project, hour, what)
){CLUSTERED};

CREATE TABLE projects (
    project TEXT NOT NULL PRIMARY KEY,
    seen_us BIGINT NOT NULL,
    error_us BIGINT,
    error_event TEXT,
    error_outcome TEXT,
    error_reason TEXT,
    error_status BIGINT,
    error_detail TEXT
){CLUSTERED};

-- Stretches of which entries are missing.
CREATE TABLE gaps (
    id {INTEGER} PRIMARY KEY,
    from_us BIGINT NOT NULL,
    until_us BIGINT NOT NULL,
    lost BIGINT NOT NULL
);
CREATE INDEX gaps_until ON gaps (until_us);

-- Processes that write. One that ends well takes its row away; a row that is not refreshed any more is a gap since then.
CREATE TABLE writers (
    id {INTEGER} PRIMARY KEY,
    seen_us BIGINT NOT NULL,
    -- When its end was noticed.
    ended_us BIGINT
);
