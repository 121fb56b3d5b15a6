//! Files from one system to another, over everything that can happen to them on the way: what becomes visible is one version
//! of the source, whole and with the digest it was said to have, or nothing.
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
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use origin::{Origin, Server};
use serde_json::{Value, json};
use tokio::sync::Notify;
// Links the connectors.
use trunkline as _;
use trunkline_core::{
    ByteProgress, Connected, Connection, Connections, Context, MemoryVault, Recorder, Registry, Result, async_trait,
};
use trunkline_sandbox::{Options, Sandbox};
use trunkline_store::Store;
use trunkline_tests::{Cli, few};

/// Bytes of a block that connections send.
const BLOCK: u64 = 4 << 20;

/// One step of a flow as the engine runs it: its checkpoints, and a crash when the test wants one.
#[derive(Default)]
struct Step {
    checkpoint: Mutex<Option<Value>>,
    saved: AtomicUsize,
    /// Ends the attempt once so many checkpoints were saved.
    crash_after: Option<usize>,
    crashed: Notify,
    warnings: Mutex<Vec<String>>,
    /// Bytes that were reported.
    progress: AtomicU64,
}

#[async_trait]
impl Recorder for Step {
    async fn checkpoint(&self, value: Value) -> Result<()> {
        *self.checkpoint.lock().unwrap() = Some(value);
        if Some(self.saved.fetch_add(1, Ordering::SeqCst) + 1) == self.crash_after {
            self.crashed.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    fn progress(&self, progress: ByteProgress) {
        self.progress.fetch_add(progress.bytes, Ordering::SeqCst);
    }

    fn warning(&self, message: &str) {
        self.warnings.lock().unwrap().push(message.to_owned());
    }
}

/// A web server with a file, and a look-alike of MediaValet to bring it to.
struct Rig {
    server: Server,
    sandbox: Arc<Sandbox>,
    connections: Connections,
    /// Where files are spilled to, if they are.
    staging: Option<Store>,
}

impl Rig {
    async fn new(origin: Origin) -> Rig {
        Rig::with(origin, few(1)).await
    }

    async fn with(origin: Origin, options: Options) -> Rig {
        Rig::beside(origin, Sandbox::start(options).await.unwrap().into()).await
    }

    /// With a look-alike that others use as well.
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

    /// A reference to the origin's file that says nothing of it: it goes in blocks however small it is.
    fn unknown(&self) -> Value {
        json!({ "name": "film.mp4", "connection": "origin", "source": { "path": "/film.mp4" } })
    }

    /// The reference that the connector hands out.
    async fn told(&self, name: &str) -> Value {
        let cx = Context::new("key", "origin", self.connections.clone());
        let input = json!({ "path": "/film.mp4", "name": name });
        self.connections.get("origin").unwrap().run("download", input, &cx).await.unwrap()["file"].clone()
    }

    /// One attempt to upload; `None` if it crashed.
    async fn attempt(&self, step: &Arc<Step>, file: &Value) -> Option<Result<Value>> {
        let left = step.checkpoint.lock().unwrap().clone();
        let cx = Context::new("key", "mediavalet", self.connections.clone()).with_recorder(step.clone(), left);
        let cx = match &self.staging {
            Some(store) => cx.with_staging(Arc::new(store.clone()), "run"),
            None => cx,
        };
        let input = json!({ "file": file, "categories": [self.sandbox.category()] });
        tokio::select! {
            ended = self.connections.get("mediavalet").unwrap().run("asset.upload", input, &cx) => Some(ended),
            () = step.crashed.notified() => None,
        }
    }

    async fn upload(&self, file: &Value) -> Result<Value> {
        self.attempt(&Arc::default(), file).await.unwrap()
    }

    /// What is visible: SHA-256 of each asset of that name.
    fn visible(&self, name: &str) -> Vec<String> {
        self.sandbox.sha256(name)
    }

    /// Blocks that arrived at the storage and were taken.
    async fn blocks(&self) -> usize {
        let calls = trunkline_tests::requests(&self.sandbox).await;
        let query = |call: &Value| call["query"].to_string();
        calls
            .iter()
            .filter(|call| call["status"] == 201 && query(call).contains("block") && !query(call).contains("blocklist"))
            .count()
    }

    /// A command line that has both connections, a flow that brings the file over, and that flow's input.
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

/// What is spilled in a data directory.
fn copies(data: &Path) -> Vec<PathBuf> {
    let below = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    };
    below(&data.join("staging")).iter().flat_map(|run| below(run)).collect()
}
