//! Transfers of a file's bytes to a signed URL, which uploads and new versions have in common.
//!
//! The progress of a transfer is its checkpoint, so after a crash it continues with the next block. The URL is valid
//! for 24 hours. When it has expired, another URL for the same file is requested, and the transfer continues there.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Context, ErrorKind, FileRef, Result, Secret};
use trunkline_rest::{BlockCheckpoint, Client, address_expired};

use crate::{
    actions::id,
    actions::wait::{is_processed, processed_and},
};

/// The time before the step's deadline at which waiting stops, so that an upload that took effect is not reported as a
/// step that timed out.
const DEADLINE_MARGIN: Duration = Duration::from_secs(2);

/// The progress of a transfer. It holds the signed URL, so it may be stored in the checkpoint only.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) asset_id: String,
    upload_url: String,
    /// The name of the file in the storage until it becomes the asset's file.
    #[serde(default)]
    pub(crate) upload_name: Option<String>,
    #[serde(default)]
    pub(crate) media_file_id: Option<String>,
    blocks: BlockCheckpoint,
    pub(crate) sent: Option<Sent>,
    /// Whether MediaValet has accepted the file, so that it only has to be processed.
    #[serde(default)]
    pub(crate) handed_over: bool,
}

/// Size and SHA-256 digest of the bytes that were sent to the signed URL.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// The calls that return a signed URL for a file.
pub(crate) struct StartCalls {
    pub(crate) start: Call,
    /// Returns another URL for the same file. `assetId` is added to its input.
    pub(crate) renew: Call,
}

/// A call of an operation.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) operation: &'static str,
    pub(crate) input: Value,
}

/// The asset to wait for.
pub(crate) struct WaitFor<'a> {
    pub(crate) asset: &'a str,
    /// The maximum time in seconds.
    pub(crate) seconds: u64,
}

impl Transfer {
    /// Returns the transfer that an earlier attempt has saved in the checkpoint.
    pub(crate) fn saved(cx: &Context) -> Option<Transfer> {
        serde_json::from_value(cx.checkpoint()?.clone()).ok()
    }

    /// Starts a transfer and saves it.
    pub(crate) async fn start(client: &Client, calls: &StartCalls, cx: &Context) -> Result<Transfer> {
        let response = client.call(calls.start.operation, calls.start.input.clone(), cx).await?;
        let transfer = Transfer {
            asset_id: id(&response, "id")?,
            upload_url: id(&response, "uploadUrl")?,
            upload_name: None,
            media_file_id: None,
            blocks: BlockCheckpoint::default(),
            sent: None,
            handed_over: false,
        };
        transfer.with_names(&response, cx).await
    }

    /// Takes over the names of the file from a response and saves the transfer. A new URL may come with new names;
    /// names that the response does not have are kept.
    async fn with_names(self, response: &Value, cx: &Context) -> Result<Transfer> {
        let text = |name: &str| response.get(name).and_then(Value::as_str).map(str::to_owned);
        let transfer = Transfer {
            // The vendor's guide and its example differ in the case of this name.
            upload_name: text("uploadFileName").or_else(|| text("uploadFilename")).or(self.upload_name),
            media_file_id: text("mediaFileId").or(self.media_file_id),
            ..self
        };
        cx.save_checkpoint(json!(transfer)).await?;
        Ok(transfer)
    }

    /// Sends the bytes that have not been sent yet. An expired URL is renewed, but only if at least one block was sent
    /// since the last renewal.
    pub(crate) async fn send(
        self,
        client: &Client,
        file: &FileRef,
        calls: &StartCalls,
        cx: &Context,
    ) -> Result<(Transfer, Sent)> {
        let (mut transfer, mut renewed_at) = (self, None);
        loop {
            match transfer.send_once(client, file, cx).await {
                Err(error) if address_expired(&error) && renewed_at != Some(transfer.blocks.bytes()) => {
                    renewed_at = Some(transfer.blocks.bytes());
                    transfer = transfer.renew(client, calls, cx).await?;
                }
                sent => return sent.map(|sent| (transfer, sent)),
            }
        }
    }

    /// Returns the transfer with another URL, or a new transfer if MediaValet has no further URL for this one.
    async fn renew(self, client: &Client, calls: &StartCalls, cx: &Context) -> Result<Transfer> {
        let Call { operation, mut input } = calls.renew.clone();
        input["assetId"] = self.asset_id.as_str().into();
        let response = match client.call(operation, input, cx).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Value::Null,
            result => result?,
        };
        let Some(upload_url) = response.get("uploadUrl").and_then(Value::as_str).map(str::to_owned) else {
            return Transfer::start(client, calls, cx).await;
        };
        Transfer { upload_url, ..self }.with_names(&response, cx).await
    }

    /// Waits until MediaValet has processed the file and the asset satisfies `accept`. Returns whether it has. The
    /// checkpoint says that the file was accepted, so a later attempt only waits.
    pub(crate) async fn wait(
        mut self,
        client: &Client,
        WaitFor { asset, seconds }: WaitFor<'_>,
        cx: &Context,
        accept: impl Fn(&Value) -> bool + Sync,
    ) -> Result<bool> {
        if !self.handed_over {
            // No checkpoint is needed if the asset is processed at once.
            if processed_and(client, asset, Duration::ZERO, cx, &accept).await.is_ok_and(|found| found.is_some()) {
                return Ok(true);
            }
            self.handed_over = true;
            cx.save_checkpoint(json!(self)).await?;
        }
        let until_deadline =
            cx.deadline().map(|end| end.saturating_duration_since(Instant::now()).saturating_sub(DEADLINE_MARGIN));
        let limit = Duration::from_secs(seconds);
        let limit = until_deadline.map_or(limit, |time| time.min(limit));
        is_processed(client, asset, limit, cx, accept).await
    }

    /// Sends the bytes to the current URL. `self` has the progress afterwards, also if this fails.
    async fn send_once(&mut self, client: &Client, file: &FileRef, cx: &Context) -> Result<Sent> {
        if let Some(sent) = self.sent.clone() {
            return Ok(sent);
        }
        let target = Secret::from(self.upload_url.as_str());
        cx.redactor().add(&target);
        let last = Mutex::new(self.clone());
        let save = |blocks| {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            last.blocks = blocks;
            let transfer = json!(*last);
            async move { cx.save_checkpoint(transfer).await }
        };
        let sent = client.upload_blocks(&target, file, self.blocks.clone(), save, cx).await;
        *self = last.into_inner().unwrap_or_else(PoisonError::into_inner);
        let sent = sent?;
        let sent = Sent { bytes: sent.bytes, sha256: sent.sha256 };
        self.sent = Some(sent.clone());
        cx.save_checkpoint(json!(self)).await?;
        // The staged copy is not needed any more, and the rest of the step may take long.
        cx.unstage().await;
        Ok(sent)
    }
}

/// Returns a file name without its extension. A name such as `.jpg` has none.
pub(crate) fn stem(name: &str) -> &str {
    name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map_or(name, |(stem, _)| stem)
}
