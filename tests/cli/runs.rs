//! `flow validate`, `run`, `runs`: a run as seen from the process that works on it and from other processes.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_sandbox::{Faults, Options};
use trunkline_tests::{Cli, document, few, finish, fixture, flow_input, sandbox, shipped_flow, until};

fn path(file: std::path::PathBuf) -> String {
    file.to_string_lossy().into_owned()
}

#[tokio::test]
async fn a_valid_flow_has_no_findings() {
    let cli = Cli::default();
    let file = path(shipped_flow());
    let report = cli.run(&["flow", "validate", &file, "--json"]).await.expect(0).json();
    assert_eq!(report, json!({ "file": file, "ok": true, "errors": 0, "warnings": 0, "findings": [] }));
    assert!(cli.run(&["flow", "validate", &file]).await.expect(0).stdout.contains("is valid"));
    let text = std::fs::read_to_string(shipped_flow()).unwrap();
    assert_eq!(cli.pipe(&["flow", "validate", "-", "--json"], &text).await.expect(0).json()["ok"], true);
}

#[tokio::test]
async fn every_fault_of_a_flow_is_reported_with_line_and_column() {
    let cli = Cli::default();
    let file = path(fixture("broken.json"));
    let report = cli.run(&["flow", "validate", &file, "--json"]).await.expect(3).json();
    let findings = report["findings"].as_array().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    // The fixture marks its faulty lines.
    for (pointer, marked) in [
        ("/steps/0/concurrency", "\"concurrency\": 0"),
        ("/steps/1/connection", "\"nowhere\""),
        ("/steps/2/actoin", "\"actoin\""),
    ] {
        let found = findings.iter().find(|one| one["pointer"] == pointer);
        let found = found.unwrap_or_else(|| panic!("{pointer} in {report}"));
        let line = 1 + text.lines().position(|line| line.contains(marked)).unwrap();
        assert_eq!(found["place"]["file"], file);
        // An unknown or missing member is reported at the start of its step or at its own place.
        let said = found["place"]["line"].as_u64().unwrap() as usize;
        assert!(said == line, "{pointer}: line {said} instead of {line}");
        assert!(found["place"]["column"].as_u64().unwrap() > 0);
    }
    let shown = cli.run(&["flow", "validate", &file]).await.expect(3).stdout;
    for found in findings {
        let (place, pointer) = (&found["place"], found["pointer"].as_str().unwrap());
        let said = format!("error: {file}:{}:{}: {pointer}: ", place["line"], place["column"]);
        let hint = format!("  next: {}", found["hint"].as_str().unwrap());
        assert!(shown.contains(&said) && shown.contains(&hint), "{said} in {shown}");
    }
    let errors = findings.len();
    assert!(shown.ends_with(&format!("{file} cannot run: {errors} errors, 0 warnings.\n")), "{shown}");
    assert_eq!((&report["errors"], &report["warnings"]), (&json!(errors), &json!(0)));
    // An invalid flow is not run.
    let error = cli.run(&["run", &file, "--json"]).await.expect(1).error();
    assert_eq!(error["kind"], "config", "{error}");
    assert_eq!(cli.run(&["runs", "--json"]).await.expect(0).json()["items"], json!([]));

    let report = cli.pipe(&["flow", "validate", "-", "--json"], "{\n  \"name\": x\n}").await.expect(3).json();
    assert_eq!((&report["findings"][0]["place"]["line"], &report["ok"]), (&json!(2), &json!(false)), "{report}");
    cli.run(&["flow", "validate", "/no/such/flow.json"]).await.expect(1);
}

/// All commands about lists and removals, on one store.
#[tokio::test]
async fn ended_runs_are_listed_removed_and_their_space_is_given_back() {
    let cli = Cli::default();
    let flow = cli.write("nap.json", r#"{ "name": "nap", "steps": [{ "id": "a", "set": { "b": 1 } }] }"#);
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(cli.run(&["run", &flow, "--json"]).await.expect(0).json()["id"].as_str().unwrap().to_owned());
    }
    let page = cli.run(&["runs", "--status", "succeeded", "--search", "NAP", "--limit", "2", "--json"]).await;
    let page = page.expect(0).json();
    assert_eq!((&page["items"][0]["id"], page["items"].as_array().unwrap().len()), (&json!(runs[2]), 2), "{page}");
    let next = page["next"].as_str().unwrap();
    let rest = cli.run(&["runs", "list", "--cursor", next]).await.expect(0).stdout;
    assert!(rest.contains(&runs[0]) && !rest.contains(&runs[1]), "{rest}");
    let more = cli.run(&["runs", "--limit", "1"]).await.expect(0);
    assert!(more.stderr.contains("--cursor"), "{}", more.stderr);
    assert!(cli.run(&["runs", "--since", "1h", "--status", "failed"]).await.expect(0).stdout.lines().count() <= 2);
    cli.run(&["runs", "--status", "ended"]).await.expect(2);
    assert_eq!(cli.run(&["runs", "--search", " ", "--json"]).await.expect(1).error()["kind"], "invalid_input");

    let removed = cli.run(&["runs", "remove", &runs[0], &runs[1], "--json"]).await.expect(0).json();
    assert_eq!(removed["removed"], json!(runs[..2]));
    assert_eq!(cli.run(&["runs", "show", &runs[0], "--json"]).await.expect(1).error()["kind"], "not_found");
    assert_eq!(cli.run(&["runs", "prune", "--older", "1d"]).await.expect(0).stdout, "Removed 0 runs.\n");
    assert_eq!(cli.run(&["store", "retention", "--json"]).await.expect(0).json(), json!({ "retention": "90d" }));
    cli.run(&["store", "retention", "12 weeks"]).await.expect(0);
    let kept = cli.run(&["store", "retention"]).await.expect(0).stdout;
    assert_eq!(kept, "Ended runs are kept for 84d; `serve` removes older ones.\n");
    let compacted = cli.run(&["store", "compact", "--json"]).await.expect(0).json();
    assert!(compacted["after"].as_u64() <= compacted["before"].as_u64(), "{compacted}");
    assert_eq!(cli.run(&["runs", "--json"]).await.expect(0).json()["items"][0]["id"], json!(runs[2]));
}

#[tokio::test]
async fn a_flow_with_warnings_only_can_run() {
    let cli = Cli::default();
    let text = std::fs::read_to_string(fixture("mixed.json")).unwrap();
    let text = text.replace("\"input\": {", "\"connections\": { \"spare\": \"http\" },\n  \"input\": {");
    let report = cli.pipe(&["flow", "validate", "-", "--json"], &text).await.expect(0).json();
    assert_eq!((&report["ok"], &report["errors"], &report["warnings"]), (&json!(true), &json!(0), &json!(1)));
    let shown = cli.pipe(&["flow", "validate", "-"], &text).await.expect(0).stdout;
    assert!(
        shown.contains("warning: standard input:5:29: /connections/spare")
            && shown.ends_with("standard input can run: 1 warning.\n"),
        "{shown}"
    );
}

#[tokio::test]
async fn the_filters_of_expressions_are_listed_with_examples() {
    let cli = Cli::default();
    let report = cli.run(&["flow", "filters", "--json"]).await.expect(0).json();
    let all = report.as_array().unwrap();
    let unit = all.iter().find(|one| one["name"] == "unit").unwrap();
    assert_eq!(unit["arguments"][0]["name"], "from");
    assert!(all.len() > 20 && all.iter().all(|one| !one["examples"].as_array().unwrap().is_empty()));
    let shown = cli.run(&["flow", "filters"]).await.expect(0).stdout;
    for filter in all {
        assert!(shown.contains(filter["about"].as_str().unwrap()), "{filter}");
    }
    assert!(shown.contains("date(format, zone?, from?)") && shown.contains("{{ 100 | unit('C', 'F') }}  yields 212"));
}

#[tokio::test]
async fn references_of_a_flow_are_checked_against_the_connectors() {
    let cli = Cli::default();
    let report = cli.run(&["flow", "validate", &path(fixture("unknown.json")), "--json"]).await.expect(3).json();
    let all = report["findings"].to_string();
    for words in ["folder.filez", "did you mean folder.files?", "nosuch", "/steps/0/each/action"] {
        assert!(all.contains(words), "{words} in {all}");
    }
}

#[tokio::test]
async fn a_run_binds_its_connections_itself_or_by_option() {
    let sandbox = sandbox(few(6)).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    let (file, input) = (path(shipped_flow()), flow_input(&sandbox).to_string());
    let run = ["run", &file, "--input", &input];
    let first = cli.run(&[&run[..], &["--json"]].concat()).await.expect(0).json();
    assert_eq!((&first["status"], &first["ledger"]["files"]["done"]), (&json!("succeeded"), &json!(6)), "{first}");
    assert_eq!(first["connections"], json!({ "source": "mediaflow", "target": "mediavalet" }));

    // Two connections fit now, so one has to be chosen.
    let mut second = document(&sandbox, "mediaflow");
    second["name"] = "archive".into();
    cli.add(&second).await;
    let error = cli.run(&[&run[..], &["--json"]].concat()).await.expect(1).error();
    assert!(error["hint"].as_str().unwrap().contains("--connection source=NAME"), "{error}");
    let by_hand = ["--connection", "source=archive", "--json"];
    let again = cli.run(&[&run[..], &by_hand].concat()).await.expect(0).json();
    assert_eq!(again["connections"]["source"], "archive");
    assert_eq!(again["ledger"]["files"]["skipped"], json!({ "already in MediaValet": 6 }));
    assert_eq!(again["version"], first["version"], "the same document is the same version");

    // Faults of the command, not of the flow.
    for (more, words) in [
        (&["--connection", "source=mediavalet"][..], "needs one to mediaflow"),
        (&["--connection", "source=archive", "--connection", "third=archive"], "no connection binding third"),
        (&["--connection", "source=nothing"], "nothing"),
    ] {
        let error = cli.run(&[&run[..], more, &["--json"]].concat()).await.expect(1).error();
        assert!(error["message"].as_str().unwrap().contains(words), "{words} in {error}");
    }
    let short = ["run", &file, "--input", "{\"folder\": \"x\"}", "--connection", "source=archive", "--json"];
    let error = cli.run(&short).await.expect(1).error();
    for pointer in ["/folder", "/category"] {
        assert!(error["message"].as_str().unwrap().contains(pointer), "{pointer} in {error}");
    }
    assert_eq!((sandbox.report().duplicates, sandbox.report().uploaded), (0, 6));

    // Newest first, and the first digits are enough.
    let list = cli.run(&["runs", "list", "--json"]).await.expect(0).json()["items"].take();
    assert_eq!(list.as_array().unwrap().len(), 2, "a refused command starts no run: {list}");
    assert_eq!((&list[0]["id"], &list[1]["id"]), (&again["id"], &first["id"]));
    assert_eq!(list[1]["items"]["done"], 6);
    let id = first["id"].as_str().unwrap();
    let shown = cli.run(&["runs", "show", &id[..11], "--json"]).await.expect(0).json();
    assert_eq!((&shown["id"], &shown["ledger"]), (&first["id"], &first["ledger"]));
    let text = cli.run(&["runs", "show", id]).await.expect(0).stdout;
    assert!(text.contains("succeeded") && text.contains("files: 6 items"), "{text}");
    assert!(cli.run(&["runs"]).await.expect(0).stdout.contains(id));
    sandbox.stop().await;
}

#[tokio::test]
async fn an_interrupted_run_prints_how_to_resume_it() {
    let cli = Cli::default();
    let answer = cli.run(&["run", &path(fixture("mixed.json")), "--input", "{\"numbers\": [2, 4]}"]).await.expect(0);
    let id = cli.run(&["runs", "--json"]).await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    assert!(answer.stderr.contains(&format!("trunkline runs resume {id}")), "{}", answer.stderr);
    assert!(answer.stdout.contains("2  done"), "{}", answer.stdout);
}

#[tokio::test]
async fn the_exit_code_shows_how_the_run_ended() {
    let cli = Cli::default();
    let file = path(fixture("mixed.json"));
    let run = async |numbers: &str, code: i32| -> Value {
        let input = format!("{{\"numbers\": {numbers}}}");
        cli.run(&["run", &file, "--input", &input, "--json"]).await.expect(code).json()
    };
    let good = run("[2, 4, 6]", 0).await;
    assert_eq!((&good["status"], &good["ledger"]["numbers"]["done"]), (&json!("succeeded"), &json!(3)));
    let partial = run("[1, 2, 3, 40]", 4).await;
    assert_eq!(partial["status"], "partial");
    assert_eq!(partial["ledger"]["numbers"]["skipped"], json!({ "too large": 1 }));
    assert_eq!(partial["ledger"]["numbers"]["failed"].as_object().unwrap().values().next(), Some(&json!(2)));
    let failed = run("[]", 5).await;
    assert_eq!((&failed["status"], &failed["error"]["kind"]), (&json!("failed"), &json!("failed")), "{failed}");
    let text = cli.run(&["run", &file, "--input", "{\"numbers\": []}"]).await.expect(5);
    assert!(text.stderr.contains("no numbers"), "{}", text.stderr);

    for ended in [good, partial] {
        let id = ended["id"].as_str().unwrap();
        for command in ["resume", "cancel"] {
            let error = cli.run(&["runs", command, id, "--json"]).await.expect(1).error();
            assert_eq!(error["kind"], "conflict", "{command}: {error}");
        }
    }
    for command in ["show", "resume", "cancel"] {
        let error = cli.run(&["runs", command, "zzz", "--json"]).await.expect(1).error();
        assert_eq!(error["kind"], "not_found", "{command}: {error}");
    }
    let error = cli.run(&["runs", "show", "", "--json"]).await.expect(1).error();
    assert_eq!(error["kind"], "not_found", "no run has the empty id: {error}");
}

#[tokio::test]
async fn a_run_is_cancelled_from_another_process() {
    let faults = Faults { latency: Duration::from_millis(40), ..Faults::default() };
    let sandbox = sandbox(Options { faults, ..few(300) }).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    let (file, input) = (path(shipped_flow()), flow_input(&sandbox).to_string());
    let child = cli.start(&["run", &file, "--input", &input, "--json"]);
    let id = until("the run's first item", async || {
        let list = cli.run(&["runs", "list", "--json"]).await.expect(0).json()["items"].take();
        (list[0]["items"]["done"].as_u64()? > 0).then(|| list[0]["id"].as_str().unwrap().to_owned())
    });
    let id = id.await;
    let error = cli.run(&["runs", "resume", &id, "--json"]).await.expect(1).error();
    assert_eq!(error["kind"], "conflict", "another process works on it: {error}");
    let report = cli.run(&["runs", "cancel", &id, "--json"]).await.expect(0).json();
    assert_eq!(report, json!({ "cancelled": id }));

    let run = finish(child).await.expect(5).json();
    assert_eq!((&run["status"], &run["cancel_requested"]), (&json!("cancelled"), &json!(true)));
    let shown = cli.run(&["runs", "show", &id, "--json"]).await.expect(0).json();
    assert_eq!(shown["status"], "cancelled");
    let done = shown["ledger"]["files"]["done"].as_u64().unwrap();
    assert!(done > 0 && done < 300, "{done}");
    // No process is left behind.
    let before = sandbox.report().requests;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(sandbox.report().requests, before);
    assert_eq!(sandbox.report().duplicates, 0);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_run_that_an_error_has_stopped_is_resumed() {
    let sandbox = sandbox(few(5)).await;
    let cli = Cli::default();
    let good = document(&sandbox, "mediavalet");
    let mut wrong = good.clone();
    wrong["subscriptionKey"] = "not the key".into();
    cli.add(&document(&sandbox, "mediaflow")).await;
    cli.add(&wrong).await;
    let (file, input) = (path(shipped_flow()), flow_input(&sandbox).to_string());
    let failed = cli.run(&["run", &file, "--input", &input, "--json"]).await.expect(5).json();
    assert_eq!((&failed["status"], &failed["error"]["kind"]), (&json!("failed"), &json!("config")), "{failed}");
    assert_eq!(failed["error"]["context"]["setting"], "/subscriptionKey");

    cli.pipe(&["connection", "add", "-", "--replace"], &good.to_string()).await.expect(0);
    let id = failed["id"].as_str().unwrap();
    let resumed = cli.run(&["runs", "resume", id, "--json"]).await.expect(0).json();
    assert_eq!((&resumed["id"], &resumed["ledger"]["files"]["done"]), (&failed["id"], &json!(5)), "{resumed}");
    assert_eq!((sandbox.report().duplicates, sandbox.report().uploaded), (0, 5));
    sandbox.stop().await;
}
