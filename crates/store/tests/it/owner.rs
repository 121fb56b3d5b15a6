//! A store that is not the only one of its name, or not the last one: a copy, a restored file, and a log whose end is
//! damaged. Each is noticed when it is opened, can be read, and spends nothing until it is adopted.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::support::{Home, accepted, child, connection, item, keys, settings, started, store_of_child};
use trunkline_core::{Error, ErrorKind, Result, RunId, Secret, SignIn, Vault};
use trunkline_engine::{EventLog, Flush, RunIndex, TriggerDeduplication, TriggerEvent};
use trunkline_store::{ConnectionStore, FlowStore, KeySource, Store, StoreHealth};

async fn filled(home: &Home) -> Store {
    let store = home.open().unwrap();
    store.put_connection(&connection("dam", "secret", "password"), &settings()).await.unwrap();
    assert!(store.replace("dam", 0, &Secret::from("refresh token"), &SignIn::default()).await.unwrap());
    accepted(&store, "a1").await;
    store
}

/// Tries everything that would spend something, and returns the errors.
async fn spend(store: &Store) -> Vec<Result<()>> {
    let event = TriggerEvent { flow: "copy".into(), keys: vec!["delivery".into()], ..TriggerEvent::default() };
    let run = RunId::from("a2");
    let flow = serde_json::json!({ "name": "copy" });
    vec![
        store.replace("dam", 1, &Secret::from("next token"), &SignIn::default()).await.map(drop),
        store.accept_triggered(&run, "v1", &flow, started(1), &event).await.map(drop),
        store.accept(&run, "v1", &flow, started(1), Flush::Now).await,
        store.append(&RunId::from("a1"), vec![item("1")], Flush::Now).await,
        store.remember_trigger(event).await,
        store.put_connection(&connection("dam", "other", "other"), &settings()).await,
        store.set_webhook_token("copy", vec![1]).await,
        // What `serve` asks for first.
        store.probe().await,
    ]
}

/// Checks that a store can be read, and that it refuses every change with an error that says so.
async fn refused(store: &Store, what: &str) {
    assert_eq!(store.connection("dam").await.unwrap().settings["clientSecret"], "secret");
    assert_eq!(store.load("dam").await.unwrap().unwrap().content.expose(), "refresh token");
    assert_eq!(store.runs().await.unwrap().len(), 1);
    let spent: Vec<Error> = spend(store).await.into_iter().map(Result::unwrap_err).collect();
    for error in spent {
        assert_eq!(error.kind(), ErrorKind::Store, "{error:?}");
        assert!(error.message().contains(what), "{error:?}");
        assert!(error.advice().unwrap().contains("store adopt"), "{error:?}");
    }
}

fn adopt(home: &Home) {
    Store::adopt(&home.data(), KeySource::File(home.key())).unwrap();
}

/// Copies files of a data directory, as `cp -r` does.
fn copied(from: &Home, files: &[&str]) -> Home {
    let copy = Home::new();
    fs::create_dir_all(copy.data().join("commits")).unwrap();
    fs::create_dir_all(copy.key().parent().unwrap()).unwrap();
    fs::copy(from.key(), copy.key()).unwrap();
    for file in files {
        fs::copy(from.data().join(file), copy.data().join(file)).unwrap();
    }
    copy
}

#[tokio::test]
async fn a_copy_is_read_and_spends_nothing_until_it_is_adopted() {
    let home = Home::new();
    drop(filled(&home).await);
    for files in [&["trunkline.db", "commits/last"][..], &["trunkline.db"]] {
        let copy = copied(&home, files);
        refused(&copy.open().unwrap(), "is a copy").await;
        // Looking does not make it the owner.
        let store = copy.open().unwrap();
        refused(&store, "is a copy").await;
        drop(store);
        adopt(&copy);
        let store = copy.open().unwrap();
        assert!(spend(&store).await[0].is_ok(), "the sabotage twin: once adopted, the copy spends the same token");
    }
    let spent = spend(&home.open().unwrap()).await;
    assert!(spent[0].is_ok(), "the original cannot know of the copies: {spent:?}");
    assert_eq!(spent.iter().filter(|spent| spent.is_err()).count(), 2, "only a repeated run and an unknown flow");
}

#[tokio::test]
async fn a_moved_directory_is_the_same_store() {
    let home = Home::new();
    drop(filled(&home).await);
    let moved = home.path().join("moved");
    fs::rename(home.data(), &moved).unwrap();
    let store = Store::open(&moved, KeySource::File(home.key())).unwrap();
    assert!(spend(&store).await[0].is_ok());
}

/// A backup that is written over the file, which keeps the number of the file.
#[tokio::test]
async fn a_backup_in_place_of_the_file_is_noticed() {
    for with_mark in [true, false] {
        let home = Home::new();
        drop(filled(&home).await);
        let backup = fs::read(home.database()).unwrap();
        let store = home.open().unwrap();
        assert!(store.replace("dam", 1, &Secret::from("newer token"), &SignIn::default()).await.unwrap());
        drop(store);
        fs::write(home.database(), backup).unwrap();
        if !with_mark {
            // The sabotage twin: with a mark of that time, the old token is spent again.
            fs::write(mark(&home), of_first_commit()).unwrap();
            assert!(spend(&home.open().unwrap()).await[0].is_ok());
            continue;
        }
        refused(&home.open().unwrap(), "were acknowledged").await;
        adopt(&home);
        assert!(spend(&home.open().unwrap()).await[0].is_ok());
    }
}

fn mark(home: &Home) -> PathBuf {
    home.data().join("commits/last")
}

/// The content of a mark from the time of the first commit.
fn of_first_commit() -> String {
    format!("{:019}\n", 1)
}

/// A damage of the mark, and what is said of it.
type Mark = (&'static str, fn(&Path));

const BAD_MARKS: [Mark; 8] = [
    ("is missing", |mark| fs::remove_file(mark).unwrap()),
    ("is missing", |mark| fs::remove_dir_all(mark.parent().unwrap()).unwrap()),
    ("is empty or damaged", |mark| fs::write(mark, "").unwrap()),
    ("is empty or damaged", |mark| fs::write(mark, [0; 20]).unwrap()),
    ("is empty or damaged", |mark| fs::write(mark, "7\n").unwrap()),
    ("is empty or damaged", |mark| fs::write(mark, format!("{:019}\n", 0)).unwrap()),
    ("is empty or damaged", |mark| fs::write(mark, [of_first_commit(), of_first_commit()].concat()).unwrap()),
    ("which is too low", |mark| fs::write(mark, of_first_commit()).unwrap()),
];

/// Without its mark, a store could have lost commits, or be an earlier one: nothing is changed until it is adopted.
#[tokio::test]
async fn a_store_whose_mark_is_missing_damaged_or_too_low_is_refused_until_it_is_adopted() {
    let home = Home::new();
    drop(filled(&home).await);
    home.sqlite().execute("UPDATE meta SET value = 2000 WHERE name = 'commits'", []).unwrap();
    fs::write(mark(&home), format!("{:019}\n", 1999)).unwrap();
    // The twin: a process that is killed between a commit and its mark leaves one that is a little behind.
    home.open().unwrap().probe().await.unwrap();
    for (what, damage) in BAD_MARKS {
        damage(&mark(&home));
        refused(&home.open().unwrap(), what).await;
        refused(&home.open().unwrap(), what).await;
        adopt(&home);
        home.open().unwrap().probe().await.unwrap();
    }
    // What cannot be opened is not taken for missing either.
    fs::remove_dir_all(mark(&home).parent().unwrap()).unwrap();
    fs::write(mark(&home).parent().unwrap(), "").unwrap();
    let error = home.open().unwrap().probe().await.unwrap_err();
    assert!(error.message().contains("commits/last"), "{error:?}");
}

/// A store that has only its tables has no mark: it is made when the store is opened, and so is that of a store that
/// an earlier version made (see `samples`).
#[tokio::test]
async fn a_new_store_gets_a_mark_before_its_first_commit() {
    let home = Home::new();
    drop(home.open().unwrap());
    assert_eq!(fs::read_to_string(mark(&home)).unwrap(), of_first_commit());
    fs::remove_file(mark(&home)).unwrap();
    drop(filled(&home).await);
    home.open().unwrap().probe().await.unwrap();
}

/// Both directories have one file, but each has a log of its own.
#[cfg(unix)]
#[tokio::test]
async fn a_copy_by_hard_links_is_called_a_copy() {
    let home = Home::new();
    drop(filled(&home).await);
    let copy = home.path().join("copy");
    fs::create_dir_all(copy.join("commits")).unwrap();
    for file in ["trunkline.db", "commits/last"] {
        fs::hard_link(home.data().join(file), copy.join(file)).unwrap();
    }
    let open = || Store::open(&copy, KeySource::File(home.key())).unwrap();
    refused(&open(), "is a copy").await;
    refused(&home.open().unwrap(), "is a copy").await;
    let error = Store::adopt(&copy, KeySource::File(home.key())).unwrap_err();
    assert!(error.message().contains("hard links"), "{error:?}");
    fs::copy(copy.join("trunkline.db"), copy.join("new")).unwrap();
    fs::rename(copy.join("new"), copy.join("trunkline.db")).unwrap();
    // The twin: the original is alone with its file again.
    home.open().unwrap().probe().await.unwrap();
    refused(&open(), "is a copy").await;
    Store::adopt(&copy, KeySource::File(home.key())).unwrap();
    open().probe().await.unwrap();
}

#[tokio::test]
async fn child_that_appends_one_by_one() {
    let Some(store) = store_of_child() else { return };
    for number in 0_u64.. {
        store.append(&RunId::from("a1"), vec![item(&number.to_string())], Flush::Now).await.unwrap();
        println!("\nwritten {number}");
        if number == 20 {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }
}

/// Leaves a store with a write-ahead log, as a killed process does. Returns the number of acknowledged events.
async fn killed(home: &Home) -> usize {
    drop(filled(home).await);
    let child = child(home, "owner::child_that_appends_one_by_one");
    let log = home.data().join("trunkline.db-wal");
    for _ in 0..1000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if fs::read_to_string(mark(home)).is_ok_and(|mark| mark.trim().parse::<u64>().unwrap() >= 24) {
            // For the lines of the last commits to be printed.
            tokio::time::sleep(Duration::from_millis(200)).await;
            break;
        }
    }
    let written = child.kill_and_read().await.iter().filter(|line| line.starts_with("written")).count();
    assert!(written >= 20 && fs::metadata(log).unwrap().len() > 0, "void: {written}");
    written
}

/// A damage by its name.
type Damage = (&'static str, fn(&Path));

/// What can happen to the end of a log, or to the log, after its commits were acknowledged.
const DAMAGES: [Damage; 4] = [
    ("a flipped byte in the last frame", |log| flip(log, 2000)),
    ("a flipped byte ten frames before the end", |log| flip(log, 40_000)),
    ("a log that is cut", |log| {
        let file = fs::OpenOptions::new().write(true).open(log).unwrap();
        file.set_len(file.metadata().unwrap().len() - 5000).unwrap();
    }),
    ("a log that is gone", |log| fs::remove_file(log).unwrap()),
];

fn flip(log: &Path, before_the_end: u64) {
    let mut file = fs::OpenOptions::new().write(true).open(log).unwrap();
    let at = file.metadata().unwrap().len() - before_the_end;
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(b"damage").unwrap();
}

#[tokio::test]
async fn a_damaged_end_of_the_log_is_not_taken_for_one_that_was_never_written() {
    for (what, damage) in DAMAGES {
        for with_mark in [true, false] {
            let home = Home::new();
            let written = killed(&home).await;
            damage(&home.data().join("trunkline.db-wal"));
            if !with_mark {
                // The sabotage twin: with an earlier mark, acknowledged events are missing and nothing says so.
                fs::write(mark(&home), of_first_commit()).unwrap();
                let store = home.open().unwrap();
                assert!(keys(&store, &RunId::from("a1")).await.len() < written, "{what}");
                store.probe().await.unwrap();
                continue;
            }
            let store = home.open().unwrap();
            assert!(keys(&store, &RunId::from("a1")).await.len() < written, "{what}");
            refused(&store, "were acknowledged").await;
            drop(store);
            refused(&home.open().unwrap(), "were acknowledged").await;
            adopt(&home);
            let store = home.open().unwrap();
            store.probe().await.unwrap();
        }
    }
}

/// A torn write at the end, which was never acknowledged, is no damage.
#[tokio::test]
async fn a_torn_write_at_the_end_of_the_log_is_no_damage() {
    let home = Home::new();
    let written = killed(&home).await;
    let mut log = fs::OpenOptions::new().append(true).open(home.data().join("trunkline.db-wal")).unwrap();
    log.write_all(&[7; 3000]).unwrap();
    let store = home.open().unwrap();
    assert!(keys(&store, &RunId::from("a1")).await.len() >= written);
    store.probe().await.unwrap();
}
