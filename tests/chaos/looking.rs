//! A data directory on a read-only file system: commands that read it work, and commands that would change it fail with
//! the reason.
#![cfg(target_os = "linux")]

use std::fs;

use serde_json::json;
use trunkline_tests::{Cli, serve::Serve, until};

use crate::{
    tools::Disk,
    witness::{Witness, input},
};

/// Runs every command that only reads, for this run.
async fn looks(cli: &Cli, run: &str) {
    for command in [
        &["runs"][..],
        &["runs", "show", run],
        &["runs", "items", run],
        &["runs", "timeline", run],
        &["runs", "log", run],
        &["connection", "list"],
        &["connection", "export", "http"],
        &["flow", "list"],
        &["flow", "show", "witnessed"],
    ] {
        cli.run(&[command, &["--json"]].concat()).await.expect(0);
    }
    let runs = cli.run(&["runs", "--json"]).await.expect(0).json()["items"].take();
    assert!(runs.as_array().unwrap().iter().any(|one| one["id"] == run), "{runs}");
}

/// Runs every command that would change something.
async fn refuses(cli: &Cli, run: &str) {
    let flow = cli.write("another.json", &json!({ "name": "another", "steps": [] }).to_string());
    let connection = json!({ "name": "new", "connector": "http-v1.0", "endpointUrl": "https://example.com",
        "authentication": "none" });
    let connection = cli.write("connection.json", &connection.to_string());
    let input = input(1).to_string();
    for command in [
        &["run", "witnessed", "--input", &input][..],
        &["runs", "cancel", run],
        &["runs", "resume", run],
        &["connection", "add", &connection],
        &["connection", "remove", "http", "--force"],
        &["flow", "add", &flow],
        &["flow", "remove", "witnessed"],
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        let refused = cli.run(&[command, &["--json"]].concat()).await;
        assert_eq!(refused.code, 1, "{command:?}: {refused:?}");
        let error = refused.error();
        assert_eq!(error["kind"], "store", "{command:?}: {error}");
        let text = error.to_string();
        assert!(text.contains("must be able to write") && text.contains("file"), "{command:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_a_read_only_file_system_is_read_and_not_changed() {
    let mut witness = Witness::start();
    let cli = Cli::default();
    let Some(disk) = Disk::mount(&cli.data(), 32 << 20) else { return };
    witness.connect(&cli).await;
    // A kill interrupts one run, so that there is something to change and a write-ahead log beside the file.
    let serve = Serve::start(&cli).await;
    let run = serve.run("witnessed", &input(60)).await;
    until("some effects", async || (witness.seen().len() > 20).then_some(())).await;
    serve.kill().await;
    let wal = cli.data().join("trunkline.db-wal");
    assert!(fs::metadata(&wal).is_ok_and(|wal| wal.len() > 0), "void");
    let mut before = Vec::new();
    for left in [true, false] {
        if !left {
            // A clean shutdown leaves no write-ahead log.
            cli.run(&["connection", "list"]).await.expect(0);
            assert!(!wal.exists(), "void");
        }
        disk.remount("ro");
        looks(&cli, &run).await;
        refuses(&cli, &run).await;
        disk.remount("rw");
        let shown = cli.run(&["runs", "show", &run, "--json"]).await.expect(0).json();
        before.push(shown["ledger"].clone());
    }
    assert_eq!(before[0], before[1]);
    let seen = witness.seen().len();
    // The outcome of a create that the kill interrupted may be unknown.
    let ended = cli.run(&["runs", "resume", &run, "--json"]).await;
    assert!([0, 4].contains(&ended.code), "no item is lost: {ended:?}");
    assert!(witness.seen().len() > seen);
}
