//! The [`Durability`] trait that the interpreter runs on.
//!
//! The interpreter is deterministic except for what it receives through this trait.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use trunkline_core::{Effect, Error, Recorder, Result, RunId, StepPath, Timestamp};

use crate::{
    journal::process_log::LoggedCall,
    run::{FailedAttempts, ItemOutcome, Ledger, ListPosition, RunNotification, Waiting},
};

/// A step's call, attempted as often as durability requires.
#[async_trait]
pub(crate) trait Attempt: Send + Sync {
    /// Makes the call, with the checkpoint of an earlier attempt.
    async fn run(&self, checkpoint: Option<Value>, recorder: Arc<dyn Recorder>) -> Result<Value>;
    /// Looks up whether an earlier attempt took effect. Returns its output, or nothing if it had no effect.
    async fn reconcile(&self, checkpoint: Option<Value>, recorder: Arc<dyn Recorder>) -> Result<Option<Value>>;
    /// Returns the call for the process log.
    fn logged_call(&self) -> LoggedCall<'_>;
}

/// What the interpreter needs from the engine that makes its run durable.
#[async_trait]
pub(crate) trait Durability: Send + Sync {
    /// Returns the step's recorded result, or attempts the step and records its result.
    async fn step(&self, step: &StepPath, effect: Effect, attempt: &dyn Attempt) -> Result<Value>;
    /// Adds a call to the process log, if the flow logs such calls.
    async fn log(&self, step: &StepPath, began: Timestamp, call: LoggedCall<'_>, result: Result<&Value, &Error>);
    /// Returns the recorded result of a step.
    fn result(&self, step: &StepPath) -> Option<Result<Value>>;
    /// Records the output of a step that calls no action itself, and when it began, if that is known.
    async fn finish(&self, step: &StepPath, output: Value, began: Option<Timestamp>) -> Result<()>;
    /// Records that a step has failed for good, unless its result is recorded already.
    async fn fail(&self, step: &StepPath, error: &Error) -> Result<()>;
    /// Returns how many attempts of a step have failed, and when the next one may begin.
    fn failed_attempts(&self, step: &StepPath) -> FailedAttempts;
    /// Records that a step is tried again. Failures inside it are forgotten.
    async fn retry(&self, step: &StepPath, error: &Error, after: Duration) -> Result<()>;
    /// Returns the deadline of a step with a timeout of this length, counted from when the step first began.
    async fn deadline(&self, step: &StepPath, after: Duration) -> Result<Timestamp>;
    /// Records the condition that a step waits for. If the step has begun before, the recorded condition is returned.
    async fn wait(&self, step: &StepPath, wait: Waiting) -> Result<Waiting>;
    /// Waits for a signal and returns its payload.
    async fn signal(&self, name: &str) -> Value;
    /// Returns the current time.
    fn now(&self) -> Timestamp;
    /// Returns the outcome of an item, if it has one.
    async fn item(&self, each: &StepPath, key: &str) -> Result<Option<ItemOutcome>>;
    /// Returns the number of items of an `each` that have an outcome.
    fn ended(&self, each: &StepPath) -> u64;
    /// Records that an `each` has read this many items in all, `more` of them just now, and whether these are all.
    async fn listed(&self, each: &StepPath, items: u64, more: u64, last: bool) -> Result<()>;
    /// Returns whether the run has to work on an item. A rerun skips the items that did not fail.
    async fn wants(&self, each: &StepPath, key: &str) -> Result<bool>;
    /// Returns the name of the batch in which an earlier run worked on an item.
    fn batch(&self, each: &StepPath, key: &str) -> Option<String>;
    /// Returns the outcome of an item that must not be worked on: an earlier run has done it and its fingerprint is
    /// unchanged, or an earlier run may have done it.
    async fn unchanged(&self, each: &StepPath, key: &str, fingerprint: &str) -> Result<Option<ItemOutcome>>;
    /// Returns the run whose id is part of a step's idempotency key: an earlier run, if this one continues its attempt.
    fn begun_in(&self, step: &StepPath) -> RunId;
    /// Records the outcomes of items, and the name of their batch, if they were worked on in one.
    async fn finish_items(&self, each: &StepPath, batch: Option<String>, finished: Vec<FinishedItem>) -> Result<()>;
    /// Returns where a list continues.
    fn position(&self, each: &StepPath) -> ListPosition;
    /// Returns the number of items after that position that have an outcome already, if it is known.
    fn ahead(&self, each: &StepPath) -> Option<u64>;
    /// Records that all items before the cursor `next` have outcomes, and `ahead` items after it.
    async fn finish_page(&self, each: &StepPath, next: Option<Value>, ahead: u64) -> Result<()>;
    /// Records that a list seems to have changed while it was read, unless that is recorded already.
    async fn list_changed(&self, each: &StepPath, reason: String) -> Result<()>;
    /// Returns the outcomes of an `each` step's items so far.
    fn ledger(&self, each: &StepPath) -> Ledger;
    /// Sends a notification to the run's subscribers.
    fn notify(&self, notification: RunNotification);
}

/// An item and its outcome.
pub(crate) struct FinishedItem {
    pub(crate) key: String,
    /// The item's fingerprint, if it is remembered across runs.
    pub(crate) once: Option<String>,
    pub(crate) outcome: ItemOutcome,
}
