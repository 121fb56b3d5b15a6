//! A library of many items and a flow over all of them, for measurements that grow with the number of items.
//!
//! The idea: the library is a connector made of operation rows only, loaded at run time, so that a test measures the
//! runtime and not code of the connector.

use std::fs;

use serde_json::{Value, json};

use crate::Cli;

const CONNECTOR: &str = "name = 'library'\ntitle = 'Library'\nversion = '1.0'\n[settings]\nauthentication = 'none'\n";

/// The operation rows. `PAGE` stands for the number of items on a page.
const ROWS: &str = r#"
[[operation]]
name = "item.list"
title = "Items"
route = "GET /items"
page = { kind = "offset", offset = "offset", count = "count", size = PAGE, items = "/items", total = "/total", trustTotal = true }

[[operation]]
name = "item.get"
title = "Item"
route = "GET /items/{id}"
input.id = { type = "string" }

[[operation]]
name = "item.put"
title = "Put an item"
route = "PUT /items/{id}"
input.id = { type = "string" }
input.name = { type = "string" }
"#;

/// Returns the item with this number.
pub fn item(id: u64) -> Value {
    json!({ "id": format!("item-{id:08}"), "name": format!("A picture of the harbour, number {id}"), "size": id * 1_000 })
}

/// Returns the response to a request for `count` items from the item `from` on, of a list of `items`.
pub fn page(items: u64, from: u64, count: u64) -> Value {
    let page: Vec<_> = (from..items.min(from + count)).map(item).collect();
    json!({ "items": page, "total": items })
}

/// Adds a connection to the library at this address, and writes a flow that runs `step` for each item: pages of `page`
/// items, `concurrency` items at a time. Returns the arguments of the command that runs it.
pub async fn flow(cli: &Cli, address: &str, page: u64, concurrency: u64, step: Value) -> Vec<String> {
    let folder = cli.home().join("connectors");
    fs::create_dir_all(folder.join("library/operations")).expect("a folder");
    fs::write(folder.join("library/connector.toml"), CONNECTOR).expect("a file");
    fs::write(folder.join("library/operations/items.toml"), ROWS.replace("PAGE", &page.to_string())).expect("a file");
    let folder = folder.to_str().expect("a path of letters");
    let connection = json!({ "name": "library", "connector": "library-v1.0", "endpointUrl": address,
        "allowPrivateNetwork": true, "requestsAtOnce": 100 });
    cli.pipe(&["--connectors", folder, "connection", "add", "-"], &connection.to_string()).await.expect(0);
    let flow = json!({ "name": "sync", "connections": { "library": "library" }, "steps": [{ "id": "all",
        "each": { "action": "item.list", "connection": "library", "input": {} }, "key": "{{ item.id }}",
        "concurrency": concurrency, "steps": [step] }] });
    let flow = cli.write("sync.json", &flow.to_string());
    ["--connectors", folder, "run", &flow, "--json"].map(str::to_owned).into()
}
