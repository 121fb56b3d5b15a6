//! `asset.upload`: from a file of another step to a finished asset, as the vendor's guide "Upload an Asset" has it: begin,
//! send the bytes to the signed address, describe, categorize, finalize, wait.
//!
//! Nobody sees the asset before it is finalized, and that call can be repeated. So an upload that broke off goes on from
//! its checkpoint, and one that broke off before it had a checkpoint begins anew: at worst an empty upload is left behind,
//! never a second asset.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, FileRef, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{
    MediaValet,
    transfer::{Begin, Transfer, stem},
    wait::{PROCESSING_TIMEOUT, processed},
};

/// How long to look for an asset that an earlier attempt may have finalized.
const FINALIZED_TIMEOUT: Duration = Duration::from_secs(30);

/// The action.
pub struct Upload;

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
}

#[async_trait]
impl Action for Upload {
    type Connector = MediaValet;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "asset.upload";
    const TITLE: &'static str = "Upload a file as an asset";
    const GROUP: &'static str = "Assets";
    const ABOUT: &'static str = "Sends a file of another step, describes and categorizes it, and waits until MediaValet has \
        processed it. Goes on where it was after an interruption, and never makes a second asset of one item.";
    const EFFECT: Effect = Effect::Create;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let mut upload = json!({ "filename": input.file.name });
        if let Some(size) = input.file.size {
            upload["fileSizeInBytes"] = size.into();
        }
        // The size has to be there; the true one is told in the end.
        let described = json!({ "filename": input.file.name, "fileSizeInBytes": input.file.size.unwrap_or(0) });
        let begin = Begin { operation: "upload.create", input: upload, renew: ("upload.update", described) };
        let (transfer, resumed) = match Transfer::left(cx) {
            Some(transfer) => (transfer, true),
            None => (Transfer::begin(client, &begin, cx).await?, false),
        };
        let (transfer, sent) = transfer.send(client, &input.file, &begin, cx).await?;
        let asset = transfer.asset_id;
        match publish(client, &asset, &input, sent.bytes, cx).await {
            Ok(()) => processed(client, &asset, PROCESSING_TIMEOUT, cx).await.map(drop)?,
            // An upload that is no longer open may have been finalized by an attempt whose answer was lost.
            Err(refused) if is_closed(&refused, resumed) => {
                processed(client, &asset, FINALIZED_TIMEOUT, cx).await.map_err(|_| refused)?;
            }
            Err(error) => return Err(error),
        }
        Ok(Output { asset_id: asset, bytes: sent.bytes, sha256: sent.sha256 })
    }

    /// However it ended, the next attempt goes on from the checkpoint or begins with an upload that nobody sees: it can
    /// always be run again.
    async fn reconcile(_: &Client, _: Input, _: &Context) -> Result<Option<Output>> {
        Ok(None)
    }
}

submit! { ActionEntry::of::<Upload>() }

/// Describes and categorizes the upload, then hands it over for processing.
async fn publish(client: &Client, asset: &str, input: &Input, bytes: u64, cx: &Context) -> Result<()> {
    let mut upload = json!({
        "assetId": asset, "filename": input.file.name, "fileSizeInBytes": bytes,
        "title": input.title.as_deref().unwrap_or(stem(&input.file.name)),
    });
    if let Some(description) = &input.description {
        upload["description"] = description.as_str().into();
    }
    client.call("upload.update", upload, cx).await?;
    client.call("upload.add_categories", json!({ "assetId": asset, "categories": input.categories }), cx).await?;
    if !input.keywords.is_empty() {
        client.call("upload.add_keywords", json!({ "assetId": asset, "keywords": input.keywords }), cx).await?;
    }
    if !input.attributes.is_empty() {
        client.call("upload.add_attributes", json!({ "assetId": asset, "attributes": [input.attributes] }), cx).await?;
    }
    client.call("upload.finalize", json!({ "assetId": asset }), cx).await.map(drop)
}

/// Whether a refusal can mean that the upload was finalized already. A resumed attempt cannot know; a first one has only
/// its own repeated calls to suspect, and those do not make an input invalid.
fn is_closed(refused: &Error, resumed: bool) -> bool {
    match refused.kind() {
        ErrorKind::NotFound | ErrorKind::Conflict => true,
        ErrorKind::InvalidInput => resumed,
        _ => false,
    }
}
