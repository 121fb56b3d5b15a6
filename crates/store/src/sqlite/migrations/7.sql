-- Every row has a checksum of its unencrypted columns. Triggers maintain it (the writer does for events), and a view checks it
-- on reading: what a disk has changed is an error, not a result. Encrypted columns authenticate themselves.

-- The numbers of the last event of a run and of the last entry of its log: those missing at the end are noticed.
ALTER TABLE runs ADD COLUMN last INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN logged INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET last = (SELECT coalesce(max(seq), 0) FROM events WHERE run = id),
                logged = (SELECT coalesce(max(seq), 0) FROM step_log WHERE run = id);

ALTER TABLE connections ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE connections SET sum = checksum(name, connector, document, created_at, updated_at);
CREATE TRIGGER connections_added AFTER INSERT ON connections BEGIN
    UPDATE connections SET sum = checksum(new.name, new.connector, new.document, new.created_at, new.updated_at)
    WHERE name = new.name;
END;
CREATE TRIGGER connections_changed AFTER UPDATE OF connector, document, created_at, updated_at ON connections BEGIN
    SELECT intact(old.sum, old.name, old.connector, old.document, old.created_at, old.updated_at);
    UPDATE connections SET sum = checksum(new.name, new.connector, new.document, new.created_at, new.updated_at)
    WHERE name = new.name;
END;
CREATE VIEW good_connections AS SELECT * FROM connections
WHERE intact(sum, name, connector, document, created_at, updated_at);

ALTER TABLE vault ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE vault SET sum = checksum(connection, updated_at, sign_in);
CREATE TRIGGER vault_added AFTER INSERT ON vault BEGIN
    UPDATE vault SET sum = checksum(new.connection, new.updated_at, new.sign_in)
    WHERE connection = new.connection;
END;
CREATE TRIGGER vault_changed AFTER UPDATE OF updated_at, sign_in ON vault BEGIN
    SELECT intact(old.sum, old.connection, old.updated_at, old.sign_in);
    UPDATE vault SET sum = checksum(new.connection, new.updated_at, new.sign_in)
    WHERE connection = new.connection;
END;
CREATE VIEW good_vault AS SELECT * FROM vault
WHERE intact(sum, connection, updated_at, sign_in);

ALTER TABLE sign_ins ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE sign_ins SET sum = checksum(id, connection, at, sign_in);
CREATE TRIGGER sign_ins_added AFTER INSERT ON sign_ins BEGIN
    UPDATE sign_ins SET sum = checksum(new.id, new.connection, new.at, new.sign_in)
    WHERE id = new.id;
END;
CREATE VIEW good_sign_ins AS SELECT * FROM sign_ins
WHERE intact(sum, id, connection, at, sign_in);

ALTER TABLE flows ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE flows SET sum = checksum(version, document);
CREATE TRIGGER flows_added AFTER INSERT ON flows BEGIN
    UPDATE flows SET sum = checksum(new.version, new.document)
    WHERE version = new.version;
END;
CREATE VIEW good_flows AS SELECT * FROM flows
WHERE intact(sum, version, document);

ALTER TABLE kept_flows ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE kept_flows SET sum = checksum(name, version, connections, input, active, through, created_at, updated_at);
CREATE TRIGGER kept_flows_added AFTER INSERT ON kept_flows BEGIN
    UPDATE kept_flows SET sum = checksum(new.name, new.version, new.connections, new.input, new.active, new.through,
        new.created_at, new.updated_at)
    WHERE name = new.name;
END;
CREATE TRIGGER kept_flows_changed AFTER UPDATE OF version, connections, input, active, through, created_at, updated_at
    ON kept_flows BEGIN
    SELECT intact(old.sum, old.name, old.version, old.connections, old.input, old.active, old.through, old.created_at,
        old.updated_at);
    UPDATE kept_flows SET sum = checksum(new.name, new.version, new.connections, new.input, new.active, new.through,
        new.created_at, new.updated_at)
    WHERE name = new.name;
END;
CREATE VIEW good_kept_flows AS SELECT * FROM kept_flows
WHERE intact(sum, name, version, connections, input, active, through, created_at, updated_at);

ALTER TABLE webhooks ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE webhooks SET sum = checksum(flow, token_hash);
CREATE TRIGGER webhooks_added AFTER INSERT ON webhooks BEGIN
    UPDATE webhooks SET sum = checksum(new.flow, new.token_hash)
    WHERE flow = new.flow;
END;
CREATE TRIGGER webhooks_changed AFTER UPDATE OF token_hash ON webhooks BEGIN
    SELECT intact(old.sum, old.flow, old.token_hash);
    UPDATE webhooks SET sum = checksum(new.flow, new.token_hash)
    WHERE flow = new.flow;
END;
CREATE VIEW good_webhooks AS SELECT * FROM webhooks
WHERE intact(sum, flow, token_hash);

ALTER TABLE runs ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET sum = checksum(id, flow, version, status, started_at, finished_at, cancel_requested, done, skipped,
    failed, unknown, connections, last, logged);
CREATE TRIGGER runs_added AFTER INSERT ON runs BEGIN
    UPDATE runs SET sum = checksum(new.id, new.flow, new.version, new.status, new.started_at, new.finished_at,
        new.cancel_requested, new.done, new.skipped, new.failed, new.unknown, new.connections, new.last, new.logged)
    WHERE id = new.id;
END;
CREATE TRIGGER runs_changed AFTER UPDATE OF flow, version, status, started_at, finished_at, cancel_requested, done,
    skipped, failed, unknown, connections, last, logged ON runs BEGIN
    SELECT intact(old.sum, old.id, old.flow, old.version, old.status, old.started_at, old.finished_at,
        old.cancel_requested, old.done, old.skipped, old.failed, old.unknown, old.connections, old.last, old.logged);
    UPDATE runs SET sum = checksum(new.id, new.flow, new.version, new.status, new.started_at, new.finished_at,
        new.cancel_requested, new.done, new.skipped, new.failed, new.unknown, new.connections, new.last, new.logged)
    WHERE id = new.id;
END;
CREATE VIEW good_runs AS SELECT rowid AS number, * FROM runs
WHERE intact(sum, id, flow, version, status, started_at, finished_at, cancel_requested, done, skipped, failed, unknown,
    connections, last, logged);

ALTER TABLE events ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE events SET sum = checksum(run, seq, kind, event);
CREATE VIEW good_events AS SELECT * FROM events
WHERE intact(sum, run, seq, kind, event);

ALTER TABLE items ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE items SET sum = checksum(run, step, key, status, outcome, finished_at);
CREATE TRIGGER items_added AFTER INSERT ON items BEGIN
    UPDATE items SET sum = checksum(new.run, new.step, new.key, new.status, new.outcome, new.finished_at)
    WHERE run = new.run AND step = new.step AND key = new.key;
END;
CREATE TRIGGER items_changed AFTER UPDATE OF status, outcome, finished_at ON items BEGIN
    SELECT intact(old.sum, old.run, old.step, old.key, old.status, old.outcome, old.finished_at);
    UPDATE items SET sum = checksum(new.run, new.step, new.key, new.status, new.outcome, new.finished_at)
    WHERE run = new.run AND step = new.step AND key = new.key;
END;
CREATE VIEW good_items AS SELECT * FROM items
WHERE intact(sum, run, step, key, status, outcome, finished_at);

ALTER TABLE taken ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE taken SET sum = checksum(flow, key, run, at);
CREATE TRIGGER taken_added AFTER INSERT ON taken BEGIN
    UPDATE taken SET sum = checksum(new.flow, new.key, new.run, new.at)
    WHERE flow = new.flow AND key = new.key;
END;
CREATE TRIGGER taken_changed AFTER UPDATE OF run, at ON taken BEGIN
    SELECT intact(old.sum, old.flow, old.key, old.run, old.at);
    UPDATE taken SET sum = checksum(new.flow, new.key, new.run, new.at)
    WHERE flow = new.flow AND key = new.key;
END;
CREATE VIEW good_taken AS SELECT * FROM taken
WHERE intact(sum, flow, key, run, at);

ALTER TABLE done_once ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE done_once SET sum = checksum(flow, connections, step, key, fingerprint, unknown, run, at);
CREATE TRIGGER done_once_added AFTER INSERT ON done_once BEGIN
    UPDATE done_once SET sum = checksum(new.flow, new.connections, new.step, new.key, new.fingerprint, new.unknown,
        new.run, new.at)
    WHERE flow = new.flow AND connections = new.connections AND step = new.step AND key = new.key;
END;
CREATE TRIGGER done_once_changed AFTER UPDATE OF fingerprint, unknown, run, at ON done_once BEGIN
    SELECT intact(old.sum, old.flow, old.connections, old.step, old.key, old.fingerprint, old.unknown, old.run, old.at);
    UPDATE done_once SET sum = checksum(new.flow, new.connections, new.step, new.key, new.fingerprint, new.unknown,
        new.run, new.at)
    WHERE flow = new.flow AND connections = new.connections AND step = new.step AND key = new.key;
END;
CREATE VIEW good_done_once AS SELECT * FROM done_once
WHERE intact(sum, flow, connections, step, key, fingerprint, unknown, run, at);
