-- What the trigger of a saved flow has started, and could not start, as JSON.
CREATE TABLE starts (
    flow   TEXT PRIMARY KEY REFERENCES kept_flows (name) ON DELETE CASCADE,
    starts TEXT NOT NULL,
    sum    INTEGER NOT NULL DEFAULT 0
) STRICT;
