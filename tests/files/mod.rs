//! Copies of files from one system to another, with every fault on the way: either one version of the source becomes
//! visible, complete and with the stated digest, or nothing.
#![allow(clippy::unwrap_used)]

mod address;
mod changes;
mod commits;
mod cuts;
mod digests;
mod kills;
mod origin;
mod staging;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use origin::{Origin, Server};
use serde_json::{Value, json};
// Links the connectors.
use trunkline as _;
use trunkline_core::{Connected, Connection, Connections, Context, MemoryVault, Registry, Result, Staging};
use trunkline_sandbox::{Options, Sandbox};

use trunkline_testkit::fake::FakeStep;
use trunkline_tests::{Cli, few};

/// The block size of connections, in bytes.
const BLOCK: u64 = 4 << 20;

/// A web server with a file, and a MediaValet simulator as the target.
struct Rig {
    server: Server,
    sandbox: Arc<Sandbox>,
    connections: Connections,
    /// The staging directory, if files are staged.
    staging: Option<Arc<dyn Staging>>,
}

impl Rig {
    async fn new(origin: Origin) -> Rig {
        Rig::with(origin, few(1)).await
    }

    async fn with(origin: Origin, options: Options) -> Rig {
        Rig::beside(origin, Sandbox::start(options).await.unwrap().into()).await
    }

    /// Uses a simulator that is shared with other rigs.
    async fn beside(origin: Origin, sandbox: Arc<Sandbox>) -> Rig {
        let server = Server::start(origin).await;
        let (registry, vault) = (Registry::discover().unwrap(), Arc::new(MemoryVault::default()));
        let connect = |settings| -> Connected {
            let connection = Connection::from_value(settings).unwrap();
            registry.connect(&connection, vault.clone(), &|_| unreachable!("secrets are literal")).unwrap()
        };
        let connections = sandbox.settings().into_iter().map(connect).chain([server.connect("origin")]).collect();
        Rig { server, sandbox, connections, staging: None }
    }

    /// Returns a reference to the origin's file without its size and digest. Such a file is sent in blocks even if it
    /// is small.
    fn unknown(&self) -> Value {
        json!({ "name": "film.mp4", "connection": "origin", "source": { "path": "/film.mp4" } })
    }

    /// Returns the reference that the connector's download returns.
    async fn reference(&self, name: &str) -> Value {
        let cx = Context::new("key", "origin", self.connections.clone());
        let input = json!({ "path": "/film.mp4", "name": name });
        self.connections.get("origin").unwrap().run("download", input, &cx).await.unwrap()["file"].clone()
    }

    /// Makes one attempt to upload. Returns `None` if it crashed.
    async fn attempt(&self, step: &Arc<FakeStep>, file: &Value) -> Option<Result<Value>> {
        let cx = step.context("mediavalet", self.connections.clone());
        let cx = match &self.staging {
            Some(staging) => cx.with_staging(staging.clone(), "run"),
            None => cx,
        };
        let input = json!({ "file": file, "categories": [self.sandbox.category()] });
        step.attempt(self.connections.get("mediavalet").unwrap().run("asset.upload", input, &cx)).await
    }

    async fn upload(&self, file: &Value) -> Result<Value> {
        self.attempt(&Arc::default(), file).await.unwrap()
    }

    /// Returns the SHA-256 of each visible asset of a name.
    fn visible(&self, name: &str) -> Vec<String> {
        self.sandbox.sha256(name)
    }

    /// Returns the number of blocks that the storage accepted.
    async fn blocks(&self) -> usize {
        let calls = trunkline_tests::requests(&self.sandbox).await;
        let query = |call: &Value| call["query"].to_string();
        calls
            .iter()
            .filter(|call| call["status"] == 201 && query(call).contains("block") && !query(call).contains("blocklist"))
            .count()
    }

    /// Returns a command line with both connections, the path of a flow that copies the file, and its input.
    async fn cli(&self) -> (Cli, String, String) {
        let cli = Cli::default();
        cli.connect(&self.sandbox).await;
        cli.add(&self.server.settings("origin")).await;
        let flow = json!({
            "name": "one",
            "connections": { "origin": "http", "target": "mediavalet" },
            "input": { "type": "object", "properties": { "category": { "type": "string" } }, "required": ["category"] },
            "steps": [
                { "id": "original", "action": "download", "connection": "origin", "input": { "path": "/film.mp4" } },
                { "id": "asset", "action": "asset.upload", "connection": "target",
                  "input": { "file": "{{ steps.original.file }}", "categories": ["{{ input.category }}"] } }
            ]
        });
        let flow = cli.write("flow.json", &flow.to_string());
        (cli, flow, json!({ "category": self.sandbox.category() }).to_string())
    }
}

/// Returns the staged copies in a data directory.
fn copies(data: &Path) -> Vec<PathBuf> {
    let below = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    };
    below(&data.join("staging")).iter().flat_map(|run| below(run)).collect()
}
