//! The retries of a step: how many attempts have failed, whether there is another one, and when it begins.
//!
//! Failed attempts are events, so a restart does not give a step its attempts back.

use std::time::Duration;

use trunkline_core::{Error, ErrorKind, Result, Retry, StepPath};
use trunkline_flow::{Step, StepKind, Tries};

use crate::{
    interpreter::record::RunRecord,
    journal::Flush,
    run::{FailedAttempts, LONG_WAIT, RunEvent, RunNotification},
};

/// The retries of a step without `retry` after a service has asked for a longer wait than a call makes itself: its
/// quota is used up, or it is down for maintenance.
const THROTTLED: Tries = Tries { tries: 10, wait: Duration::from_secs(1), longest: Duration::from_secs(900) };

/// Returns how long a step waits for its next attempt after this attempt has failed; nothing if the error is final.
pub(super) fn wait_before_retry(step: &Step, attempt: u32, error: &Error) -> Option<Duration> {
    // An unknown outcome is looked up or resolved by an operator, but never tried again.
    if error.kind() == ErrorKind::UnknownOutcome {
        return None;
    }
    let calls = matches!(step.kind, StepKind::Action(_) | StepKind::Each { .. });
    let throttled = calls
        && matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::Unavailable)
        && matches!(error.retryable(), Retry::After(_));
    step.policy.retry.as_ref().or(throttled.then_some(&THROTTLED))?.next(attempt, error)
}

impl RunRecord {
    /// Returns how many attempts of a step have failed, and when the next one may begin.
    pub(super) fn failed_attempts(&self, step: &StepPath) -> FailedAttempts {
        self.run.read(|run| run.failed_attempts(step))
    }

    /// Returns the number of a step's current attempt, from 1.
    pub(super) fn attempt_number(&self, step: &StepPath) -> u32 {
        self.failed_attempts(step).count + 1
    }

    /// Records that a step is tried again. Failures inside it are forgotten.
    pub(super) async fn retry(&self, step: &StepPath, error: &Error, after: Duration) -> Result<()> {
        let (attempt, at) = (self.attempt_number(step), self.now());
        let until = at + after;
        let kind = error.kind().as_str();
        if after >= LONG_WAIT {
            // An operator wants to know why the run does not go on.
            tracing::warn!(step = %step, attempt, kind, %until, "the step waits and is then tried again: {error}");
        } else {
            tracing::info!(step = %step, attempt, kind, ?after, "the step is tried again: {error}");
        }
        self.notify(RunNotification::StepRetried { step: step.clone(), message: error.to_string(), until });
        let retried = RunEvent::StepRetried { step: step.clone(), error: error.clone(), attempt, until, at };
        self.run.record(retried, Flush::Later).await
    }
}
