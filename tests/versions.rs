//! Connections that were saved with an earlier version of a connector: they still work, and their stored form does not
//! change.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use trunkline::{Ports, Runtime};
use trunkline_core::{
    Action, CheckReport, ConnectionContext, Connector, Context, Effect, Error, ErrorKind, Registry, Result, Secret,
    async_trait,
};
use trunkline_store::KeySource;
use trunkline_tests::project;

/// Version 2 of the connector of the store's samples: `apiToken` is `token` now.
struct Sample;

#[derive(Deserialize, JsonSchema)]
struct Settings {
    /// # Address
    address: String,
    /// # Token
    token: Secret,
    /// # Signing key
    #[serde(default)]
    signing: Option<Secret>,
}

#[async_trait]
impl Connector for Sample {
    const NAME: &'static str = "sample";
    const VERSION: &'static str = "2.10";
    const TITLE: &'static str = "Sample";
    type Settings = Settings;
    type Client = Settings;

    fn connect(settings: Settings, _: ConnectionContext) -> Result<Settings> {
        Ok(settings)
    }

    fn migrate(from: &str, mut settings: Map<String, Value>) -> Result<Map<String, Value>> {
        match from {
            "1.0" => {
                if let Some(token) = settings.remove("apiToken") {
                    settings.insert("token".into(), token);
                }
                Ok(settings)
            }
            "2.9" => Ok(settings),
            _ => Err(Error::new(ErrorKind::Config, "there is no such version")),
        }
    }

    async fn check(_: &Settings) -> CheckReport {
        CheckReport::default()
    }
}

/// An action that returns the settings of the connection.
struct Tell;

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

#[async_trait]
impl Action for Tell {
    type Connector = Sample;
    type Input = Nothing;
    type Output = Value;
    const NAME: &'static str = "settings.tell";
    const TITLE: &'static str = "Tell the settings";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Settings, _: Nothing, _: &Context) -> Result<Value> {
        let signing = client.signing.as_ref().map(Secret::expose);
        Ok(json!({ "address": client.address, "token": client.token.expose(), "signing": signing }))
    }
}

fn runtime(home: &Path, key: String) -> Runtime {
    let registry = Registry::empty().with_connector::<Sample>().with_action::<Tell>().checked().unwrap();
    Runtime::new(registry, Ports::sqlite(home, KeySource::Value(key.into())).unwrap())
}

/// Copies a store that an earlier version made, and opens it.
fn sample(home: &Path, version: &str) -> Runtime {
    let folder = project().join("crates/store/tests/samples").join(version);
    fs::copy(folder.join("trunkline.db"), home.join("trunkline.db")).unwrap();
    let runtime = runtime(home, fs::read_to_string(folder.join("key")).unwrap());
    // The file that the other secret refers to. Its environment variable is missing in this process.
    fs::write(home.join("signing"), "a signing key\n").unwrap();
    runtime
}

async fn read_settings(runtime: &Runtime, name: &str) -> Result<Value> {
    runtime.call("sample.settings.tell", name, json!({})).await.map(|called| called.output)
}

#[tokio::test]
async fn a_connection_of_version_1_still_works() {
    let home = TempDir::new().unwrap();
    let runtime = sample(home.path(), "1");
    let stored = runtime.connections().masked_connection("old").await.unwrap();
    assert_eq!((&stored["connector"], &stored["apiToken"]), (&json!("sample-v1.0"), &json!("***")));
    assert_eq!(runtime.registry().connector("sample").unwrap().spec().id(), "sample-v2.10");
    // Its reference is migrated unchanged: only the variable is missing here.
    let error = read_settings(&runtime, "old").await.unwrap_err();
    assert!(error.message().contains("SAMPLE_SIGNING_KEY"), "{error:?}");
    assert_eq!(error.setting_pointer(), Some("/signing"));

    let mut document = stored.clone();
    document["name"] = "new".into();
    document["apiToken"] = "another-token".into();
    document["signing"] = json!({ "file": home.path().join("signing") });
    runtime.add_connection(document).await.unwrap();
    let kept = runtime.connections().masked_connection("new").await.unwrap();
    assert_eq!(
        (&kept["connector"], &kept["token"]),
        (&json!("sample-v2.10"), &json!("***")),
        "saved in the current version"
    );
    assert!(kept.get("apiToken").is_none());
    let expected = json!({ "address": "https://sample.test", "token": "another-token", "signing": "a signing key" });
    assert_eq!(read_settings(&runtime, "new").await.unwrap(), expected);

    // The encrypted secret of the old version is migrated to its current setting as well.
    let exported = runtime.export_connections(Some("old")).await.unwrap().remove(0);
    assert_eq!(exported.document["token"], json!({ "env": "OLD_TOKEN" }));
    assert_eq!(exported.document["signing"], json!({ "env": "SAMPLE_SIGNING_KEY" }));
    assert_eq!((exported.provide.len(), &*exported.provide[0].setting), (1, "/token"));
    let mut without = runtime.connections().connection("old").await.unwrap();
    without.settings.remove("signing");
    let form = trunkline_core::Schema::from(json!({ "properties": { "apiToken": { "writeOnly": true } } }));
    runtime.connections().put_connection(&without, &form).await.unwrap();
    assert_eq!(read_settings(&runtime, "old").await.unwrap()["token"], "sample-api-token");
    let again = runtime.connections().masked_connection("old").await.unwrap();
    assert_eq!(
        (&again["connector"], &again["apiToken"]),
        (&json!("sample-v1.0"), &json!("***")),
        "the stored form is unchanged"
    );
}

#[tokio::test]
async fn unsupported_versions_are_errors_with_a_hint() {
    let home = TempDir::new().unwrap();
    let runtime = runtime(home.path(), "0".repeat(64));
    let with = |version: &str| json!({ "name": "dam", "connector": format!("sample-v{version}"), "address": "a", "token": "t" });
    for newer in ["2.11", "3.0", "10.0", "2.10.1"] {
        let error = runtime.add_connection(with(newer)).await.unwrap_err();
        assert_eq!((error.kind(), error.setting_pointer()), (ErrorKind::Config, Some("/connector")), "{newer}");
        assert!(error.message().contains(&format!("sample-v{newer}")) && error.message().contains("sample-v2.10"));
        assert!(error.advice().unwrap().contains("later version of Trunkline"), "{error:?}");
    }
    let error = runtime.add_connection(with("1.7")).await.unwrap_err();
    assert!(error.message().contains("cannot be migrated to sample-v2.10"), "{error:?}");
    assert!(error.advice().unwrap().contains("save the connection again"), "{error:?}");
    // A version that is earlier in numeric order and needs no migration.
    runtime.add_connection(with("2.9")).await.unwrap();
    assert_eq!(read_settings(&runtime, "dam").await.unwrap()["token"], "t");
    // Settings that do not fit after the migration are reported one by one, with the version that saved them.
    let form = trunkline_core::Schema::from(json!({}));
    let mut odd = runtime.connections().connection("dam").await.unwrap();
    (odd.connector, odd.settings["address"]) = ("sample-v1.0".into(), json!(7));
    runtime.connections().put_connection(&odd, &form).await.unwrap();
    let error = read_settings(&runtime, "dam").await.unwrap_err();
    assert!(error.message().contains("saved for sample-v1.0") && error.message().contains("/address"), "{error:?}");
}
