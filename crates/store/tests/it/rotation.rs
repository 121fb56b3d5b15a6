//! Rotation of the key of a store in use: it survives interruptions, runs beside other processes, and leaves no value
//! that is sealed with the old key.
#![allow(clippy::unwrap_used)]

use std::{env, fs, path::Path, thread, time::Duration};

use crate::support::{Home, accepted, command, connection, events, fact, logged, settings, store_of_child};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;
use trunkline_core::{ErrorKind, RunId, Secret, SignIn, Timestamp, Vault};
use trunkline_engine::{EventLog, Flush, ProcessLog, RunEvent};
use trunkline_store::{ConnectionStore, KeySource, RotationReport, Store};
use trunkline_testkit::{dice::Dice, kill::Strike, process::TestProcess};

/// Returns a store whose run has `values` sealed values, and the number of all sealed values.
async fn filled(home: &Home, values: u64) -> (Store, u64) {
    let store = home.open().unwrap();
    for name in ["dam", "other"] {
        store.put_connection(&connection(name, "s", "p"), &settings()).await.unwrap();
        assert!(store.replace(name, 0, &Secret::from("0"), &SignIn::default()).await.unwrap());
    }
    let run = accepted(&store, "a1").await;
    let event = |number: u64| match number % 3 {
        0 => RunEvent::Checkpoint { step: format!("files/{number}/asset").as_str().into(), value: json!(number) },
        1 => RunEvent::Signalled { name: "Ä/~".into(), payload: json!(number), at: Timestamp::from_millis(1) },
        _ => RunEvent::StepFinished {
            step: "files/one".into(),
            output: json!(number),
            warnings: Vec::new(),
            attempt: 1,
            began: None,
            at: Timestamp::from_millis(1),
        },
    };
    store.append(&run, (0..values).map(event).collect(), Flush::Now).await.unwrap();
    for number in 0..3 {
        store.log(&run, logged(json!(number))).await.unwrap();
    }
    store.append(&run, Vec::new(), Flush::Now).await.unwrap();
    (store, values + 9)
}

/// Checks that all values can be read.
async fn readable(store: &Store, values: u64) {
    for name in ["dam", "other"] {
        let found = store.connection(name).await.unwrap();
        assert_eq!((&found.settings["clientSecret"], &found.settings["flow"]["password"]), (&json!("s"), &json!("p")));
        store.load(name).await.unwrap().unwrap();
    }
    let kept = events(store, &RunId::from("a1")).await;
    let numbers = kept.iter().filter_map(|event| match event {
        RunEvent::Checkpoint { value, .. }
        | RunEvent::Signalled { payload: value, .. }
        | RunEvent::StepFinished { output: value, .. } => value.as_u64(),
        _ => None,
    });
    assert!(numbers.eq(0..values));
    let log = store.logged(&RunId::from("a1"), 0).await.unwrap();
    assert!(log.entries.iter().map(|(_, entry)| entry.input.as_u64()).eq((0..3).map(Some)));
}

/// Returns the number of sealed values by key id.
fn seals(home: &Home) -> Vec<(String, u64)> {
    let sql = "SELECT key_id, count(*) FROM (SELECT key_id FROM secrets UNION ALL SELECT key_id FROM vault
               UNION ALL SELECT key_id FROM events WHERE key_id IS NOT NULL UNION ALL SELECT key_id FROM step_log)
               GROUP BY key_id";
    let sqlite = home.sqlite();
    let mut statement = sqlite.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn keys(home: &Home) -> Vec<String> {
    fs::read_to_string(home.key()).unwrap().lines().map(str::to_owned).collect()
}

async fn rotate(store: &Store) -> RotationReport {
    store.rotate_key(|_| ()).await.unwrap()
}

#[tokio::test]
async fn after_a_rotation_the_old_key_opens_no_value_and_the_new_one_opens_all() {
    let home = Home::new();
    let (store, total) = filled(&home, 500).await;
    let old = fs::read_to_string(home.key()).unwrap();
    let ciphers = |sql: &str| -> Vec<Vec<u8>> {
        let sqlite = home.sqlite();
        let mut statement = sqlite.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let all = "SELECT sealed FROM secrets UNION ALL SELECT sealed FROM vault UNION ALL
               SELECT sealed FROM events WHERE sealed IS NOT NULL UNION ALL SELECT sealed FROM step_log";
    let before = ciphers(all);
    let mut progress = Vec::new();
    let rotated = store.rotate_key(|rotation| progress.push((rotation.done, rotation.total))).await.unwrap();
    assert_eq!((rotated.values, rotated.resumed), (total, false));
    assert_eq!((progress[0], *progress.last().unwrap()), ((0, total), (total, total)));
    assert!(progress.len() > 8 && progress.is_sorted(), "{progress:?}");
    assert_eq!(seals(&home), [(rotated.key.clone(), total)]);
    readable(&store, 500).await;
    drop(store);

    assert_eq!(keys(&home).len(), 1);
    assert_ne!(keys(&home)[0], old.trim());
    // The old key is in a file of its own, for earlier backups. Only its owner can read it.
    assert_eq!(rotated.retired.len(), 1);
    assert_eq!(fs::read_to_string(&rotated.retired[0]).unwrap(), old);
    use std::os::unix::fs::PermissionsExt;
    for file in [&rotated.retired[0], &home.key()] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(fs::read_dir(home.key().parent().unwrap()).unwrap().count(), 2, "no draft and no lock is left");

    let bytes = home.bytes();
    assert_eq!(bytes.len(), 1, "no write-ahead log is left");
    for cipher in before {
        assert!(!bytes["trunkline.db"].windows(32).any(|at| at == &cipher[..32]), "a value under the old key is left");
    }
    let error = Store::open(&home.data(), KeySource::Value(old.as_str().into())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("was made with the key"), "{error:?}");
    assert_eq!(home.bytes(), bytes, "the files have changed");

    let store = home.open().unwrap();
    readable(&store, 500).await;
    // Each call creates a new key if no rotation is unfinished.
    let again = rotate(&store).await;
    assert_eq!((again.values, again.resumed), (total, false));
    assert_ne!(again.key, rotated.key);
}

/// Rotates the key and hangs at the stage in the environment, until it is killed.
#[tokio::test]
async fn child_that_rotates() {
    let Some(store) = store_of_child() else { return };
    let stop: u64 = env::var("STOP").unwrap().parse().unwrap();
    let mut calls = 0;
    let rotated = store.rotate_key(|_| {
        println!("\nstage {calls}");
        if calls == stop {
            thread::sleep(Duration::from_secs(60));
        }
        calls += 1;
    });
    println!("\nrotated {}", rotated.await.unwrap().values);
}

/// Starts a child that stops at a stage.
fn stopping_child(home: &Home, test: &str, stop: u64) -> TestProcess {
    TestProcess::spawn(command(home, &format!("rotation::{test}")).env("STOP", stop.to_string()))
}

#[tokio::test]
async fn a_rotation_that_is_killed_at_any_stage_is_resumed() {
    let home = Home::new();
    let (store, total) = filled(&home, 300).await;
    drop(store);
    for stop in 0..7 {
        let old = keys(&home);
        let mut child = stopping_child(&home, "child_that_rotates", stop);
        child.line(|line| (line == format!("stage {stop}")).then_some(())).await;
        // While the child hangs, no other process can rotate the key, and all can read.
        let store = home.open().unwrap();
        assert_eq!(store.rotate_key(|_| ()).await.unwrap_err().kind(), ErrorKind::Conflict);
        readable(&store, 300).await;
        child.kill().await;
        readable(&store, 300).await;
        assert_eq!(keys(&home).len(), 2);
        let left: u64 = seals(&home).iter().map(|(_, count)| count).sum();
        assert_eq!(left, total);

        let rotated = rotate(&store).await;
        assert!(rotated.resumed, "stage {stop}");
        assert_eq!(seals(&home), [(rotated.key.clone(), total)]);
        assert_eq!(keys(&home).len(), 1);
        assert_ne!(keys(&home), old);
        drop(store);
        readable(&home.open().unwrap(), 300).await;
    }
}

/// Two moments without a progress report: the key file has both keys, and the store does not know the new one yet or no
/// longer needs the old one.
#[tokio::test]
async fn a_key_file_with_two_keys_is_completed() {
    let home = Home::new();
    let (store, total) = filled(&home, 10).await;
    let old = keys(&home).remove(0);
    let new = BASE64_STANDARD.encode([9; 32]);
    let text = format!("{new}\n{old}\n");
    fs::write(home.key(), &text).unwrap();
    fs::write(home.key().with_extension("draft"), "half a ke").unwrap();
    readable(&home.open().unwrap(), 10).await;
    let rotated = rotate(&store).await;
    assert_eq!((rotated.values, rotated.resumed, keys(&home)), (total, true, vec![new.clone()]));
    fs::write(home.key(), &text).unwrap();
    let rotated = rotate(&store).await;
    assert_eq!((rotated.values, rotated.resumed, keys(&home)), (0, true, vec![new]));
}

#[tokio::test]
async fn ten_thousand_values_survive_fifty_kills() {
    let home = Home::new();
    let (store, total) = filled(&home, 10_000).await;
    drop(store);
    let (mut kills, mut finished, mut dice) = (0, 0, Dice::default());
    while kills < 50 {
        let child = stopping_child(&home, "child_that_rotates", u64::MAX);
        match child.strike(dice.pause(&(20..140)), async || true).await {
            Strike::Hit => kills += 1,
            Strike::Missed(ended) => {
                ended.finish().await.expect(0);
                finished += 1;
            }
        }
        assert!(keys(&home).len() <= 2, "there are at most two keys");
    }
    let store = home.open().unwrap();
    readable(&store, 10_000).await;
    let rotated = rotate(&store).await;
    assert_eq!(seals(&home), [(rotated.key, total)]);
    readable(&store, 10_000).await;
    println!("{kills} kills, {finished} rotations finished before their kill");
}

/// Reads, refreshes and appends until its fortieth refresh.
#[tokio::test]
async fn child_that_refreshes() {
    let Some(store) = store_of_child() else { return };
    let run = RunId::from("a1");
    for number in 0..40_u64 {
        let entry = store.load("dam").await.unwrap().unwrap();
        assert_eq!(entry.content.expose(), number.to_string());
        assert!(
            store
                .replace("dam", entry.version, &Secret::from((number + 1).to_string()), &SignIn::default())
                .await
                .unwrap()
        );
        assert_eq!(store.connection("other").await.unwrap().settings["clientSecret"], "s");
        store.put_connection(&connection("other", "s", "p"), &settings()).await.unwrap();
        let checkpoint = RunEvent::Checkpoint { step: "late".into(), value: json!({ "late": number }) };
        store.append(&run, vec![checkpoint], if number % 2 == 0 { Flush::Now } else { Flush::Later }).await.unwrap();
        assert!(events(&store, &run).await.len() > 500);
        if number == 5 {
            println!("\nworks");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_processes_continue_during_a_rotation() {
    let home = Home::new();
    let (store, total) = filled(&home, 500).await;
    let mut child = stopping_child(&home, "child_that_refreshes", 0);
    child.line(|line| (line == "works").then_some(())).await;
    let mut rounds = 0;
    while !child.has_ended() {
        rotate(&store).await;
        rounds += 1;
    }
    child.finish().await.expect(0);
    assert!(rounds > 1, "{rounds}");
    let last = rotate(&store).await;
    assert_eq!(seals(&home), [(last.key, total + 40)]);
    assert_eq!(store.load("dam").await.unwrap().unwrap().content.expose(), "40");
    readable(&home.open().unwrap(), 500).await;
}

#[tokio::test]
async fn a_key_given_as_a_value_is_rotated_to_another_value() {
    let home = Home::new();
    let (old, new) = (BASE64_STANDARD.encode([1; 32]), BASE64_STANDARD.encode([2; 32]));
    let open = |keys: &str| Store::open(&home.data(), KeySource::Value(keys.into()));
    let store = open(&old).unwrap();
    store.put_connection(&connection("dam", "s", "p"), &settings()).await.unwrap();
    let error = store.rotate_key(|_| ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.advice().unwrap().contains("TRUNKLINE_NEW_KEY"), "{error:?}");

    let both = open(&format!("{new} {old}")).unwrap();
    assert_eq!(rotate(&both).await.values, 2);
    assert_eq!(rotate(&both).await.values, 0);
    // A process that only has the old key gets an error, and writes no value that the new key could not open.
    assert_eq!(store.connection("dam").await.unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(
        store.replace("dam", 0, &Secret::from("t"), &SignIn::default()).await.unwrap_err().kind(),
        ErrorKind::Config
    );
    let late = store.put_connection(&connection("dam", "t", "t"), &settings()).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Config);
    assert!(late.advice().is_some());
    let run = accepted(&store, "a1").await;
    let checkpoint = vec![RunEvent::Checkpoint { step: "one".into(), value: json!(1) }];
    assert_eq!(store.append(&run, checkpoint, Flush::Now).await.unwrap_err().kind(), ErrorKind::Config);
    drop((store, both));
    assert_eq!(open(&old).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(open(&new).unwrap().connection("dam").await.unwrap().settings["clientSecret"], "s");
}

#[tokio::test]
async fn a_corrupt_value_keeps_the_old_key_in_use() {
    let home = Home::new();
    let (store, total) = filled(&home, 200).await;
    home.sqlite().execute_batch("UPDATE vault SET sealed = x'00' WHERE connection = 'dam'").unwrap();
    let error = store.rotate_key(|_| ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert_eq!(
        (fact(&error, "row"), fact(&error, "values encrypted again")),
        (Some("dam"), Some(&*(total - 1).to_string()))
    );
    assert_eq!(keys(&home).len(), 2);
    assert_eq!(store.connection("dam").await.unwrap().settings["clientSecret"], "s");
    store.remove_connection("dam", true, None).await.unwrap();
    let rotated = rotate(&store).await;
    assert_eq!((rotated.values, rotated.resumed, keys(&home).len()), (0, true, 1));
}

#[tokio::test]
async fn a_key_file_that_cannot_be_written_leaves_the_store_unchanged() {
    let home = Home::new();
    let (store, total) = filled(&home, 10).await;
    let before = seals(&home);
    // The folder blocks the draft of the key file, even for a user that may write everywhere.
    fs::create_dir(home.key().with_extension("draft")).unwrap();
    let error = store.rotate_key(|_| ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.advice().is_some() && error.message().contains("changing the key file"), "{error:?}");
    assert_eq!((seals(&home), keys(&home).len()), (before, 1));
    fs::remove_dir(home.key().with_extension("draft")).unwrap();
    assert_eq!(rotate(&store).await.values, total);
}

/// Another data directory with the same key file can still be opened after a rotation.
#[tokio::test]
async fn another_store_with_the_same_key_gets_the_location_of_the_old_key() {
    let home = Home::new();
    let (store, _) = filled(&home, 1).await;
    let second = home.path().join("second");
    let open = || Store::open(&second, KeySource::File(home.key()));
    let other = open().unwrap();
    other.put_connection(&connection("dam", "s", "p"), &settings()).await.unwrap();
    let retired = rotate(&store).await.retired;
    assert_eq!(other.connection("dam").await.unwrap().settings["clientSecret"], "s", "an open store keeps working");
    drop(other);
    let error = open().unwrap_err();
    assert!(error.advice().unwrap().contains(&*retired[0].to_string_lossy()), "{error:?}");
    let both = fs::read_to_string(home.key()).unwrap() + &fs::read_to_string(Path::new(&retired[0])).unwrap();
    fs::write(home.key(), both).unwrap();
    let other = open().unwrap();
    assert_eq!(rotate(&other).await.values, 2);
    assert_eq!(keys(&home).len(), 1);
    readable(&home.open().unwrap(), 1).await;
}
