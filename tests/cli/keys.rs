//! `key rotate`: afterwards the new key opens everything and the old key nothing, and no process has to stop for it.

use std::{collections::BTreeMap, fs};

use serde_json::json;
use trunkline_sandbox::Options;
use trunkline_tests::{Cli, CommandOutput, few, finish, flow_input, sandbox, shipped_flow};

/// Returns names and contents of the files that hold data.
fn files(cli: &Cli) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(cli.data()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

async fn with_env(cli: &Cli, arguments: &[&str], env: &[(&str, &str)]) -> CommandOutput {
    finish(cli.command(arguments).envs(env.iter().copied()).spawn().unwrap()).await
}

#[tokio::test]
async fn a_key_is_rotated_while_a_run_is_active() {
    let options = Options { token_lifetime: std::time::Duration::from_secs(2), ..few(60) };
    let sandbox = sandbox(options).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    cli.run(&["connection", "check", "mediavalet"]).await.expect(0);
    let old = fs::read_to_string(cli.key_file()).unwrap();
    let (flow, input) = (shipped_flow(), flow_input(&sandbox).to_string());
    let run = cli.start(&["run", flow.to_str().unwrap(), "--input", &input, "--json"]);
    let mut rotated = Vec::new();
    for _ in 0..3 {
        rotated.push(cli.run(&["key", "rotate", "--json"]).await.expect(0).json());
    }
    let ended = finish(run).await.expect(0).json();
    assert_eq!(ended["status"], "succeeded", "{ended}");
    assert!(rotated.iter().all(|one| one["values"].as_u64().unwrap() >= 5 && one["resumed"] == false), "{rotated:?}");

    let text = cli.run(&["key", "rotate"]).await.expect(0).stdout;
    for words in ["values are now encrypted with the key", "Back up", "The old key is in", ".old"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let new = fs::read_to_string(cli.key_file()).unwrap();
    assert_eq!(new.lines().count(), 1);
    assert_ne!(new, old);

    // The old key alone opens nothing, and changes nothing.
    let before = files(&cli);
    let commands: [&[&str]; 4] =
        [&["connection", "check", "mediavalet"], &["runs"], &["key", "rotate"], &["connection", "export", "--all"]];
    for command in commands {
        let other =
            [("TRUNKLINE_KEY", old.trim()), ("TRUNKLINE_NEW_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")];
        let error = with_env(&cli, &[command, &["--json"]].concat(), &other).await.expect(1).error();
        assert_eq!(error["kind"], "config", "{error}");
        assert!(error["hint"].is_string(), "{error}");
        assert!(files(&cli) == before, "{command:?} changed the files");
    }
    let missing = cli.home().join("nowhere").display().to_string();
    let child = cli.command(&["key", "rotate", "--json"]).env_remove("TRUNKLINE_KEY").spawn().unwrap();
    finish(child).await.expect(0);
    let before = files(&cli);
    fs::rename(cli.key_file(), &missing).unwrap();
    assert_eq!(cli.run(&["key", "rotate", "--json"]).await.expect(1).error()["kind"], "config");
    assert!(files(&cli) == before && !cli.key_file().exists());
    fs::rename(&missing, cli.key_file()).unwrap();
    cli.run(&["connection", "check", "mediavalet"]).await.expect(0);
    cli.run(&["runs", "show", ended["id"].as_str().unwrap()]).await.expect(0);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_key_in_the_environment_is_rotated_with_a_second_variable() {
    let cli = Cli::default();
    let (old, new) = ("1".repeat(64), "2".repeat(64));
    let (is_old, is_new) = (("TRUNKLINE_KEY", old.as_str()), ("TRUNKLINE_KEY", new.as_str()));
    let document = json!({
        "name": "dam", "connector": "mediavalet-v1.0", "authentication": "oauth2", "flows": "client_credentials",
        "subscriptionKey": "k", "clientId": "id", "clientSecret": "s"
    });
    let file = cli.write("dam.json", &document.to_string());
    let rotate = ["key", "rotate", "--json"];
    let error = with_env(&cli, &rotate, &[is_old, ("TRUNKLINE_NEW_KEY", &new)]).await.expect(1).error();
    assert_eq!(error["kind"], "not_found", "{error}");
    with_env(&cli, &["connection", "add", &file], &[is_old]).await.expect(0);

    // Without a new key, with the old key again, with an invalid key, and with a key file.
    for (env, words) in [
        (vec![is_old], "TRUNKLINE_NEW_KEY"),
        (vec![is_old, ("TRUNKLINE_NEW_KEY", &old)], "TRUNKLINE_NEW_KEY"),
        (vec![is_old, ("TRUNKLINE_NEW_KEY", "short")], "openssl rand"),
        (vec![("TRUNKLINE_NEW_KEY", &new)], "unset TRUNKLINE_NEW_KEY"),
    ] {
        let before = files(&cli);
        let error = with_env(&cli, &rotate, &env).await.expect(1).error();
        assert!(error["hint"].as_str().unwrap().contains(words), "{words}: {error}");
        assert!(files(&cli) == before, "{words}");
    }
    let change = [is_old, ("TRUNKLINE_NEW_KEY", new.as_str())];
    let rotated = with_env(&cli, &rotate, &change).await.expect(0).json();
    assert_eq!((&rotated["values"], &rotated["retired"]), (&json!(2), &json!([])));
    // A second rotation, as after an interruption, has nothing left to do.
    assert_eq!(with_env(&cli, &rotate, &change).await.expect(0).json()["values"], 0);
    let list = ["connection", "list", "--json"];
    assert_eq!(with_env(&cli, &list, &[is_old]).await.expect(1).error()["kind"], "config");
    assert_eq!(with_env(&cli, &list, &[is_new]).await.expect(0).json()[0]["name"], "dam");
    assert!(!cli.key_file().exists());
}
