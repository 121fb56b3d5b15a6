-- What lists of runs are filtered by, and what keeps a run from being removed: the kind of its trigger, the kind of the error
-- that stopped it, and the run whose failed items it repeats. A row that a disk has changed keeps a wrong MAC.
ALTER TABLE runs ADD COLUMN trigger TEXT;
ALTER TABLE runs ADD COLUMN error TEXT;
ALTER TABLE runs ADD COLUMN repeats TEXT;
UPDATE runs SET error = found.error, repeats = found.repeats,
    sum = mac('runs', id, flow, version, status, started_at, finished_at, cancel_requested, done, skipped, failed,
        unknown, connections, last, logged, NULL, found.error, found.repeats)
FROM (
    SELECT id AS run,
        (SELECT json_extract(event, '$.error.kind') FROM events
         WHERE run = id AND kind = 'finished' AND status <> 'running'
         AND events.sum = mac('events', run, seq, kind, event, NULL) ORDER BY seq DESC LIMIT 1) AS error,
        (SELECT json_extract(event, '$.retry.run') FROM events
         WHERE run = id AND seq = 1 AND events.sum = mac('events', run, seq, kind, event, NULL)) AS repeats
    FROM runs
) AS found
WHERE found.run = runs.id AND sum = mac('runs', id, flow, version, status, started_at, finished_at, cancel_requested,
    done, skipped, failed, unknown, connections, last, logged);

-- Lists are read in the order of their index, newest first.
DROP INDEX runs_by_start;
CREATE INDEX runs_by_start ON runs (started_at, id);
CREATE INDEX runs_by_flow ON runs (flow, started_at, id);
CREATE INDEX runs_by_status ON runs (status, started_at, id);
CREATE INDEX runs_by_repeated ON runs (repeats) WHERE repeats IS NOT NULL;

-- Deduplication keys and what is remembered of items outlive their runs, so they do not refer to them.
CREATE TABLE taken_without_runs (
    flow TEXT NOT NULL,
    feed TEXT NOT NULL,
    key  TEXT NOT NULL,
    run  TEXT,
    at   INTEGER NOT NULL,
    sum  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (flow, feed, key)
) STRICT, WITHOUT ROWID;
INSERT INTO taken_without_runs (flow, feed, key, run, at, sum) SELECT flow, feed, key, run, at, sum FROM taken;
DROP TABLE taken;
ALTER TABLE taken_without_runs RENAME TO taken;
CREATE INDEX taken_by_time ON taken (flow, feed, at);

CREATE TABLE done_once_without_runs (
    flow        TEXT NOT NULL,
    connections TEXT NOT NULL,
    step        TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    unknown     INTEGER NOT NULL,
    run         TEXT NOT NULL,
    at          INTEGER NOT NULL,
    sum         INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (flow, connections, step, key)
) STRICT, WITHOUT ROWID;
INSERT INTO done_once_without_runs (flow, connections, step, key, fingerprint, unknown, run, at, sum)
SELECT flow, connections, step, key, fingerprint, unknown, run, at, sum FROM done_once;
DROP TABLE done_once;
ALTER TABLE done_once_without_runs RENAME TO done_once;
