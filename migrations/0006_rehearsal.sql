-- What the last rehearsal has shown: the commands behind a base run again up to where it is proven.
CREATE TABLE rehearsal (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    started_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    base        TEXT NOT NULL,
    server      TEXT NOT NULL,
    outcome     TEXT NOT NULL CHECK (outcome IN ('ok', 'warnings', 'failed')),
    proven_lsn  INTEGER NOT NULL,
    failed_lsn  INTEGER NOT NULL,
    failed_at   INTEGER,
    tag         TEXT NOT NULL,
    object      TEXT NOT NULL,
    message     TEXT NOT NULL,
    statement   TEXT NOT NULL,
    file        TEXT NOT NULL,
    line        INTEGER NOT NULL,
    warnings    TEXT NOT NULL
) STRICT;
