//! The command line with connectors that a folder describes.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use trunkline_tests::project;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::path};

fn tasks(request: &Request) -> ResponseTemplate {
    let page = request.url.query_pairs().find(|(name, _)| name == "page").map_or(1, |(_, page)| page.parse().unwrap());
    let all = json!([[{ "id": 1 }, { "id": 2 }], [{ "id": 3 }]]);
    let tasks = all.get(page - 1usize).cloned().unwrap_or(json!([]));
    ResponseTemplate::new(200).set_body_json(json!({ "tasks": tasks }))
}

#[tokio::test]
async fn the_command_line_loads_connectors_from_a_folder() {
    let cli = trunkline_tests::Cli::default();
    let folder = project().join("connectors/http/examples").display().to_string();
    let listed = cli.run(&["--json", "--connectors", &folder, "connectors"]).await.expect(0).json();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["http", "mediaflow", "mediavalet", "todo"]);
    let server = MockServer::start().await;
    Mock::given(path("/tasks")).respond_with(tasks).mount(&server).await;
    let document = json!({ "name": "mine", "connector": "todo-v1.0", "allowPrivateNetwork": true, "apiKey": "k", "endpointUrl": server.uri() });
    let file = cli.write("todo.json", &document.to_string());
    cli.run(&["--connectors", &folder, "connection", "add", &file]).await.expect(0);
    let all = ["--connectors", &folder, "call", "todo.task.list", "--connection", "mine", "--all"];
    let lines = cli.run(&all).await.expect(0).stdout;
    let ids: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!(2), json!(3)]);
    let forgotten = cli.run(&["--json", "call", "todo.task.list", "--connection", "mine"]).await.expect(1).error();
    assert!(forgotten["message"].as_str().unwrap().contains("no connector todo"), "{forgotten}");
}
