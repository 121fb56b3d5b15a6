//! What triggers have started, and could not start.
//!
//! It is collected in memory and written to the store once a second, so that a webhook with many calls costs one more
//! write a second. A failed start runs the failure handler of its flow, as a failed run does: the first one after a start
//! that succeeded, and each new due time of a schedule. A trigger that fails every minute does not report it every
//! minute.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use trunkline::{Cause, NewRun, Runtime};
use trunkline_core::{Error, ErrorKind, Result, Timestamp};
use trunkline_flow::Flow;
use trunkline_store::{FailedStart, SavedFlow, TriggerStarts};

use crate::dispatcher::Dispatcher;

/// What is not yet in the store.
#[derive(Default)]
pub(crate) struct Starts(Mutex<BTreeMap<String, New>>);

#[derive(Default)]
struct New {
    /// Whether a start has succeeded. The failures before it do not count any more.
    succeeded: bool,
    starts: TriggerStarts,
}

impl New {
    /// Returns what is to be stored in place of what is.
    fn onto(&self, stored: TriggerStarts) -> TriggerStarts {
        let TriggerStarts { last, failures, mut failed } = stored;
        for one in &self.starts.failed {
            // A due time that failed is tried again until it succeeds.
            failed.pop_if(|last| is_again(last, one));
            failed.push(one.clone());
        }
        failed.drain(..failed.len().saturating_sub(TriggerStarts::MOST_FAILED));
        let before = if self.succeeded { 0 } else { failures };
        TriggerStarts { last: self.starts.last.or(last), failures: before + self.starts.failures, failed }
    }
}

fn is_again(last: &FailedStart, now: &FailedStart) -> bool {
    now.due.is_some() && now.due == last.due
}

impl Starts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, New>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the trigger of a flow works. With a time, it has started a run then.
    pub(crate) fn succeeded(&self, flow: &str, at: Option<Timestamp>) {
        let mut new = self.lock();
        let new = new.entry(flow.to_owned()).or_default();
        new.succeeded = true;
        new.starts.failures = 0;
        new.starts.last = at.or(new.starts.last);
    }

    /// Records a failed start of a flow. Returns whether it is news, of which the failure handler has to know.
    fn failed(&self, saved: &SavedFlow, failed: FailedStart) -> bool {
        let mut new = self.lock();
        let new = new.entry(saved.name.clone()).or_default();
        let known = new.onto(saved.starts.clone());
        let again = known.failures > 0 && known.failed.last().is_some_and(|last| is_again(last, &failed));
        let is_news = known.failures == 0 || (failed.due.is_some() && !again);
        new.starts.failures += u64::from(!again);
        new.starts.failed.push(failed);
        let excess = new.starts.failed.len().saturating_sub(TriggerStarts::MOST_FAILED);
        new.starts.failed.drain(..excess);
        is_news
    }

    /// Writes what is new to the store.
    ///
    /// # Errors
    ///
    /// `store` if it fails.
    pub(crate) async fn flush(&self, runtime: &Runtime) -> Result<()> {
        let names: Vec<_> = self.lock().keys().cloned().collect();
        for flow in names {
            let Some(new) = self.lock().remove(&flow) else { continue };
            let stored = async {
                let stored = runtime.flows().saved_flow(&flow).await?.starts;
                let now = new.onto(stored.clone());
                if now == stored { Ok(()) } else { runtime.flows().set_starts(&flow, now).await }
            };
            match stored.await {
                // The flow was removed meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    self.lock().entry(flow).or_insert(new);
                    return Err(error);
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

impl Dispatcher {
    /// Records that the trigger of a flow could not start a run with this input, for this reason, and runs the failure
    /// handler of the flow if that is news. `due` is the time of a schedule.
    pub(crate) async fn start_failed(
        self: &Arc<Self>,
        saved: SavedFlow,
        flow: Flow,
        (input, due): (Value, Option<Timestamp>),
        error: &Error,
    ) {
        let Some(trigger) = flow.trigger() else { return };
        // No start fails while the server stops, and nothing can be recorded while the store fails.
        if error.kind() == ErrorKind::Store || self.is_closing() {
            return;
        }
        let runtime = self.runtime();
        let redacted = |text: &str| runtime.redactor().redact(text).into_owned();
        let failed = FailedStart {
            at: runtime.now(),
            trigger: trigger.kind().to_owned(),
            due,
            reason: redacted(&error.to_string()),
            hint: error.advice().map(|hint| redacted(&hint)),
        };
        if !self.starts.failed(&saved, failed) || flow.on_failure().is_empty() {
            return;
        }
        let name = saved.name.clone();
        let new = NewRun::of_saved(saved, flow, input);
        match self.dispatch(new, Cause::FailedStart(error)).await {
            Ok(outcome) => tracing::info!(flow = name, ?outcome, "a failed start runs its `on_failure`"),
            Err(second) => tracing::warn!(flow = name, "a failed start cannot run its `on_failure`: {second}"),
        }
    }
}
