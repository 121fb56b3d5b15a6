//! `asset.wait_until_processed`: MediaValet makes previews after an upload has been answered; who needs them waits.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, Result, Retry, async_trait, submit};
use trunkline_rest::Client;

use crate::MediaValet;

/// The action.
pub struct WaitUntilProcessed;

/// Which asset, and how long.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Asset
    #[schemars(extend("format" = "uuid"))]
    asset_id: String,
    /// # Seconds to wait at most
    #[serde(default = "quarter_of_an_hour")]
    #[schemars(range(min = 1, max = 86_400))]
    seconds: u64,
}

fn quarter_of_an_hour() -> u64 {
    15 * 60
}

/// The asset as it is now.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # Asset
    asset: Value,
}

#[async_trait]
impl Action for WaitUntilProcessed {
    type Connector = MediaValet;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "asset.wait_until_processed";
    const TITLE: &'static str = "Wait until an asset is processed";
    const GROUP: &'static str = "Assets";
    const ABOUT: &'static str =
        "Looks again and again, less and less often, until MediaValet has made the asset's previews.";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        Ok(Output { asset: processed(client, &input.asset_id, Duration::from_secs(input.seconds), cx).await? })
    }
}

submit! { ActionEntry::of::<WaitUntilProcessed>() }

/// How long MediaValet may take to process an asset (thumbnails, previews) before a later step has to look again.
pub(crate) const PROCESSING_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Looks again and again, less and less often, until there is something to give; `None` when the time is over.
pub(crate) async fn until<T, F>(within: Duration, cx: &Context, look: impl Fn() -> F) -> Result<Option<T>>
where
    F: Future<Output = Result<Option<T>>>,
{
    let (mut waited, mut pause) = (Duration::ZERO, Duration::from_millis(100));
    while waited < within {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = cx.cancellation().cancelled() => cx.check_cancelled()?,
        }
        waited += pause;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
    Ok(None)
}

/// The asset once it is processed and what was asked for holds.
pub(crate) async fn processed_and(
    client: &Client,
    asset: &str,
    within: Duration,
    cx: &Context,
    holds: impl Fn(&Value) -> bool + Sync,
) -> Result<Value> {
    let holds = &holds;
    let look = || async move {
        let found = client.call("asset.get", json!({ "assetId": asset }), cx).await?;
        // Then it has something to show.
        let processed = found.pointer("/media/original").and_then(Value::as_str).is_some_and(|url| !url.is_empty());
        Ok((processed && holds(&found)).then_some(found))
    };
    until(within, cx, look).await?.ok_or_else(|| {
        let message = format!("MediaValet has not processed asset {asset} within {} s", within.as_secs());
        Error::new(ErrorKind::Unavailable, message).retry(Retry::Backoff).hint("look at the asset in MediaValet")
    })
}

/// The asset once it is processed.
pub(crate) async fn processed(client: &Client, asset: &str, within: Duration, cx: &Context) -> Result<Value> {
    processed_and(client, asset, within, cx, |_| true).await
}
