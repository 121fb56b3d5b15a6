//! MediaValet's hand-written actions through the real connector, against the simulator.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use futures::TryStreamExt;
use mediaflow as _;
use mediavalet as _;
use serde_json::{Value, json};
use trunkline_core::{Connected, Connection, Connections, Context, ErrorKind, FileRef, MemoryVault, Registry, Result};
use trunkline_sandbox::{Faults, Options, Sandbox};
use trunkline_testkit::{fake::FakeStep, proxy::Proxy};

mod cases;
mod files;
mod lost;
mod packages;
mod polling;
mod unpublished;
mod versions;
mod webhooks;

/// Asserts that the simulator has sent no warnings but the two that it should.
fn has_known_warnings(step: &FakeStep) {
    let known = ["`asset.wait_until_processed`", "already finalised"];
    let odd = |message: &String| !known.iter().any(|words| message.contains(words));
    assert_eq!(step.warnings().into_iter().filter(odd).collect::<Vec<_>>(), [""; 0]);
}

struct Bench {
    sandbox: Sandbox,
    connections: Connections,
}

impl Bench {
    async fn new(files: u64) -> Bench {
        Bench::with(Options { files, max_size: 300_000, ..Options::default() }).await
    }

    /// Uses a simulator without delays, for tests with many repetitions.
    async fn quick(files: u64) -> Bench {
        let processing = std::time::Duration::ZERO;
        Bench::with(Options { files, max_size: 300_000, processing, ..Options::default() }).await
    }

    async fn with(options: Options) -> Bench {
        Bench::of(Sandbox::start(options).await.unwrap(), None)
    }

    /// Puts a proxy in front of MediaValet's API.
    async fn behind_a_proxy(options: Options) -> (Bench, Proxy) {
        let sandbox = Sandbox::start(options).await.unwrap();
        let proxy = Proxy::start(&sandbox.address().to_string()).await;
        (Bench::of(sandbox, Some(&proxy)), proxy)
    }

    fn of(sandbox: Sandbox, proxy: Option<&Proxy>) -> Bench {
        let registry = Registry::discover().unwrap();
        let vault = Arc::new(MemoryVault::default());
        let connect = |settings| -> Connected {
            let connection = Connection::from_value(settings).unwrap();
            registry.connect(&connection, vault.clone(), &|_| unreachable!("secrets are literal")).unwrap()
        };
        let mut settings = sandbox.settings();
        if let Some(proxy) = proxy {
            settings[1]["endpointUrl"] = proxy.through(settings[1]["endpointUrl"].as_str().unwrap()).into();
        }
        // Another user: in the sandbox, a client without a user has its own identity.
        let mut other = settings[1].as_object().unwrap().clone();
        other.retain(|name, _| name != "username" && name != "password");
        other.extend([("name".to_owned(), json!("other")), ("flows".to_owned(), json!("client_credentials"))]);
        settings.push(other.into());
        let connections = settings.into_iter().map(connect).collect();
        Bench { sandbox, connections }
    }

    async fn try_call(&self, connection: &str, action: &str, input: Value) -> Result<Value> {
        let cx = Context::new("key", connection, self.connections.clone());
        self.connections.get(connection).unwrap().run(action, input, &cx).await
    }

    async fn call(&self, connection: &str, action: &str, input: Value) -> Value {
        self.try_call(connection, action, input).await.unwrap_or_else(|error| panic!("{action}: {error:?}"))
    }

    /// Returns a reference to a file of the library.
    async fn file(&self, number: usize) -> Value {
        let files = self.call("mediaflow", "folder.files", json!({ "id": self.sandbox.root_folder() })).await;
        self.call("mediaflow", "file.download", json!({ "id": files[number]["id"] })).await["file"].clone()
    }

    /// Uploads a file of the library. Returns the asset's id and the input.
    async fn upload(&self, number: usize) -> (String, Value) {
        let file = self.file(number).await;
        let input = json!({ "file": file, "categories": [self.sandbox.category()], "keywords": ["old", "Kept"] });
        let asset = self.call("mediavalet", "asset.upload", input).await;
        (asset["assetId"].as_str().unwrap().to_owned(), asset)
    }

    /// Uploads the first file without waiting until it is processed.
    async fn upload_without_waiting(&self) -> (String, Value) {
        let input = json!({ "file": self.file(0).await, "categories": [self.sandbox.category()], "seconds": 0 });
        let asset = self.call("mediavalet", "asset.upload", input).await;
        (asset["assetId"].as_str().unwrap().to_owned(), asset)
    }

    /// Uploads the first file.
    async fn uploaded(&self) -> (String, Value) {
        self.upload(0).await
    }

    /// Reads a file from one byte on to its end.
    async fn bytes(&self, file: &Value, from: u64) -> Vec<u8> {
        let file: FileRef = serde_json::from_value(file.clone()).unwrap();
        let opened = self.connections.open(&file, from, &Context::default()).await.unwrap();
        opened.bytes.try_collect::<Vec<_>>().await.unwrap().concat()
    }

    /// Makes one attempt at a step. Returns `None` if it crashed.
    async fn attempt(&self, step: &Arc<FakeStep>, action: &str, input: &Value) -> Option<Result<Value>> {
        let cx = step.context("mediavalet", self.connections.clone());
        let target = self.connections.get("mediavalet").unwrap();
        let ended = step.attempt(target.run(action, input.clone(), &cx)).await;
        has_known_warnings(step);
        ended
    }

    /// Resumes an attempt with an unknown outcome as the engine does: it looks up the outcome, and repeats the attempt
    /// if it took no effect.
    async fn resume(&self, step: &Arc<FakeStep>, action: &str, input: &Value) -> Result<Value> {
        let cx = step.context("mediavalet", self.connections.clone());
        let found = self.connections.get("mediavalet")?.reconcile(action, input.clone(), &cx).await;
        has_known_warnings(step);
        if let Some(output) = found? {
            return Ok(output);
        }
        self.attempt(step, action, input).await.expect("no second crash")
    }

    /// Runs a step while every `every`-th response is lost.
    async fn with_losses(&self, every: u64, action: &str, input: &Value) -> Value {
        self.sandbox.set_faults(Faults { every_lost: Some(every), ..Faults::default() });
        let step = Arc::<FakeStep>::default();
        let ended = self.attempt(&step, action, input).await.expect("no crash");
        self.sandbox.set_faults(Faults::default());
        let ended = match ended {
            Err(error) if error.kind() == ErrorKind::UnknownOutcome => self.resume(&step, action, input).await,
            ended => ended,
        };
        ended.unwrap_or_else(|error| panic!("{action} with every {every}. response lost: {error:?}"))
    }
}

#[tokio::test]
async fn an_uploaded_file_is_downloaded_again_byte_for_byte() {
    let bench = Bench::new(1).await;
    let (asset, sent) = bench.uploaded().await;
    let waited = bench.call("mediavalet", "asset.wait_until_processed", json!({ "assetId": asset })).await;
    assert_eq!(waited["asset"]["file"]["sizeInBytes"], sent["bytes"]);
    let output = bench.call("mediavalet", "asset.download", json!({ "assetId": asset })).await;
    assert!(!output.to_string().contains("sig="), "a reference holds no signed URL: {output}");
    let whole = bench.bytes(&output["file"], 0).await;
    assert_eq!(whole.len() as u64, sent["bytes"].as_u64().unwrap());
    assert_eq!(bench.bytes(&output["file"], 1000).await, whole[1000..], "opened again from a byte");
    assert_eq!(bench.sandbox.report().digest_mismatches, 0);
}

#[tokio::test]
async fn a_rendition_is_chosen_by_the_name_or_the_id_of_its_kind() {
    let bench = Bench::new(1).await;
    let (asset, _) = bench.uploaded().await;
    let kinds = bench.call("mediavalet", "config.rendition_kinds", json!({})).await;
    let large = kinds["items"].as_array().unwrap().iter().find(|kind| kind["name"] == "large").unwrap();
    let by = |kind: &Value| json!({ "assetId": asset, "kind": kind });
    let output = bench.call("mediavalet", "asset.rendition", by(&json!("LARGE"))).await;
    assert_eq!(output["renditionKindId"], large["renditionKindId"]);
    assert_eq!(bench.call("mediavalet", "asset.rendition", by(&large["renditionKindId"])).await, output);
    let file = &output["file"];
    assert!(!file.to_string().contains("sig="), "a reference holds no signed URL: {file}");
    assert!(file["name"].as_str().unwrap().ends_with(".jpg") && file["mediaType"] == "image/jpeg", "{file}");
    assert_eq!(file.get("size"), None, "only the original has a size");
    let whole = bench.bytes(file, 0).await;
    assert!(!whole.is_empty());
    assert_eq!(bench.bytes(file, 100).await, whole[100..]);
    let error = bench.try_call("mediavalet", "asset.rendition", by(&json!("poster"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert!(error.advice().unwrap().contains("medium"), "the error lists the kinds: {error:?}");
}

#[tokio::test]
async fn metadata_is_updated_and_unchanged_values_are_not_written() {
    let bench = Bench::new(1).await;
    let (asset, _) = bench.uploaded().await;
    let names = bench.call("mediavalet", "attribute.list", json!({})).await;
    let custom = names["items"].as_array().unwrap().iter().find(|one| one["isSystemProperty"] == false).unwrap();
    let (name, id) = (custom["name"].as_str().unwrap().to_uppercase(), custom["id"].as_str().unwrap());
    let update = json!({ "assetId": asset, "title": "New {{ title }}", "attributes": { name: "value" } });
    assert_eq!(bench.call("mediavalet", "asset.update", update).await["changes"], 2);
    let found = bench.call("mediavalet", "asset.get", json!({ "assetId": asset })).await;
    assert_eq!((&found["title"], &found["attributes"][id]), (&json!("New {{ title }}"), &json!("value")));
    let wrong = json!({ "assetId": asset, "attributes": { "no such attribute": "x" } });
    let error = bench.try_call("mediavalet", "asset.update", wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");

    let set = json!({ "assetId": asset, "keywords": ["kept", "new & odd #1", "New & odd #1"] });
    let changed = bench.call("mediavalet", "asset.set_keywords", set.clone()).await;
    assert_eq!(changed, json!({ "added": ["new & odd #1"], "removed": ["old"] }));
    let again = bench.call("mediavalet", "asset.set_keywords", set).await;
    assert_eq!(again, json!({ "added": [], "removed": [] }));
}

#[tokio::test]
async fn categories_are_found_by_path_and_created_only_on_request() {
    let bench = Bench::new(1).await;
    let (asset, _) = bench.uploaded().await;
    let set = |create: bool| json!({ "assetId": asset, "categories": ["Campaigns\\2026\\Spring", "Campaigns\\2026"], "createMissing": create });
    let error = bench.try_call("mediavalet", "asset.set_categories", set(false)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    let first = bench.call("mediavalet", "asset.set_categories", set(true)).await;
    assert!(first["created"].as_array().unwrap().len() >= 2, "{first}");
    let second = bench.call("mediavalet", "asset.set_categories", set(true)).await;
    assert_eq!((&second["categories"], &second["created"]), (&first["categories"], &json!([])));
    let found = bench.call("mediavalet", "asset.categories", json!({ "assetId": asset })).await;
    let list = found["items"].as_array().or(found.as_array()).unwrap();
    assert_eq!(list.len(), 2, "the category of the upload is gone: {found}");
}
