//! `asset.upload_version`: a file of another step becomes the new version of an asset, as the vendor's guide "Create a New
//! Asset Version" has it: check out, check the name, begin the check-in, send the bytes, check in.
//!
//! A check-out reserves the asset for one user, and MediaValet publishes no call that takes it back: only a check-in ends
//! it. So what can be known to fail is found out before it, a failure after it says that the asset is still checked out,
//! and a later attempt takes over what the same user has checked out. Assumed, as nothing is published: `status` 9 means
//! checked out, as in filters of searches, and `file.id` of the asset becomes the `mediaFileId` of the check-in.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, FileRef, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{
    MediaValet, id,
    transfer::{Begin, Sent, Transfer},
    wait::{quarter_of_an_hour, until},
};

/// The status of an asset that is checked out.
const CHECKED_OUT: i64 = 9;

/// How long to look for a version whose check-in was not answered.
const CHECKED_IN_TIMEOUT: Duration = Duration::from_secs(10);

/// The action.
pub struct UploadVersion;

/// Which asset gets which file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Asset
    #[schemars(extend("format" = "uuid"))]
    asset_id: String,
    /// # File
    /// From a step that hands out files, such as `{{ steps.original.file }}`.
    file: FileRef,
    /// # File name
    /// What the asset's file is called from now on; the name of the file if absent. No other asset may have it.
    #[schemars(length(min = 1))]
    file_name: Option<String>,
    /// # Comment
    /// Shown in the asset's history.
    #[serde(default = "new_version")]
    #[schemars(length(min = 1))]
    comment: String,
    /// # Status
    /// What the asset is afterwards, by the numbers of MediaValet's search filter: 0 approved, 2 pending approval.
    #[serde(default)]
    status: u8,
    /// # Seconds to wait at most
    /// For MediaValet to process the version; 0 to go on at once.
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
    /// Of the bytes that were sent, in lower-case hexadecimal.
    sha256: String,
    /// # Processed
    /// Whether MediaValet shows the version as the asset's file; if not, that may take a while yet.
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
    const ABOUT: &'static str = "Checks the asset out, sends the file, checks it in and waits until MediaValet has processed \
        it, or the time for that is over. Goes on where it was after an interruption, and never makes a second version of \
        one item.";
    const EFFECT: Effect = Effect::Create;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let left = Transfer::left(cx);
        if let Some(transfer) = &left
            && let Some(sent) = checked_in(client, &input, transfer, cx).await?
        {
            return finish(client, &input, transfer.clone(), sent, cx).await;
        }
        if left.is_none() {
            check_out(client, &input, cx).await?;
        }
        let (transfer, sent) = check_in(client, &input, left, cx).await.map_err(still_checked_out)?;
        finish(client, &input, transfer, sent, cx).await
    }

    /// Until all bytes are sent nothing can have been checked in, and what was begun goes on from the checkpoint. After
    /// that the asset itself tells: it has the version, or is checked out still.
    async fn reconcile(client: &Client, input: Input, cx: &Context) -> Result<Option<Output>> {
        let Some(transfer) = Transfer::left(cx).filter(|transfer| transfer.sent.is_some()) else { return Ok(None) };
        let (input, transfer) = (&input, &transfer);
        let within = CHECKED_IN_TIMEOUT.min(Duration::from_secs(input.seconds));
        match until(within, cx, || checked_in(client, input, transfer, cx)).await? {
            Some(sent) => finish(client, input, transfer.clone(), sent, cx).await.map(Some),
            None if is_checked_out(&asset(client, input, cx).await?) => Ok(None),
            None => {
                let message = format!(
                    "asset {} is not checked out any more, and does not have the new version after {} s",
                    input.asset_id,
                    within.as_secs()
                );
                Err(Error::new(ErrorKind::UnknownOutcome, message)
                    .hint("look at the asset's versions in MediaValet: it may be in process still"))
            }
        }
    }
}

submit! { ActionEntry::of::<UploadVersion>() }

/// Reserves the asset, unless it is reserved for this user already.
async fn check_out(client: &Client, input: &Input, cx: &Context) -> Result<()> {
    // A source that cannot be opened is no reason to reserve anything.
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
    let message = format!("asset {} is checked out by somebody else", input.asset_id);
    Err(Error::new(ErrorKind::Conflict, message)
        .with("checkedOutBy", holder)
        .hint("have it checked in in MediaValet, then run the step again"))
}

/// Everything after the check-out: what fails here leaves the asset checked out.
async fn check_in(client: &Client, input: &Input, left: Option<Transfer>, cx: &Context) -> Result<(Transfer, Sent)> {
    let asset = &input.asset_id;
    let begin = Begin {
        operation: "asset.begin_check_in",
        input: json!({ "assetId": asset }),
        // Asked again, it gives another address.
        renew: ("asset.begin_check_in", json!({})),
    };
    let transfer = match left {
        Some(transfer) => transfer,
        None => {
            client.call("asset.check_version_name", json!({ "id": asset, "fileName": input.name() }), cx).await?;
            Transfer::begin(client, &begin, cx).await?
        }
    };
    let (transfer, sent) = transfer.send(client, &input.file, &begin, cx).await?;
    let upload_name = transfer.upload_name.as_deref();
    let version = json!({
        "assetId": asset, "priority": "high", "comment": input.comment, "status": input.status,
        "fileSizeInBytes": sent.bytes, "fileName": input.name(), "uploadFilename": upload_name.unwrap_or(input.name()),
    });
    client.call("asset.check_in", version, cx).await?;
    Ok((transfer, sent))
}

/// Waits until what was checked in is the asset's file.
async fn finish(client: &Client, input: &Input, transfer: Transfer, sent: Sent, cx: &Context) -> Result<Output> {
    let is_new = |asset: &Value| is_version(asset, input, transfer.media_file_id.as_deref(), &sent);
    let processed = transfer.clone().wait(client, (&input.asset_id, input.seconds), cx, is_new).await?;
    let (asset_id, file_name) = (input.asset_id.clone(), input.name().to_owned());
    Ok(Output { asset_id, file_name, bytes: sent.bytes, sha256: sent.sha256, processed })
}

/// What was sent, if an earlier attempt has checked it in.
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

/// Whether the asset has this version: by the id of its file if that is told, else by name and size.
fn is_version(asset: &Value, input: &Input, media_file: Option<&str>, sent: &Sent) -> bool {
    let file = |member: &str| asset.get("file").and_then(|file| file.get(member));
    let same = match (media_file, file("id").and_then(Value::as_str)) {
        (Some(one), Some(other)) if one.eq_ignore_ascii_case(other) => true,
        _ => {
            file("fileName").and_then(Value::as_str) == Some(input.name())
                && file("sizeInBytes").and_then(Value::as_u64) == Some(sent.bytes)
        }
    };
    same && !is_checked_out(asset)
}

/// Says that nobody else can work on the asset. Who cancels goes on later and need not be told.
fn still_checked_out(error: Error) -> Error {
    if error.kind() == ErrorKind::Cancelled {
        return error;
    }
    let advice = error.advice().map(|advice| format!("{advice}; ")).unwrap_or_default();
    error.with("checkedOut", true).hint(format!(
        "{advice}the asset is still checked out: run the step again, which takes the check-out over, or check it in in MediaValet"
    ))
}
