//! `trunkline demo`: the main job against the simulators, whose own counters confirm the result, also with faults and
//! kills.
#![allow(clippy::unwrap_used)]

use std::process::Stdio;

use serde_json::{Value, json};
use trunkline_testkit::{kill::Strike, process::TestProcess};
use trunkline_tests::{Cli, CommandOutput, Dice, trunkline};

/// Returns the figures of a demo, after checks that hold for every demo.
fn figures(answer: &CommandOutput, files: u64) -> Value {
    let figures = answer.json();
    let keys: Vec<_> = figures.as_object().unwrap().keys().map(String::as_str).collect();
    let documented = [
        "run",
        "status",
        "files",
        "done",
        "skipped",
        "failed",
        "digest_mismatches",
        "duplicates",
        "bytes",
        "seconds",
        "token_refreshes",
    ];
    assert_eq!(keys, documented);
    let number = |key: &str| figures[key].as_u64().unwrap_or_else(|| panic!("{key} in {figures}"));
    assert_eq!(number("files"), files);
    assert_eq!(number("done") + number("skipped"), files, "{figures}");
    for none in ["failed", "digest_mismatches", "duplicates"] {
        assert_eq!(number(none), 0, "{none} in {figures}");
    }
    assert!(number("done") > 0 && number("skipped") > 0 && number("bytes") > 0, "{figures}");
    assert_eq!(figures["status"], "succeeded");
    figures
}

#[tokio::test]
async fn the_demo_copies_every_allowed_file_once() {
    let cli = Cli::default();
    figures(&cli.run(&["demo", "--json", "--files", "60"]).await.expect(0), 60);
    // A second time with the same data directory, with text output.
    let answer = cli.run(&["demo", "--files", "20"]).await.expect(0);
    for words in [
        "Ledger:",
        "Counted by the MediaValet simulator",
        "0  with a SHA-256 other than their source's",
        "0  uploaded twice",
    ] {
        assert!(answer.stdout.contains(words), "{words} in {}", answer.stdout);
    }
    assert!(answer.stderr.contains("runs resume"), "{}", answer.stderr);
    assert_eq!(cli.run(&["runs", "--json"]).await.expect(0).json()["items"].as_array().unwrap().len(), 2);
}

/// Without `--data`, a demo leaves nothing behind, unless `--keep` is given.
#[tokio::test]
async fn a_demo_has_a_data_directory_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let demo = async |more: &[&str]| {
        let mut command = tokio::process::Command::new(trunkline());
        command.args(["demo", "--files", "5"]).args(more).env("TMPDIR", folder.path()).env("HOME", folder.path());
        command.env_remove("TRUNKLINE_DATA").env_remove("TRUNKLINE_KEY_FILE");
        let ended = command.output().await.unwrap();
        let text = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success(), "{text}");
        text
    };
    let left = || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    demo(&[]).await;
    assert_eq!(left(), Vec::<std::path::PathBuf>::new());
    let text = demo(&["--keep"]).await;
    let [data] = &left()[..] else { panic!("{:?}", left()) };
    assert!(data.join("key").exists() && text.contains(&data.display().to_string()), "{text}");
}

#[tokio::test]
async fn network_faults_lose_and_double_nothing() {
    let cli = Cli::default();
    figures(&cli.run(&["demo", "--json", "--files", "150", "--faults", "0.02"]).await.expect(0), 150);
    for wrong in ["1.5", "-1", "NaN"] {
        let answer = cli.run(&["demo", "--json", &format!("--faults={wrong}")]).await.expect(1);
        assert_eq!(answer.error()["kind"], "invalid_input");
    }
}

#[tokio::test]
async fn a_killed_demo_continues_where_it_was() {
    const FILES: u64 = 120;
    let mut dice = Dice::default();
    let mut interrupted = 0;
    for round in 0..5 {
        let cli = Cli::default();
        let mut command = cli.command(&["demo", "--files", &FILES.to_string()]);
        let mut process = TestProcess::spawn(command.stdout(Stdio::null()));
        let id = |line: &str| Some(line.strip_prefix("Run ")?.split(' ').next()?.to_owned());
        let id = process.error_line(id).await;
        if let Strike::Missed(ended) = process.strike(dice.pause(&(0..1_000)), async || true).await {
            ended.finish().await.expect(0);
        }

        let before = cli.run(&["runs", "show", &id, "--json"]).await.expect(0).json();
        if before["status"] != "running" {
            // The run had ended before the kill.
            assert_eq!(before["status"], "succeeded", "round {round}");
            continue;
        }
        interrupted += 1;
        let answer = cli.run(&["runs", "resume", &id, "--json"]).await.expect(0);
        let documents: Vec<Value> = answer.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (run, report) = (&documents[0], &documents[1]);
        let ledger = &run["ledger"]["files"];
        let skipped: u64 = ledger["skipped"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(ledger["done"].as_u64().unwrap() + skipped, FILES, "round {round}: {run}");
        assert_eq!((&ledger["failed"], &ledger["unknown"]), (&json!({}), &json!({})), "round {round}: {run}");
        assert_eq!((&run["status"], &run["id"]), (&json!("succeeded"), &json!(id)));
        assert_eq!((&report["duplicates"], &report["digest_mismatches"]), (&json!(0), &json!(0)), "{report}");
        // The target holds the assets that the ledger lists.
        let uploaded = report["uploaded"].as_u64().unwrap();
        let done = ledger["done"].as_u64().unwrap();
        assert!(uploaded >= done && uploaded <= FILES, "round {round}: {run} {report}");
        // An upload that was finalized but not yet recorded is found in the target, and skipped.
        let there = ledger["skipped"]["already in MediaValet"].as_u64().unwrap_or_default();
        assert_eq!(uploaded + report["preexisting"].as_u64().unwrap(), done + there, "round {round}: {run} {report}");
    }
    assert!(interrupted >= 2, "{interrupted} of 5 rounds hit an active run");
}
