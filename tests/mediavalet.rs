//! MediaValet's hand-written actions through the real connector, against the look-alike.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use futures::TryStreamExt;
use serde_json::{Value, json};
use trunkline as _;
use trunkline_core::{Connected, Connection, Connections, Context, ErrorKind, FileRef, MemoryVault, Registry};
use trunkline_sandbox::{Options, Sandbox};

struct Bench {
    sandbox: Sandbox,
    connections: Connections,
}

impl Bench {
    async fn new(files: u64) -> Bench {
        let sandbox = Sandbox::start(Options { files, max_size: 300_000, ..Options::default() }).await.unwrap();
        let registry = Registry::discover().unwrap();
        let vault = Arc::new(MemoryVault::default());
        let connect = |settings| -> Connected {
            let connection = Connection::from_value(settings).unwrap();
            registry.connect(&connection, vault.clone(), &|_| unreachable!("secrets are literal")).unwrap()
        };
        let connections = sandbox.settings().into_iter().map(connect).collect();
        Bench { sandbox, connections }
    }

    async fn try_call(&self, connection: &str, action: &str, input: Value) -> trunkline_core::Result<Value> {
        let cx = Context::new("key", connection, self.connections.clone());
        self.connections.get(connection).unwrap().run(action, input, &cx).await
    }

    async fn call(&self, connection: &str, action: &str, input: Value) -> Value {
        self.try_call(connection, action, input).await.unwrap_or_else(|error| panic!("{action}: {error:?}"))
    }

    /// Uploads the first file of the library and gives the asset's id and what was sent.
    async fn uploaded(&self) -> (String, Value) {
        let files = self.call("mediaflow", "folder.files", json!({ "id": self.sandbox.root_folder() })).await;
        let file = self.call("mediaflow", "file.download", json!({ "id": files[0]["id"] })).await["file"].clone();
        let input = json!({ "file": file, "categories": [self.sandbox.category()], "keywords": ["old", "Kept"] });
        let asset = self.call("mediavalet", "asset.upload", input).await;
        (asset["assetId"].as_str().unwrap().to_owned(), asset)
    }
}

#[tokio::test]
async fn what_was_uploaded_is_downloaded_again_byte_for_byte() {
    let bench = Bench::new(1).await;
    let (asset, sent) = bench.uploaded().await;
    let waited = bench.call("mediavalet", "asset.wait_until_processed", json!({ "assetId": asset })).await;
    assert_eq!(waited["asset"]["file"]["sizeInBytes"], sent["bytes"]);
    let handed = bench.call("mediavalet", "asset.download", json!({ "assetId": asset })).await;
    let file: FileRef = serde_json::from_value(handed["file"].clone()).unwrap();
    assert!(!handed.to_string().contains("sig="), "a reference holds no signed address: {handed}");
    let bytes = |from: u64| {
        let (connections, file) = (bench.connections.clone(), file.clone());
        async move {
            let parts: Vec<_> = connections.open(&file, from).await.unwrap().bytes.try_collect().await.unwrap();
            parts.concat()
        }
    };
    let whole = bytes(0).await;
    assert_eq!(whole.len() as u64, sent["bytes"].as_u64().unwrap());
    assert_eq!(bytes(1000).await, whole[1000..], "opened again from a byte");
    assert_eq!(bench.sandbox.report().digest_mismatches, 0);

    let kinds = bench.call("mediavalet", "config.rendition_kinds", json!({})).await;
    let kinds = kinds["items"].as_array().or(kinds.as_array()).unwrap();
    let rendition = json!({ "assetId": asset, "renditionKindId": kinds[0]["renditionKindId"] });
    let handed = bench.call("mediavalet", "asset.download", rendition).await;
    let file: FileRef = serde_json::from_value(handed["file"].clone()).unwrap();
    assert_eq!(file.size, None, "only the original's size is told");
    let opened = bench.connections.open(&file, 0).await.unwrap();
    let parts: Vec<_> = opened.bytes.try_collect().await.unwrap();
    assert!(!parts.concat().is_empty());
}

#[tokio::test]
async fn metadata_is_brought_to_a_state_and_what_is_right_is_not_written() {
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
async fn categories_go_by_path_and_are_created_only_on_demand() {
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
