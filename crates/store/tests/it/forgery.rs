//! Forgery: what an attacker gains who can write to the store and has no key. Nothing: every row that decides where a
//! secret goes or what is run is refused when it was changed, moved, or put back from an earlier time.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::Path};

use crate::support::{Home, accepted, connection, events, item, settings};
use serde_json::json;
use trunkline_core::{Error, ErrorKind, RunId, Secret, SignIn, Vault};
use trunkline_engine::{EventLog, FlowVersions, Flush, RunEvent, RunIndex, TriggerDeduplication, TriggerEvent};
use trunkline_store::{ConnectionStore, FlowStore, FlowToSave, KeySource, Store};

fn flow(name: &str, version: &str, active: bool) -> FlowToSave {
    FlowToSave {
        name: name.into(),
        version: version.into(),
        document: json!({ "name": name, "version": version }),
        connections: BTreeMap::from([("dam".into(), "dam".into())]),
        input: json!({ "folder": version }).as_object().unwrap().clone(),
        active,
        restart: false,
        called: BTreeMap::new(),
    }
}

/// Fills a store. Everything that can change is written twice, and the attacker keeps the rows of the first time.
async fn written_twice(home: &Home) -> (Store, rusqlite::Connection) {
    let store = home.open().unwrap();
    let attacker = home.sqlite();
    for time in ["first", "second"] {
        for name in ["dam", "other"] {
            store.put_connection(&connection(name, &format!("{time} secret"), "p"), &settings()).await.unwrap();
            let expected = u64::from(time == "second");
            assert!(store.replace(name, expected, &Secret::from(time), &SignIn::default()).await.unwrap());
        }
        for name in ["copy", "idle"] {
            let earlier = store.saved_flow(name).await.ok();
            let flow = flow(name, &format!("{name} {time}"), name == "copy");
            store.save_flow(flow, earlier.as_ref()).await.unwrap();
            store.set_webhook_token(name, time.as_bytes().to_vec()).await.unwrap();
            store.set_webhook_secret(name, Some(&Secret::from(time))).await.unwrap();
        }
        if time == "first" {
            for table in ["connections", "secrets", "vault", "kept_flows", "webhooks", "meta"] {
                attacker.execute_batch(&format!("CREATE TEMP TABLE old_{table} AS SELECT * FROM {table}")).unwrap();
            }
        }
    }
    let run = accepted(&store, "a1").await;
    let kept = |value: &str| RunEvent::Checkpoint { step: "files/1/asset".into(), value: json!(value) };
    let mut done = item("1");
    if let RunEvent::ItemFinished { once, .. } = &mut done {
        *once = Some("v1".into());
    }
    store.append(&run, vec![kept("one"), kept("two"), done], Flush::Now).await.unwrap();
    let keys = vec!["delivery".to_owned()];
    store.remember_trigger(TriggerEvent { flow: "copy".into(), keys, ..TriggerEvent::default() }).await.unwrap();
    (store, attacker)
}

/// Reads everything that a process acts on, and returns the first error.
async fn act(store: &Store) -> Result<(), Error> {
    for name in ["dam", "other", "planted"] {
        match store.connection(name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            found => drop(found?),
        }
        store.load(name).await?;
    }
    for connection in store.connections().await? {
        sound(connection.damaged)?;
    }
    for flow in store.saved_flows().await? {
        sound(flow.damaged)?;
        store.webhook_secret(&flow.name).await?;
        store.flow(&flow.version).await?;
    }
    let run = RunId::from("a1");
    store.replay(&run, &mut |_| ()).await?;
    store.runs().await?;
    store.items(&run, None, None, 9).await?;
    store.item(&run, &"files".into(), "1").await?;
    store.before(&run, &"files".into(), "1").await?;
    store.cancel_requested(&run).await?;
    store.not_taken("copy", "", vec!["delivery".into()]).await.map(drop)
}

/// Fails if an entry of a list is damaged.
fn sound(damaged: Option<String>) -> Result<(), Error> {
    damaged.map_or(Ok(()), |reason| Err(Error::new(ErrorKind::Store, reason)))
}

const CHANGES: [(&str, &str); 20] = [
    (
        "the host that a secret is sent to",
        "UPDATE connections SET document = replace(document, 'dam.test', 'evil.test') WHERE name = 'dam'",
    ),
    ("the connector of a connection", "UPDATE connections SET connector = 'http-v1.0' WHERE name = 'dam'"),
    (
        "another connection's row",
        "UPDATE connections SET document = (SELECT document FROM connections
         WHERE name = 'other') WHERE name = 'dam'",
    ),
    (
        "a planted connection",
        "INSERT INTO connections SELECT 'planted', connector, document, created_at, updated_at, sum
         FROM connections WHERE name = 'dam'",
    ),
    ("a secret less", "DELETE FROM secrets WHERE pointer = '/clientSecret' AND connection = 'dam'"),
    ("the version of tokens", "UPDATE vault SET version = 1 WHERE connection = 'dam'"),
    ("an active flow", "UPDATE kept_flows SET active = 1 WHERE name = 'idle'"),
    ("the version that runs", "UPDATE kept_flows SET version = 'copy first' WHERE name = 'copy'"),
    ("the input of a flow", "UPDATE kept_flows SET input = '{}' WHERE name = 'copy'"),
    ("the connections of a flow", "UPDATE kept_flows SET connections = '{\"dam\":\"other\"}' WHERE name = 'copy'"),
    ("the position of a trigger", "UPDATE kept_flows SET through = 9 WHERE name = 'copy'"),
    ("a webhook's token", "UPDATE webhooks SET token_hash = x'00' WHERE flow = 'copy'"),
    ("the document of a flow", "UPDATE flows SET document = replace(document, 'copy', 'evil')"),
    ("an event", "UPDATE events SET event = replace(event, 'copy', 'evil') WHERE kind = 'started'"),
    (
        "the order of two sealed values",
        "UPDATE events SET sealed = (SELECT sealed FROM events WHERE seq = 2) WHERE seq = 3",
    ),
    ("the end of a run's events", "DELETE FROM events WHERE seq = 4; UPDATE events SET event = '3' WHERE kind = 'end'"),
    ("the status of a run", "UPDATE runs SET status = 'succeeded'"),
    ("the outcome of an item", "UPDATE items SET outcome = '{\"status\":\"failed\"}', status = 'failed'"),
    ("what was done once", "UPDATE done_once SET unknown = 1"),
    ("a delivery", "UPDATE taken SET run = 'a1'"),
];

#[tokio::test]
async fn a_row_that_was_changed_is_refused() {
    for (what, sql) in CHANGES {
        let home = Home::new();
        let (store, attacker) = written_twice(&home).await;
        act(&store).await.unwrap();
        attacker.execute_batch(sql).unwrap();
        assert_eq!(act(&store).await.map_err(|error| error.kind()), Err(ErrorKind::Store), "{what}");
    }
}

/// The rows of an earlier time, each with a valid MAC.
const PUT_BACK: [(&str, &str); 7] = [
    ("a connection with its secrets", "connections secrets"),
    ("the secrets of a connection", "secrets"),
    ("the settings of a connection", "connections"),
    ("tokens", "vault"),
    ("a flow", "kept_flows"),
    ("a webhook's token and secret", "webhooks"),
    ("a flow with its webhook", "kept_flows webhooks"),
];

/// Puts back the rows of the first time.
fn put_back(attacker: &rusqlite::Connection, tables: &str) {
    for table in tables.split(' ') {
        let sql = format!("DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM old_{table}");
        attacker.execute_batch(&sql).unwrap();
    }
}

#[tokio::test]
async fn a_row_of_an_earlier_time_is_refused() {
    for (what, tables) in PUT_BACK {
        let home = Home::new();
        let (store, attacker) = written_twice(&home).await;
        let idle = store.saved_flow("idle").await.unwrap();
        put_back(&attacker, tables);
        assert_eq!(act(&store).await.unwrap_err().kind(), ErrorKind::Store, "{what}");
        // Nor does a change of another part make it valid.
        for refused in [
            store.activate_flow(&idle, &BTreeMap::new(), false).await,
            store.set_webhook_token("idle", vec![3]).await,
            store.replace("dam", 1, &Secret::from("third"), &SignIn::default()).await.map(drop),
        ] {
            drop(refused);
            assert_eq!(act(&store).await.unwrap_err().kind(), ErrorKind::Store, "{what}");
        }
    }
}

/// The sabotage twin: the MACs of the rows alone do not show that they are old. With the list of last versions put back
/// too, they are accepted, which SECURITY.md says of a whole store that is put back.
#[tokio::test]
async fn without_the_list_of_last_versions_rows_of_an_earlier_time_are_accepted() {
    let home = Home::new();
    let (store, attacker) = written_twice(&home).await;
    put_back(&attacker, "connections secrets vault kept_flows webhooks meta");
    act(&store).await.unwrap();
    assert_eq!(store.load("dam").await.unwrap().unwrap().content.expose(), "first");
    assert_eq!(store.saved_flow("copy").await.unwrap().version, "copy first");
}

/// The schema of the file is data too: what an attacker adds to it is not executed.
#[tokio::test]
async fn triggers_and_views_in_the_file_are_not_executed() {
    let home = Home::new();
    let (store, attacker) = written_twice(&home).await;
    attacker
        .execute_batch(
            "CREATE TRIGGER planted AFTER UPDATE ON vault BEGIN
                 UPDATE connections SET document = replace(document, 'dam.test', 'evil.test');
             END;
             CREATE VIEW good_connections AS SELECT 'dam' name, 'x' connector, '{}' document, 1 created_at, 1 updated_at;
             CREATE INDEX planted_index ON connections (mac('connections', name));",
        )
        .unwrap_err();
    let planted = "CREATE TRIGGER planted AFTER UPDATE ON vault BEGIN
                       UPDATE connections SET document = replace(document, 'dam.test', 'evil.test');
                   END;
                   CREATE VIEW good_connections AS
                   SELECT 'dam' name, 'x' connector, '{}' document, 1 created_at, 1 updated_at;";
    drop(attacker);
    let _ = home.sqlite().execute_batch("DROP TRIGGER IF EXISTS planted; DROP VIEW IF EXISTS good_connections");
    home.sqlite().execute_batch(planted).unwrap();
    assert!(store.replace("dam", 2, &Secret::from("third"), &SignIn::default()).await.unwrap());
    act(&store).await.unwrap();
    assert_eq!(store.connection("dam").await.unwrap().settings["endpointUrl"], "https://dam.test");
    drop(store);
    let store = home.open().unwrap();
    assert_eq!(store.connection("dam").await.unwrap().settings["endpointUrl"], "https://dam.test");
    // The sabotage twin: in a connection of SQLite that trusts the file, the trigger writes the row.
    home.sqlite().execute_batch("UPDATE vault SET updated_at = updated_at + 1").unwrap();
    let written: String =
        home.sqlite().query_row("SELECT document FROM connections LIMIT 1", [], |row| row.get(0)).unwrap();
    assert!(written.contains("evil.test"));
}

fn sample(home: &Home) -> KeySource {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/10");
    fs::create_dir_all(home.data()).unwrap();
    fs::copy(folder.join("trunkline.db"), home.database()).unwrap();
    KeySource::Value(fs::read_to_string(folder.join("key")).unwrap().into())
}

/// With the version of the last format without a key, the next process would authenticate all rows as they are.
#[tokio::test]
async fn the_version_of_a_store_cannot_be_set_back() {
    let home = Home::new();
    let (store, attacker) = written_twice(&home).await;
    drop(store);
    for version in 1..=10 {
        attacker.execute_batch(&format!("PRAGMA user_version = {version}")).unwrap();
        assert_eq!(home.open().unwrap_err().kind(), ErrorKind::Store, "version {version}");
    }
    attacker.execute_batch("PRAGMA user_version = 0; PRAGMA application_id = 0").unwrap();
    assert_eq!(home.open().unwrap_err().kind(), ErrorKind::Store, "a new store");
    // The sabotage twin: a store that had this version until now is migrated, with the rows that it has.
    let former = Home::new();
    let key = sample(&former);
    former.sqlite().execute_batch("UPDATE kept_flows SET active = active").unwrap_err();
    let store = Store::open(&former.data(), key).unwrap();
    assert_eq!(store.saved_flows().await.unwrap().len(), 3);
}

/// The MACs of a migrated store are kept through a change of the key, and what was damaged before stays damaged.
#[tokio::test]
async fn a_store_of_version_10_is_authenticated_when_it_is_opened() {
    for damaged in [false, true] {
        let home = Home::new();
        let key = sample(&home);
        if damaged {
            let planted = "DROP TRIGGER kept_flows_changed; UPDATE kept_flows SET input = '{\"evil\":1}'";
            home.sqlite().execute_batch(planted).unwrap();
        }
        let store = Store::open(&home.data(), key.clone()).unwrap();
        let flows = store.saved_flows().await.unwrap();
        assert_eq!(flows.iter().any(|flow| flow.damaged.is_some()), damaged, "{flows:?}");
        let run = RunId::from("1m8p7jtbqwjej6w");
        assert!(!events(&store, &run).await.is_empty());
        drop(store);
        let store = Store::open(&home.data(), key).unwrap();
        assert!(!events(&store, &run).await.is_empty());
        home.sqlite().execute_batch("UPDATE events SET event = replace(event, 'at', 'ta')").unwrap();
        assert_eq!(store.replay(&run, &mut |_| ()).await.unwrap_err().kind(), ErrorKind::Store);
    }
}

#[tokio::test]
async fn a_change_of_the_key_keeps_all_records_valid() {
    let home = Home::new();
    let (store, attacker) = written_twice(&home).await;
    store.rotate_key(|_| ()).await.unwrap();
    act(&store).await.unwrap();
    drop(store);
    let store = home.open().unwrap();
    act(&store).await.unwrap();
    put_back(&attacker, "vault");
    assert_eq!(act(&store).await.unwrap_err().kind(), ErrorKind::Store);
}
