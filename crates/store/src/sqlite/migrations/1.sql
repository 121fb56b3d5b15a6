-- What the store knows of itself: `instance`, `key` (the id of the key), `canary` (a value sealed with that key).
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Connection documents as users wrote them; each sealed secret is `***` here.
CREATE TABLE connections (
    name       TEXT PRIMARY KEY,
    connector  TEXT NOT NULL,
    document   TEXT NOT NULL,
    created_at INTEGER NOT NULL, -- milliseconds since 1970, as all times here
    updated_at INTEGER NOT NULL
) STRICT;

-- The secrets of those documents, one by one. `sealed` is nonce and ciphertext.
CREATE TABLE secrets (
    connection TEXT NOT NULL REFERENCES connections (name) ON DELETE CASCADE,
    pointer    TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    PRIMARY KEY (connection, pointer)
) STRICT, WITHOUT ROWID;

-- What connectors keep for a connection, such as tokens.
CREATE TABLE vault (
    connection TEXT PRIMARY KEY REFERENCES connections (name) ON DELETE CASCADE,
    version    INTEGER NOT NULL,
    key_id     TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- The flow documents that runs are pinned to; a version never changes.
CREATE TABLE flows (
    version  TEXT PRIMARY KEY,
    document TEXT NOT NULL
) STRICT;

-- One line a run, kept up with its events in the same transaction.
CREATE TABLE runs (
    id               TEXT PRIMARY KEY,
    flow             TEXT NOT NULL,
    version          TEXT NOT NULL REFERENCES flows (version),
    status           TEXT NOT NULL,
    started_at       INTEGER NOT NULL,
    finished_at      INTEGER,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    done             INTEGER NOT NULL DEFAULT 0, -- rows of `items` by status, so that a list of runs need not count them
    skipped          INTEGER NOT NULL DEFAULT 0,
    failed           INTEGER NOT NULL DEFAULT 0,
    unknown          INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX runs_by_start ON runs (started_at);

-- All that happened in a run, from 1 without gaps. What is sealed is missing in `event`.
CREATE TABLE events (
    run    TEXT NOT NULL REFERENCES runs (id),
    seq    INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    event  TEXT NOT NULL,
    key_id TEXT,
    sealed BLOB,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

-- The last outcome of every item of a run.
CREATE TABLE items (
    run         TEXT NOT NULL REFERENCES runs (id),
    step        TEXT NOT NULL,
    key         TEXT NOT NULL,
    status      TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    finished_at INTEGER NOT NULL,
    PRIMARY KEY (run, step, key)
) STRICT, WITHOUT ROWID;
