//! A connector of one's own, in under 100 lines: `cargo run --example connector`. In a project of yours this is a crate, its
//! rows are files beside it, and the host names it with `use todo as _;`. From `main` on is only what tries it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline::core::{
    Action, ActionEntry, CheckReport, Connector, ConnectorEntry, Context, Effect, Result, Secret, VaultSlot,
    async_trait, submit,
};
use trunkline::rest::{Auth, Client, Table, Url};

/// What the vendor's API can do, a row a call. In a crate: `include_str!("../operations/tasks.toml")`.
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

/// The form of a connection: doc comments are its labels and help.
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

    fn connect(settings: Settings, vault: VaultSlot) -> Result<Client> {
        let auth = Auth::ApiKey { header: "X-Api-Key".into(), key: settings.api_key };
        let client = Client::builder(Self::TITLE, settings.endpoint_url, &OPERATIONS).auth(auth, vault);
        client.private_network(true).build() // Only as long as the service is tried on this machine.
    }

    async fn check(client: &Client) -> CheckReport {
        client.check("task.list", json!({})).await
    }
}

/// What does not fit a row is an action of its own; it calls rows.
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
    let runtime =
        trunkline::Runtime::open(&folder.join("data"), trunkline::store::KeySource::File(folder.join("key")))?;
    let settings = json!({ "name": "my-tasks", "connector": "todo-v1.0", "endpointUrl": address, "apiKey": "k3y" });
    runtime.add_connection(settings).await?;
    assert!(runtime.connect("my-tasks").await?.check().await.is_ok());
    let answer = runtime.call("todo.task.complete_all", "my-tasks", json!({})).await?.output;
    println!("{answer}");
    assert_eq!(answer, json!({ "count": 2 }));
    let _ = std::fs::remove_dir_all(folder);
    Ok(())
}

/// A service to try it on: three tasks, one of them done, on two pages.
async fn serve() -> String {
    use axum::{Json, Router, extract::Query, routing::get, routing::put};
    use std::collections::HashMap;
    let tasks = get(|Query(query): Query<HashMap<String, usize>>| async move {
        let all = [json!({"id": 1, "done": false}), json!({"id": 2, "done": true}), json!({"id": 3, "done": false})];
        let pages: Vec<_> = all.chunks(query["per_page"]).map(<[Value]>::to_vec).collect();
        Json(json!({ "tasks": pages.get(query["page"] - 1) }))
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
