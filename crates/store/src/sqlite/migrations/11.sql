-- From this version on, the sum of a row is a MAC, which only the key of the store can make. The views and triggers
-- that check and compute it are no longer in the file, which an attacker may have written. A row that a disk has
-- changed keeps a wrong sum.

DROP TRIGGER IF EXISTS connections_added;
DROP TRIGGER IF EXISTS connections_changed;
DROP TRIGGER IF EXISTS vault_added;
DROP TRIGGER IF EXISTS vault_changed;
DROP TRIGGER IF EXISTS sign_ins_added;
DROP TRIGGER IF EXISTS flows_added;
DROP TRIGGER IF EXISTS kept_flows_added;
DROP TRIGGER IF EXISTS kept_flows_changed;
DROP TRIGGER IF EXISTS webhooks_added;
DROP TRIGGER IF EXISTS webhooks_changed;
DROP TRIGGER IF EXISTS runs_changed;
DROP TRIGGER IF EXISTS taken_added;
DROP TRIGGER IF EXISTS taken_changed;
DROP TRIGGER IF EXISTS done_once_added;
DROP TRIGGER IF EXISTS done_once_changed;
DROP TRIGGER IF EXISTS findings_added;
DROP VIEW IF EXISTS good_connections;
DROP VIEW IF EXISTS good_vault;
DROP VIEW IF EXISTS good_sign_ins;
DROP VIEW IF EXISTS good_flows;
DROP VIEW IF EXISTS good_kept_flows;
DROP VIEW IF EXISTS good_webhooks;
DROP VIEW IF EXISTS good_findings;
DROP VIEW IF EXISTS good_runs;
DROP VIEW IF EXISTS good_events;
DROP VIEW IF EXISTS good_items;
DROP VIEW IF EXISTS good_taken;
DROP VIEW IF EXISTS good_done_once;

UPDATE connections SET sum = CASE
    WHEN sum = checksum(name, connector, document, created_at, updated_at)
    THEN mac('connections', name, connector, document, created_at, updated_at) ELSE sum END;
UPDATE vault SET sum = CASE
    WHEN sum = checksum(connection, updated_at, sign_in)
    THEN mac('vault', connection, version, updated_at, sign_in, substr(sealed, 1, 24)) ELSE sum END;
UPDATE sign_ins SET sum = CASE
    WHEN sum = checksum(id, connection, at, sign_in)
    THEN mac('sign_ins', id, connection, at, sign_in) ELSE sum END;
UPDATE flows SET sum = CASE
    WHEN sum = checksum(version, document)
    THEN mac('flows', version, document) ELSE sum END;
UPDATE kept_flows SET sum = CASE
    WHEN sum = checksum(name, version, connections, input, active, through, created_at, updated_at)
    THEN mac('kept_flows', name, version, connections, input, active, through, created_at, updated_at) ELSE sum END;
UPDATE webhooks SET sum = CASE
    WHEN sum = checksum(flow, token_hash)
    THEN mac('webhooks', flow, token_hash, substr(sealed, 1, 24)) ELSE sum END;
UPDATE findings SET sum = CASE
    WHEN sum = checksum(flow, findings)
    THEN mac('findings', flow, findings) ELSE sum END;
UPDATE runs SET sum = CASE
    WHEN sum = checksum(id, flow, version, status, started_at, finished_at, cancel_requested, done, skipped, failed,
        unknown, connections, last, logged)
    THEN mac('runs', id, flow, version, status, started_at, finished_at, cancel_requested, done, skipped, failed,
        unknown, connections, last, logged) ELSE sum END;
UPDATE events SET sum = CASE
    WHEN sum = checksum(run, seq, kind, event)
    THEN mac('events', run, seq, kind, event, substr(sealed, 1, 24)) ELSE sum END WHERE seq < 9223372036854775807;
UPDATE items SET sum = CASE
    WHEN sum = checksum(run, step, key, status, outcome, finished_at)
    THEN mac('items', run, step, key, status, outcome, finished_at) ELSE sum END;
UPDATE taken SET sum = CASE
    WHEN sum = checksum(flow, feed, key, run, at)
    THEN mac('taken', flow, feed, key, run, at) ELSE sum END;
UPDATE done_once SET sum = CASE
    WHEN sum = checksum(flow, connections, step, key, fingerprint, unknown, run, at)
    THEN mac('done_once', flow, connections, step, key, fingerprint, unknown, run, at) ELSE sum END;
-- The last row of a run's events has the number of its last event as its event now.
UPDATE events SET event = sum, sum = mac('events', run, seq, kind, CAST(sum AS TEXT), NULL)
WHERE seq = 9223372036854775807;
