//! Stores of earlier versions can still be read. `tests/samples` has one of each version, with its key beside it.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use crate::support::{Home, events};
use serde_json::json;
use trunkline_core::{ErrorKind, RunId, Timestamp, Vault};
use trunkline_engine::{
    EventLog, FlowVersions, Flush, ItemNote, ItemOutcome, KeyForm, PreviousOutcome, ProcessLog, RunEvent, RunIndex,
    TriggerDeduplication, TriggerEvent,
};
use trunkline_store::{ConnectionStore, FlowStore, KeySource, Store};

/// Opens a copy of a sample.
fn sample(home: &Home, version: &str) -> Store {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(version);
    fs::create_dir_all(home.data()).unwrap();
    fs::copy(folder.join("trunkline.db"), home.database()).unwrap();
    Store::open(&home.data(), KeySource::Value(fs::read_to_string(folder.join("key")).unwrap().into())).unwrap()
}

/// Version 1: outputs of steps are not sealed.
#[tokio::test]
async fn a_store_of_version_1_is_read_and_continued() {
    let home = Home::new();
    let store = sample(&home, "1");
    let dam = store.connection("dam").await.unwrap();
    assert_eq!(dam.settings["clientSecret"], "sample-client-secret");
    assert_eq!(dam.settings["flow"]["password"], "sample-password");
    assert_eq!(store.connection("old").await.unwrap().settings["apiToken"], "sample-api-token");
    assert_eq!(store.load("dam").await.unwrap().unwrap().content.expose(), "sample-tokens");

    let run = RunId::from("5a3b1e000001");
    let finished = |output: serde_json::Value| RunEvent::StepFinished {
        step: "files/1/asset".into(),
        output,
        warnings: Vec::new(),
        attempt: 1,
        began: None,
        at: Timestamp::from_millis(2),
    };
    store.append(&run, vec![finished(json!({ "id": 8 }))], Flush::Now).await.unwrap();
    let found = events(&store, &run).await;
    assert!(
        matches!(&found[1], RunEvent::Checkpoint { value, .. } if value["url"] == "https://blob.test/sample-signature")
    );
    for (at, id) in [(2, 7), (4, 8)] {
        assert!(matches!(&found[at], RunEvent::StepFinished { output, .. } if output["id"] == id), "{:?}", found[at]);
    }
    assert!(matches!(found[3], RunEvent::ItemFinished { .. }));
    let kept = |seq: i64| -> String {
        let sql = format!("SELECT event FROM events WHERE seq = {seq}");
        home.sqlite().query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert!(kept(3).contains("\"id\":7") && !kept(5).contains("\"id\":8"), "outputs are sealed from now on");
}

/// Version 4: the first with saved flows. Deduplication keys stay in use.
#[tokio::test]
async fn a_store_of_version_4_is_read_and_continued() {
    let home = Home::new();
    let store = sample(&home, "4");
    let kept = store.saved_flow("copy").await.unwrap();
    assert_eq!(
        (&*kept.version, kept.active, kept.through),
        ("v1", true, Some(Timestamp::from_millis(1_790_000_000_000)))
    );
    assert_eq!((&kept.connections["source"], &kept.input["folder"]), (&"dam".to_owned(), &json!(7)));
    assert_eq!((kept.token_hash.as_deref(), kept.has_secret), (Some(&[7; 32][..]), true));
    assert_eq!(store.webhook_secret("copy").await.unwrap().unwrap().expose(), "sample-signing-secret");
    let fired = TriggerEvent { flow: "copy".into(), keys: vec!["delivery-1".into()], ..TriggerEvent::default() };
    let (next, started) = (RunId::from("5a3b1e000004"), crate::support::started(2));
    let document = store.flow("v1").await.unwrap();
    let earlier = store.accept_triggered(&next, "v1", &document, started, &fired).await.unwrap();
    assert_eq!(earlier, Some(RunId::from("5a3b1e000003")));
}

/// Version 4 has the connections of a run only in its events, but remembering items across runs needs them.
#[tokio::test]
async fn a_run_of_version_4_continues_and_its_items_are_remembered_across_runs() {
    let home = Home::new();
    let store = sample(&home, "4");
    let run = RunId::from("5a3b1e000003");
    let (step, key, once) = ("files".into(), "a".to_owned(), Some("v1".to_owned()));
    let done = RunEvent::ItemFinished {
        step,
        key,
        outcome: ItemOutcome::Done { reason: None },
        once,
        note: ItemNote::default(),
        at: Timestamp::from_millis(9),
    };
    store.append(&run, vec![done], Flush::Now).await.unwrap();
    let before = Some(PreviousOutcome { run: run.clone(), fingerprint: "v1".into(), unknown: false });
    assert_eq!(store.before(&run, &"files".into(), "a").await.unwrap(), before);
    let started = events(&store, &run).await.swap_remove(0);
    let next = RunId::from("5a3b1e000004");
    store.accept(&next, "v1", &store.flow("v1").await.unwrap(), started, Flush::Now).await.unwrap();
    assert_eq!(store.before(&next, &"files".into(), "a").await.unwrap(), before, "the same connections");
}

/// Version 5: the first that remembers items across runs and resolutions of unknown outcomes.
#[tokio::test]
async fn a_store_of_version_5_is_read_and_continued() {
    let home = Home::new();
    let store = sample(&home, "5");
    let run = RunId::from("5a3b1e000005");
    let next = crate::support::accepted(&store, "5a3b1e000006").await;
    for (key, unknown) in [("a", false), ("b", false), ("c", true)] {
        let before = PreviousOutcome { run: run.clone(), fingerprint: format!("{key} v1"), unknown };
        assert_eq!(store.before(&next, &"files".into(), key).await.unwrap(), Some(before));
    }
    let unknown = store.items(&run, Some("unknown"), None, 10).await.unwrap();
    assert_eq!((unknown.len(), &*unknown[0].key), (1, "c"));
    let found = events(&store, &run).await;
    assert!(matches!(&found[4], RunEvent::StepResolved { output, .. } if output["id"] == 9), "{:?}", found[4]);
    let kept: String =
        home.sqlite().query_row("SELECT event FROM events WHERE kind = 'step_settled'", [], |row| row.get(0)).unwrap();
    assert!(kept.contains("\"output\":null"), "the output of a resolution is sealed: {kept}");
}

/// Version 6: the first with a call log.
#[tokio::test]
async fn a_store_of_version_6_is_read_and_continued() {
    let home = Home::new();
    let store = sample(&home, "6");
    let run = RunId::from("5a3b1e000005");
    let mut entry = crate::support::logged(json!({ "title": "sample-title" }));
    let log = store.logged(&run, 0).await.unwrap();
    assert_eq!((log.dropped, &log.entries[..]), (0, &[(1, entry.clone())][..]));
    entry.attempt = 3;
    store.log(&run, entry.clone()).await.unwrap();
    store.append(&run, Vec::new(), Flush::Now).await.unwrap();
    assert_eq!(store.logged(&run, 1).await.unwrap().entries, [(2, entry)]);
    let (_, found) = store.events(&run, 0).await.unwrap();
    let times = match &found[1].1 {
        RunEvent::StepFailed { attempt: 2, began: Some(began), at, .. } => [began.as_millis(), at.as_millis()],
        other => panic!("{other:?}"),
    };
    assert_eq!(times, [3, 4], "times that were stored as milliseconds");
}

/// Version 7: the row of a run has the number of its last event.
#[tokio::test]
async fn a_store_of_version_7_is_read_and_continued() {
    let home = Home::new();
    let store = sample(&home, "7");
    let run = RunId::from("5a3b1e000005");
    assert_eq!(events(&store, &run).await.len(), 2);
    let step_started = RunEvent::StepStarted { step: "look".into(), attempt: 3, at: Timestamp::from_millis(5) };
    store.append(&run, vec![step_started], Flush::Now).await.unwrap();
    assert_eq!(events(&store, &run).await.len(), 3);
    home.sqlite().execute("DELETE FROM events WHERE kind = 'step_started'", []).unwrap();
    assert_eq!(
        store.replay(&run, &mut |_| ()).await.unwrap_err().kind(),
        ErrorKind::Store,
        "the number of the last event is known"
    );
}

/// Version 8: times are milliseconds, and the event of a rerun has its former name.
#[tokio::test]
async fn a_store_of_version_8_is_read_and_continued() {
    let home = Home::new();
    let store = sample(&home, "8");
    let (first, second) = (RunId::from("1m8nar82ftm7xjz"), RunId::from("1m8nar997tzbn65"));
    let listed = store.runs().await.unwrap();
    assert_eq!((&listed[1].id, listed[1].started_at.to_string()), (&first, "2026-11-30T04:17:33.263Z".to_owned()));
    let found = events(&store, &first).await;
    assert!(matches!(found.last(), Some(RunEvent::Rerun { by, .. }) if *by == second), "{found:?}");
    let RunEvent::WaitBegan { wait, .. } = &found[5] else { panic!("{found:?}") };
    assert_eq!(wait.until.to_string(), "2026-11-30T04:17:34.265Z");

    store.append(&second, vec![RunEvent::Resumed { at: Timestamp::from_millis(5) }], Flush::Now).await.unwrap();
    let last = "SELECT event FROM events WHERE kind = 'resumed'";
    let stored: String = home.sqlite().query_row(last, [], |row| row.get(0)).unwrap();
    assert_eq!(stored, r#"{"event":"resumed","at":"1970-01-01T00:00:00.005Z"}"#);
    assert_eq!(events(&store, &second).await.len(), 6);
}

/// Version 9: deduplication keys belong to a flow, whatever it watches, and keys of items are plain texts.
#[tokio::test]
async fn a_store_of_version_9_is_read_and_continued() {
    let home = Home::new();
    let store = sample(&home, "9");
    let keys = || keys_of(&["#4", "1", "2", "c", "true", "3"]);
    for flow in ["watch", "take"] {
        assert_eq!(store.not_taken(flow, "", keys()).await.unwrap().into_iter().collect::<Vec<_>>(), ["3"], "{flow}");
        assert_eq!(store.not_taken(flow, "another feed", keys()).await.unwrap().len(), 6, "{flow}");
        let saved = store.saved_flow(flow).await.unwrap();
        assert!(saved.through.is_some() && saved.findings.is_empty(), "{saved:?}");
    }
    let (run, step) = (RunId::from("1m8p7jtbqwjej6w"), "all".into());
    let before = store.before(&run, &step, "4711").await.unwrap().unwrap();
    assert!(before.run == run && !before.unknown, "{before:?}");
    let RunEvent::Started { keys, .. } = events(&store, &run).await.swap_remove(0) else { panic!("it is started") };
    assert_eq!(keys, KeyForm::Plain);
    store.remove_flow("watch", None).await.unwrap();
    assert_eq!(store.not_taken("watch", "", keys_of(&["1"])).await.unwrap().len(), 1);
}

fn keys_of(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}
