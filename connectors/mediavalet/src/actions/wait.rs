//! `asset.wait_until_processed`: waits until MediaValet has made an asset's previews.
//!
//! MediaValet processes an asset in the background after the upload, and a new asset may not be visible at once. The
//! module also has the functions with which other actions wait: [`until`] polls, and [`Visibility`] decides whether an
//! object that is not found may still appear.

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

/// The action `asset.wait_until_processed`.
pub struct WaitUntilProcessed;

/// The asset, and the maximum wait.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Asset
    #[schemars(extend("format" = "uuid"))]
    asset_id: String,
    /// # Maximum wait in seconds
    #[serde(default = "quarter_of_an_hour")]
    #[schemars(range(min = 1, max = 86_400))]
    seconds: u64,
}

/// The processed asset.
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
    const ABOUT: &'static str = "Polls at growing intervals until MediaValet has made the asset's previews. A new \
        asset may take ten seconds to appear.";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let Input { asset_id, seconds } = input;
        let processed = processed_and(client, &asset_id, Duration::from_secs(seconds), cx, |_| true).await;
        let processed = processed.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                error.hint("check the id: the asset was removed, or did not appear within ten seconds")
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

/// The time in which a new object may still appear. An object that is not found after that time, or after it was
/// visible, does not exist.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the default maximum wait for processing in the background, in seconds.
pub(crate) fn quarter_of_an_hour() -> u64 {
    15 * 60
}

/// Polls at growing intervals until `poll` returns a value, or returns `None` when `limit` is over. It polls at least
/// once, and a last time at the end. Fails with the error of `poll`, or with `cancelled`.
pub(crate) async fn until<T, F>(limit: Duration, cx: &Context, poll: impl Fn() -> F) -> Result<Option<T>>
where
    F: Future<Output = Result<Option<T>>>,
{
    let (end, mut pause) = (Instant::now() + limit, Duration::from_millis(100));
    loop {
        if let Some(found) = poll().await? {
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

/// The visibility of a new object: whether it was found before, and since when it has been looked for.
pub(crate) struct Visibility {
    since: Instant,
    visible: AtomicBool,
}

impl Visibility {
    pub(crate) fn new() -> Visibility {
        Visibility { since: Instant::now(), visible: AtomicBool::new(false) }
    }

    /// Returns whether the object was found before.
    pub(crate) fn was_visible(&self) -> bool {
        self.visible.load(Ordering::Relaxed)
    }

    /// Returns the object from the result of a look-up, or `None` if it is not found but may still appear.
    pub(crate) fn check(&self, result: Result<Value>) -> Result<Option<Value>> {
        match result {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match !self.was_visible() && self.since.elapsed() < VISIBILITY_TIMEOUT {
                    true => Ok(None),
                    false => Err(error),
                }
            }
            Err(error) => Err(error),
            Ok(found) => {
                self.visible.store(true, Ordering::Relaxed);
                Ok(Some(found))
            }
        }
    }
}

/// Returns the asset when it is processed and satisfies `accept`, or `None` when `limit` is over.
pub(crate) async fn processed_and(
    client: &Client,
    asset: &str,
    limit: Duration,
    cx: &Context,
    accept: impl Fn(&Value) -> bool + Sync,
) -> Result<Option<Value>> {
    let (accept, visibility) = (&accept, &Visibility::new());
    let poll = || async move {
        let found = visibility.check(client.call("asset.get", json!({ "assetId": asset }), cx).await)?;
        // A processed asset has a URL of its original.
        let processed =
            |asset: &Value| asset.pointer("/media/original").and_then(Value::as_str).is_some_and(|url| !url.is_empty());
        Ok(found.filter(|found| processed(found) && accept(found)))
    };
    until(limit, cx, poll).await
}

/// Waits for an asset that MediaValet has accepted, and returns whether it is processed. The asset exists even if
/// looking it up fails, so every error but `cancelled` becomes a warning.
pub(crate) async fn is_processed(
    client: &Client,
    asset: &str,
    limit: Duration,
    cx: &Context,
    accept: impl Fn(&Value) -> bool + Sync,
) -> Result<bool> {
    let reason = match processed_and(client, asset, limit, cx, accept).await {
        Ok(Some(_)) => return Ok(true),
        Ok(None) => format!("it is not processed after {} s", limit.as_secs()),
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(error) => format!("it is not known whether it is processed: {error}"),
    };
    cx.warn(&format!("asset {asset} is in MediaValet, but {reason}; `asset.wait_until_processed` waits for it"));
    Ok(false)
}
