//! The way of a file's bytes to the signed address that MediaValet gave for them: what uploads and new versions have in
//! common.
//!
//! How far a transfer got is its checkpoint, so it goes on from the last block after a crash. The address is good for 24
//! hours; when it has run out, another one of the same file is asked for, and the transfer goes on where it was.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Context, ErrorKind, FileRef, Result, Secret};
use trunkline_rest::{BlockCheckpoint, Client, address_expired};

use crate::{
    id,
    wait::{is_processed, processed_and},
};

/// Who waits says this long before the time of the step is over that it did not suffice: what took effect has not failed.
const TO_END: Duration = Duration::from_secs(2);

/// How far the bytes got. Holds the signed address, so it is for the checkpoint only.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) asset_id: String,
    upload_url: String,
    /// The name the storage has for the file until it is the asset's.
    #[serde(default)]
    pub(crate) upload_name: Option<String>,
    #[serde(default)]
    pub(crate) media_file_id: Option<String>,
    blocks: BlockCheckpoint,
    pub(crate) sent: Option<Sent>,
    /// MediaValet has it, and all that is left is to wait.
    #[serde(default)]
    pub(crate) handed_over: bool,
}

/// What arrived at the signed address.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// The row that gives an address to send to, and its input; and the one that gives another address of the same file, with
/// its input beside `assetId`.
pub(crate) struct Begin {
    pub(crate) operation: &'static str,
    pub(crate) input: Value,
    pub(crate) renew: (&'static str, Value),
}

impl Transfer {
    /// The one that an earlier attempt left.
    pub(crate) fn left(cx: &Context) -> Option<Transfer> {
        serde_json::from_value(cx.checkpoint()?.clone()).ok()
    }

    pub(crate) async fn begin(client: &Client, begin: &Begin, cx: &Context) -> Result<Transfer> {
        let begun = client.call(begin.operation, begin.input.clone(), cx).await?;
        let transfer = Transfer {
            asset_id: id(&begun, "id")?,
            upload_url: id(&begun, "uploadUrl")?,
            upload_name: None,
            media_file_id: None,
            blocks: BlockCheckpoint::default(),
            sent: None,
            handed_over: false,
        };
        transfer.called_as(&begun, cx).await
    }

    /// With the names that an answer has for the file, where it has some: those of a new address may be others.
    async fn called_as(self, answer: &Value, cx: &Context) -> Result<Transfer> {
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        let transfer = Transfer {
            // The vendor's guide and its example differ in the case of this.
            upload_name: text("uploadFileName").or_else(|| text("uploadFilename")).or(self.upload_name),
            media_file_id: text("mediaFileId").or(self.media_file_id),
            ..self
        };
        cx.save_checkpoint(json!(transfer)).await?;
        Ok(transfer)
    }

    /// Sends what has not arrived yet, with new addresses for those that run out: each has to get a block across.
    pub(crate) async fn send(
        self,
        client: &Client,
        file: &FileRef,
        begin: &Begin,
        cx: &Context,
    ) -> Result<(Transfer, Sent)> {
        let (mut transfer, mut renewed) = (self, None);
        loop {
            match transfer.send_once(client, file, cx).await {
                Err(error) if address_expired(&error) && renewed != Some(transfer.blocks.bytes()) => {
                    renewed = Some(transfer.blocks.bytes());
                    transfer = transfer.renew(client, begin, cx).await?;
                }
                sent => return sent.map(|sent| (transfer, sent)),
            }
        }
    }

    /// The same transfer with another address; a new one where MediaValet gives none for what was begun.
    async fn renew(self, client: &Client, begin: &Begin, cx: &Context) -> Result<Transfer> {
        let (operation, mut input) = begin.renew.clone();
        input["assetId"] = self.asset_id.as_str().into();
        let found = match client.call(operation, input, cx).await {
            Err(gone) if gone.kind() == ErrorKind::NotFound => Value::Null,
            found => found?,
        };
        let Some(upload_url) = found.get("uploadUrl").and_then(Value::as_str).map(str::to_owned) else {
            return Transfer::begin(client, begin, cx).await;
        };
        Transfer { upload_url, ..self }.called_as(&found, cx).await
    }

    /// Waits until MediaValet has processed what it was handed: whether it has. Who comes back goes on waiting.
    pub(crate) async fn wait(
        mut self,
        client: &Client,
        (asset, seconds): (&str, u64),
        cx: &Context,
        holds: impl Fn(&Value) -> bool + Sync,
    ) -> Result<bool> {
        if !self.handed_over {
            // What is processed at once needs no mark.
            if processed_and(client, asset, Duration::ZERO, cx, &holds).await.is_ok_and(|found| found.is_some()) {
                return Ok(true);
            }
            self.handed_over = true;
            cx.save_checkpoint(json!(self)).await?;
        }
        let left = cx.deadline().map(|end| end.saturating_duration_since(Instant::now()).saturating_sub(TO_END));
        let within = Duration::from_secs(seconds);
        is_processed(client, asset, left.map_or(within, |left| left.min(within)), cx, holds).await
    }

    /// Keeps in itself how far it got, however it ends.
    async fn send_once(&mut self, client: &Client, file: &FileRef, cx: &Context) -> Result<Sent> {
        if let Some(sent) = self.sent.clone() {
            return Ok(sent);
        }
        let target = Secret::from(self.upload_url.as_str());
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
        // What comes now may take long.
        cx.unstage().await;
        Ok(sent)
    }
}

/// A file name without its extension.
pub(crate) fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}
