-- The catalog of one repository. LSNs are integers, moments are microseconds since 1970-01-01 00:00:00 UTC (NULL:
-- unknown), xids are the 32-bit numbers that the server prints.

CREATE TABLE repository (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    format          INTEGER NOT NULL,
    system_id       TEXT NOT NULL,
    timeline        INTEGER NOT NULL,
    database        TEXT NOT NULL,
    database_oid    INTEGER NOT NULL,
    encoding        TEXT NOT NULL,
    collate_name    TEXT NOT NULL,
    ctype           TEXT NOT NULL,
    locale_provider TEXT NOT NULL,
    locale          TEXT NOT NULL,
    server_version  TEXT NOT NULL,
    slot            TEXT NOT NULL,
    publication     TEXT NOT NULL,
    compression     TEXT NOT NULL,
    mode            TEXT NOT NULL,
    created_at      INTEGER
) STRICT;

-- AUTOINCREMENT: the id of a deleted artifact is never given to another one.
CREATE TABLE artifact (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    kind            TEXT NOT NULL CHECK (kind IN ('base', 'globals', 'segment')),
    state           TEXT NOT NULL CHECK (state IN ('open', 'sealed')),
    name            TEXT NOT NULL UNIQUE CHECK (name <> ''),
    system_id       TEXT NOT NULL,
    timeline        INTEGER NOT NULL,
    database        TEXT NOT NULL,
    start_lsn       INTEGER NOT NULL CHECK (start_lsn >= 0),
    end_lsn         INTEGER NOT NULL,
    created_at      INTEGER,
    finished_at     INTEGER,
    first_commit_at INTEGER,
    last_commit_at  INTEGER,
    reached_at      INTEGER,
    transactions    INTEGER NOT NULL,
    min_xid         INTEGER NOT NULL,
    max_xid         INTEGER NOT NULL,
    bytes           INTEGER NOT NULL,
    text_bytes      INTEGER NOT NULL,
    sha256          TEXT NOT NULL,
    text_sha256     TEXT NOT NULL,
    filters         TEXT NOT NULL,
    server_version  TEXT NOT NULL,
    pair            INTEGER REFERENCES artifact (id) ON DELETE CASCADE,
    format          TEXT NOT NULL CHECK (format IN ('plain', 'directory')),
    pinned_reason   TEXT NOT NULL,
    CHECK (end_lsn >= start_lsn),
    CHECK (kind = 'segment' OR (state = 'sealed' AND end_lsn = start_lsn)),
    CHECK ((kind = 'globals') = (pair IS NOT NULL))
) STRICT;

CREATE INDEX artifact_position ON artifact (start_lsn, id);
CREATE INDEX artifact_pair ON artifact (pair) WHERE pair IS NOT NULL;

-- One streamer a repository, so at most one segment is being written.
CREATE UNIQUE INDEX artifact_open ON artifact (state) WHERE state = 'open';

CREATE TABLE table_count (
    segment_id INTEGER NOT NULL REFERENCES artifact (id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    inserted   INTEGER NOT NULL,
    updated    INTEGER NOT NULL,
    deleted    INTEGER NOT NULL,
    truncated  INTEGER NOT NULL,
    PRIMARY KEY (segment_id, name)
) STRICT, WITHOUT ROWID;

-- A restore point is a transaction of a segment and goes with it.
CREATE TABLE restore_point (
    name       TEXT PRIMARY KEY,
    segment_id INTEGER NOT NULL REFERENCES artifact (id) ON DELETE CASCADE,
    timeline   INTEGER NOT NULL,
    lsn        INTEGER NOT NULL CHECK (lsn >= 0),
    xid        INTEGER NOT NULL,
    at         INTEGER
) STRICT;

CREATE INDEX restore_point_segment ON restore_point (segment_id);

CREATE TABLE gap (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    kind            TEXT NOT NULL CHECK (kind IN ('missing', 'schema')),
    timeline        INTEGER NOT NULL,
    from_lsn        INTEGER NOT NULL CHECK (from_lsn >= 0),
    to_lsn          INTEGER NOT NULL CHECK (to_lsn >= from_lsn),
    detected_at     INTEGER,
    reason          TEXT NOT NULL,
    acknowledged_at INTEGER,
    UNIQUE (kind, timeline, from_lsn, to_lsn, reason)
) STRICT;

CREATE TABLE operation (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    command     TEXT NOT NULL,
    pid         INTEGER NOT NULL,
    started_at  INTEGER,
    finished_at INTEGER,
    outcome     TEXT NOT NULL CHECK (outcome IN ('running', 'ok', 'failed')),
    detail      TEXT NOT NULL
) STRICT;

CREATE TABLE setting (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
