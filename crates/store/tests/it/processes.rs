//! Several processes on one data directory, and processes that are killed: no acknowledged write is lost.
//!
//! The other processes are this test program again, started with one of the `child_` tests and the data directory in
//! the environment.
#![allow(clippy::unwrap_used)]

use std::{collections::HashMap, process::Stdio, thread, time::Duration};

use crate::support::{
    Home, accepted, child, command, connection, events, item, keys, settings, started, store_of_child,
};
use tokio::{process::Command, time::sleep};
use trunkline_core::{ErrorKind, RunId, Secret, SignIn, Timestamp, Vault};
use trunkline_engine::{EventLog, Flush, RunClaims, RunEvent, RunIndex};
use trunkline_store::{ConnectionStore, Store, StoreHealth};
use trunkline_testkit::{dice::Dice, process::TestProcess};

/// Returns the rest of each line that starts with a word.
fn after(lines: &[String], word: &str) -> Vec<String> {
    lines.iter().filter_map(|line| line.strip_prefix(word)).map(|rest| rest.trim().to_owned()).collect()
}

fn integrity(home: &Home) -> String {
    home.sqlite().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

/// Appends from eight tasks until it is killed, and prints what was acknowledged.
#[tokio::test]
async fn child_that_appends() {
    let Some(store) = store_of_child() else { return };
    let tasks = (0..8).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            let process = std::process::id();
            let run = RunId::from(format!("run-{process}-{task}"));
            let flow = serde_json::json!({ "name": "copy" });
            store.accept(&run, "v1", &flow, crate::support::started(1), Flush::Now).await.unwrap();
            println!("\naccepted {run}");
            for number in 0_u64.. {
                let later = format!("{number}.later");
                store.append(&run, vec![item(&later)], Flush::Later).await.unwrap();
                store.append(&run, vec![item(&number.to_string())], Flush::Now).await.unwrap();
                println!("\nwritten {run} {number}");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_a_kill() {
    let home = Home::new();
    drop(home.open().unwrap());
    let mut dice = Dice::default();
    let mut acknowledged = HashMap::<String, u64>::new();
    for round in 0..30 {
        let child = child(&home, "processes::child_that_appends");
        sleep(dice.pause(&(20..200))).await;
        for line in child.kill_and_read().await {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["accepted", run] => drop(acknowledged.entry(run.to_owned()).or_default()),
                ["written", run, number] => {
                    let count = acknowledged.get_mut(run).unwrap();
                    assert_eq!(number.parse::<u64>().unwrap(), *count);
                    *count += 1;
                }
                _ => {}
            }
        }
        // In half of the rounds, the next child is the first to open what this one has left.
        if round % 2 == 0 {
            let store = home.open().unwrap();
            for (run, count) in &acknowledged {
                check(&store, &RunId::from(run.clone()), *count).await;
            }
        }
    }
    let store = home.open().unwrap();
    for (run, count) in &acknowledged {
        check(&store, &RunId::from(run.clone()), *count).await;
    }
    let total: u64 = acknowledged.values().sum();
    assert!(total > 1_000, "only {total} acknowledged events: too few for this test");
    assert_eq!(integrity(&home), "ok");
    // The counts in the rows of the runs agree with their items.
    for run in store.runs().await.unwrap() {
        assert_eq!(run.items.get("done").copied().unwrap_or(0), keys(&store, &run.id).await.len() as u64);
    }
}

/// Checks that all acknowledged events are there in order, each with the earlier `Later` events. A few more may be
/// there.
async fn check(store: &Store, run: &RunId, acknowledged: u64) {
    let kept = keys(store, run).await;
    let expected = (0..).flat_map(|number: u64| [format!("{number}.later"), number.to_string()]);
    assert!(kept.len() as u64 >= 2 * acknowledged, "{run}: {acknowledged} acknowledged, {} events kept", kept.len());
    assert!(kept.len() as u64 <= 2 * acknowledged + 2, "{run}: more than was printed");
    assert!(kept.iter().cloned().eq(expected.take(kept.len())), "{run}: not in order");
}

/// Replaces the vault entry fifty times, appends an event each time, and requests the cancellation of the parent's run.
#[tokio::test]
async fn child_that_takes_part() {
    let Some(store) = store_of_child() else { return };
    let run = RunId::from("shared");
    let mut wins = 0;
    while wins < 50 {
        let entry = store.load("dam").await.unwrap().unwrap();
        let next = (entry.content.expose().parse::<u64>().unwrap() + 1).to_string();
        if store.replace("dam", entry.version, &next.into(), &SignIn::default()).await.unwrap() {
            wins += 1;
            store.append(&run, vec![item(&format!("child.{wins}"))], Flush::Now).await.unwrap();
        }
    }
    assert_eq!(store.claim(&run).await.err().unwrap().kind(), ErrorKind::Conflict);
    store.append(&run, vec![RunEvent::CancelRequested { at: Timestamp::from_millis(1) }], Flush::Now).await.unwrap();
    println!("\ndone {}", store.runs().await.unwrap().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_a_store() {
    let home = Home::new();
    let (one, two) = (home.open().unwrap(), home.open().unwrap());
    one.put_connection(&connection("dam", "s", "p"), &settings()).await.unwrap();
    assert!(one.replace("dam", 0, &Secret::from("0"), &SignIn::default()).await.unwrap());
    let run = accepted(&one, "shared").await;
    let claim = one.claim(&run).await.unwrap();
    assert!(!one.cancel_requested(&run).await.unwrap());
    let child = child(&home, "processes::child_that_takes_part");

    let workers = [(one.clone(), "one"), (two.clone(), "two")].map(|(store, name)| {
        let run = run.clone();
        tokio::spawn(async move {
            let mut wins = 0;
            while wins < 50 {
                let entry = store.load("dam").await.unwrap().unwrap();
                let next = (entry.content.expose().parse::<u64>().unwrap() + 1).to_string();
                if store.replace("dam", entry.version, &next.into(), &SignIn::default()).await.unwrap() {
                    wins += 1;
                    let flush = if wins % 2 == 0 { Flush::Now } else { Flush::Later };
                    store.append(&run, vec![item(&format!("{name}.{wins}"))], flush).await.unwrap();
                }
            }
            store.append(&run, Vec::new(), Flush::Now).await.unwrap();
        })
    });
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(after(&child.read_to_end().await, "done "), ["1"]);

    let entry = one.load("dam").await.unwrap().unwrap();
    assert_eq!((entry.content.expose(), entry.version), ("150", 151), "no update was lost");
    assert!(one.cancel_requested(&run).await.unwrap());
    let kept = keys(&one, &run).await;
    assert_eq!(kept.len(), 150);
    for name in ["one", "two", "child"] {
        let of = |key: &&String| key.starts_with(&format!("{name}."));
        assert!(kept.iter().filter(of).cloned().eq((1..=50).map(|number| format!("{name}.{number}"))), "{name}");
    }
    assert_eq!(two.runs().await.unwrap()[0].items["done"], 150);
    assert_eq!(events(&two, &run).await.len(), 152);
    drop(claim);
}

/// Claims a run and waits to be killed.
#[tokio::test]
async fn child_that_claims() {
    let Some(store) = store_of_child() else { return };
    let _claim = store.claim(&RunId::from("a1")).await.unwrap();
    println!("\nclaimed");
    thread::sleep(Duration::from_secs(60));
}

#[tokio::test]
async fn a_kill_releases_a_claim() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    let mut child = child(&home, "processes::child_that_claims");
    child.line(|line| (line == "claimed").then_some(())).await;
    let error = store.claim(&run).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("another process works on run a1"));
    child.kill().await;
    drop(store.claim(&run).await.unwrap());
}

/// Opens a store that other processes open for the first time at the same moment.
#[tokio::test]
async fn child_that_opens() {
    let Some(store) = store_of_child() else { return };
    store.put_connection(&connection(&std::process::id().to_string(), "s", "p"), &settings()).await.unwrap();
    println!("\nopened");
}

#[tokio::test]
async fn processes_that_open_a_new_store_together_create_it_once() {
    for _ in 0..10 {
        let home = Home::new();
        let children: Vec<_> = (0..6).map(|_| child(&home, "processes::child_that_opens")).collect();
        for child in children {
            assert_eq!(after(&child.read_to_end().await, "opened").len(), 1);
        }
        let store = home.open().unwrap();
        let listed = store.connections().await.unwrap();
        assert_eq!(listed.len(), 6);
        for summary in listed {
            assert_eq!(store.connection(&summary.name).await.unwrap().settings["clientSecret"], "s");
        }
    }
}

/// Appends until the disk is full, which a limit of the file size simulates.
#[tokio::test]
async fn child_that_fills_the_disk() {
    let Some(store) = store_of_child() else { return };
    let run = RunId::from("a1");
    let error = loop {
        let number = events(&store, &run).await.len();
        let output = serde_json::json!("x".repeat(10_000));
        let event = RunEvent::StepFinished {
            step: "files".into(),
            output,
            warnings: Vec::new(),
            attempt: 1,
            began: None,
            at: Timestamp::from_millis(number as u64),
        };
        match store.append(&run, vec![event], Flush::Now).await {
            Ok(()) => println!("\nwritten {number}"),
            Err(error) => break error,
        }
    };
    println!("\nfailed {}", error.kind().as_str());
    println!("\nadvice {}", error.advice().unwrap());
    for flush in [Flush::Now, Flush::Later] {
        let later =
            store.append(&run, vec![RunEvent::Resumed { at: Timestamp::from_millis(1) }], flush).await.unwrap_err();
        println!("\nlater {}", later.message() == error.message());
    }
    // Writing stopped for both runs, but only the first one was accepted on disk.
    let (never, flow) = (RunId::from("a3"), serde_json::json!({ "name": "copy", "notes": "x".repeat(1 << 20) }));
    store.accept(&never, "v2", &flow, started(1), Flush::Later).await.unwrap();
    println!("\nkept {} {}", store.wait_stored(&run).await.is_ok(), store.wait_stored(&never).await.is_ok());
    // There is space again. The lost events would leave a gap, so the worker of this run still cannot append.
    let other = accepted_with_room(&store, "a2").await;
    let lost = store.append(&run, vec![item("lost")], Flush::Now).await.unwrap_err();
    println!("\nlater {}", lost.message() == error.message());
    store.append(&other, vec![item("kept")], Flush::Now).await.unwrap();
    assert!(store.failed().is_none());
    store.probe().await.unwrap();
    // A new claim reloads the run from disk, and the run continues.
    let before = events(&store, &run).await.len();
    let _claim = store.claim(&run).await.unwrap();
    store.append(&run, vec![item("kept")], Flush::Later).await.unwrap();
    assert_eq!(events(&store, &run).await.len(), before + 1);
    assert!(store.item(&run, &"files".into(), "lost").await.unwrap().is_none());
    println!("\nagain");
}

/// Lifts the limit of the file size and accepts another run.
async fn accepted_with_room(store: &Store, name: &str) -> RunId {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &std::process::id().to_string(), "--fsize=unlimited:"]);
    assert!(command.status().await.unwrap().success());
    accepted(store, name).await
}

#[tokio::test]
async fn a_full_disk_stops_the_worker_of_a_run_and_loses_no_acknowledged_event() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = accepted(&store, "a1").await;
    drop(store);
    // The child with a limit of the size of its files, which a shell sets.
    let program = command(&home, "processes::child_that_fills_the_disk");
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -S -f 400; exec \"$@\"", "sh"]).arg(program.as_std().get_program());
    shell.args(program.as_std().get_args()).envs(program.as_std().get_envs().filter_map(|(k, v)| Some((k, v?))));
    let output = TestProcess::spawn(shell.stdout(Stdio::piped())).read_to_end().await;
    let of = |word: &str| output.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!((of("failed store"), of("advice "), of("later true"), of("again")), (1, 1, 3, 1), "{output:#?}");
    assert_eq!(of("kept true false"), 1, "{output:#?}");
    let written = of("written ");
    assert!(written > 3, "{output:#?}");

    // With space again, the next process finds all acknowledged events and continues.
    let store = home.open().unwrap();
    assert_eq!(events(&store, &run).await.len(), 1 + written + 1);
    store.append(&run, vec![RunEvent::Resumed { at: Timestamp::from_millis(1) }], Flush::Now).await.unwrap();
    assert_eq!(integrity(&home), "ok");
}
