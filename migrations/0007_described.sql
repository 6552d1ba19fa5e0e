-- What the stream, or the base that it began with, last said of each object: the sum of its description. One of zero
-- bytes does not count any more: the object has to be described again. The OIDs are those of its catalog and its own.
CREATE TABLE described (
    class    TEXT NOT NULL,
    identity TEXT NOT NULL,
    catalog  INTEGER NOT NULL,
    oid      INTEGER NOT NULL,
    sum      BLOB NOT NULL,
    PRIMARY KEY (class, identity)
) STRICT, WITHOUT ROWID;

CREATE INDEX described_oid ON described (oid);

-- The tables of indexes: who drops one does not name its table.
CREATE TABLE described_index (
    name TEXT PRIMARY KEY,
    oid  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX described_index_oid ON described_index (oid);
