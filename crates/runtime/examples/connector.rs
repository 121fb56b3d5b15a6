//! A connector in under 100 lines: `cargo run --example connector`.
//!
//! In a project, the connector is a crate of its own, its operation table is a file in that crate, and the host links
//! it with `use todo as _;`. From `main` on, the example only tries the connector.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline::core::{
    Action, ActionEntry, CheckReport, ConnectionContext, Connector, ConnectorEntry, Context, Effect, Registry, Result,
    Secret, async_trait, submit,
};
use trunkline::rest::{Auth, Client, HttpEnvironment, NetworkPolicy, Table, Url};
use trunkline::{Ports, Runtime, store::KeySource};

/// The operations of the vendor's API, one row each. In a crate: `include_str!("../operations/tasks.toml")`.
const TASKS: &str = r#"
[[operation]]
name  = "task.list"
title = "List tasks"
route = "GET /tasks"
page  = { kind = "number", page = "page", count = "per_page", size = 2, items = "/tasks" }
output = { type = "object", properties = { id = { type = "integer" }, text = { type = "string" }, done = { type = "boolean" } } }

[[operation]]
name  = "task.complete"
title = "Complete a task"
route = "PUT /tasks/{id}/done"
input.id = { type = "integer", title = "Task" }
"#;

static OPERATIONS: Table = Table::new("todo", &[("operations/tasks.toml", TASKS)]);

struct Todo;

/// The settings of a connection. The form of the connection is derived from them: doc comments are its labels and help.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Settings {
    /// # Endpoint URL
    endpoint_url: Url,
    /// # API Key
    api_key: Secret,
}

#[async_trait]
impl Connector for Todo {
    const NAME: &'static str = "todo";
    const VERSION: &'static str = "1.0";
    const TITLE: &'static str = "Todo";
    type Settings = Settings;
    type Client = Client;

    fn connect(settings: Settings, context: ConnectionContext) -> Result<Client> {
        let auth = Auth::ApiKey { header: "X-Api-Key".into(), key: settings.api_key };
        let client = Client::builder(Self::TITLE, settings.endpoint_url, &OPERATIONS).auth(auth, context);
        client.private_network(true).build() // The service of this example is on this machine.
    }

    async fn check(client: &Client) -> CheckReport {
        client.check("task.list", json!({})).await
    }
}

/// An action that does not fit into a row. It is written in Rust and calls rows.
struct CompleteAll;

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

#[derive(Serialize, JsonSchema)]
struct Completed {
    count: u64,
}

#[async_trait]
impl Action for CompleteAll {
    type Connector = Todo;
    type Input = Nothing;
    type Output = Completed;
    const NAME: &'static str = "task.complete_all";
    const TITLE: &'static str = "Complete all tasks";
    const EFFECT: Effect = Effect::Idempotent;

    async fn run(client: &Client, _: Nothing, cx: &Context) -> Result<Completed> {
        let (mut count, mut next) = (0, None);
        loop {
            let page = client.page("task.list", json!({}), next, cx).await?;
            for task in page.items.iter().filter(|task| task["done"] == false) {
                client.call("task.complete", json!({ "id": task["id"] }), cx).await?;
                count += 1;
            }
            next = page.next;
            if next.is_none() {
                return Ok(Completed { count });
            }
        }
    }
}

submit! { ConnectorEntry::of::<Todo>() }
submit! { ActionEntry::many::<Todo>(|| OPERATIONS.actions()) }
submit! { ActionEntry::of::<CompleteAll>() }

#[tokio::main]
async fn main() -> Result<()> {
    let address = serve().await;
    let folder = std::env::temp_dir().join(format!("trunkline-connector-{}", std::process::id()));
    let ports = Ports::sqlite(&folder.join("data"), KeySource::File(folder.join("key")))?;
    // Only because this example runs the service on this machine.
    let http = HttpEnvironment::default().with_network(NetworkPolicy::default().with_private_network(true));
    let runtime = Runtime::new(Registry::discover()?, Ports { http, ..ports });
    let settings = json!({ "name": "my-tasks", "connector": "todo-v1.0", "endpointUrl": address, "apiKey": "k3y" });
    runtime.add_connection(settings).await?;
    assert!(runtime.connect("my-tasks").await?.check().await.is_ok());
    let output = runtime.call("todo.task.complete_all", "my-tasks", json!({})).await?.output;
    println!("{output}");
    assert_eq!(output, json!({ "count": 2 }));
    let _ = std::fs::remove_dir_all(folder);
    Ok(())
}

/// Starts a service to try the connector on, with three tasks on two pages, one of them done. Returns its URL.
async fn serve() -> String {
    use axum::{Json, Router, extract::Query, routing::get, routing::put};
    use std::collections::HashMap;
    let tasks = get(|Query(query): Query<HashMap<String, usize>>| async move {
        let all = [json!({"id": 1, "done": false}), json!({"id": 2, "done": true}), json!({"id": 3, "done": false})];
        let pages: Vec<_> = all.chunks(query["per_page"]).map(<[Value]>::to_vec).collect();
        Json(json!({ "tasks": pages.get(query["page"] - 1).cloned().unwrap_or_default() }))
    });
    let router = Router::new().route("/tasks", tasks).route("/tasks/{id}/done", put(|| async { Json(json!({})) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}

#[test]
fn runs() -> Result<()> {
    main()
}
