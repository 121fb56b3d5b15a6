-- The order in which the events of all runs were stored: one row for the events of a run that one transaction has stored.
-- Only the newest rows are kept. Events of earlier versions are not in it.
CREATE TABLE event_order (
    write INTEGER PRIMARY KEY,
    run   TEXT NOT NULL,
    first INTEGER NOT NULL,
    last  INTEGER NOT NULL,
    sum   INTEGER NOT NULL
) STRICT;

-- The latest deliveries to the trigger of a saved flow, as JSON.
CREATE TABLE deliveries (
    flow       TEXT PRIMARY KEY REFERENCES kept_flows (name) ON DELETE CASCADE,
    deliveries TEXT NOT NULL,
    sum        INTEGER NOT NULL DEFAULT 0
) STRICT;
