-- The triggers that compute the MACs of rows. The writer computes those of runs, events and items when it adds them.
-- The nonce
-- of a sealed value stands for the value, which authenticates itself.

CREATE TEMP TRIGGER connections_added AFTER INSERT ON main.connections BEGIN
    UPDATE connections SET sum = mac('connections', new.name, new.connector, new.document, new.created_at,
        new.updated_at)
    WHERE name = new.name;
END;

CREATE TEMP TRIGGER connections_changed AFTER UPDATE OF connector, document, created_at,
    updated_at ON main.connections BEGIN
    SELECT sound(old.sum = mac('connections', old.name, old.connector, old.document, old.created_at, old.updated_at),
        'connections', old.name);
    UPDATE connections SET sum = mac('connections', new.name, new.connector, new.document, new.created_at,
        new.updated_at)
    WHERE name = new.name;
END;

CREATE TEMP TRIGGER vault_added AFTER INSERT ON main.vault BEGIN
    UPDATE vault SET sum = mac('vault', new.connection, new.version, new.updated_at, new.sign_in,
        substr(new.sealed, 1, 24))
    WHERE connection = new.connection;
END;

CREATE TEMP TRIGGER vault_changed AFTER UPDATE OF version, updated_at, sign_in, sealed ON main.vault BEGIN
    SELECT sound(old.sum = mac('vault', old.connection, old.version, old.updated_at, old.sign_in,
        substr(old.sealed, 1, 24)), 'vault', old.connection);
    UPDATE vault SET sum = mac('vault', new.connection, new.version, new.updated_at, new.sign_in,
        substr(new.sealed, 1, 24))
    WHERE connection = new.connection;
END;

CREATE TEMP TRIGGER sign_ins_added AFTER INSERT ON main.sign_ins BEGIN
    UPDATE sign_ins SET sum = mac('sign_ins', new.id, new.connection, new.at, new.sign_in)
    WHERE id = new.id;
END;

CREATE TEMP TRIGGER flows_added AFTER INSERT ON main.flows BEGIN
    UPDATE flows SET sum = mac('flows', new.version, new.document)
    WHERE version = new.version;
END;

CREATE TEMP TRIGGER kept_flows_added AFTER INSERT ON main.kept_flows BEGIN
    UPDATE kept_flows SET sum = mac('kept_flows', new.name, new.version, new.connections, new.input, new.active,
        new.through, new.created_at, new.updated_at)
    WHERE name = new.name;
END;

CREATE TEMP TRIGGER kept_flows_changed AFTER UPDATE OF version, connections, input, active, through, created_at,
    updated_at ON main.kept_flows BEGIN
    SELECT sound(old.sum = mac('kept_flows', old.name, old.version, old.connections, old.input, old.active, old.through,
        old.created_at, old.updated_at), 'kept_flows', old.name);
    UPDATE kept_flows SET sum = mac('kept_flows', new.name, new.version, new.connections, new.input, new.active,
        new.through, new.created_at, new.updated_at)
    WHERE name = new.name;
END;

CREATE TEMP TRIGGER webhooks_added AFTER INSERT ON main.webhooks BEGIN
    UPDATE webhooks SET sum = mac('webhooks', new.flow, new.token_hash, substr(new.sealed, 1, 24))
    WHERE flow = new.flow;
END;

CREATE TEMP TRIGGER webhooks_changed AFTER UPDATE OF token_hash, sealed ON main.webhooks BEGIN
    SELECT sound(old.sum = mac('webhooks', old.flow, old.token_hash, substr(old.sealed, 1, 24)), 'webhooks', old.flow);
    UPDATE webhooks SET sum = mac('webhooks', new.flow, new.token_hash, substr(new.sealed, 1, 24))
    WHERE flow = new.flow;
END;

CREATE TEMP TRIGGER findings_added AFTER INSERT ON main.findings BEGIN
    UPDATE findings SET sum = mac('findings', new.flow, new.findings)
    WHERE flow = new.flow;
END;

CREATE TEMP TRIGGER starts_added AFTER INSERT ON main.starts BEGIN
    UPDATE starts SET sum = mac('starts', new.flow, new.starts)
    WHERE flow = new.flow;
END;

CREATE TEMP TRIGGER deliveries_added AFTER INSERT ON main.deliveries BEGIN
    UPDATE deliveries SET sum = mac('deliveries', new.flow, new.deliveries)
    WHERE flow = new.flow;
END;

CREATE TEMP TRIGGER runs_changed AFTER UPDATE OF flow, version, status, started_at, finished_at, cancel_requested, done,
    skipped, failed, unknown, connections, last, logged, trigger, error, repeats ON main.runs BEGIN
    SELECT sound(old.sum = mac('runs', old.id, old.flow, old.version, old.status, old.started_at, old.finished_at,
        old.cancel_requested, old.done, old.skipped, old.failed, old.unknown, old.connections, old.last, old.logged,
        old.trigger, old.error, old.repeats), 'runs', old.id);
    UPDATE runs SET sum = mac('runs', new.id, new.flow, new.version, new.status, new.started_at, new.finished_at,
        new.cancel_requested, new.done, new.skipped, new.failed, new.unknown, new.connections, new.last, new.logged,
        new.trigger, new.error, new.repeats)
    WHERE id = new.id;
END;

CREATE TEMP TRIGGER events_changed AFTER UPDATE OF sealed ON main.events BEGIN
    SELECT sound(old.sum = mac('events', old.run, old.seq, old.kind, old.event, substr(old.sealed, 1, 24)), 'events',
        old.run, old.seq);
    UPDATE events SET sum = mac('events', new.run, new.seq, new.kind, new.event, substr(new.sealed, 1, 24))
    WHERE run = new.run AND seq = new.seq;
END;

-- The names of an item are not authenticated: what is found by them is compared with the item.
CREATE TEMP TRIGGER items_removed AFTER DELETE ON main.items BEGIN
    DELETE FROM item_names WHERE run = old.run AND step = old.step AND key = old.key;
END;

CREATE TEMP TRIGGER taken_added AFTER INSERT ON main.taken BEGIN
    UPDATE taken SET sum = mac('taken', new.flow, new.feed, new.key, new.run, new.at)
    WHERE flow = new.flow AND feed = new.feed AND key = new.key;
END;

CREATE TEMP TRIGGER taken_changed AFTER UPDATE OF run, at ON main.taken BEGIN
    SELECT sound(old.sum = mac('taken', old.flow, old.feed, old.key, old.run, old.at), 'taken', old.flow, old.feed,
        old.key);
    UPDATE taken SET sum = mac('taken', new.flow, new.feed, new.key, new.run, new.at)
    WHERE flow = new.flow AND feed = new.feed AND key = new.key;
END;

CREATE TEMP TRIGGER done_once_added AFTER INSERT ON main.done_once BEGIN
    UPDATE done_once SET sum = mac('done_once', new.flow, new.connections, new.step, new.key, new.fingerprint,
        new.unknown, new.run, new.at)
    WHERE flow = new.flow AND connections = new.connections AND step = new.step AND key = new.key;
END;

CREATE TEMP TRIGGER done_once_changed AFTER UPDATE OF fingerprint, unknown, run, at ON main.done_once BEGIN
    SELECT sound(old.sum = mac('done_once', old.flow, old.connections, old.step, old.key, old.fingerprint, old.unknown,
        old.run, old.at), 'done_once', old.flow, old.connections, old.step, old.key);
    UPDATE done_once SET sum = mac('done_once', new.flow, new.connections, new.step, new.key, new.fingerprint,
        new.unknown, new.run, new.at)
    WHERE flow = new.flow AND connections = new.connections AND step = new.step AND key = new.key;
END;
