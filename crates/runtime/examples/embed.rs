//! A flow builder that embeds Trunkline: `cargo run --example embed`.
//!
//! It lists the connectors, reads the form of a connection, adds two connections, runs an action and then a flow, and
//! receives notifications of the run. The two systems are simulators, so that the example runs without any account.

use serde_json::json;
use trunkline::{
    Ports, Runtime,
    core::{Diagnostic, Error, Result},
    engine::{RunNotification, RunStatus},
    flow::Flow,
    rest::{HttpEnvironment, NetworkPolicy},
    store::KeySource,
};
use trunkline_sandbox::{Options, Sandbox};

/// Copies the files of a folder into a category.
const COPY: &str = r#"
name: copy
connections: { source: mediaflow, target: mediavalet }
input:
  type: object
  properties: { folder: { type: integer }, category: { type: string } }
  required: [folder, category]
steps:
  - id: files
    each: { action: folder.files, connection: source, input: { id: "{{ input.folder }}" } }
    key: "{{ item.id }}"
    steps:
      - { id: original, action: file.download, connection: source, input: { id: "{{ item.id }}" } }
      - id: asset
        action: asset.upload
        connection: target
        input: { file: "{{ steps.original.file }}", title: "{{ item.name }}", categories: ["{{ input.category }}"] }
"#;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("trunkline-embed-{}", std::process::id()));
    let sandbox =
        Sandbox::start(Options { files: 20, max_size: 100_000, ..Options::default() }).await.map_err(failed)?;

    // One runtime for each data directory; the key that encrypts secrets lives elsewhere.
    let ports = Ports::sqlite(&folder.join("data"), KeySource::File(folder.join("key")))?;
    // The host decides what connections reach. The simulators are on this machine.
    let http = HttpEnvironment::default().with_network(NetworkPolicy::default().with_private_network(true));
    let runtime = Runtime::new(trunkline::registry(None)?, Ports { http, ..ports });
    for connector in runtime.registry().connectors() {
        println!("{}: {} actions", connector.spec().title, connector.actions().count());
    }
    let form = &runtime.registry().connector("mediavalet")?.spec().connection;
    println!("A connection to MediaValet has {} settings.", form["properties"].as_object().map_or(0, |all| all.len()));

    // The settings that the user entered, as JSON. All faults are reported at once, each with its JSON pointer.
    for settings in sandbox.settings() {
        let name = runtime.add_connection(settings).await?;
        let faults = runtime.connect(&name).await?.check().await.findings;
        println!(
            "{name}: {}",
            Diagnostic::into_error(&name, &faults).map_or("works".to_owned(), |error| error.to_string())
        );
    }
    let me = runtime.call("mediavalet.user.current", "mediavalet", json!({})).await?.output;
    println!("Signed in as {}.", me["userName"]);

    // A flow is a document. The connections that it declares are bound when it is started.
    let flow = Flow::parse("copy.yaml", COPY)
        .map_err(|faults| Diagnostic::into_error("copy.yaml", &faults).unwrap_or_else(|| failed("unreadable")))?;
    let input = json!({ "folder": sandbox.root_folder(), "category": sandbox.category() });
    let bindings = [("source", "mediaflow"), ("target", "mediavalet")];
    let bindings = bindings.map(|(binding, name)| (binding.into(), name.into()));
    let handle = runtime.start(&flow, input, bindings.into()).await?;
    let mut notifications = handle.notifications();
    while let Ok(notification) = notifications.recv().await {
        match notification {
            RunNotification::ItemFinished { key, status, .. } => println!("file {key}: {status}"),
            RunNotification::Finished { .. } => break,
            _ => {}
        }
    }
    let run = handle.wait().await?;
    assert_eq!((run.status, sandbox.report().uploaded), (RunStatus::Succeeded, 20));
    println!("Run {} {}.", run.id, run.status.as_str());
    sandbox.stop().await;
    std::fs::remove_dir_all(folder).map_err(failed)
}

fn failed(why: impl ToString) -> Error {
    Error::new(trunkline::core::ErrorKind::Unavailable, why.to_string())
}

#[test]
fn runs() -> Result<()> {
    main()
}
