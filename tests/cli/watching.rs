//! Watching runs: from another process, while they run and afterwards.

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use trunkline_sandbox::{Faults, Options};
use trunkline_tests::{Cli, few, finish, fixture, flow_input, sandbox, shipped_flow, until};

fn path(file: std::path::PathBuf) -> String {
    file.to_string_lossy().into_owned()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_run_is_followed_from_another_process_to_its_end() {
    let faults = Faults { latency: Duration::from_millis(40), ..Faults::default() };
    let sandbox = sandbox(Options { faults, ..few(30) }).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    let (file, input) = (path(shipped_flow()), flow_input(&sandbox).to_string());
    let child = cli.start(&["run", &file, "--input", &input, "--json"]);
    let id = until("the run", async || {
        let list = cli.run(&["runs", "list", "--json"]).await.expect(0).json()["items"].take();
        Some(list[0]["id"].as_str()?.to_owned())
    });
    let id = id.await;
    let mut tail = cli.command(&["runs", "tail", &id, "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(tail.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&output.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!((&first["seq"], &first["event"]), (&json!(1), &json!("started")));
    // The progress of an active run is visible from other processes.
    let far = until("progress", async || {
        let shown = cli.run(&["runs", "show", &id, "--json"]).await.expect(0).json();
        (shown["progress"]["files"]["ended"].as_u64()? > 0 || shown["status"] != "running").then_some(shown)
    });
    let far = far.await;
    assert_eq!((&far["status"], &far["progress"]["files"]["listed"]), (&json!("running"), &json!(30)), "{far}");
    assert!(far["progress"]["files"]["per_second"].is_f64(), "{far}");
    let mut all = vec![first];
    while let Some(line) = output.next_line().await.unwrap() {
        all.push(serde_json::from_str(&line).unwrap());
    }
    assert_eq!(finish(tail).await.code, 0);
    let run = finish(child).await.expect(0).json();
    assert!(all.iter().map(|one| one["seq"].as_u64().unwrap()).eq(1..=all.len() as u64), "none is missing or twice");
    assert_eq!(all.last().unwrap()["status"], run["status"]);
    let items = all.iter().filter(|one| one["event"] == "item_finished" && one["step"] == "files").count();
    assert_eq!(items, 30);
    let asset = all.iter().find(|one| one["event"] == "step_finished" && one["step"] == "files/*/asset").unwrap();
    assert!(asset["item"].is_string() && asset["attempt"] == 1 && asset["took"].is_u64(), "{asset}");
    assert!(all.iter().all(|one| one.get("output").is_none() && one.get("input").is_none()));

    // After the end the events are the same, and can be read from a sequence number on.
    let again = cli.run(&["runs", "tail", &id[..8], "--json"]).await.expect(0);
    assert_eq!(lines(&again.stdout), all);
    let rest = cli.run(&["runs", "tail", &id, "--json", "--after", "20"]).await.expect(0);
    assert_eq!(lines(&rest.stdout), all[20..]);
    let text = cli.run(&["runs", "tail", &id]).await.expect(0).stdout;
    assert_eq!(text.lines().count(), all.len(), "one line per event");
    let item = asset["item"].as_str().unwrap();
    assert!(text.contains(&format!("Z  files/*/asset [{item}]  done in ")), "{text}");
    assert!(text.lines().last().unwrap().ends_with("the run ended: succeeded"), "{text}");

    let timeline = cli.run(&["runs", "timeline", &id, "--json"]).await.expect(0).json();
    let files = &timeline["steps"][0];
    assert_eq!((&files["step"], &files["items"]["count"]), (&json!("files"), &json!({ "done": 30 })), "{timeline}");
    assert_eq!(files["items"]["slowest"].as_array().unwrap().len(), 5);
    let text = cli.run(&["runs", "timeline", &id]).await.expect(0).stdout;
    assert!(text.contains("files: 30 done; an item took ") && text.contains("files/*/asset"), "{text}");
    sandbox.stop().await;
}

#[tokio::test]
async fn the_exit_code_of_a_tail_shows_how_the_run_ended() {
    let cli = Cli::default();
    let file = path(fixture("mixed.json"));
    for (numbers, code) in [("[2, 4]", 0), ("[1, 2]", 4), ("[]", 5)] {
        cli.run(&["run", &file, "--input", &format!("{{\"numbers\": {numbers}}}")]).await.expect(code);
        let id = cli.run(&["runs", "--json"]).await.json()["items"][0]["id"].as_str().unwrap().to_owned();
        let output = cli.run(&["runs", "tail", &id]).await.expect(code).stdout;
        assert!(output.contains("started: mixed, version "), "{output}");
    }
    let error = cli.run(&["runs", "tail", "zzz", "--json"]).await.expect(1).error();
    assert_eq!(error["kind"], "not_found");
    let error = cli.run(&["runs", "timeline", "zzz", "--json"]).await.expect(1).error();
    assert_eq!(error["kind"], "not_found");
}

#[cfg(unix)]
#[tokio::test]
async fn an_interrupted_tail_does_not_stop_the_run() {
    let cli = Cli::default();
    let waits = json!({ "name": "waits", "steps": [{ "id": "ok", "wait": { "signal": "go" } }] });
    let file = cli.write("waits.json", &waits.to_string());
    let child = cli.start(&["run", &file, "--json"]);
    let id = until("the wait", async || {
        let list = cli.run(&["runs", "list", "--json"]).await.expect(0).json()["items"].take();
        Some(list[0]["id"].as_str()?.to_owned())
    });
    let id = id.await;
    let mut tail = cli.command(&["runs", "tail", &id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(tail.stdout.take().unwrap()).lines();
    while !output.next_line().await.unwrap().unwrap().contains("  ok  waits for the signal go until ") {}
    let pid = tail.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(finish(tail).await.code, 130);
    cli.run(&["runs", "signal", &id, "go"]).await.expect(0);
    assert_eq!(finish(child).await.expect(0).json()["status"], "succeeded");
}

#[tokio::test]
async fn calls_are_logged_as_the_flow_configures_and_shown_without_secrets() {
    let sandbox = sandbox(few(3)).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    let flow = |name: &str, log: Option<&str>| {
        let mut flow = json!({
            "name": name, "connections": { "dam": "mediavalet" },
            "steps": [
                { "id": "who", "action": "user.current", "connection": "dam" },
                { "id": "all", "each": ["a", "b"], "key": "{{ item }}", "steps": [
                    { "id": "gone", "action": "asset.get", "connection": "dam", "on_error": "continue",
                      "input": { "assetId": "00000000-0000-0000-0000-00000000000{{ 1 if item == 'a' else 2 }}" } }
                ] }
            ]
        });
        log.into_iter().for_each(|log| flow["log"] = log.into());
        cli.write(&format!("{name}.json"), &flow.to_string())
    };
    let run = async |name: &str, log: Option<&str>| -> String {
        let run = cli.run(&["run", &flow(name, log), "--json"]).await.expect(0).json();
        run["id"].as_str().unwrap().to_owned()
    };
    let id = run("failures", None).await;
    let output = lines(&cli.run(&["runs", "log", &id[..8], "--json"]).await.expect(0).stdout);
    let items: Vec<_> =
        output.iter().map(|one| (one["step"].as_str().unwrap(), one["item"].as_str().unwrap())).collect();
    assert_eq!(items, [("all/*/gone", "a"), ("all/*/gone", "b")]);
    assert_eq!(
        (&output[0]["number"], &output[0]["attempt"], &output[0]["error"]["kind"]),
        (&json!(1), &json!(1), &json!("not_found"))
    );
    assert_eq!(output[1]["input"]["assetId"], "00000000-0000-0000-0000-000000000002");
    let text = cli.run(&["runs", "log", &id]).await.expect(0).stdout;
    assert!(
        text.contains("all/*/gone [b], attempt 1: asset.get on mediavalet, ") && text.contains("  error: {"),
        "{text}"
    );

    let id = run("all", Some("all")).await;
    let output = lines(&cli.run(&["runs", "log", &id, "--json"]).await.expect(0).stdout);
    assert_eq!((output.len(), &output[0]["step"]), (3, &json!("who")));
    assert!(output[0]["output"].is_object(), "{}", output[0]);
    for step in ["who", "gone", "all/*/gone", "all/b/gone"] {
        let some = lines(&cli.run(&["runs", "log", &id, "--step", step, "--json"]).await.expect(0).stdout);
        assert_eq!(some.len(), if step == "gone" || step.contains('*') { 2 } else { 1 }, "{step}");
    }
    let id = run("none", Some("none")).await;
    let none = cli.run(&["runs", "log", &id]).await.expect(0);
    assert!(none.stdout.is_empty() && none.stderr.contains("no calls are logged"), "{none:?}");
    assert_eq!(cli.run(&["runs", "log", "zzz", "--json"]).await.expect(1).error()["kind"], "not_found");
    sandbox.stop().await;
}

#[tokio::test]
async fn the_log_of_a_process_can_be_lines_of_json() {
    let cli = Cli::default();
    let file = path(fixture("mixed.json"));
    let run = ["run", &file, "--input", "{\"numbers\": [2, 40]}", "--log", "info", "--log-format", "json"];
    let output = cli.run(&run).await.expect(0).stderr;
    let found: Vec<_> = output.lines().filter(|line| line.starts_with('{')).map(|line| lines(line).remove(0)).collect();
    let skipped = found.iter().find(|line| line["fields"]["message"] == "skipped: too large").unwrap();
    assert_eq!((&skipped["fields"]["item"], &skipped["spans"][0]["flow"]), (&json!("40"), &json!("mixed")), "{output}");
}
