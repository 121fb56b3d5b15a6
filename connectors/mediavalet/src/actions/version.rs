//! `asset.upload_version`: uploads a file from another step as the new version of an asset.
//!
//! The sequence is that of the vendor's guide "Create a New Asset Version": check out, check the name, start the
//! check-in, send the bytes, check in.
//!
//! A check-out reserves the asset for one user, and MediaValet documents no call that cancels it: only a check-in ends
//! it. So errors that can be detected early are detected before the check-out, an error after it says that the asset is
//! still checked out, and a later attempt continues with an asset that the same user has checked out. Two facts are
//! assumed, because MediaValet does not document them: `status` 9 means checked out, as in search filters, and the
//! asset's `file.id` becomes the `mediaFileId` of the check-in.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, FileRef, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{
    MediaValet,
    actions::id,
    actions::transfer::{Call, Sent, StartCalls, Transfer, WaitFor},
    actions::wait::{quarter_of_an_hour, until},
};

/// The status of an asset that is checked out.
const CHECKED_OUT: i64 = 9;

/// The time to look for a version if the response to its check-in was lost.
const CHECKED_IN_TIMEOUT: Duration = Duration::from_secs(10);

/// The action `asset.upload_version`.
pub struct UploadVersion;

/// The asset and its new file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Asset
    #[schemars(extend("format" = "uuid"))]
    asset_id: String,
    /// # File
    /// A file from another step, such as `{{ steps.original.file }}`.
    file: FileRef,
    /// # File name
    /// The new name of the asset's file; the name of the given file if absent. No other asset may have it.
    #[schemars(length(min = 1))]
    file_name: Option<String>,
    /// # Comment
    /// Shown in the asset's history.
    #[serde(default = "new_version")]
    #[schemars(length(min = 1))]
    comment: String,
    /// # Status
    /// The status of the asset after the check-in, as in MediaValet's search filter: 0 approved, 2 pending approval.
    #[serde(default)]
    status: u8,
    /// # Maximum wait in seconds
    /// The time to wait for MediaValet to process the version; 0 to continue at once.
    #[serde(default = "quarter_of_an_hour")]
    #[schemars(range(max = 86_400))]
    seconds: u64,
}

fn new_version() -> String {
    "New version".to_owned()
}

/// The new version.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// # Asset
    asset_id: String,
    /// # File name
    file_name: String,
    /// # Size in bytes
    bytes: u64,
    /// # SHA-256
    /// SHA-256 digest of the bytes that were sent, in lower-case hexadecimal digits.
    sha256: String,
    /// # Processed
    /// Whether MediaValet shows the version as the asset's file. If not, it is still processing the version.
    processed: bool,
}

impl Input {
    fn name(&self) -> &str {
        self.file_name.as_deref().unwrap_or(&self.file.name)
    }
}

#[async_trait]
impl Action for UploadVersion {
    type Connector = MediaValet;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "asset.upload_version";
    const TITLE: &'static str = "Upload a file as a new version of an asset";
    const GROUP: &'static str = "Assets";
    const ABOUT: &'static str = "Checks the asset out, uploads the file, checks it in and waits until MediaValet has \
        processed it or the maximum wait is over. An interrupted upload is resumed, and an item never makes a second \
        version.";
    const EFFECT: Effect = Effect::Create;
    const LOOKS_UP: bool = true;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let saved = Transfer::saved(cx);
        if let Some(transfer) = &saved
            && let Some(sent) = checked_in(client, &input, transfer, cx).await?
        {
            return finish(client, &input, transfer.clone(), sent, cx).await;
        }
        if saved.is_none() {
            check_out(client, &input, cx).await?;
        }
        let (transfer, sent) = check_in(client, &input, saved, cx).await.map_err(still_checked_out)?;
        finish(client, &input, transfer, sent, cx).await
    }

    /// Before all bytes are sent, nothing can have been checked in, and the action continues from the checkpoint. After
    /// that, the asset shows the outcome: it either has the version or is still checked out.
    async fn reconcile(client: &Client, input: Input, cx: &Context) -> Result<Option<Output>> {
        let Some(transfer) = Transfer::saved(cx).filter(|transfer| transfer.sent.is_some()) else { return Ok(None) };
        let (input, transfer) = (&input, &transfer);
        let limit = CHECKED_IN_TIMEOUT.min(Duration::from_secs(input.seconds));
        match until(limit, cx, || checked_in(client, input, transfer, cx)).await? {
            Some(sent) => finish(client, input, transfer.clone(), sent, cx).await.map(Some),
            None if is_checked_out(&asset(client, input, cx).await?) => Ok(None),
            None => {
                let message = format!(
                    "asset {} is not checked out any more, and does not have the new version after {} s",
                    input.asset_id,
                    limit.as_secs()
                );
                Err(Error::new(ErrorKind::UnknownOutcome, message)
                    .hint("look at the asset's versions in MediaValet: it may still be processing the new one"))
            }
        }
    }
}

submit! { ActionEntry::of::<UploadVersion>() }

/// Checks the asset out, unless this user has already checked it out. Fails with `conflict` if another user has.
async fn check_out(client: &Client, input: &Input, cx: &Context) -> Result<()> {
    // An asset is not checked out for a file that cannot be opened.
    drop(cx.open(&input.file, 0).await?);
    let asset = asset(client, input, cx).await?;
    if !is_checked_out(&asset) {
        let comments = json!({ "assetId": input.asset_id, "comments": [input.comment] });
        return client.call("asset.check_out", comments, cx).await.map(drop);
    }
    let user = id(&client.call("user.current", json!({}), cx).await?, "id")?;
    let holder = asset.get("checkedOutBy").and_then(Value::as_str).unwrap_or_default();
    if holder.eq_ignore_ascii_case(&user) {
        return Ok(());
    }
    let message = format!("asset {} is checked out by another user", input.asset_id);
    Err(Error::new(ErrorKind::Conflict, message)
        .with("checkedOutBy", holder)
        .hint("have it checked in in MediaValet, then run the step again"))
}

/// Does everything after the check-out. A failure leaves the asset checked out.
async fn check_in(client: &Client, input: &Input, saved: Option<Transfer>, cx: &Context) -> Result<(Transfer, Sent)> {
    let asset = &input.asset_id;
    let calls = StartCalls {
        start: Call { operation: "asset.begin_check_in", input: json!({ "assetId": asset }) },
        // A second call returns another URL.
        renew: Call { operation: "asset.begin_check_in", input: json!({}) },
    };
    let transfer = match saved {
        Some(transfer) => transfer,
        None => {
            client.call("asset.check_version_name", json!({ "id": asset, "fileName": input.name() }), cx).await?;
            Transfer::start(client, &calls, cx).await?
        }
    };
    let (transfer, sent) = transfer.send(client, &input.file, &calls, cx).await?;
    let upload_name = transfer.upload_name.as_deref();
    let version = json!({
        "assetId": asset, "priority": "high", "comment": input.comment, "status": input.status,
        "fileSizeInBytes": sent.bytes, "fileName": input.name(), "uploadFilename": upload_name.unwrap_or(input.name()),
    });
    client.call("asset.check_in", version, cx).await?;
    Ok((transfer, sent))
}

/// Waits until the new version is the asset's file.
async fn finish(client: &Client, input: &Input, transfer: Transfer, sent: Sent, cx: &Context) -> Result<Output> {
    let is_new = |asset: &Value| is_version(asset, input, transfer.media_file_id.as_deref(), &sent);
    let wait_for = WaitFor { asset: &input.asset_id, seconds: input.seconds };
    let processed = transfer.clone().wait(client, wait_for, cx, is_new).await?;
    let (asset_id, file_name) = (input.asset_id.clone(), input.name().to_owned());
    Ok(Output { asset_id, file_name, bytes: sent.bytes, sha256: sent.sha256, processed })
}

/// Returns size and digest of the new version if an earlier attempt has checked it in.
async fn checked_in(client: &Client, input: &Input, transfer: &Transfer, cx: &Context) -> Result<Option<Sent>> {
    let Some(sent) = &transfer.sent else { return Ok(None) };
    let is_new = transfer.handed_over
        || is_version(&asset(client, input, cx).await?, input, transfer.media_file_id.as_deref(), sent);
    Ok(is_new.then(|| sent.clone()))
}

async fn asset(client: &Client, input: &Input, cx: &Context) -> Result<Value> {
    client.call("asset.get", json!({ "assetId": input.asset_id }), cx).await
}

fn is_checked_out(asset: &Value) -> bool {
    asset.get("status").and_then(Value::as_i64) == Some(CHECKED_OUT)
}

/// Returns whether the asset has this version: the id of its file is the same, or its name and size are.
fn is_version(asset: &Value, input: &Input, media_file: Option<&str>, sent: &Sent) -> bool {
    let file = |member: &str| asset.get("file").and_then(|file| file.get(member));
    let same = match (media_file, file("id").and_then(Value::as_str)) {
        (Some(expected), Some(actual)) if expected.eq_ignore_ascii_case(actual) => true,
        _ => {
            file("fileName").and_then(Value::as_str) == Some(input.name())
                && file("sizeInBytes").and_then(Value::as_u64) == Some(sent.bytes)
        }
    };
    same && !is_checked_out(asset)
}

/// Adds to an error that the asset is still checked out, so that other users cannot change it. A cancelled step is
/// resumed later, so its error stays as it is.
fn still_checked_out(error: Error) -> Error {
    if error.kind() == ErrorKind::Cancelled {
        return error;
    }
    error
        .with("checkedOut", true)
        .next("the asset is still checked out: run the step again to continue, or check the asset in in MediaValet")
}
