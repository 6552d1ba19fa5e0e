-- Where timelines of the source branched off, as its history files tell. A timeline is listed once it was met.
CREATE TABLE timeline (
    system_id  TEXT NOT NULL,
    timeline   INTEGER NOT NULL,
    parent     INTEGER NOT NULL CHECK (parent < timeline),
    switch_lsn INTEGER NOT NULL CHECK (switch_lsn >= 0),
    PRIMARY KEY (system_id, timeline)
) STRICT, WITHOUT ROWID;

-- Where the present slot begins, when it was made anew; 0: it is the first one.
ALTER TABLE repository ADD COLUMN stream_start INTEGER NOT NULL DEFAULT 0;
