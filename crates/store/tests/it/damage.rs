//! Corrupt files: every read returns what was written, or an error.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs};

use crate::support::{Home, accepted, connection, item, logged, settings, started};
use serde_json::json;
use trunkline_core::{Error, ErrorKind, Result, RunId, Secret, SignIn, StepPath, Timestamp, Vault};
use trunkline_engine::{
    EventLog, EventPlace, FlowVersions, Flush, ItemOutcome, ProcessLog, RunEvent, RunFilter, RunIndex, RunStatus,
    TriggerDeduplication, TriggerEvent,
};
use trunkline_store::{
    ConnectionStore, DeliveryOutcome, FlowStore, FlowToSave, Store, TriggerDelivery, TriggerFinding,
};

const RUNS: [&str; 3] = ["a1", "b2", "c3"];
const KEYS: [&str; 4] = ["k0", "k7", "k39", "never"];

/// Fills a store with data of each kind and closes it.
async fn filled(home: &Home) {
    let store = home.open().unwrap();
    for name in ["dam", "other", "third"] {
        store.put_connection(&connection(name, "secret", "password"), &settings()).await.unwrap();
        assert!(store.replace(name, 0, &Secret::from("tokens"), &SignIn::default()).await.unwrap());
    }
    for name in ["copy", "other"] {
        let flow = FlowToSave {
            name: name.into(),
            version: format!("{name} v1"),
            document: json!({ "name": name, "about": "a flow".repeat(20) }),
            connections: BTreeMap::from([("source".into(), "dam".into())]),
            input: json!({ "folder": 7 }).as_object().unwrap().clone(),
            active: true,
            restart: false,
            called: BTreeMap::new(),
        };
        store.save_flow(flow, None).await.unwrap();
        store.set_webhook_token(name, vec![7; 32]).await.unwrap();
    }
    let outcome = DeliveryOutcome::Refused { status: 401, reason: "no signature".into() };
    let delivery = TriggerDelivery { at: Timestamp::from_millis(9), trigger: "webhook".into(), outcome };
    store.add_deliveries("copy", vec![delivery]).await.unwrap();
    store.set_webhook_secret("copy", Some(&Secret::from("signing"))).await.unwrap();
    let keys = (0..40).map(|key| format!("k{key}")).collect();
    let (flow, through) = ("copy".into(), Some(Timestamp::from_millis(9)));
    store.remember_trigger(TriggerEvent { flow, keys, through, ..TriggerEvent::default() }).await.unwrap();
    for name in RUNS {
        let run = accepted(&store, name).await;
        for key in 0..60 {
            let step = StepPath::from(&*format!("files/{key}/look"));
            let mut events = vec![
                serde_json::from_value(json!({ "event": "step_finished", "step": step,
                    "output": { "name": "a file", "size": 1000 }, "attempt": 1, "began": 6, "at": 7 }))
                .unwrap(),
                item(&key.to_string()),
            ];
            if let (RunEvent::ItemFinished { outcome, once, .. }, 0) = (&mut events[1], key % 7) {
                *once = Some("v1".into());
                *outcome = match key % 2 {
                    0 => ItemOutcome::Failed { error: Error::new(ErrorKind::NotFound, "no such file") },
                    _ => ItemOutcome::Done { reason: None },
                };
            }
            store.append(&run, events, Flush::Later).await.unwrap();
        }
        store.log(&run, logged(json!({ "a": 1 }))).await.unwrap();
        let end = RunEvent::Finished { status: RunStatus::Partial, error: None, at: Timestamp::from_millis(9) };
        store.append(&run, vec![end], Flush::Now).await.unwrap();
    }
    store.accept(&RunId::from("d4"), "v1", &json!({ "name": "copy" }), started(5), Flush::Now).await.unwrap();
}

type Read = Result<String>;

/// Returns the result of every read of a store, by name.
async fn everything(store: &Store) -> Vec<(String, Read)> {
    fn text<T: std::fmt::Debug>(result: Result<T>) -> Read {
        result.map(|value| format!("{value:?}"))
    }
    // An entry of a list that is damaged is an error of that entry.
    fn listed<T: std::fmt::Debug>(result: Result<Vec<T>>, damaged: fn(&T) -> &Option<String>) -> Read {
        let all = result?;
        match all.iter().find_map(|one| damaged(one).clone()) {
            Some(reason) => Err(Error::new(ErrorKind::Store, reason)),
            None => text(Ok(all)),
        }
    }
    let mut all: Vec<(String, Read)> = vec![
        ("connections".into(), listed(store.connections().await, |one| &one.damaged)),
        ("sign-in events".into(), text(store.sign_in_events(None, 0, 999).await)),
        ("saved flows".into(), listed(store.saved_flows().await, |one| &one.damaged)),
        ("runs".into(), text(store.runs().await)),
        ("events of all runs".into(), text(store.all_events(Some(EventPlace::default())).await)),
        ("taken".into(), text(store.not_taken("copy", "", KEYS.map(str::to_owned).to_vec()).await)),
    ];
    for name in ["dam", "other", "third"] {
        all.push((format!("connection {name}"), text(store.connection(name).await.map(|one| one.document()))));
        let tokens = store.load(name).await.map(|entry| entry.map(|one| one.content.expose().to_owned()));
        all.push((format!("tokens of {name}"), text(tokens)));
    }
    for name in ["copy", "other"] {
        all.push((format!("flow {name}"), text(store.saved_flow(name).await)));
        all.push((format!("deliveries of {name}"), text(store.deliveries(name).await)));
        all.push((format!("version of {name}"), text(store.flow(&format!("{name} v1")).await)));
    }
    for name in RUNS.into_iter().chain(["d4"]) {
        let (run, mut events) = (RunId::from(name), Vec::new());
        let replayed = store.replay(&run, &mut |event| events.push(json!(event))).await;
        all.push((format!("events of {name}"), text(replayed.map(|()| events))));
        all.push((format!("items of {name}"), text(store.items(&run, None, None, 100).await)));
        all.push((format!("failures of {name}"), text(store.items(&run, Some("failed"), None, 100).await)));
        all.push((format!("log of {name}"), text(store.logged(&run, 0).await)));
        all.push((format!("signals of {name}"), text(store.signals(&run, 0).await)));
        all.push((format!("cancel of {name}"), text(store.cancel_requested(&run).await)));
        // A run is only continued after its events were read.
        let known = if all.iter().any(|(what, read)| *what == format!("events of {name}") && read.is_err()) {
            &[][..]
        } else {
            &["0", "7", "14", "59"]
        };
        for key in known {
            all.push((format!("item {key} of {name}"), text(store.item(&run, &"files".into(), key).await)));
            all.push((format!("{key} before {name}"), text(store.before(&run, &"files".into(), key).await)));
        }
    }
    all
}

/// The effects of corrupt files.
#[derive(Debug, Default)]
struct Seen {
    harmless: usize,
    refused: usize,
    silent: Vec<String>,
}

async fn look(damaged: &[u8], home: &Home, good: &[(String, Read)], what: &str, effects: &mut Seen) {
    let copy = Home::new();
    fs::create_dir_all(copy.data()).unwrap();
    fs::create_dir_all(copy.key().parent().unwrap()).unwrap();
    fs::copy(home.key(), copy.key()).unwrap();
    fs::write(copy.database(), damaged).unwrap();
    let Ok(store) = copy.open() else { return effects.refused += 1 };
    let mut refused = false;
    for (name, now) in everything(&store).await {
        let before = good.iter().find(|(one, _)| *one == name).map(|(_, before)| before);
        match (now, before) {
            (Err(_), _) => refused = true,
            (Ok(now), Some(Ok(before))) if now == *before => {}
            (Ok(now), _) => effects.silent.push(format!("{what}: {name} is {}", &now[..now.len().min(300)])),
        }
    }
    *(if refused { &mut effects.refused } else { &mut effects.harmless }) += 1;
}

async fn damaged(flips: usize) -> Seen {
    let home = Home::new();
    filled(&home).await;
    let good = everything(&home.open().unwrap()).await;
    assert!(good.iter().all(|(_, read)| read.is_ok()), "{good:?}");
    let file = fs::read(home.database()).unwrap();
    let mut effects = Seen::default();
    let mut at: u64 = 0x9e37_79b9_7f4a_7c15;
    for round in 0..flips {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let byte = match round % 4 {
            // The header of a page says what the page contains.
            0 => (at >> 33) as usize % (file.len() / 4096) * 4096 + round % 16,
            _ => (at >> 33) as usize % file.len(),
        };
        let mut bad = file.clone();
        bad[byte] ^= 1 << ((at >> 20) % 8);
        look(&bad, &home, &good, &format!("byte {byte}"), &mut effects).await;
        if round % 10 == 0 {
            look(&file[..byte], &home, &good, &format!("cut at {byte}"), &mut effects).await;
        }
    }
    let Seen { harmless, refused, silent } = &effects;
    let (bytes, cuts, silent) = (file.len(), flips / 10, silent.len());
    println!("{bytes} bytes, {flips} flips and {cuts} cuts: {refused} rejected, {harmless} harmless, {silent} silent");
    assert!(refused > &(harmless / 4), "too little was detected");
    effects
}

#[tokio::test]
async fn a_corrupt_byte_is_an_error_or_harmless() {
    assert_eq!(damaged(100).await.silent, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "takes a minute: a thousand flips"]
async fn a_corrupt_byte_in_a_thousand_files_is_an_error_or_harmless() {
    assert_eq!(damaged(1000).await.silent, Vec::<String>::new());
}

const MISREAD: [&str; 3] = ["a flowa flow", "no such file", "files/0/look"];

#[tokio::test]
async fn a_changed_letter_is_an_error() {
    let home = Home::new();
    filled(&home).await;
    let good = everything(&home.open().unwrap()).await;
    let file = fs::read(home.database()).unwrap();
    let mut effects = Seen::default();
    for text in MISREAD {
        let refused = effects.refused;
        // SQLite can leave copies of a row in unused parts of a page: each occurrence of the text is corrupted in turn.
        for at in 0..=file.len() - text.len() {
            if file[at..].starts_with(text.as_bytes()) {
                let mut bad = file.clone();
                bad[at] ^= 1;
                look(&bad, &home, &good, text, &mut effects).await;
            }
        }
        assert!(effects.refused > refused, "{text}");
    }
    assert_eq!(effects.silent, Vec::<String>::new());
}

/// The sabotage twin: with MACs that fit the changed letters, wrong values are read silently.
#[tokio::test]
async fn without_the_macs_of_rows_wrong_values_would_be_read_silently() {
    let home = Home::new();
    filled(&home).await;
    let good = everything(&home.open().unwrap()).await;
    let (sqlite, mut effects) = (home.sqlite_with_key(), Seen::default());
    for text in MISREAD {
        let changed = format!("X{}", &text[1..]);
        for sql in [
            "UPDATE flows SET document = replace(document, ?1, ?2),
                 sum = mac('flows', version, replace(document, ?1, ?2))",
            "UPDATE items SET outcome = replace(outcome, ?1, ?2),
                 sum = mac('items', run, step, key, status, replace(outcome, ?1, ?2), finished_at)",
            "UPDATE events SET event = replace(event, ?1, ?2),
                 sum = mac('events', run, seq, kind, replace(event, ?1, ?2), substr(sealed, 1, 24)) WHERE sealed IS NULL",
        ] {
            sqlite.execute(sql, [text, &changed]).unwrap();
        }
    }
    sqlite.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    look(&fs::read(home.database()).unwrap(), &home, &good, "new MACs", &mut effects).await;
    assert!(effects.silent.len() > 2, "{effects:?}");
}

/// A change of a row by hand, with the name of the row.
const EDITS: [(&str, &str, &str); 14] = [
    ("connections", "dam", "SET document = replace(document, 'dam.test', 'evil.test') WHERE name = 'dam'"),
    ("vault", "dam", "SET version = 7 WHERE connection = 'dam'"),
    ("sign_ins", "1", "SET at = 1 WHERE id = 1"),
    ("flows", "copy v1", "SET document = '{}' WHERE version = 'copy v1'"),
    ("kept_flows", "copy", "SET connections = '{}' WHERE name = 'copy'"),
    ("webhooks", "copy", "SET token_hash = x'00' WHERE flow = 'copy'"),
    ("findings", "copy", "SET findings = '[' WHERE flow = 'copy'"),
    ("deliveries", "copy", "SET deliveries = '[]' WHERE flow = 'copy'"),
    ("runs", "a1", "SET status = 'running' WHERE id = 'a1'"),
    ("events", "a1 2", "SET event = '{}' WHERE run = 'a1' AND seq = 2"),
    ("event_order", "2", "SET run = 'b2' WHERE write = 2"),
    ("items", "a1 files 14", "SET outcome = '{}' WHERE run = 'a1' AND key = '14'"),
    ("taken", "copy  k7", "SET at = 1 WHERE key = 'k7'"),
    ("done_once", "copy {} files 7", "SET unknown = 1 WHERE key = '7'"),
];

/// A row that was changed by hand is named with its table and what to do, and hides no other entry of a list.
#[tokio::test]
async fn a_damaged_row_is_named_and_hides_no_others() {
    let home = Home::new();
    filled(&home).await;
    let finding = TriggerFinding {
        what: "left out".into(),
        hint: None,
        place: None,
        items: None,
        since: Timestamp::from_millis(1),
        seen: Timestamp::from_millis(1),
        until: None,
    };
    home.open().unwrap().set_findings("copy", vec![finding]).await.unwrap();
    let mark = home.data().join("commits/last");
    let (file, commits) = (fs::read(home.database()).unwrap(), fs::read(&mark).unwrap());
    let undo = || {
        fs::write(home.database(), &file).unwrap();
        fs::write(&mark, &commits).unwrap();
    };
    for (table, row, change) in EDITS {
        undo();
        assert_eq!(home.sqlite().execute(&format!("UPDATE {table} {change}"), []).unwrap_or(0), 1, "{table}");
        let store = home.open().unwrap();
        let said = format!("the row {row} of the table {table} is damaged");
        let found: Vec<Error> = everything(&store).await.into_iter().filter_map(|(_, read)| read.err()).collect();
        assert!(found.iter().any(|error| error.message().contains(&said)), "{table}: {found:#?}");
        assert!(found.iter().all(|error| error.kind() == ErrorKind::Store), "{table}: {found:#?}");
        let (connections, flows) = (store.connections().await.unwrap(), store.saved_flows().await.unwrap());
        let names: Vec<_> = connections.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["dam", "other", "third"], "{table}");
        assert_eq!(flows.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["copy", "other"], "{table}");
        // The other runs are listed, and the list names the damaged one.
        let (page, all) = (store.run_page(&RunFilter::default(), None, 100).await.unwrap(), RUNS.len() + 1);
        let missing = usize::from(table == "runs");
        assert_eq!((page.damaged.len(), page.runs.len()), (missing, all - missing), "{table}: {page:?}");
        assert!(page.damaged.iter().all(|one| one.contains(&said)), "{page:?}");
        let damaged = connections.iter().filter(|one| one.damaged.is_some()).count()
            + flows.iter().filter(|one| one.damaged.is_some() && !one.active).count();
        let is_listed = ["connections", "vault", "kept_flows", "webhooks", "findings"].contains(&table);
        assert_eq!(damaged, usize::from(is_listed), "{table}");
        // What the advice says is possible.
        if is_listed {
            store.remove_flow("copy", None).await.unwrap();
            store.remove_connection("dam", true, None).await.unwrap();
            let left = (store.connections().await.unwrap(), store.saved_flows().await.unwrap());
            assert!(left.0.iter().all(|one| one.damaged.is_none()) && left.1.iter().all(|one| one.damaged.is_none()));
        }
    }
    // The twin: with its MAC, the changed row is taken for what it says.
    undo();
    let sqlite = home.sqlite_with_key();
    let sql = "UPDATE sign_ins SET at = 1, sum = mac('sign_ins', id, connection, 1, sign_in) WHERE id = 1";
    assert_eq!(sqlite.execute(sql, []).unwrap(), 1);
    drop(sqlite);
    let events = home.open().unwrap().sign_in_events(None, 0, 999).await.unwrap();
    assert_eq!(events[0].at, Timestamp::from_millis(1));
}
