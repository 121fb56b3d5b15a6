-- Which connection fills which slot of a run, as JSON: what is remembered across runs is remembered for these.
ALTER TABLE runs ADD COLUMN connections TEXT;

UPDATE runs SET connections =
    (SELECT json_extract(event, '$.connections') FROM events WHERE events.run = runs.id AND events.seq = 1);

-- What runs have done with the items of an `each` that says `once`, across runs: the last time an item was done, and what
-- it was like; or that its outcome is unknown.
CREATE TABLE done_once (
    flow        TEXT NOT NULL,
    connections TEXT NOT NULL,
    step        TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    unknown     INTEGER NOT NULL,
    run         TEXT NOT NULL REFERENCES runs (id),
    at          INTEGER NOT NULL,
    PRIMARY KEY (flow, connections, step, key)
) STRICT, WITHOUT ROWID;
