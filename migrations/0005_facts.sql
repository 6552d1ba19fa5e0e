-- What the stream has told of tables and types beside their descriptions, by OID, and the position that this is true at.
-- It counts only while that is where the stream ends.
CREATE TABLE fact (
    kind  TEXT NOT NULL,
    oid   INTEGER NOT NULL,
    value TEXT NOT NULL CHECK (value <> ''),
    PRIMARY KEY (kind, oid)
) STRICT, WITHOUT ROWID;

CREATE TABLE fact_position (
    id  INTEGER PRIMARY KEY CHECK (id = 1),
    lsn INTEGER NOT NULL CHECK (lsn >= 0)
) STRICT;
