//! `asset.package`: many assets as one zip. MediaValet makes it in the background and says how many assets are in it.

use std::{collections::BTreeSet, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use trunkline_core::{
    Action, ActionEntry, Context, Effect, Error, ErrorKind, FileRef, Result, Retry, async_trait, submit,
};
use trunkline_rest::Client;

use crate::{
    MediaValet, id,
    source::Source,
    wait::{Shown, until},
};

/// How long to look for a package whose making was not answered.
const LISTED_TIMEOUT: Duration = Duration::from_secs(5);

/// The action.
pub struct Package;

/// Which assets, and how.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Assets
    #[schemars(
        length(min = 1),
        inner(regex(pattern = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")),
        extend("examples" = [["5a0d0001-7c1e-4b3a-9f00-000000000002"]])
    )]
    asset_ids: Vec<String>,
    /// # Name of the zip
    /// With or without `.zip`; one that says which step made it if absent.
    #[schemars(length(min = 1))]
    zip_file_name: Option<String>,
    /// # Settings
    /// Formats and sizes by kind of asset, as `downloadSettingsPostDetail` of `download.create` has them; originals if
    /// absent.
    #[serde(default)]
    settings: Map<String, Value>,
    /// # Seconds to wait at most
    #[serde(default = "an_hour")]
    #[schemars(range(min = 1, max = 86_400))]
    seconds: u64,
}

fn an_hour() -> u64 {
    60 * 60
}

/// The zip, for another step's input.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// # File
    file: FileRef,
    /// # Download
    /// Id of the package; `download.delete` takes it away.
    download_id: String,
    /// # Number of assets in it
    item_count: u64,
}

/// What a later attempt has to know.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum PackageProgress {
    /// The package was asked for, and these were there before.
    Asked(BTreeSet<String>),
    /// It is being made.
    Made(String),
}

#[async_trait]
impl Action for Package {
    type Connector = MediaValet;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "asset.package";
    const TITLE: &'static str = "Package assets as one zip";
    const GROUP: &'static str = "Assets";
    const ABOUT: &'static str = "Has MediaValet package assets, waits until it is done, and hands the zip to later steps by \
        reference. Goes on waiting after an interruption, and never has a second package made of one item.";
    const EFFECT: Effect = Effect::Create;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let name = zip_name(&input, cx);
        let download = match progress(cx) {
            Some(PackageProgress::Made(download)) => download,
            _ => create(client, &input, &name, cx).await?,
        };
        let download = &download;
        let shown = &Shown::new();
        let look = || async move {
            let found = shown.read(client.call("download.get", json!({ "id": download }), cx).await)?;
            Ok(found.and_then(|found| done(&found).map(|items| (found, items))))
        };
        let Some((found, item_count)) =
            until(Duration::from_secs(input.seconds), cx, look).await.map_err(|error| gone(error, download, shown))?
        else {
            let message = format!("MediaValet has not made package {download} within {} s", input.seconds);
            return Err(waits_on(Error::new(ErrorKind::Unavailable, message), download));
        };
        let name = found.get("fileName").and_then(Value::as_str).map_or(name, with_extension);
        let file = FileRef {
            name,
            media_type: Some("application/zip".to_owned()),
            // The unit of `fileSize` is not published.
            size: None,
            digest: None,
            connection: cx.connection().into(),
            source: json!(Source::Package { download_id: download.clone() }),
        };
        Ok(Output { file, download_id: download.clone(), item_count })
    }

    /// A package that is new and has the name is the one; with its id in the checkpoint, the next attempt waits for it.
    async fn reconcile(client: &Client, input: Input, cx: &Context) -> Result<Option<Output>> {
        let Some(PackageProgress::Asked(before)) = progress(cx) else { return Ok(None) };
        let (name, before) = (&zip_name(&input, cx), &before);
        let look = || async move {
            let new: Vec<_> = packages(client, name, cx).await?.into_iter().filter(|id| !before.contains(id)).collect();
            Ok((!new.is_empty()).then_some(new))
        };
        match until(LISTED_TIMEOUT, cx, look).await?.as_deref() {
            None => {}
            Some([download]) => cx.save_checkpoint(json!(PackageProgress::Made(download.clone()))).await?,
            Some(several) => {
                let message = format!("{} packages called {name} are new, and one of them is this one", several.len());
                return Err(Error::new(ErrorKind::UnknownOutcome, message)
                    .hint("give packages that are made at the same time different names"));
            }
        }
        Ok(None)
    }
}

submit! { ActionEntry::of::<Package>() }

fn progress(cx: &Context) -> Option<PackageProgress> {
    serde_json::from_value(cx.checkpoint()?.clone()).ok()
}

fn with_extension(name: &str) -> String {
    if name.to_lowercase().ends_with(".zip") { name.to_owned() } else { format!("{name}.zip") }
}

fn zip_name(input: &Input, cx: &Context) -> String {
    let key = || cx.idempotency_key().chars().filter(char::is_ascii_alphanumeric).take(12).collect::<String>();
    with_extension(&input.zip_file_name.clone().unwrap_or_else(|| format!("package-{}", key())))
}

/// The package is there, and the step goes on waiting for it whenever it is run again.
fn waits_on(error: Error, download: &str) -> Error {
    error
        .retry(Retry::Backoff)
        .with("download", download)
        .hint("run the step again: it goes on waiting for the same package")
}

/// What a package says that is not there: nothing is left of one that was, and one that never was may still come.
fn gone(error: Error, download: &str, shown: &Shown) -> Error {
    match (error.kind(), shown.was_seen()) {
        (ErrorKind::NotFound, true) => {
            let message = format!("MediaValet has package {download} no more, although it was not made yet");
            Error::new(ErrorKind::NotFound, message)
                .with("download", download)
                .hint("somebody may have deleted it: run the item again, and another one is made")
                .source(error)
        }
        (ErrorKind::NotFound, false) => {
            let message = format!("MediaValet does not show package {download}, which it said it would make: {error}");
            waits_on(Error::new(ErrorKind::Unavailable, message).source(error), download)
        }
        _ => error,
    }
}

/// The ids of all packages of this name.
async fn packages(client: &Client, name: &str, cx: &Context) -> Result<BTreeSet<String>> {
    let list = client.call("download.list", json!({}), cx).await?;
    let called =
        |one: &&Value| one.get("fileName").and_then(Value::as_str).is_some_and(|own| with_extension(own) == name);
    let all = list.get("data").and_then(Value::as_array).into_iter().flatten();
    all.filter(called).map(|one| id(one, "id")).collect()
}

/// Has the package made. What was there before is kept, so that a package whose id was lost on the way can be told.
async fn create(client: &Client, input: &Input, name: &str, cx: &Context) -> Result<String> {
    let before = packages(client, name, cx).await?;
    cx.save_checkpoint(json!(PackageProgress::Asked(before))).await?;
    let originals = json!({ "shareOriginals": true });
    let mut settings = Map::from_iter([("allowsAssetDownload".to_owned(), json!(true))]);
    for kind in ["images", "videos", "audio", "documents"] {
        settings.insert(kind.to_owned(), originals.clone());
    }
    settings.extend(input.settings.clone());
    settings.insert("zipFileName".to_owned(), name.into());
    settings.insert("ids".to_owned(), json!(input.asset_ids));
    let made = client.call("download.create", json!({ "downloadSettingsPostDetail": settings }), cx).await?;
    // It is being made, though nobody was told its name: the look-up finds it.
    let download = id(&made, "batchId").map_err(|error| error.into_kind(ErrorKind::UnknownOutcome))?;
    cx.save_checkpoint(json!(PackageProgress::Made(download.clone()))).await?;
    Ok(download)
}

/// How many assets are in the package, once all are. The words for its status are not published, so it is counted.
fn done(download: &Value) -> Option<u64> {
    let count = |member: &str| download.get(member).and_then(Value::as_u64).unwrap_or_default();
    let items = count("itemCount");
    let path = download.get("filePath").and_then(Value::as_str).is_some_and(|path| !path.is_empty());
    (path && items > 0 && count("processedCount") >= items).then_some(items)
}
