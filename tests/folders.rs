//! The command line with connectors that a folder describes.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use trunkline_tests::{
    project,
    serve::{Serve, add},
    until,
};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{method, path},
};

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

/// Returns a folder with the connector of the example, which also declares an event.
fn with_event() -> tempfile::TempDir {
    let (folder, example) = (tempfile::tempdir().unwrap(), project().join("connectors/http/examples/todo"));
    let copy = folder.path().join("todo");
    std::fs::create_dir_all(copy.join("operations")).unwrap();
    let manifest = std::fs::read_to_string(example.join("connector.toml")).unwrap();
    let event = r#"
        [[event]]
        name = "Task.Done"
        title = "A task is done"
        subscribe = "hook.create"
        unsubscribe = "hook.delete"
        data = { type = "object", properties = { task = { type = "integer" } }, required = ["task"] }
    "#;
    std::fs::write(copy.join("connector.toml"), manifest + event).unwrap();
    let rows = r#"
        [[operation]]
        name = "task.list"
        title = "List tasks"
        route = "GET /tasks"

        [[operation]]
        name = "hook.create"
        title = "Subscribe a URL"
        route = "POST /hooks"
        input.address = { type = "string", title = "URL" }
        input.events = { type = "array", items = { type = "string" }, title = "Events" }
        output = { type = "object", properties = { id = { type = "string" } } }

        [[operation]]
        name = "hook.delete"
        title = "End a subscription"
        route = "DELETE /hooks/{id}"
        input.id = { type = "string", title = "Subscription" }
    "#;
    std::fs::write(copy.join("operations/all.toml"), rows).unwrap();
    folder
}

#[tokio::test]
async fn an_event_of_a_folder_is_subscribed_to_starts_runs_and_is_unsubscribed_from() {
    let (cli, folder, server) = (trunkline_tests::Cli::default(), with_event(), MockServer::start().await);
    let made = ResponseTemplate::new(201).set_body_json(json!({ "id": "h7" }));
    Mock::given(method("POST")).and(path("/hooks")).respond_with(made).mount(&server).await;
    Mock::given(method("DELETE")).and(path("/hooks/h7")).respond_with(ResponseTemplate::new(204)).mount(&server).await;
    let folder = ["--connectors", folder.path().to_str().unwrap()];
    let document = json!({ "name": "todo", "connector": "todo-v1.0", "allowPrivateNetwork": true, "apiKey": "k", "endpointUrl": server.uri() });
    let file = cli.write("todo.json", &document.to_string());
    cli.run(&["connection", "add", &file, folder[0], folder[1]]).await.expect(0);
    let shown = cli.run(&["connectors", "todo", folder[0], folder[1]]).await.expect(0).stdout;
    assert!(shown.contains("Task.Done") && shown.contains("A task is done"), "{shown}");
    let serve = Serve::with(&cli, &["--listen", "127.0.0.1:0", folder[0], folder[1]]).await;
    let flow = json!({
        "name": "done", "connections": { "todo": "todo" }, "trigger": { "event": "Task.Done", "connection": "todo" },
        "steps": [{ "id": "seen", "set": { "task": "{{ input.event.data.task }}" } }],
        "output": { "task": "{{ steps.seen.task }}" }
    });
    let public = ["--public-url", &serve.address];
    add(&cli, &flow, &[&public[..], &folder].concat()).await.expect(0);
    let sent = async || {
        let calls = server.received_requests().await.unwrap().into_iter().filter(|call| call.url.path() != "/tasks");
        calls.filter(|call| call.method.as_str() != "HEAD").collect::<Vec<_>>()
    };
    let subscribed: Value = sent().await[0].body_json().unwrap();
    assert_eq!(subscribed["events"], json!(["Task.Done"]));
    let event =
        json!({ "id": "e1", "source": "todo", "type": "Task.Done", "specversion": "1.0", "data": { "task": 7 } });
    let delivered = serve.http.post(subscribed["address"].as_str().unwrap()).json(&event).send().await.unwrap();
    assert!(delivered.status().is_success(), "{delivered:?}");
    let run = until("the run", async || serve.runs().await.pop()).await;
    assert_eq!(serve.ended(run["id"].as_str().unwrap()).await["output"], json!({ "task": 7 }));
    cli.run(&["flow", "deactivate", "done", folder[0], folder[1]]).await.expect(0);
    let calls = sent().await;
    assert_eq!((calls.len(), calls[1].url.path()), (2, "/hooks/h7"));
}
