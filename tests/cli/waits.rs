//! A run that waits for a signal: other processes see it, send the signal, and resume the run after a kill.

use serde_json::{Value, json};
use trunkline_tests::{Cli, fixture, milliseconds, until};

fn path(name: &str) -> String {
    fixture(name).to_string_lossy().into_owned()
}

/// Returns the run as soon as it waits.
async fn waiting(cli: &Cli) -> Value {
    until("the run waits", async || {
        let list = cli.run(&["runs", "list", "--json"]).await.expect(0).json()["items"].take();
        let id = list[0]["id"].as_str()?.to_owned();
        let run = cli.run(&["runs", "show", &id, "--json"]).await.expect(0).json();
        run["waiting"].is_object().then_some(run)
    })
    .await
}

#[tokio::test]
async fn a_waiting_run_keeps_its_signal_across_a_kill_and_continues_with_a_called_flow() {
    let cli = Cli::default();
    let run = ["run", &path("approved.json"), "--input", "{\"numbers\": [1, 2, 3, 7, 8]}", "--json"];
    let mut child = cli.start(&run);
    let run = waiting(&cli).await;
    let id = run["id"].as_str().unwrap();
    assert_eq!(run["waiting"]["approval"]["signal"], "approved");
    let before = milliseconds(&run["waiting"]["approval"]["until"]);
    assert_eq!((before - milliseconds(&run["started_at"])) / 10_000, 3 * 24 * 360, "three days");
    let shown = cli.run(&["runs", "show", id]).await.expect(0).stdout;
    assert!(shown.contains(&format!("`trunkline runs signal {id} approved` sends it")), "{shown}");

    child.kill().await.unwrap();
    let signal = |name: &'static str| {
        ["runs", "signal", id, name, "--payload", "{\"by\": \"Åsa\"}", "--json"].map(str::to_owned)
    };
    let sent = async |name: &'static str| {
        let arguments = signal(name);
        cli.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    let report = sent("approved").await.expect(0).json();
    assert_eq!(report, json!({ "signalled": id, "name": "approved", "working": false }));
    assert_eq!(sent("approved").await.expect(1).error()["kind"], "conflict");

    let ended = cli.run(&["runs", "resume", id, "--json"]).await.expect(4).json();
    assert_eq!(ended["output"], json!({ "by": "Åsa", "done": 3 }), "{ended}");
    assert_eq!(ended["ledger"]["work/numbers"]["failed"], json!({ "a seven among 2": 2 }));
    assert_eq!((&ended["waiting"], ended["calls"].as_object().unwrap().len()), (&Value::Null, 1));
    assert_eq!(sent("late").await.expect(1).error()["kind"], "conflict");

    // The payload of the signal is encrypted in the store.
    let found = std::fs::read_dir(cli.data()).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains("Åsa")
    });
    assert!(!found);
}

#[tokio::test]
async fn an_active_run_receives_a_signal_from_another_process() {
    let cli = Cli::default();
    let child = cli.start(&["run", &path("approved.json"), "--input", "{\"numbers\": [1]}", "--json"]);
    let run = waiting(&cli).await;
    let report =
        cli.run(&["runs", "signal", run["id"].as_str().unwrap(), "approved", "--payload", "{\"by\": 1}"]).await;
    assert!(report.expect(0).stdout.contains("Sent the signal approved to run"));
    let ended = trunkline_tests::finish(child).await.expect(0).json();
    assert_eq!(ended["output"], json!({ "by": 1, "done": 1 }));
}

#[tokio::test]
async fn called_flows_are_found_beside_their_caller_as_json_or_yaml() {
    let cli = Cli::default();
    cli.run(&["flow", "validate", &path("approved.json")]).await.expect(0);
    cli.run(&["flow", "validate", &path("approval.yaml")]).await.expect(0);
    let main = cli.write("main.json", "{\"name\": \"main\", \"steps\": [\n  {\"id\": \"s\", \"call\": \"other\"}]}");
    let report = cli.run(&["flow", "validate", &main, "--json"]).await.expect(3).json();
    let found = &report["findings"][0];
    assert_eq!((&found["pointer"], &found["place"]["line"]), (&json!("/steps/0/call"), &json!(2)), "{report}");
    assert!(found["hint"].as_str().unwrap().contains("NAME.yaml"), "{report}");

    let other = cli.write("other.yaml", "name: other\nsteps:\n  - {id: s, fail: from yaml, extra: 1}\n");
    let report = cli.run(&["flow", "validate", &main, "--json"]).await.expect(3).json();
    assert_eq!(
        (&report["findings"][0]["place"]["file"], &report["findings"][0]["place"]["line"]),
        (&json!(other), &json!(3))
    );
    assert_eq!(cli.run(&["run", &main, "--json"]).await.expect(1).error()["kind"], "config");

    cli.write("other.yaml", "name: other\nsteps:\n  - {id: s, fail: from yaml}\n");
    let ended = cli.run(&["run", &main, "--json"]).await.expect(5).json();
    assert_eq!((&ended["error"]["message"], &ended["error"]["context"]["step"]), (&json!("from yaml"), &json!("s/s")));
}
