-- The views that check the MAC of each row when it is read: `good_` fails at a row that is damaged; `all_`, for lists, has
-- the column `intact`. Each connection makes them, so the file cannot change them.

CREATE TEMP VIEW all_connections AS SELECT *,
    sum = mac('connections', name, connector, document, created_at, updated_at) AS intact
FROM main.connections;
CREATE TEMP VIEW good_connections AS SELECT * FROM all_connections WHERE sound(intact, 'connections', name);

CREATE TEMP VIEW all_vault AS SELECT *,
    sum = mac('vault', connection, version, updated_at, sign_in, substr(sealed, 1, 24)) AS intact
FROM main.vault;
CREATE TEMP VIEW good_vault AS SELECT * FROM all_vault WHERE sound(intact, 'vault', connection);

CREATE TEMP VIEW all_sign_ins AS SELECT *,
    sum = mac('sign_ins', id, connection, at, sign_in) AS intact
FROM main.sign_ins;
CREATE TEMP VIEW good_sign_ins AS SELECT * FROM all_sign_ins WHERE sound(intact, 'sign_ins', id);

CREATE TEMP VIEW all_flows AS SELECT *,
    sum = mac('flows', version, document) AS intact
FROM main.flows;
CREATE TEMP VIEW good_flows AS SELECT * FROM all_flows WHERE sound(intact, 'flows', version);

CREATE TEMP VIEW all_kept_flows AS SELECT *,
    sum = mac('kept_flows', name, version, connections, input, active, through, created_at, updated_at) AS intact
FROM main.kept_flows;
CREATE TEMP VIEW good_kept_flows AS SELECT * FROM all_kept_flows WHERE sound(intact, 'kept_flows', name);

CREATE TEMP VIEW all_webhooks AS SELECT *,
    sum = mac('webhooks', flow, token_hash, substr(sealed, 1, 24)) AS intact
FROM main.webhooks;
CREATE TEMP VIEW good_webhooks AS SELECT * FROM all_webhooks WHERE sound(intact, 'webhooks', flow);

CREATE TEMP VIEW all_findings AS SELECT *,
    sum = mac('findings', flow, findings) AS intact
FROM main.findings;
CREATE TEMP VIEW good_findings AS SELECT * FROM all_findings WHERE sound(intact, 'findings', flow);

CREATE TEMP VIEW all_starts AS SELECT *,
    sum = mac('starts', flow, starts) AS intact
FROM main.starts;
CREATE TEMP VIEW good_starts AS SELECT * FROM all_starts WHERE sound(intact, 'starts', flow);

CREATE TEMP VIEW all_deliveries AS SELECT *,
    sum = mac('deliveries', flow, deliveries) AS intact
FROM main.deliveries;
CREATE TEMP VIEW good_deliveries AS SELECT * FROM all_deliveries WHERE sound(intact, 'deliveries', flow);

-- A run that is marked as removed is not shown, although rows of it may be left.
CREATE TEMP VIEW all_runs AS SELECT *,
    sum = mac('runs', id, flow, version, status, started_at, finished_at, cancel_requested, done, skipped,
    failed, unknown, connections, last, logged, trigger, error, repeats) AS intact
FROM main.runs WHERE status <> 'removed';
CREATE TEMP VIEW good_runs AS SELECT * FROM all_runs WHERE sound(intact, 'runs', id);

CREATE TEMP VIEW all_events AS SELECT *,
    sum = mac('events', run, seq, kind, event, substr(sealed, 1, 24)) AS intact
FROM main.events WHERE seq < 9223372036854775807;
CREATE TEMP VIEW good_events AS SELECT * FROM all_events WHERE sound(intact, 'events', run, seq);

CREATE TEMP VIEW all_event_order AS SELECT *,
    sum = mac('event_order', write, run, first, last) AS intact
FROM main.event_order;
CREATE TEMP VIEW good_event_order AS SELECT * FROM all_event_order WHERE sound(intact, 'event_order', write);

CREATE TEMP VIEW all_items AS SELECT *,
    sum = mac('items', run, step, key, status, outcome, finished_at) AS intact
FROM main.items;
CREATE TEMP VIEW good_items AS SELECT * FROM all_items WHERE sound(intact, 'items', run, step, key);

CREATE TEMP VIEW all_taken AS SELECT *,
    sum = mac('taken', flow, feed, key, run, at) AS intact
FROM main.taken;
CREATE TEMP VIEW good_taken AS SELECT * FROM all_taken WHERE sound(intact, 'taken', flow, feed, key);

CREATE TEMP VIEW all_done_once AS SELECT *,
    sum = mac('done_once', flow, connections, step, key, fingerprint, unknown, run, at) AS intact
FROM main.done_once;
CREATE TEMP VIEW good_done_once AS SELECT * FROM all_done_once
WHERE sound(intact, 'done_once', flow, connections, step, key);
