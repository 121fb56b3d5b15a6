//! `asset.upload`: from a file of another step to a finished asset, as the vendor's guide "Upload an Asset" has it: begin,
//! send the bytes to the signed address, describe, categorize, finalize, wait.
//!
//! Nobody sees the asset before it is finalized, and that call can be repeated. So an upload that broke off goes on from
//! its checkpoint, and one that broke off before it had a checkpoint begins anew: at worst an empty upload is left behind,
//! never a second asset. Once it is finalized the step is done, whether MediaValet has processed the asset or not: a failure
//! would be an invitation to upload it again.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, FileRef, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{
    MediaValet,
    transfer::{Begin, Sent, Transfer, stem},
    wait::{processed_and, quarter_of_an_hour},
};

/// How long to look for an asset that an earlier attempt may have finalized.
const FINALIZED_TIMEOUT: Duration = Duration::from_secs(30);

/// The action.
pub struct AssetUpload;

/// What to upload, and what to call it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # File
    /// From a step that hands out files, such as `{{ steps.original.file }}`.
    file: FileRef,
    /// # Title
    /// The file name without its extension if absent.
    title: Option<String>,
    /// # Description
    description: Option<String>,
    /// # Categories
    /// Ids of the categories to put the asset into; at least one.
    #[schemars(
        length(min = 1),
        inner(regex(pattern = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")),
        extend("examples" = [["5a0d0001-7c1e-4b3a-9f00-000000000002"]])
    )]
    categories: Vec<String>,
    /// # Keywords
    #[serde(default)]
    keywords: Vec<String>,
    /// # Attributes
    /// Values by attribute id; `attribute.list` has the ids.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// # Seconds to wait at most
    /// For MediaValet to process the asset; 0 to go on at once.
    #[serde(default = "quarter_of_an_hour")]
    #[schemars(range(max = 86_400))]
    seconds: u64,
}

/// The new asset.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// # Asset
    asset_id: String,
    /// # Size in bytes
    bytes: u64,
    /// # SHA-256
    /// Of the bytes that were sent, in lower-case hexadecimal.
    sha256: String,
    /// # Processed
    /// Whether MediaValet has made the previews; if not, `asset.wait_until_processed` waits for them.
    processed: bool,
}

#[async_trait]
impl Action for AssetUpload {
    type Connector = MediaValet;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "asset.upload";
    const TITLE: &'static str = "Upload a file as an asset";
    const GROUP: &'static str = "Assets";
    const ABOUT: &'static str = "Sends a file of another step, describes and categorizes it, and waits until MediaValet has \
        processed it, or the time for that is over. Goes on where it was after an interruption, and never makes a second \
        asset of one item.";
    const EFFECT: Effect = Effect::Create;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let mut upload = json!({ "filename": input.file.name });
        if let Some(size) = input.file.size {
            upload["fileSizeInBytes"] = size.into();
        }
        // The size has to be there; the true one is told in the end.
        let described = json!({ "filename": input.file.name, "fileSizeInBytes": input.file.size.unwrap_or(0) });
        let begin = Begin { operation: "upload.create", input: upload, renew: ("upload.update", described) };
        let (transfer, maybe_finalized) = match Transfer::left(cx) {
            Some(transfer) => {
                let sent = transfer.sent.is_some();
                (transfer, sent)
            }
            None => (Transfer::begin(client, &begin, cx).await?, false),
        };
        let (transfer, sent) = transfer.send(client, &input.file, &begin, cx).await?;
        if !transfer.handed_over
            && let Some(refused) = publish(client, &transfer.asset_id, &input, &sent, maybe_finalized, cx).await?
        {
            return match found(client, &transfer.asset_id, &sent, input.seconds, cx).await {
                Err(cancelled) if cancelled.kind() == ErrorKind::Cancelled => Err(cancelled),
                found => found.ok().flatten().ok_or_else(|| nobody_knows(&transfer.asset_id, refused)),
            };
        }
        finish(client, transfer, sent, input.seconds, cx).await
    }

    /// What is finalized is done. Else the next attempt goes on from the checkpoint, or begins with an upload that nobody
    /// sees: it can always be run again.
    async fn reconcile(client: &Client, input: Input, cx: &Context) -> Result<Option<Output>> {
        let Some((left, sent)) = Transfer::left(cx).and_then(|left| Some((left.clone(), left.sent?))) else {
            return Ok(None);
        };
        match left.handed_over {
            true => finish(client, left, sent, input.seconds, cx).await.map(Some),
            false => found(client, &left.asset_id, &sent, 0, cx).await,
        }
    }
}

submit! { ActionEntry::of::<AssetUpload>() }

/// Waits for what is finalized.
async fn finish(client: &Client, transfer: Transfer, sent: Sent, seconds: u64, cx: &Context) -> Result<Output> {
    let asset_id = transfer.asset_id.clone();
    let processed = transfer.wait(client, (&asset_id, seconds), cx, |_| true).await?;
    Ok(Output { asset_id, bytes: sent.bytes, sha256: sent.sha256, processed })
}

/// The asset, if it turns out to be finalized: for a while it is looked for.
async fn found(client: &Client, asset: &str, sent: &Sent, seconds: u64, cx: &Context) -> Result<Option<Output>> {
    let within = FINALIZED_TIMEOUT.min(Duration::from_secs(seconds));
    let found = match processed_and(client, asset, within, cx, |_| true).await {
        Err(absent) if absent.kind() == ErrorKind::NotFound => None,
        looked => looked?,
    };
    let Sent { bytes, sha256 } = sent.clone();
    Ok(found.map(|_| Output { asset_id: asset.to_owned(), bytes, sha256, processed: true }))
}

/// Describes and categorizes the upload, then hands it over for processing. A refusal that can mean that it was handed over
/// already is given back: an earlier attempt may have done that, or an earlier try of the same call.
async fn publish(
    client: &Client,
    asset: &str,
    input: &Input,
    sent: &Sent,
    maybe_finalized: bool,
    cx: &Context,
) -> Result<Option<Error>> {
    let mut upload = json!({
        "assetId": asset, "filename": input.file.name, "fileSizeInBytes": sent.bytes,
        "title": input.title.as_deref().unwrap_or(stem(&input.file.name)),
    });
    if let Some(description) = &input.description {
        upload["description"] = description.as_str().into();
    }
    match client.call("upload.update", upload, cx).await {
        Err(refused) if maybe_finalized && is_closed(&refused) => return Ok(Some(refused)),
        updated => updated?,
    };
    client.call("upload.add_categories", json!({ "assetId": asset, "categories": input.categories }), cx).await?;
    if !input.keywords.is_empty() {
        client.call("upload.add_keywords", json!({ "assetId": asset, "keywords": input.keywords }), cx).await?;
    }
    if !input.attributes.is_empty() {
        client.call("upload.add_attributes", json!({ "assetId": asset, "attributes": [input.attributes] }), cx).await?;
    }
    match client.call("upload.finalize", json!({ "assetId": asset }), cx).await {
        Err(refused) if is_closed(&refused) && (maybe_finalized || refused.context("tries").is_some()) => {
            Ok(Some(refused))
        }
        Err(unclear) if matches!(unclear.kind(), ErrorKind::Unavailable | ErrorKind::Unexpected) => {
            Err(nobody_knows(asset, unclear))
        }
        finalized => finalized.map(|_| None),
    }
}

/// Whether a refusal can mean that the upload is no longer open.
fn is_closed(refused: &Error) -> bool {
    matches!(refused.kind(), ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::InvalidInput)
}

/// The upload may be finalized without an asset to be seen: another upload might be a second one.
fn nobody_knows(asset: &str, why: Error) -> Error {
    let message = format!("whether upload {asset} became an asset is not known: {why}");
    Error::new(ErrorKind::UnknownOutcome, message)
        .with("asset", asset)
        .hint("look in MediaValet for the asset of this id, or for one with this file's name")
        .source(why)
}
