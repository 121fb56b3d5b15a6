//! What a resumed run reads from the state of its steps and lists.

use std::sync::atomic::Ordering;

use serde_json::Value;
use trunkline_core::{Result, StepPath, Timestamp};

use super::{FailedAttempts, ListPosition, Run};
use crate::run::{RunStatus, Waiting, failure::is_of_connection, progress::ProgressCounter};

impl Run {
    /// Returns whether the run was stopped because a connection did not work: it needs a new sign-in, its login server
    /// refused, or its service was down. It can be resumed when the connection works again.
    pub fn is_stopped_by_connection(&self) -> bool {
        self.status == RunStatus::Failed && self.error.as_ref().is_some_and(is_of_connection)
    }

    /// Returns the recorded result of a step.
    pub(crate) fn result(&self, step: &StepPath) -> Option<Result<Value>> {
        self.steps.get(step)?.result.clone()
    }

    /// Returns the warnings of the steps of an item that has no outcome yet.
    pub(crate) fn warnings_in(&self, item: &StepPath) -> impl Iterator<Item = &String> {
        self.steps.range(item.below()).flat_map(|(_, state)| &state.warnings)
    }

    /// Returns whether an attempt that must not be repeated blindly has begun.
    pub(crate) fn started(&self, step: &StepPath) -> bool {
        self.steps.get(step).is_some_and(|state| state.started)
    }

    /// Returns the checkpoint of the last attempt.
    pub(crate) fn checkpoint(&self, step: &StepPath) -> Option<Value> {
        self.steps.get(step)?.checkpoint.clone()
    }

    /// Returns how many attempts of a step have failed, and when the next one may begin.
    pub(crate) fn failed_attempts(&self, step: &StepPath) -> FailedAttempts {
        self.steps.get(step).map_or_else(Default::default, |state| state.failed_attempts)
    }

    /// Returns the deadline of a step.
    pub(crate) fn deadline(&self, step: &StepPath) -> Option<Timestamp> {
        self.steps.get(step)?.deadline
    }

    /// Returns the condition of a `wait` step that has begun.
    pub(crate) fn wait(&self, step: &StepPath) -> Option<Waiting> {
        self.steps.get(step)?.wait.clone()
    }

    /// Returns the payload of a signal.
    pub(crate) fn signal(&self, name: &str) -> Option<Value> {
        self.signals.get(name).cloned()
    }

    /// Returns whether a step waits for a signal.
    pub(crate) fn awaits_signal(&self) -> bool {
        self.waiting.values().any(|wait| wait.signal.is_some())
    }

    /// Returns the memory of the input, the signals and the results of steps, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// Returns the number of recorded step results.
    pub(crate) fn recorded(&self) -> u64 {
        self.recorded
    }

    /// Returns where a list continues.
    pub(crate) fn position(&self, step: &StepPath) -> ListPosition {
        self.positions.get(step).cloned().unwrap_or(ListPosition::Start)
    }

    /// Returns the number of items after that position that have an outcome already, if it is known.
    pub(crate) fn ahead(&self, step: &StepPath) -> Option<u64> {
        self.ahead.get(step).copied().unwrap_or(Some(0))
    }

    /// Returns whether it has to be recorded that a list has this many items.
    pub(crate) fn is_news(&self, each: &StepPath, items: u64, last: bool) -> bool {
        !self.is_inside_an_item(each) && self.counter(each).is_news(items, last)
    }

    /// Returns the progress of a list.
    pub(crate) fn counter(&self, step: &StepPath) -> ProgressCounter {
        self.counters.get(step).cloned().unwrap_or_default()
    }
}
