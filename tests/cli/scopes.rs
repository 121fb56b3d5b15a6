//! Scopes that a flow needs are compared with those that its connections were granted, before anything runs.

use std::fs;

use serde_json::{Value, json};
use trunkline_tests::{Cli, few, sandbox};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

const MANIFEST: &str = r#"
name    = "todo"
title   = "Todo"
version = "1.0"
scopes  = ["tasks"]

[settings]
authentication = "oauth2"
flows          = "client_credentials"
"#;

const ROWS: &str = r#"
[[operation]]
name  = "task.list"
title = "List tasks"
route = "GET /tasks"

[[operation]]
name   = "task.add"
title  = "Add a task"
route  = "POST /tasks"
scopes = ["tasks:write"]
"#;

/// A command line with the connector above, and a service that grants these scopes, or does not report the granted
/// scopes.
struct Todo {
    cli: Cli,
    server: MockServer,
    folder: String,
}

impl Todo {
    async fn new(granted: Option<&str>) -> Todo {
        let (cli, server) = (Cli::default(), MockServer::start().await);
        let folder = cli.home().join("connectors");
        fs::create_dir_all(folder.join("todo/operations")).unwrap();
        fs::write(folder.join("todo/connector.toml"), MANIFEST).unwrap();
        fs::write(folder.join("todo/operations/tasks.toml"), ROWS).unwrap();
        let mut token = json!({ "access_token": "a", "token_type": "Bearer", "expires_in": 3600 });
        if let Some(granted) = granted {
            token["scope"] = granted.into();
        }
        let answer = ResponseTemplate::new(200).set_body_json(token);
        Mock::given(path("/token")).respond_with(answer).mount(&server).await;
        Mock::given(path("/tasks")).respond_with(ResponseTemplate::new(200).set_body_json([1])).mount(&server).await;
        Todo { cli, server, folder: folder.display().to_string() }
    }

    async fn run(&self, arguments: &[&str]) -> trunkline_tests::CommandOutput {
        self.cli.run(&[&["--json", "--connectors", &self.folder], arguments].concat()).await
    }

    async fn connect(&self, scopes: &str) {
        let document = json!({ "name": "mine", "connector": "todo-v1.0", "endpointUrl": self.server.uri(),
            "tokenUrl": format!("{}/token", self.server.uri()), "clientId": "c", "clientSecret": "s",
            "scopes": scopes, "allowPrivateNetwork": true });
        let file = self.cli.write("mine.json", &document.to_string());
        self.run(&["connection", "add", &file, "--replace"]).await.expect(0);
    }

    /// Returns the exit code and the findings of `flow validate`.
    async fn findings(&self) -> (i32, Value) {
        let answer = self.run(&["flow", "validate", &self.flow(), "--connection", "todo=mine"]).await;
        (answer.code, answer.json()["findings"].clone())
    }

    fn flow(&self) -> String {
        let flow = json!({ "name": "adds", "connections": { "todo": "todo" }, "steps": [
            { "id": "look", "action": "task.list", "connection": "todo" },
            { "id": "some", "if": "{{ steps.look | length > 0 }}", "then": [
                { "id": "add", "action": "task.add", "connection": "todo" }
            ] }
        ] });
        self.cli.write("adds.json", &serde_json::to_string_pretty(&flow).unwrap())
    }
}

#[tokio::test]
async fn a_scope_that_was_not_granted_is_found_before_anything_runs() {
    let todo = Todo::new(Some("tasks profile")).await;
    todo.connect("tasks tasks:write").await;
    assert_eq!(todo.findings().await, (0, json!([])), "only the requested scopes are known yet");

    todo.run(&["call", "todo.task.list", "--connection", "mine"]).await.expect(0);
    let (code, found) = todo.findings().await;
    assert_eq!((code, found.as_array().unwrap().len()), (3, 1), "{found}");
    assert_eq!(found[0]["pointer"], "/steps/1/then/0/action");
    assert_eq!(
        found[0]["message"],
        "task.add needs the scope tasks:write, but the connection bound to todo has profile tasks"
    );
    assert!(found[0]["place"]["line"].as_u64().unwrap() > 1, "{found}");
    for command in [&["flow", "add"][..], &["run"]] {
        let error = todo.run(&[command, &[&todo.flow(), "--connection", "todo=mine"]].concat()).await.expect(1).error();
        assert!(error.to_string().contains("needs the scope tasks:write"), "{error}");
    }
    let sent = todo.server.received_requests().await.unwrap();
    assert_eq!(sent.iter().filter(|one| one.url.path() == "/tasks").count(), 1, "only the call");

    // With other settings, the scopes that were granted before do not count.
    todo.connect("tasks tasks:write profile").await;
    assert_eq!(todo.findings().await.0, 0);
}

#[tokio::test]
async fn without_granted_scopes_in_the_response_the_requested_ones_count() {
    let todo = Todo::new(None).await;
    todo.connect("tasks:read").await;
    todo.run(&["call", "todo.task.list", "--connection", "mine"]).await.expect(0);
    let (code, found) = todo.findings().await;
    // Whether a narrower scope is enough is decided by the service.
    assert_eq!((code, found.as_array().unwrap().len()), (3, 1), "{found}");
    assert!(found[0]["message"].as_str().unwrap().contains("task.add needs the scope tasks:write, but"), "{found}");
    // Without requested scopes, nothing is known.
    todo.connect("").await;
    assert_eq!(todo.findings().await, (0, json!([])));
    let nobody = todo.run(&["flow", "validate", &todo.flow(), "--connection", "todo=nobody", "--json"]).await;
    assert_eq!(nobody.expect(3).json()["findings"][0]["pointer"], "/connections/todo");
}

#[tokio::test]
async fn mediavalet_needs_its_api_scope_also_in_called_flows() {
    let (cli, sandbox) = (Cli::default(), sandbox(few(1)).await);
    cli.connect(&sandbox).await;
    let called = json!({ "name": "called", "connections": { "dam": "mediavalet" },
        "steps": [{ "id": "who", "action": "user.current", "connection": "dam" }] });
    let caller = json!({ "name": "caller", "connections": { "dam": "mediavalet" },
        "steps": [{ "id": "calls", "call": "called" }] });
    cli.write("called.json", &called.to_string());
    let caller = cli.write("caller.json", &caller.to_string());
    let validate = ["--json", "flow", "validate", &caller, "--connection", "dam=mediavalet"];
    assert_eq!(cli.run(&validate).await.expect(0).json()["findings"], json!([]));

    let mut document = trunkline_tests::document(&sandbox, "mediavalet");
    document["scopes"] = "openid offline_access".into();
    cli.pipe(&["connection", "add", "-", "--replace"], &document.to_string()).await.expect(0);
    let found = cli.run(&validate).await.expect(3).json()["findings"].clone();
    let message = found[0]["message"].as_str().unwrap();
    assert!(message.contains("in the called flow called") && message.contains("needs the scope api,"), "{found}");
    sandbox.stop().await;
}
