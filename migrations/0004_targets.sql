-- Places beside the repository's own directory that its files are sent to. The first is the primary one.
CREATE TABLE target (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    spec         TEXT NOT NULL UNIQUE CHECK (spec <> ''),
    added_at     INTEGER,
    seen_at      INTEGER,
    failed_since INTEGER,
    error        TEXT NOT NULL DEFAULT ''
) STRICT;

-- Which sealed artifact is stored for good on which target.
CREATE TABLE copy (
    artifact_id INTEGER NOT NULL REFERENCES artifact (id) ON DELETE CASCADE,
    target_id   INTEGER NOT NULL REFERENCES target (id) ON DELETE CASCADE,
    stored_at   INTEGER,
    PRIMARY KEY (artifact_id, target_id)
) STRICT, WITHOUT ROWID;

-- What the catalog has forgotten and a target still holds.
CREATE TABLE copy_removal (
    target_id INTEGER NOT NULL REFERENCES target (id) ON DELETE CASCADE,
    name      TEXT NOT NULL,
    PRIMARY KEY (target_id, name)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER artifact_forgotten BEFORE DELETE ON artifact BEGIN
    INSERT OR IGNORE INTO copy_removal (target_id, name) SELECT target_id, OLD.name FROM copy WHERE artifact_id = OLD.id;
END;
