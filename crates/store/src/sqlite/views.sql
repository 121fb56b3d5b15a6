-- The views that check the MAC of each row when it is read. Each connection makes them, so the file cannot change them.

CREATE TEMP VIEW good_connections AS SELECT * FROM main.connections
WHERE authentic(sum, 'connections', name, connector, document, created_at, updated_at);

CREATE TEMP VIEW good_vault AS SELECT * FROM main.vault
WHERE authentic(sum, 'vault', connection, version, updated_at, sign_in, substr(sealed, 1, 24));

CREATE TEMP VIEW good_sign_ins AS SELECT * FROM main.sign_ins
WHERE authentic(sum, 'sign_ins', id, connection, at, sign_in);

CREATE TEMP VIEW good_flows AS SELECT * FROM main.flows
WHERE authentic(sum, 'flows', version, document);

CREATE TEMP VIEW good_kept_flows AS SELECT * FROM main.kept_flows
WHERE authentic(sum, 'kept_flows', name, version, connections, input, active, through, created_at, updated_at);

CREATE TEMP VIEW good_webhooks AS SELECT * FROM main.webhooks
WHERE authentic(sum, 'webhooks', flow, token_hash, substr(sealed, 1, 24));

CREATE TEMP VIEW good_findings AS SELECT * FROM main.findings
WHERE authentic(sum, 'findings', flow, findings);

-- A run that is marked as removed is not shown, although rows of it may be left.
CREATE TEMP VIEW good_runs AS SELECT * FROM main.runs
WHERE status <> 'removed' AND authentic(sum, 'runs', id, flow, version, status, started_at, finished_at,
    cancel_requested, done, skipped, failed, unknown, connections, last, logged, trigger, error, repeats);

CREATE TEMP VIEW good_events AS SELECT * FROM main.events
WHERE seq < 9223372036854775807 AND authentic(sum, 'events', run, seq, kind, event, substr(sealed, 1, 24));

CREATE TEMP VIEW good_items AS SELECT * FROM main.items
WHERE authentic(sum, 'items', run, step, key, status, outcome, finished_at);

CREATE TEMP VIEW good_taken AS SELECT * FROM main.taken
WHERE authentic(sum, 'taken', flow, feed, key, run, at);

CREATE TEMP VIEW good_done_once AS SELECT * FROM main.done_once
WHERE authentic(sum, 'done_once', flow, connections, step, key, fingerprint, unknown, run, at);
