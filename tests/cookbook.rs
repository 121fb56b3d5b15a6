//! The flows of `docs/cookbook` and the flow of the README, run as their pages say: by the real binary, against the
//! simulators.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};
use trunkline_sandbox::Options;
use trunkline_tests::{BOUND, Cli, few, finish, flow_input, project, sandbox, until};

/// The path of a flow of the cookbook.
fn recipe(name: &str) -> String {
    project().join("docs/cookbook").join(name).to_string_lossy().into_owned()
}

/// The number of items in an outcome of the ledger, for all reasons.
fn count(outcome: &Value) -> u64 {
    outcome.as_object().unwrap().values().map(|number| number.as_u64().unwrap()).sum()
}

#[tokio::test]
async fn nightly_copy_uploads_each_file_once_over_two_runs() {
    const FILES: u64 = 30;
    let cli = Cli::default();
    let sandbox = sandbox(Options { refusals: true, ..few(FILES) }).await;
    cli.connect(&sandbox).await;
    let input = flow_input(&sandbox).to_string();
    let add = ["flow", "add", &recipe("nightly-copy.yaml"), "--input", &input, "--activate"];
    cli.run(&[&add[..], &BOUND].concat()).await.expect(0);

    let first = cli.run(&["run", "nightly-copy", "--json"]).await.expect(0).json();
    let ledger = &first["ledger"]["files"];
    let copied = ledger["done"].as_u64().unwrap();
    assert!(copied > 0 && count(&ledger["skipped"]) > 0, "{first}");
    assert_eq!(copied + count(&ledger["skipped"]), FILES, "{first}");
    assert_eq!(first["output"], json!({ "copied": copied, "skipped": FILES - copied, "failed": 0, "not_copied": "" }));
    // Which asset did a file become, and which file does an asset come from?
    let run = first["id"].as_str().unwrap();
    let done = cli.run(&["runs", "items", run, "--status", "done", "--json"]).await.expect(0).stdout;
    let item: Value = serde_json::from_str(done.lines().next().unwrap()).unwrap();
    let [key, asset] = ["key", "result"].map(|name| item[name].as_str().unwrap().trim_matches('"').to_owned());
    for name in [&key, &asset] {
        let found = cli.run(&["runs", "find", name, "--json"]).await.expect(0).json();
        assert_eq!((&found["items"][0]["run"], &found["items"][0]["result"]), (&first["id"], &json!(asset)), "{found}");
        assert_eq!(found["items"][0]["label"], item["label"]);
    }

    let second = cli.run(&["run", "nightly-copy", "--json"]).await.expect(0).json();
    assert_eq!(second["output"], json!({ "copied": 0, "skipped": FILES, "failed": 0, "not_copied": "" }));
    let report = sandbox.report();
    assert_eq!((report.uploaded, report.duplicates, report.digest_mismatches), (copied, 0, 0), "{report:?}");
    let found = assets(&cli, "").await;
    let keywords: BTreeSet<_> =
        found.iter().flat_map(|asset| asset["keywords"].as_array().unwrap()).filter_map(Value::as_str).collect();
    assert!(keywords.contains("mediaflow") && keywords.contains("photo"), "{keywords:?}");
    sandbox.stop().await;
}

/// The assets that a search in MediaValet finds.
async fn assets(cli: &Cli, search: &str) -> Vec<Value> {
    let input = json!({ "search": search }).to_string();
    let call = ["call", "mediavalet.asset.search", "--connection", "mediavalet", "--input", &input, "--all"];
    let listed = cli.run(&call).await.expect(0).stdout;
    listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn approved_keywords_waits_for_an_approval_and_changes_only_what_the_search_finds() {
    let cli = Cli::default();
    let sandbox = sandbox(few(12)).await;
    cli.connect(&sandbox).await;
    let copy = flow_input(&sandbox).to_string();
    cli.run(&["run", &recipe("nightly-copy.yaml"), "--input", &copy]).await.expect(0);
    let found = assets(&cli, "harbour").await.len();
    assert!(found > 0 && found < 12, "the search finds {found} of 12 assets");

    let input = json!({ "search": "harbour", "keyword": "quay" }).to_string();
    for (yes, changed) in [(false, 0), (true, found)] {
        let run = cli.start(&["run", &recipe("approved-keywords.json"), "--input", &input, "--json"]);
        let id = until("the run waits for its approval", async || {
            let list = cli.run(&["runs", "--json"]).await.expect(0).json()["items"].take();
            let id = list[0]["id"].as_str()?.to_owned();
            let shown = cli.run(&["runs", "show", &id, "--json"]).await.expect(0).json();
            (shown["waiting"]["approval"]["signal"] == "approved").then_some(id)
        })
        .await;
        let payload = json!({ "yes": yes, "by": "Ada" }).to_string();
        cli.run(&["runs", "signal", &id, "approved", "--payload", &payload]).await.expect(0);
        let ended = finish(run).await.expect(0).json();
        if yes {
            assert_eq!(ended["output"], json!({ "approved_by": "Ada", "changed": found }), "{ended}");
        }
        let all = assets(&cli, "").await;
        let with_keyword = all.iter().filter(|asset| asset["keywords"].as_array().unwrap().contains(&json!("quay")));
        assert_eq!(with_keyword.count(), changed);
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn every_recipe_and_the_readme_flow_are_valid() {
    let cli = Cli::default();
    let page = fs::read_to_string(project().join("docs/cookbook.md")).unwrap();
    for entry in fs::read_dir(project().join("docs/cookbook")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        assert!(page.contains(&format!("cookbook/{file}")), "docs/cookbook.md does not mention {file}");
        let answer = cli.run(&["flow", "validate", &recipe(&file), "--json"]).await.expect(0).json();
        let found: Vec<_> = answer["findings"].as_array().unwrap().iter().map(|one| one["pointer"].clone()).collect();
        // Calls that their senders do not sign.
        let expected = match &*file {
            "event-grid.yaml" => json!(["/trigger/webhook"]),
            // What `flow add --input` saves.
            "nightly-copy.yaml" => json!(["/input/properties/folder", "/input/properties/category"]),
            "graph-notifications.yaml" => json!(["/trigger/webhook", "/input/properties/client_state"]),
            "meta-webhooks.yaml" => json!(["/trigger/webhook/signature/unsigned", "/input/properties/verify_token"]),
            _ => json!([]),
        };
        assert_eq!(json!(found), expected, "{file}");
    }
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 150, "the README is longer than 150 lines");
    let (before, rest) = readme.split_once("```yaml\n").unwrap();
    assert!(before.lines().count() < 40, "the README shows its flow too late");
    let file = cli.write("copy-folder.yaml", rest.split_once("```").unwrap().0);
    let answer = cli.run(&["flow", "validate", &file, "--json"]).await.expect(0).json();
    assert_eq!(answer["findings"], json!([]), "README.md");
}
