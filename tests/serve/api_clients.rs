//! The API in the hands of programs of others: a linter and a fuzzer that read its description, and a client in another
//! language that is made from it.

use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;
use trunkline_sandbox::Sandbox;
use trunkline_testkit::dice::Dice;
use trunkline_tests::{
    Cli, document, few, flow_input,
    peers::{Peer, peer},
    project, sandbox, shipped_flow,
};

use super::{Serve, save};

/// Runs a command to its end, and returns what it has printed. Panics with that if it fails.
async fn run(command: &mut Command) -> String {
    let output = command.output().await.unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{command:?}\n{text}");
    text
}

/// Returns a peer, or `None` if it is missing.
fn client() -> Option<[Peer; 2]> {
    Some([peer("openapi-typescript")?, peer("tsc")?])
}

#[tokio::test]
async fn a_linter_finds_nothing_in_the_description_of_the_api() {
    let Some(redocly) = peer("redocly") else { return };
    let rules = project().join("tests/peers/redocly.yaml");
    let lint = async |file: &Path| {
        let mut command = redocly.command();
        command.arg("lint").arg(file).arg("--config").arg(&rules).env("REDOCLY_TELEMETRY", "off");
        command.output().await.unwrap().status.success()
    };
    assert!(lint(&project().join("schemas/openapi.json")).await);
    // The twin: an operation without an id is found.
    let mut broken = trunkline_server::document();
    broken["paths"]["/rest/v1/runs"]["get"].as_object_mut().unwrap().shift_remove("operationId");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    std::fs::write(&file, broken.to_string()).unwrap();
    assert!(!lint(&file).await);
}

/// Adds the connections of the simulators, a flow and a run, so that there is something to read.
async fn filled(cli: &Cli, sandbox: &Sandbox) -> Serve {
    for connector in ["mediaflow", "mediavalet"] {
        cli.add(&document(sandbox, connector)).await;
    }
    save(cli, &json!({ "name": "hello", "trigger": { "webhook": {} }, "steps": [{ "id": "a", "set": { "x": 1 } }] }))
        .await;
    let serve = Serve::start(cli).await;
    let run = serve.run("hello", &json!({})).await;
    serve.ended(&run).await;
    serve
}

/// Runs all phases of Schemathesis with all its checks. Returns its report. The short run always has the same seed: what a
/// new one finds is work for the long run.
async fn fuzzed(examples: &str, seed: u64) -> Option<String> {
    let schemathesis = peer("schemathesis")?;
    let (cli, sandbox) = (Cli::default(), sandbox(few(3)).await);
    let serve = filled(&cli, &sandbox).await;
    let mut command = schemathesis.command();
    command.arg("--config-file").arg(project().join("tests/peers/schemathesis.toml"));
    command.arg("run").arg(serve.url("/rest/v1/openapi.json"));
    command.args(["--header", &format!("Authorization: Bearer {}", serve.token), "--no-color"]);
    command.args(["--phases", "examples,coverage,fuzzing,stateful", "--mode", "all", "--max-examples", examples]);
    command.args(["--seed", &seed.to_string()]);
    command.current_dir(cli.home());
    let report = run(&mut command).await;
    assert_eq!(serve.health().await.0, 200);
    sandbox.stop().await;
    Some(report)
}

#[tokio::test]
async fn a_fuzzer_finds_no_response_that_the_description_does_not_allow() {
    let Some(report) = fuzzed("10", 1).await else { return };
    // The stream of the events of all runs has no end. `watching` reads it.
    let with_an_end = trunkline_server::api_routes().iter().filter(|row| row.operation != "runs.watch").count();
    assert!(report.contains(&format!("Tested: {with_an_end}")), "{report}");
}

#[tokio::test]
#[ignore = "minutes: 300 examples for each operation"]
async fn a_fuzzer_finds_nothing_in_a_long_run() {
    println!("{}", fuzzed("300", Dice::default().roll(1, 1 << 32)).await.unwrap_or_default());
}

#[tokio::test]
async fn a_client_in_another_language_connects_runs_a_flow_and_reads_the_outcome_of_every_item() {
    let Some([generator, compiler]) = client() else { return };
    let source = project().join("tests/peers/api");
    let types = source.join("openapi.ts");
    let description = project().join("schemas/openapi.json");
    run(generator.command().arg(description).arg("--output").arg(&types).arg("--default-non-nullable=false")).await;
    // The compiled program stays beside its dependencies.
    let compiled = source.join("compiled");
    run(compiler.command().arg("--project").arg(&source).arg("--outDir").arg(&compiled)).await;
    let files = 50;
    let (cli, sandbox) = (Cli::default(), sandbox(few(files)).await);
    let mut documents: Vec<Value> = ["mediaflow", "mediavalet"].map(|one| document(&sandbox, one)).into();
    documents[1]["flows"] = "authorization_code".into();
    for only in ["username", "password"] {
        documents[1].as_object_mut().unwrap().shift_remove(only);
    }
    let serve = Serve::start(&cli).await;
    let mut journey = Command::new("node");
    journey.arg(compiled.join("journey.js")).env("SERVER", serve.url("")).env("TOKEN", &serve.token);
    journey.env("CONNECTIONS", json!(documents).to_string()).env("FLOW", shipped_flow());
    journey.env("INPUT", flow_input(&sandbox).to_string()).env("FILES", files.to_string());
    let report = run(&mut journey).await;
    assert!(report.contains("50 items"), "{report}");
    assert_eq!(sandbox.report().uploaded, files, "{report}");
    sandbox.stop().await;
}
