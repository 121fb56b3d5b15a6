-- Saved flows: the version that new runs get, and what they are started with.
CREATE TABLE kept_flows (
    name        TEXT PRIMARY KEY,
    version     TEXT NOT NULL REFERENCES flows (version),
    connections TEXT NOT NULL, -- JSON: the connection of each binding
    input       TEXT NOT NULL, -- JSON: the default input
    active      INTEGER NOT NULL,
    through     INTEGER,       -- the trigger has dealt with everything up to this time; NULL while it has yet to begin
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;

-- What protects the webhook of a flow: the hash of the token in its address, and the secret that its sender signs with.
CREATE TABLE webhooks (
    flow       TEXT PRIMARY KEY REFERENCES kept_flows (name) ON DELETE CASCADE,
    token_hash BLOB,
    key_id     TEXT,
    sealed     BLOB
) STRICT;

-- What a flow's trigger has handed to a run: a delivery, an item, a time. It is never handed to a second one. Items that
-- were there before the first look have no run.
CREATE TABLE taken (
    flow TEXT NOT NULL,
    key  TEXT NOT NULL,
    run  TEXT REFERENCES runs (id),
    at   INTEGER NOT NULL,
    PRIMARY KEY (flow, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX taken_by_time ON taken (flow, at);
