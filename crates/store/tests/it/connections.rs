//! Connections and their vault: what is stored, what is sealed, and which of several concurrent updates succeeds.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use crate::support::{Home, connection, settings};
use serde_json::json;
use trunkline_core::{Connection, ErrorKind, NextStep, RunId, Secret, SignIn, Timestamp, Vault};
use trunkline_engine::{EventLog, Flush, KeyForm, RunEvent, RunStatus};
use trunkline_store::{ConnectionStore, ConnectionUse};

#[tokio::test]
async fn a_saved_connection_is_returned_unchanged() {
    let home = Home::new();
    let store = home.open().unwrap();
    let saved = connection("dam", "s3cret", "pa\"ss\u{0}wörd");
    store.put_connection(&saved, &settings()).await.unwrap();
    drop(store);
    let store = home.open().unwrap();
    assert_eq!(store.connection("dam").await.unwrap().document().to_string(), saved.document().to_string());
    let masked = json!({
        "name": "dam", "connector": "dam-v1.0", "endpointUrl": "https://dam.test", "clientSecret": "***",
        "flow": { "username": "u", "password": "***" }
    });
    assert_eq!(store.masked_connection("dam").await.unwrap().to_string(), masked.to_string());
    let listed = store.connections().await.unwrap();
    assert_eq!((listed.len(), &*listed[0].name, &*listed[0].connector), (1, "dam", "dam-v1.0"));
    assert!(listed[0].sign_in.is_none() && listed[0].created_at > Timestamp::from_millis(1_700_000_000_000));
}

#[tokio::test]
async fn references_to_secrets_stay_as_they_are() {
    let home = Home::new();
    let store = home.open().unwrap();
    let mut saved = connection("dam", "", "");
    saved.settings["clientSecret"] = json!({ "env": "DAM_SECRET" });
    saved.settings["flow"]["password"] = json!({ "file": "/run/secrets/dam" });
    store.put_connection(&saved, &settings()).await.unwrap();
    assert_eq!(store.masked_connection("dam").await.unwrap(), saved.document());
    assert_eq!(store.connection("dam").await.unwrap().document(), saved.document());
}

#[tokio::test]
async fn a_value_that_cannot_be_a_secret_is_rejected_with_its_pointer() {
    let home = Home::new();
    let store = home.open().unwrap();
    for wrong in [json!("***"), json!(7), json!(["canary"]), json!({ "env": "A", "text": "canary" }), json!(null)] {
        let mut one = connection("dam", "", "");
        one.settings["clientSecret"] = wrong;
        let error = store.put_connection(&one, &settings()).await.unwrap_err();
        assert_eq!((error.kind(), error.setting_pointer()), (ErrorKind::Config, Some("/clientSecret")));
        assert!(!format!("{error:?}").contains("canary"));
    }
    assert!(store.connections().await.unwrap().is_empty());
}

#[tokio::test]
async fn replacing_a_connection_keeps_its_tokens_and_removing_it_deletes_them() {
    let home = Home::new();
    let store = home.open().unwrap();
    store.put_connection(&connection("dam", "one", "1"), &settings()).await.unwrap();
    assert!(store.replace("dam", 0, &Secret::from("tokens"), &SignIn::default()).await.unwrap());
    let first = store.connections().await.unwrap().remove(0);
    assert!(first.sign_in.is_some());

    store.put_connection(&connection("dam", "two", "2"), &settings()).await.unwrap();
    assert_eq!(store.connection("dam").await.unwrap().settings["clientSecret"], "two");
    assert_eq!(store.load("dam").await.unwrap().unwrap().content.expose(), "tokens");
    assert_eq!(store.connections().await.unwrap()[0].created_at, first.created_at);

    store.remove_connection("dam", false, None).await.unwrap();
    assert_eq!(store.connection("dam").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(store.load("dam").await.unwrap().is_none());
    for table in ["connections", "secrets", "vault"] {
        let rows: i64 =
            home.sqlite().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    // A refresh that was in flight when the connection was removed must not bring it back.
    let late = store.replace("dam", 1, &Secret::from("late"), &SignIn::default()).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::NotFound);
    assert_eq!(
        store.replace("dam", 0, &Secret::from("late"), &SignIn::default()).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn an_unknown_name_gets_the_known_names_as_advice() {
    let home = Home::new();
    let store = home.open().unwrap();
    let none = store.connection("dam").await.unwrap_err();
    assert_eq!(none.next_steps(), [NextStep::AddConnection { connector: None }]);
    for name in ["mediaflow", "dam-test", "dam-live"] {
        store.put_connection(&connection(name, "s", "p"), &settings()).await.unwrap();
    }
    let errors = [
        store.connection("mediafow").await.unwrap_err(),
        store.masked_connection("mediafow").await.unwrap_err(),
        store.remove_connection("mediafow", false, None).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!((error.kind(), error.advice().as_deref()), (ErrorKind::NotFound, Some("did you mean mediaflow?")));
    }
    let far = store.connection("x").await.unwrap_err();
    assert_eq!(far.advice().as_deref(), Some("the nearest known ones are dam-live, dam-test, mediaflow"));
}

#[tokio::test]
async fn of_concurrent_replacements_of_one_version_one_succeeds() {
    let home = Home::new();
    let stores = [home.open().unwrap(), home.open().unwrap()];
    stores[0].put_connection(&connection("dam", "s", "p"), &settings()).await.unwrap();
    // Each worker appends its numbers to the text in a loop of load and replace. None may be lost.
    let workers = (0..8).map(|worker: usize| {
        let store = stores[worker % 2].clone();
        tokio::spawn(async move {
            let mut wins = Vec::new();
            while wins.len() < 10 {
                let entry = store.load("dam").await.unwrap();
                let (version, text) =
                    entry.map_or((0, String::new()), |entry| (entry.version, entry.content.expose().to_owned()));
                let mine = format!("{worker}.{} ", wins.len());
                if store.replace("dam", version, &Secret::from(text + &mine), &SignIn::default()).await.unwrap() {
                    wins.push(mine);
                }
            }
            wins
        })
    });
    let mut wins = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        wins.extend(worker.await.unwrap());
    }
    let entry = stores[1].load("dam").await.unwrap().unwrap();
    assert_eq!(entry.version, 80);
    let mut stored: Vec<_> = entry.content.expose().split_inclusive(' ').map(str::to_owned).collect();
    stored.sort();
    wins.sort();
    assert_eq!(stored, wins);
    for wrong in [0, 79, 81, u64::MAX] {
        assert!(!stores[0].replace("dam", wrong, &Secret::from("x"), &SignIn::default()).await.unwrap());
    }
}

#[tokio::test]
async fn names_may_have_any_characters() {
    let home = Home::new();
    let store = home.open().unwrap();
    for name in ["", "a/b", "'; DROP TABLE connections; --", "Ä ~1", "a", "a\u{0}b"] {
        let one = Connection { name: name.into(), ..connection("", name, "p") };
        store.put_connection(&one, &settings()).await.unwrap();
        assert!(store.replace(name, 0, &Secret::from(name), &SignIn::default()).await.unwrap());
    }
    for summary in store.connections().await.unwrap() {
        assert_eq!(store.connection(&summary.name).await.unwrap().settings["clientSecret"], *summary.name);
        assert_eq!(store.load(&summary.name).await.unwrap().unwrap().content.expose(), summary.name);
    }
}

#[tokio::test]
async fn a_connection_that_a_run_needs_is_not_removed() {
    let home = Home::new();
    let store = home.open().unwrap();
    store.put_connection(&connection("dam", "s", "p"), &settings()).await.unwrap();
    store.put_connection(&connection("free", "s", "p"), &settings()).await.unwrap();
    let connections =
        BTreeMap::from([("source".to_owned(), "dam".to_owned()), ("target".to_owned(), "dam".to_owned())]);
    let (flow, version, calls) = ("copy".into(), "v1".into(), BTreeMap::new());
    let started = RunEvent::Started {
        flow,
        version,
        input: json!({}),
        connections,
        calls,
        retry: None,
        start_error: None,
        trigger: None,
        keys: KeyForm::default(),
        at: Timestamp::from_millis(1),
    };
    let run = RunId::from("a1");
    store.accept(&run, "v1", &json!({ "name": "copy" }), started, Flush::Now).await.unwrap();
    let finished = |status| vec![RunEvent::Finished { status, error: None, at: Timestamp::from_millis(2) }];

    // A running run needs it, and so does a failed one, because it can be resumed.
    for status in [RunStatus::Running, RunStatus::Failed] {
        if status == RunStatus::Failed {
            store.append(&run, finished(status), Flush::Now).await.unwrap();
        }
        let listed = store.connections().await.unwrap();
        let uses = [ConnectionUse { run: run.clone(), flow: "copy".into(), status }];
        assert_eq!((&listed[0].used_by[..], listed[1].used_by.len()), (&uses[..], 0), "once, though it is bound twice");
        let error = store.remove_connection("dam", false, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let force = NextStep::ForceRemove { connection: "dam".to_owned() };
        assert!(error.message().contains("a1 of copy") && error.next_steps().contains(&force), "{error:?}");
        assert!(store.connection("dam").await.is_ok());
    }
    store.remove_connection("free", false, None).await.unwrap();
    store.append(&run, finished(RunStatus::Cancelled), Flush::Now).await.unwrap();
    store.remove_connection("dam", false, None).await.unwrap();
}
