-- Deduplication keys belong to what a trigger watches. Those that are here already have an empty feed. A row that a disk has
-- changed keeps a wrong checksum.
DROP VIEW good_taken;
CREATE TABLE taken_of_feeds (
    flow TEXT NOT NULL,
    feed TEXT NOT NULL,
    key  TEXT NOT NULL,
    run  TEXT REFERENCES runs (id),
    at   INTEGER NOT NULL,
    sum  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (flow, feed, key)
) STRICT, WITHOUT ROWID;
INSERT INTO taken_of_feeds (flow, feed, key, run, at, sum)
SELECT flow, '', key, run, at,
    CASE WHEN sum = checksum(flow, key, run, at) THEN checksum(flow, '', key, run, at) ELSE sum END
FROM taken;
DROP TABLE taken;
ALTER TABLE taken_of_feeds RENAME TO taken;
CREATE INDEX taken_by_time ON taken (flow, feed, at);
CREATE TRIGGER taken_added AFTER INSERT ON taken BEGIN
    UPDATE taken SET sum = checksum(new.flow, new.feed, new.key, new.run, new.at)
    WHERE flow = new.flow AND feed = new.feed AND key = new.key;
END;
CREATE TRIGGER taken_changed AFTER UPDATE OF run, at ON taken BEGIN
    SELECT intact(old.sum, old.flow, old.feed, old.key, old.run, old.at);
    UPDATE taken SET sum = checksum(new.flow, new.feed, new.key, new.run, new.at)
    WHERE flow = new.flow AND feed = new.feed AND key = new.key;
END;
CREATE VIEW good_taken AS SELECT * FROM taken
WHERE intact(sum, flow, feed, key, run, at);

-- What the user of a saved flow has to know about its trigger, as JSON.
CREATE TABLE findings (
    flow     TEXT PRIMARY KEY REFERENCES kept_flows (name) ON DELETE CASCADE,
    findings TEXT NOT NULL,
    sum      INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TRIGGER findings_added AFTER INSERT ON findings BEGIN
    UPDATE findings SET sum = checksum(new.flow, new.findings) WHERE flow = new.flow;
END;
CREATE VIEW good_findings AS SELECT * FROM findings
WHERE intact(sum, flow, findings);
