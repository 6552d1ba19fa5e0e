-- Runs of verify, when each file was last read whole, and which files of forgotten artifacts are still to be removed.

CREATE TABLE verification (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    started_at   INTEGER,
    finished_at  INTEGER,
    outcome      TEXT NOT NULL CHECK (outcome IN ('ok', 'failed', 'inconclusive')),
    subset       TEXT NOT NULL,
    files        INTEGER NOT NULL,
    files_read   INTEGER NOT NULL,
    bytes_read   INTEGER NOT NULL,
    failed       INTEGER NOT NULL,
    inconclusive INTEGER NOT NULL,
    detail       TEXT NOT NULL
) STRICT;

CREATE TABLE artifact_read (
    artifact_id INTEGER PRIMARY KEY REFERENCES artifact (id) ON DELETE CASCADE,
    read_at     INTEGER NOT NULL,
    outcome     TEXT NOT NULL CHECK (outcome IN ('ok', 'failed', 'inconclusive')),
    detail      TEXT NOT NULL
) STRICT;

CREATE TABLE removal (
    name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
