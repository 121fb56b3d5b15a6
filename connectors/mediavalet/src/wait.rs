//! `asset.wait_until_processed`: MediaValet makes previews after an upload has been answered; who needs them waits.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
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
    const ABOUT: &'static str = "Looks again and again, less and less often, until MediaValet has made the asset's previews. \
        An asset that was not there yet may be missing for ten seconds.";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let Input { asset_id, seconds } = input;
        let processed = processed_and(client, &asset_id, Duration::from_secs(seconds), cx, |_| true).await;
        let processed = processed.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                error.hint("the asset was removed, or did not appear within ten seconds: check the id")
            }
            _ => error,
        })?;
        let asset = processed.ok_or_else(|| {
            let message = format!("MediaValet has not processed asset {asset_id} within {seconds} s");
            Error::new(ErrorKind::Unavailable, message)
                .retry(Retry::Backoff)
                .hint("run the step again to wait longer, or look at the asset in MediaValet")
        })?;
        Ok(Output { asset })
    }
}

submit! { ActionEntry::of::<WaitUntilProcessed>() }

/// How long something that was made may not be shown yet: after that, or once it was shown, it is not there.
const SHOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a step waits for what MediaValet does in the background, unless it says otherwise.
pub(crate) fn quarter_of_an_hour() -> u64 {
    15 * 60
}

/// Looks again and again, less and less often, until there is something to give; `None` when the time is over. It looks
/// once at least, and when the time is over once more.
pub(crate) async fn until<T, F>(within: Duration, cx: &Context, look: impl Fn() -> F) -> Result<Option<T>>
where
    F: Future<Output = Result<Option<T>>>,
{
    let (end, mut pause) = (Instant::now() + within, Duration::from_millis(100));
    loop {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        tokio::select! {
            () = tokio::time::sleep(pause.min(left)) => {}
            () = cx.cancellation().cancelled() => cx.check_cancelled()?,
        }
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

/// What is known of something that may not be shown yet.
pub(crate) struct Shown {
    since: Instant,
    seen: AtomicBool,
}

impl Shown {
    pub(crate) fn new() -> Shown {
        Shown { since: Instant::now(), seen: AtomicBool::new(false) }
    }

    pub(crate) fn was_seen(&self) -> bool {
        self.seen.load(Ordering::Relaxed)
    }

    /// What a look found; nothing as long as it may come still.
    pub(crate) fn read(&self, found: Result<Value>) -> Result<Option<Value>> {
        match found {
            Err(absent) if absent.kind() == ErrorKind::NotFound => {
                match !self.was_seen() && self.since.elapsed() < SHOWN_TIMEOUT {
                    true => Ok(None),
                    false => Err(absent),
                }
            }
            Err(error) => Err(error),
            Ok(found) => {
                self.seen.store(true, Ordering::Relaxed);
                Ok(Some(found))
            }
        }
    }
}

/// The asset once it is processed and what was asked for holds; `None` when the time is over.
pub(crate) async fn processed_and(
    client: &Client,
    asset: &str,
    within: Duration,
    cx: &Context,
    holds: impl Fn(&Value) -> bool + Sync,
) -> Result<Option<Value>> {
    let (holds, shown) = (&holds, &Shown::new());
    let look = || async move {
        let found = shown.read(client.call("asset.get", json!({ "assetId": asset }), cx).await)?;
        // Then it has something to show.
        let processed =
            |asset: &Value| asset.pointer("/media/original").and_then(Value::as_str).is_some_and(|url| !url.is_empty());
        Ok(found.filter(|found| processed(found) && holds(found)))
    };
    until(within, cx, look).await
}

/// Whether an asset that was handed over is processed. It is there whatever a look says: only who cancels goes on later.
pub(crate) async fn is_processed(
    client: &Client,
    asset: &str,
    within: Duration,
    cx: &Context,
    holds: impl Fn(&Value) -> bool + Sync,
) -> Result<bool> {
    let why = match processed_and(client, asset, within, cx, holds).await {
        Ok(Some(_)) => return Ok(true),
        Ok(None) => format!("had not processed it within {} s", within.as_secs()),
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(error) => format!("could not be asked about it any more: {error}"),
    };
    cx.warn(&format!("asset {asset} is in MediaValet, which {why}; `asset.wait_until_processed` waits for that"));
    Ok(false)
}
