//! What the trigger of a polled list remembers, with the real binary: over restarts, a change of the flow, and a connection
//! that reaches another account under the same name.

use serde_json::{Value, json};
use trunkline_sandbox::Sandbox;
use trunkline_tests::{Cli, document, few, sandbox, until};

use super::{
    Serve, add,
    clock::{got, make, through, watching},
    save,
};

/// Lets the connection reach this sandbox, and returns the warnings.
async fn reach(cli: &Cli, sandbox: &Sandbox) -> Vec<String> {
    let arguments = ["connection", "add", "-", "--replace", "--allow-references", "--json"];
    let added = cli.pipe(&arguments, &document(sandbox, "mediavalet").to_string()).await.expect(0).json();
    let warnings = added["warnings"].as_array().cloned().unwrap_or_default();
    warnings.iter().map(|one| one["message"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the list was looked at twice from now on.
async fn looks(cli: &Cli) {
    let runtime = cli.runtime();
    for _ in 0..2 {
        let before = through(&runtime, "watch").await;
        until("a look", async || through(&runtime, "watch").await.filter(|at| before.is_none_or(|was| *at > was)))
            .await;
    }
}

async fn findings(cli: &Cli) -> Vec<Value> {
    let all = cli.run(&["flow", "list", "--json"]).await.expect(0).json();
    all[0]["findings"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn what_a_trigger_remembers_belongs_to_what_it_watches() {
    let (cli, of_one, of_two) = (Cli::default(), Cli::default(), Cli::default());
    let (one, two) = (sandbox(few(1)).await, sandbox(few(1)).await);
    let parent = one.category();
    cli.connect(&one).await;
    of_one.connect(&one).await;
    of_two.connect(&two).await;
    save(&cli, &watching("watch", "queue", "skip")).await;
    let serve = Serve::start(&cli).await;
    looks(&cli).await;
    // A restart: what comes while the server is down is new, and nothing else is.
    serve.kill().await;
    make(&of_one.runtime(), &parent, "while it was down").await;
    let serve = Serve::start(&cli).await;
    until("the new item", async || (got(&serve, "watch").await == ["while it was down"]).then_some(())).await;
    // A change of the flow: it says that there is a first look, also if the server is started again before it.
    let mut by_name = watching("watch", "queue", "skip");
    by_name["trigger"]["poll"]["key"] = json!("{{ item.name }}");
    let saved = add(&cli, &by_name, &[]).await.expect(0).json();
    assert!(saved["warnings"].to_string().contains("first look"), "{saved}");
    serve.kill().await;
    let serve = Serve::start(&cli).await;
    looks(&cli).await;
    make(&of_one.runtime(), &parent, "after the change").await;
    until("the second", async || got(&serve, "watch").await.contains(&"after the change".to_owned()).then_some(()))
        .await;
    assert_eq!(findings(&cli).await, [] as [Value; 0]);
    // Another account under the same name, while the server runs.
    make(&of_two.runtime(), &two.category(), "there before").await;
    let warnings = reach(&cli, &two).await;
    assert!(warnings.len() == 1 && warnings[0].starts_with("flow watch polls connection mediavalet"), "{warnings:?}");
    make(&of_one.runtime(), &parent, "meanwhile").await;
    let found = until("the finding", async || findings(&cli).await.pop()).await;
    assert!(found["what"].as_str().unwrap().contains("reaches another account or service now"), "{found}");
    until("the health", async || (serve.health().await.1["findings"] == 1).then_some(())).await;
    serve.kill().await;
    let serve = Serve::start(&cli).await;
    looks(&cli).await;
    assert_eq!(findings(&cli).await.len(), 1, "the finding stays");
    make(&of_two.runtime(), &two.category(), "after it").await;
    until("the third", async || got(&serve, "watch").await.contains(&"after it".to_owned()).then_some(())).await;
    // Back: it remembers, and what came meanwhile is new.
    assert_eq!(reach(&cli, &one).await, [""; 0]);
    until("the last", async || got(&serve, "watch").await.contains(&"meanwhile".to_owned()).then_some(())).await;
    looks(&cli).await;
    let mut names = got(&serve, "watch").await;
    names.sort();
    assert_eq!(names, ["after it", "after the change", "meanwhile", "while it was down"], "each once");
}
