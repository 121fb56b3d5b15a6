//! Attempts of a call until its outcome is known: a `Create` that may have taken effect is looked up before it is
//! repeated, and left to an operator if the look-up does not find out.

use std::sync::Arc;

use serde_json::Value;
use trunkline_core::{Effect, Error, ErrorKind, NextStep, Result, RunId, StepPath};

use crate::{
    interpreter::{action_call::ActionCall, step_recorder::StepRecorder},
    run::failure::is_transient,
};

/// How often a call is attempted again after a look-up has found that the last attempt had no effect. After that, an
/// operator has to check.
const MAX_RECONCILED_ATTEMPTS: usize = 3;

/// How the attempts of a call ended.
pub(super) enum AttemptEnd {
    /// With this result. If it is an error, the call had no effect.
    Known(Result<Value>),
    /// With an error, and the call may have taken effect all the same.
    Unknown(Error),
}

impl ActionCall<'_> {
    /// Attempts the call until its outcome is known, or until it cannot be found out.
    pub(super) async fn attempt(&self, recorder: &Arc<StepRecorder>) -> AttemptEnd {
        let (record, step) = (self.interpreter.record(), self.path);
        let mut unclear = self.effect == Effect::Create && record.is_unclear(step);
        let mut last =
            Error::new(ErrorKind::UnknownOutcome, format!("{step} was interrupted; it may have taken effect"));
        for _ in 0..=MAX_RECONCILED_ATTEMPTS {
            if unclear {
                match self.look_up(record.checkpoint(step), recorder.clone()).await {
                    Ok(Some(output)) => return AttemptEnd::Known(Ok(output)),
                    Ok(None) => {}
                    Err(error) if error.kind() == ErrorKind::Cancelled || is_transient(&error) => {
                        return AttemptEnd::Unknown(error);
                    }
                    // The error of the look-up alone could be retryable, and the call would be repeated.
                    Err(error) => return AttemptEnd::Unknown(last.with("look_up", &error).source(error)),
                }
            }
            let began = record.now();
            let result = self.run(record.checkpoint(step), recorder.clone()).await;
            record.log(step, began, self.logged(), result.as_ref()).await;
            match result {
                Err(error) if error.kind() == ErrorKind::UnknownOutcome => (unclear, last) = (true, error),
                result => return AttemptEnd::Known(result),
            }
        }
        AttemptEnd::Unknown(last)
    }
}

/// Adds to an error with an unknown outcome how an operator resolves it.
pub(super) fn with_resolve_step(error: Error, run: &RunId, step: &StepPath) -> Error {
    if error.kind() != ErrorKind::UnknownOutcome {
        return error;
    }
    error.next(NextStep::ResolveStep { run: run.as_str().to_owned(), step: Some(step.as_str().to_owned()) })
}
