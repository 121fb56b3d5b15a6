//! A host with a connector of its own has the whole command line: `crates/cli/examples/own_connector.rs`.

use serde_json::{Value, json};
use trunkline_tests::{Cli, own_connector, project, serve::Serve};

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn its_connector_is_listed_and_its_action_runs() {
    let cli = Cli::of(own_connector());
    let list = cli.run(&["connectors", "--json"]).await.expect(0).json();
    assert_eq!(names(&list), ["stock"], "only its own");
    let file = cli.write("stock.tsv", "A-7\t12\n");
    cli.add(&json!({ "name": "shop", "connector": "stock-v1.0", "file": file })).await;
    cli.run(&["connection", "check", "shop"]).await.expect(0);
    let call =
        ["call", "stock.article.quantity", "--connection", "shop", "--input", "{\"article\": \"A-7\"}", "--json"];
    assert_eq!(cli.run(&call).await.expect(0).json(), json!({ "quantity": 12 }));
    let error = cli.run(&["connectors", "mediavalet", "--json"]).await.expect(1).error();
    assert_eq!(error["kind"], "not_found");
}

#[tokio::test]
async fn a_folder_adds_to_its_connectors() {
    let cli = Cli::of(own_connector());
    let folder = project().join("connectors/http/examples");
    let folder = folder.to_str().unwrap();
    let list = cli.run(&["connectors", "--connectors", folder, "--json"]).await.expect(0).json();
    assert_eq!(names(&list), ["stock", "todo"]);
}

#[tokio::test]
async fn it_serves_the_api() {
    let cli = Cli::of(own_connector());
    let file = cli.write("stock.tsv", "A-7\t12\n");
    cli.add(&json!({ "name": "shop", "connector": "stock-v1.0", "file": file })).await;
    let serve = Serve::start(&cli).await;
    let (status, connections) = serve.get("/rest/v1/connections").await;
    assert_eq!((status, names(&connections["items"])), (200, vec!["shop"]));
    serve.stop().await.expect(0);
}
