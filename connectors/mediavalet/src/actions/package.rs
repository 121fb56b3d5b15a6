//! `asset.package`: packages many assets as one zip file.
//!
//! MediaValet makes the zip file in the background and reports how many assets it has processed. The action creates the
//! package once, keeps its id in the checkpoint, and waits.

use std::{collections::BTreeSet, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use trunkline_core::{
    Action, ActionEntry, Context, Effect, Error, ErrorKind, FileRef, Result, Retry, async_trait, submit,
};
use trunkline_rest::Client;

use crate::{
    MediaValet,
    actions::id,
    actions::wait::{Visibility, until},
    files::Source,
};

/// The time to look for a package in the list if the response to its creation was lost.
const LISTED_TIMEOUT: Duration = Duration::from_secs(5);

/// The action `asset.package`.
pub struct Package;

/// The assets and the form of the package.
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
    /// # Name of the zip file
    /// With or without `.zip`. If absent, the name is derived from the step.
    #[schemars(length(min = 1))]
    zip_file_name: Option<String>,
    /// # Settings
    /// Formats and sizes by kind of asset, in the form of `downloadSettingsPostDetail` in `download.create`; originals
    /// if absent.
    #[serde(default)]
    settings: Map<String, Value>,
    /// # Maximum wait in seconds
    #[serde(default = "an_hour")]
    #[schemars(range(min = 1, max = 86_400))]
    seconds: u64,
}

fn an_hour() -> u64 {
    60 * 60
}

/// The zip file, for the input of another step.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// # File
    file: FileRef,
    /// # Download
    /// Id of the package; `download.delete` deletes it.
    download_id: String,
    /// # Number of assets in the package
    item_count: u64,
}

/// The checkpoint for a later attempt.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum PackageProgress {
    /// The creation is being requested. The ids are those of earlier packages with the same name.
    #[serde(rename = "asked")]
    Requested(BTreeSet<String>),
    /// MediaValet makes the package with this id.
    #[serde(rename = "made")]
    Created(String),
}

#[async_trait]
impl Action for Package {
    type Connector = MediaValet;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "asset.package";
    const TITLE: &'static str = "Package assets as one zip file";
    const GROUP: &'static str = "Assets";
    const ABOUT: &'static str = "Lets MediaValet package assets, waits until the zip file is ready, and returns a \
        reference to it for later steps. After an interruption it continues to wait, and it never creates a second \
        package for an item.";
    const EFFECT: Effect = Effect::Create;
    const LOOKS_UP: bool = true;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let name = zip_name(&input, cx);
        let download = match progress(cx) {
            Some(PackageProgress::Created(download)) => download,
            _ => create(client, &input, &name, cx).await?,
        };
        let download = &download;
        let visibility = &Visibility::new();
        let poll = || async move {
            let package = visibility.check(client.call("download.get", json!({ "id": download }), cx).await)?;
            Ok(package.and_then(|package| finished_items(&package).map(|items| (package, items))))
        };
        let Some((package, item_count)) = until(Duration::from_secs(input.seconds), cx, poll)
            .await
            .map_err(|error| explain_missing(error, download, visibility))?
        else {
            let message = format!("MediaValet has not made package {download} within {} s", input.seconds);
            return Err(resumable(Error::new(ErrorKind::Unavailable, message), download));
        };
        let name = package.get("fileName").and_then(Value::as_str).map_or(name, with_extension);
        let file = FileRef {
            name,
            media_type: Some("application/zip".to_owned()),
            // The unit of `fileSize` is not documented.
            size: None,
            digest: None,
            connection: cx.connection().into(),
            source: json!(Source::Package { download_id: download.clone() }),
        };
        Ok(Output { file, download_id: download.clone(), item_count })
    }

    /// Looks for a new package with the name of this one. Its id goes into the checkpoint, and the next attempt waits
    /// for it.
    async fn reconcile(client: &Client, input: Input, cx: &Context) -> Result<Option<Output>> {
        let Some(PackageProgress::Requested(before)) = progress(cx) else { return Ok(None) };
        let (name, before) = (&zip_name(&input, cx), &before);
        let poll = || async move {
            let new: Vec<_> = packages(client, name, cx).await?.into_iter().filter(|id| !before.contains(id)).collect();
            Ok((!new.is_empty()).then_some(new))
        };
        match until(LISTED_TIMEOUT, cx, poll).await?.as_deref() {
            None => {}
            Some([download]) => cx.save_checkpoint(json!(PackageProgress::Created(download.clone()))).await?,
            Some(several) => {
                let message =
                    format!("{} packages called {name} are new, so it is not known which is this one", several.len());
                return Err(Error::new(ErrorKind::UnknownOutcome, message)
                    .hint("give different names to packages that are made at the same time"));
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

/// Makes the error retryable: a further attempt waits for the same package.
fn resumable(error: Error, download: &str) -> Error {
    error
        .retry(Retry::Backoff)
        .with("download", download)
        .hint("run the step again: it continues to wait for the same package")
}

/// Explains why a package is not found: one that was visible has been deleted, and one that was not may still appear.
fn explain_missing(error: Error, download: &str, visibility: &Visibility) -> Error {
    match (error.kind(), visibility.was_visible()) {
        (ErrorKind::NotFound, true) => {
            let message = format!("package {download} was removed from MediaValet before it was ready");
            Error::new(ErrorKind::NotFound, message)
                .with("download", download)
                .hint("a user may have deleted it: run the item again to create another package")
                .source(error)
        }
        (ErrorKind::NotFound, false) => {
            let message = format!("MediaValet accepted package {download} but does not show it: {error}");
            resumable(Error::new(ErrorKind::Unavailable, message).source(error), download)
        }
        _ => error,
    }
}

/// Returns the ids of all packages with this name.
async fn packages(client: &Client, name: &str, cx: &Context) -> Result<BTreeSet<String>> {
    let list = client.call("download.list", json!({}), cx).await?;
    let has_name = |package: &&Value| {
        package.get("fileName").and_then(Value::as_str).is_some_and(|file_name| with_extension(file_name) == name)
    };
    // Without a list, nothing is known: a second package would be created on a guess.
    let all = list.get("data").and_then(Value::as_array).ok_or_else(|| {
        Error::new(ErrorKind::Unexpected, "MediaValet returned its packages without a list at `data`")
            .hint("look at them with `download.list`")
    })?;
    all.iter().filter(has_name).map(|package| id(package, "id")).collect()
}

/// Creates the package and returns its id. The ids of earlier packages with the same name go into the checkpoint first,
/// so that the new package can be found if the response is lost.
async fn create(client: &Client, input: &Input, name: &str, cx: &Context) -> Result<String> {
    let before = packages(client, name, cx).await?;
    cx.save_checkpoint(json!(PackageProgress::Requested(before))).await?;
    let originals = json!({ "shareOriginals": true });
    let mut settings = Map::from_iter([("allowsAssetDownload".to_owned(), json!(true))]);
    for kind in ["images", "videos", "audio", "documents"] {
        settings.insert(kind.to_owned(), originals.clone());
    }
    settings.extend(input.settings.clone());
    settings.insert("zipFileName".to_owned(), name.into());
    settings.insert("ids".to_owned(), json!(input.asset_ids));
    let created = client.call("download.create", json!({ "downloadSettingsPostDetail": settings }), cx).await?;
    // Without an id in the response, the package still exists: `reconcile` finds it in the list.
    let download = id(&created, "batchId").map_err(|error| error.into_kind(ErrorKind::UnknownOutcome))?;
    cx.save_checkpoint(json!(PackageProgress::Created(download.clone()))).await?;
    Ok(download)
}

/// Returns the number of assets in the package if it is ready, else `None`. The values of its status are not
/// documented, so the processed assets are counted.
fn finished_items(download: &Value) -> Option<u64> {
    let count = |member: &str| download.get(member).and_then(Value::as_u64).unwrap_or_default();
    let items = count("itemCount");
    let path = download.get("filePath").and_then(Value::as_str).is_some_and(|path| !path.is_empty());
    (path && items > 0 && count("processedCount") >= items).then_some(items)
}
