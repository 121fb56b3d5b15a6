//! Lost, exchanged or damaged files: an error with a hint, never a panic, and never a new key for an existing store.

use std::fs;

use serde_json::json;
use trunkline_tests::{Cli, Dice, fixture, serve::Serve};

/// Returns a command line whose store has a connection and a run.
async fn used() -> Cli {
    let cli = Cli::default();
    cli.add(&json!({
        "name": "dam", "connector": "mediavalet-v1.0", "authentication": "oauth2", "flows": "client_credentials",
        "subscriptionKey": "k", "clientId": "id", "clientSecret": "s"
    }))
    .await;
    let file = fixture("mixed.json");
    let run = ["run", file.to_str().unwrap(), "--input", "{\"numbers\": [2, 4, 6]}"];
    cli.run(&run).await.expect(0);
    cli
}

#[tokio::test]
async fn another_key_opens_nothing_and_changes_nothing() {
    let cli = used().await;
    let key = fs::read(cli.key_file()).unwrap();
    let database = fs::read(cli.data().join("trunkline.db")).unwrap();

    let other = Cli::default();
    other.run(&["runs"]).await.expect(0);
    fs::copy(other.key_file(), cli.key_file()).unwrap();
    let error = cli.run(&["connection", "list", "--json"]).await.expect(1).error();
    assert_eq!(error["kind"], "config", "{error}");
    assert!(error["hint"].is_string());

    fs::write(cli.key_file(), "not a key").unwrap();
    assert_eq!(cli.run(&["runs", "--json"]).await.expect(1).error()["kind"], "config");

    fs::remove_file(cli.key_file()).unwrap();
    let error = cli.run(&["runs", "--json"]).await.expect(1).error();
    assert!(error["message"].as_str().unwrap().contains("missing"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("backup"), "{error}");
    assert!(!cli.key_file().exists(), "an existing store never gets a new key");
    assert_eq!(fs::read(cli.data().join("trunkline.db")).unwrap(), database);

    let child = cli.command(&["runs", "--json"]).env("TRUNKLINE_KEY", "c2hvcnQ=").spawn().unwrap();
    let error = trunkline_tests::finish(child).await.expect(1).error();
    assert_eq!(error["kind"], "config", "{error}");
    let child = cli.command(&["runs"]).env("TRUNKLINE_KEY", String::from_utf8(key).unwrap().trim()).spawn().unwrap();
    trunkline_tests::finish(child).await.expect(0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let cli = used().await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&cli.key_file()), mode(&cli.data())), (0o600, 0o700), "only the owner has access");
    fs::set_permissions(cli.key_file(), fs::Permissions::from_mode(0o644)).unwrap();
    let error = cli.run(&["runs", "--json"]).await.expect(1).error();
    assert!(error["hint"].as_str().unwrap().contains("chmod 600"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_not_a_store_is_not_changed() {
    let cli = used().await;
    let database = cli.data().join("trunkline.db");
    for leftover in ["trunkline.db-wal", "trunkline.db-shm"] {
        let _ = fs::remove_file(cli.data().join(leftover));
    }
    for content in [&b"this is a diary, not a database"[..], &[0; 8192], b"SQLite format 3\0 and then nonsense"] {
        fs::write(&database, content).unwrap();
        for command in
            [&["runs", "--json"][..], &["connection", "list", "--json"], &["connection", "show", "dam", "--json"]]
        {
            let error = cli.run(command).await.expect(1).error();
            assert_eq!(error["kind"], "store", "{error}");
            assert!(error["hint"].is_string(), "{error}");
        }
        assert_eq!(fs::read(&database).unwrap(), content);
    }
}

#[tokio::test]
async fn a_damaged_store_never_panics() {
    let cli = used().await;
    let database = cli.data().join("trunkline.db");
    let good = fs::read(&database).unwrap();
    let mut dice = Dice::default();
    let mut refused = 0;
    for round in 0..24 {
        let mut bad = good.clone();
        if round % 3 == 0 {
            bad.truncate(dice.roll(1, good.len() as u64) as usize);
        } else {
            for _ in 0..(1 << (round / 2)) {
                let at = dice.roll(0, good.len() as u64) as usize;
                bad[at] = dice.roll(0, 256) as u8;
            }
        }
        fs::write(&database, &bad).unwrap();
        for leftover in ["trunkline.db-wal", "trunkline.db-shm"] {
            let _ = fs::remove_file(cli.data().join(leftover));
        }
        for command in [
            &["runs", "list", "--json"][..],
            &["runs", "show", "", "--json"],
            &["connection", "show", "dam", "--json"],
            &["runs", "resume", "", "--json"],
        ] {
            let answer = cli.run(command).await;
            assert!(!answer.stderr.contains("panicked"), "round {round}: {}", answer.stderr);
            // Damage in a page that is not read has no effect.
            assert!(answer.code == 0 || answer.code == 1, "round {round}: {answer:?}");
            if answer.code == 1 {
                refused += 1;
                answer.error();
            }
        }
    }
    assert!(refused > 30, "{refused}");
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_created_is_an_error() {
    let cli = Cli::default();
    fs::write(cli.data(), "a file in its place").unwrap();
    let error = cli.run(&["runs", "--json"]).await.expect(1).error();
    assert_eq!(error["kind"], "store", "{error}");
    assert!(error["hint"].is_string(), "{error}");
}

/// What is spent by use must not exist twice: a copy is read, and starts nothing until it is adopted.
#[tokio::test]
async fn a_copied_data_directory_starts_nothing_until_it_is_adopted() {
    let (cli, copy) = (used().await, Cli::default());
    copy.run(&["runs"]).await.expect(0);
    for (from, to) in [(cli.key_file(), copy.key_file()), (cli.data().join("trunkline.db"), copy.data().join("copy"))] {
        fs::copy(from, to).unwrap();
    }
    fs::rename(copy.data().join("copy"), copy.data().join("trunkline.db")).unwrap();
    fs::remove_file(copy.data().join("commits/last")).unwrap();
    copy.run(&["connection", "show", "dam"]).await.expect(0);
    let file = fixture("mixed.json");
    let run = ["run", file.to_str().unwrap(), "--input", "{\"numbers\": [2]}", "--json"];
    for command in [&run[..], &["serve", "--listen", "127.0.0.1:0", "--json"]] {
        let error = copy.run(command).await.expect(1).error();
        assert!(error["message"].as_str().unwrap().contains("is a copy"), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("store adopt"), "{error}");
    }
    copy.run(&["store", "adopt"]).await.expect(0);
    copy.run(&run).await.expect(0);
}

/// A damaged row hides no other entry of a list, and stops no other trigger.
#[tokio::test]
async fn a_damaged_entry_is_listed_beside_the_others_and_can_be_removed() {
    let cli = used().await;
    for name in ["one", "three", "two"] {
        let flow = json!({ "name": name, "trigger": { "schedule": { "cron": "@yearly" } }, "steps": [] });
        cli.run(&["flow", "add", &cli.write("flow.json", &flow.to_string()), "--activate"]).await.expect(0);
    }
    let lists = async |code: i32| {
        let flows = cli.run(&["flow", "list"]).await.expect(code);
        let json = cli.run(&["flow", "list", "--json"]).await.expect(code).json();
        (flows, json, cli.run(&["connection", "list"]).await.expect(code))
    };
    // The twin: the rows as they were written.
    let (_, json, _) = lists(0).await;
    assert_eq!((&json[0]["active"], &json[0]["damaged"]), (&json!(true), &json!(null)));
    let sqlite = rusqlite::Connection::open(cli.data().join("trunkline.db")).unwrap();
    let edits = "UPDATE kept_flows SET updated_at = 1 WHERE name = 'one'; UPDATE connections SET connector = 'x';
        UPDATE flows SET document = '{}' WHERE version = (SELECT version FROM kept_flows WHERE name = 'three')";
    sqlite.execute_batch(edits).unwrap();
    drop(sqlite);
    let (flows, json, connections) = lists(3).await;
    assert!(flows.stdout.contains("damaged") && flows.stdout.contains("two"), "{flows:?}");
    assert!(flows.stderr.contains("the row one of the table kept_flows is damaged"), "{flows:?}");
    assert!(flows.stderr.contains("2 of 3 flows cannot be read"), "{flows:?}");
    assert!(json[1]["damaged"].as_str().unwrap().contains("of the table flows is damaged"), "{json}");
    assert!(json[0]["damaged"].is_string() && json[2]["damaged"].is_null() && json[2]["active"] == true, "{json}");
    assert!(connections.stderr.contains("the row dam of the table connections is damaged"), "{connections:?}");
    let serve = Serve::start(&cli).await;
    for _ in 0..100 {
        if serve.get("/health").await.1["findings"] == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let (status, health) = serve.get("/health").await;
    assert_eq!((status, &health["findings"]), (200, &json!(2)), "{health}");
    drop(serve);
    for name in ["one", "three"] {
        cli.run(&["flow", "remove", name]).await.expect(0);
    }
    cli.run(&["connection", "remove", "dam", "--force"]).await.expect(0);
    lists(0).await;
}
