//! A flow builder that embeds Trunkline: `cargo run --example embed`.
//!
//! It lists what there is, shows the form of a connection, makes two connections, runs an action and then a flow, and
//! listens to what happens. The two systems are the sandbox's look-alikes, so that it runs without any account.

use serde_json::json;
use trunkline::{
    Runtime,
    core::{Diagnostic, Error, Result},
    engine::{Flow, RunNotification, RunStatus},
    store::KeySource,
};
use trunkline_sandbox::{Options, Sandbox};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("trunkline-embed-{}", std::process::id()));
    let sandbox =
        Sandbox::start(Options { files: 20, max_size: 100_000, ..Options::default() }).await.map_err(failed)?;

    // One runtime for each data directory; the key that encrypts secrets lives elsewhere.
    let runtime = Runtime::open(&folder.join("data"), KeySource::File(folder.join("key")))?;
    for connector in runtime.registry().connectors() {
        println!("{}: {} actions", connector.spec().title, connector.actions().count());
    }
    let form = &runtime.registry().connector("mediavalet")?.spec().connection;
    println!(
        "A connection to MediaValet asks for {} settings.",
        form["properties"].as_object().map_or(0, |all| all.len())
    );

    // What the user has filled in, as JSON. Faults come back all at once, each with its JSON pointer.
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

    // A flow is a document; which connection fills which slot is said when it is run.
    let flow = Flow::parse("copy.json", include_str!("../flows/mediaflow-to-mediavalet.json"))
        .map_err(|faults| Diagnostic::into_error("copy.json", &faults).unwrap_or_else(|| failed("unreadable")))?;
    let input = json!({ "folder": sandbox.root_folder(), "category": sandbox.category() });
    let slots = [("source", "mediaflow"), ("target", "mediavalet")].map(|(slot, name)| (slot.into(), name.into()));
    let running = runtime.start(&flow, input, slots.into()).await?;
    let mut notifications = running.notifications();
    while let Ok(notice) = notifications.recv().await {
        match notice {
            RunNotification::ItemFinished { key, status, .. } => println!("file {key}: {status}"),
            RunNotification::Finished { .. } => break,
            _ => {}
        }
    }
    let run = running.wait().await?;
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
