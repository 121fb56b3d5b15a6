//! `asset.upload`: uploads a file from another step as an asset.
//!
//! The sequence is that of the vendor's guide "Upload an Asset": start the upload, send the bytes to the signed URL,
//! describe, categorize, finalize, wait.
//!
//! The asset is not visible before it is finalized, and that call can be repeated. So an interrupted upload continues
//! from its checkpoint, and one without a checkpoint starts again: the worst result is an abandoned empty upload, never
//! a second asset. Once the asset is finalized, the step succeeds even if MediaValet has not processed the asset yet,
//! because after a failure the user might upload the file a second time.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trunkline_core::{
    Action, ActionEntry, Context, Effect, Error, ErrorDetail, ErrorKind, FileRef, Result, async_trait, submit,
};
use trunkline_rest::Client;

use crate::{
    MediaValet,
    actions::transfer::{Call, Sent, StartCalls, Transfer, WaitFor, stem},
    actions::wait::{processed_and, quarter_of_an_hour},
};

/// The time to look for an asset that an earlier attempt may have finalized.
const FINALIZED_TIMEOUT: Duration = Duration::from_secs(30);

/// The action `asset.upload`.
pub struct AssetUpload;

/// The file to upload, and the asset's metadata.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # File
    /// A file from another step, such as `{{ steps.original.file }}`.
    file: FileRef,
    /// # Title
    /// If absent, the file name without its extension.
    title: Option<String>,
    /// # Description
    description: Option<String>,
    /// # Categories
    /// Ids of the asset's categories; at least one.
    #[schemars(
        length(min = 1),
        inner(regex(pattern = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")),
        extend("examples" = [["5a0d0001-7c1e-4b3a-9f00-000000000002"]], "x-options" = {
            "action": "mediavalet.category.list", "value": "/id", "title": "/name", "about": "/tree/path"
        })
    )]
    categories: Vec<String>,
    /// # Keywords
    #[serde(default)]
    keywords: Vec<String>,
    /// # Attributes
    /// Values by attribute id; `attribute.list` lists the ids.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// # Maximum wait in seconds
    /// The time to wait for MediaValet to process the asset; 0 to continue at once.
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
    /// SHA-256 digest of the bytes that were sent, in lower-case hexadecimal digits.
    sha256: String,
    /// # Processed
    /// Whether MediaValet has made the previews. If not, `asset.wait_until_processed` waits for them.
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
    const ABOUT: &'static str = "Uploads a file from another step, describes and categorizes it, and waits until \
        MediaValet has processed it or the maximum wait is over. An interrupted upload is resumed, and an item never \
        gets a second asset.";
    const EFFECT: Effect = Effect::Create;
    const LOOKS_UP: bool = true;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let mut upload = json!({ "filename": input.file.name });
        if let Some(size) = input.file.size {
            upload["fileSizeInBytes"] = size.into();
        }
        // The call requires a size. The actual size is sent when the upload is described, after the bytes.
        let update = json!({ "filename": input.file.name, "fileSizeInBytes": input.file.size.unwrap_or(0) });
        let calls = StartCalls {
            start: Call { operation: "upload.create", input: upload },
            renew: Call { operation: "upload.update", input: update },
        };
        let (transfer, maybe_finalized) = match Transfer::saved(cx) {
            Some(transfer) => {
                let sent = transfer.sent.is_some();
                (transfer, sent)
            }
            None => (Transfer::start(client, &calls, cx).await?, false),
        };
        let (transfer, sent) = transfer.send(client, &input.file, &calls, cx).await?;
        if !transfer.handed_over
            && let Some(rejection) = publish(client, &transfer.asset_id, &input, &sent, maybe_finalized, cx).await?
        {
            return match find_finalized(client, &transfer.asset_id, &sent, input.seconds, cx).await {
                Err(cancelled) if cancelled.kind() == ErrorKind::Cancelled => Err(cancelled),
                found => found.ok().flatten().ok_or_else(|| unknown_outcome(&transfer.asset_id, rejection)),
            };
        }
        finish(client, transfer, sent, input.seconds, cx).await
    }

    /// Done if the asset is finalized. Otherwise the action can run again: it continues from the checkpoint, or starts
    /// with a new upload while the earlier one stays invisible.
    async fn reconcile(client: &Client, input: Input, cx: &Context) -> Result<Option<Output>> {
        let Some((transfer, sent)) = Transfer::saved(cx).and_then(|saved| Some((saved.clone(), saved.sent?))) else {
            return Ok(None);
        };
        match transfer.handed_over {
            true => finish(client, transfer, sent, input.seconds, cx).await.map(Some),
            false => find_finalized(client, &transfer.asset_id, &sent, 0, cx).await,
        }
    }
}

submit! { ActionEntry::of::<AssetUpload>() }

/// Waits until the finalized asset is processed.
async fn finish(client: &Client, transfer: Transfer, sent: Sent, seconds: u64, cx: &Context) -> Result<Output> {
    let asset_id = transfer.asset_id.clone();
    let processed = transfer.wait(client, WaitFor { asset: &asset_id, seconds }, cx, |_| true).await?;
    Ok(Output { asset_id, bytes: sent.bytes, sha256: sent.sha256, processed })
}

/// Returns the asset if an earlier attempt has finalized it. It is looked for at most [`FINALIZED_TIMEOUT`].
async fn find_finalized(
    client: &Client,
    asset: &str,
    sent: &Sent,
    seconds: u64,
    cx: &Context,
) -> Result<Option<Output>> {
    let limit = FINALIZED_TIMEOUT.min(Duration::from_secs(seconds));
    let found = match processed_and(client, asset, limit, cx, |_| true).await {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        result => result?,
    };
    let Sent { bytes, sha256 } = sent.clone();
    Ok(found.map(|_| Output { asset_id: asset.to_owned(), bytes, sha256, processed: true }))
}

/// Describes, categorizes and finalizes the upload. Returns the rejection of a call if it may mean that the upload is
/// already finalized, by an earlier attempt or by an earlier try of the same call.
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
        Err(rejection) if maybe_finalized && may_be_closed(&rejection) => return Ok(Some(rejection)),
        result => result?,
    };
    client.call("upload.add_categories", json!({ "assetId": asset, "categories": input.categories }), cx).await?;
    if !input.keywords.is_empty() {
        client.call("upload.add_keywords", json!({ "assetId": asset, "keywords": input.keywords }), cx).await?;
    }
    if !input.attributes.is_empty() {
        client.call("upload.add_attributes", json!({ "assetId": asset, "attributes": [input.attributes] }), cx).await?;
    }
    match client.call("upload.finalize", json!({ "assetId": asset }), cx).await {
        Err(rejection) if may_be_finalized(&rejection, maybe_finalized) => Ok(Some(rejection)),
        Err(unclear) if matches!(unclear.kind(), ErrorKind::Unavailable | ErrorKind::Unexpected) => {
            Err(unknown_outcome(asset, unclear))
        }
        finalized => finalized.map(|_| None),
    }
}

/// Returns whether a rejection can mean that the upload is already finalized.
fn may_be_closed(rejection: &Error) -> bool {
    matches!(rejection.kind(), ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::InvalidInput)
}

/// Returns whether a rejected call to finalize can mean that the asset exists: an earlier attempt may have finalized it
/// (`before`), or an earlier try of this call.
fn may_be_finalized(rejection: &Error, before: bool) -> bool {
    let repeated = rejection.details().iter().any(|detail| matches!(detail, ErrorDetail::Repeated { .. }));
    may_be_closed(rejection) && (before || repeated)
}

/// Returns the error for an upload that may be finalized although no asset is visible, so that a further upload might
/// make a second asset.
fn unknown_outcome(asset: &str, cause: Error) -> Error {
    let message = format!("it is not known whether upload {asset} became an asset: {cause}");
    Error::new(ErrorKind::UnknownOutcome, message)
        .with("asset", asset)
        .hint("look in MediaValet for an asset with this id or with the name of this file")
        .source(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_an_asset_may_exist_is_decided_by_details_and_not_by_texts() {
        let repeated = || ErrorDetail::Repeated { tries: 2 };
        for kind in [ErrorKind::NotFound, ErrorKind::Conflict, ErrorKind::InvalidInput] {
            for text in ["the upload is closed", "tries: 5", ""] {
                let rejected = || Error::new(kind, text).with("host", "api.mediavalet.com");
                assert!(may_be_finalized(&rejected().with_detail(repeated()), false), "{text}");
                let reworded = rejected().with("tries", "unknown").with_detail(repeated()).hint("tries");
                assert!(may_be_finalized(&reworded, false), "a fact of the same key changes nothing");
                // What earlier versions decided on: a fact that anything may add.
                assert!(!may_be_finalized(&rejected().with("tries", 2), false), "{text}");
                assert!(may_be_finalized(&rejected(), true), "an earlier attempt has sent the bytes");
            }
        }
        let other = Error::new(ErrorKind::Permission, "no").with_detail(repeated());
        assert!(!may_be_finalized(&other, true), "this rejection says nothing about the upload");
    }
}
