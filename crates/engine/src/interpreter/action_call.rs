//! A step's call of an action, within the step's time limit.
//!
//! A `Create` that runs out of time has an unknown outcome, so it is looked up before anything else happens.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use trunkline_core::{Connected, Effect, Error, ErrorKind, Recorder, Result, StepPath};

use crate::{
    interpreter::{
        bounds::Bounds,
        durability::Attempt,
        interpreter::{Interpreter, cancelled},
    },
    journal::process_log::LoggedCall,
};

/// The time that a look-up has, even if the step's deadline has passed.
const LOOK_UP_TIME: Duration = Duration::from_secs(60);

/// A step's call of an action.
pub(crate) struct ActionCall<'a> {
    pub(crate) interpreter: &'a Interpreter,
    pub(crate) connected: &'a Connected,
    pub(crate) action: &'a str,
    pub(crate) effect: Effect,
    pub(crate) input: Value,
    pub(crate) path: &'a StepPath,
    pub(crate) bounds: &'a Bounds,
}

#[async_trait]
impl Attempt for ActionCall<'_> {
    async fn run(&self, checkpoint: Option<Value>, recorder: Arc<dyn Recorder>) -> Result<Value> {
        let now = || self.interpreter.durability().now();
        // An attempt is repeated here after its look-up. In a run that is drained, it still runs to its end.
        if self.interpreter.is_cancelled() {
            return Err(cancelled());
        }
        self.bounds.check(now())?;
        let _activity = self.interpreter.activity().call();
        let cx = self.interpreter.context(self.connected, self.path, self.bounds).with_recorder(recorder, checkpoint);
        let result = tokio::select! {
            biased;
            result = self.connected.run(self.action, self.input.clone(), &cx) => result,
            () = self.interpreter.until(self.bounds.timer()) => Err(match self.effect {
                Effect::Create => self.bounds.error().into_kind(ErrorKind::UnknownOutcome),
                _ => self.bounds.error(),
            }),
            () = self.interpreter.grace_period_over() => Err(cancelled()),
        };
        match result {
            // The action may notice the deadline before the timer does.
            Err(error) if self.bounds.check(now()).is_err() && error.kind() != ErrorKind::Cancelled => {
                let kind = if error.kind() == ErrorKind::UnknownOutcome { error.kind() } else { ErrorKind::Timeout };
                Err(self.bounds.error().into_kind(kind).source(error))
            }
            result => result,
        }
    }

    fn logged_call(&self) -> LoggedCall<'_> {
        let spec = self.connected.connector().action_spec(self.action).ok();
        let (connection, redactor) = (self.connected.name(), self.connected.redactor());
        LoggedCall { action: self.action, connection, input: &self.input, spec, redactor }
    }

    async fn reconcile(&self, checkpoint: Option<Value>, recorder: Arc<dyn Recorder>) -> Result<Option<Value>> {
        let _activity = self.interpreter.activity().call();
        // A possible effect of the step is looked up even if its deadline has passed.
        let bounds = self.bounds.at_least(self.interpreter.durability().now(), LOOK_UP_TIME);
        let cx = self.interpreter.context(self.connected, self.path, &bounds).with_recorder(recorder, checkpoint);
        tokio::select! {
            biased;
            result = self.connected.reconcile(self.action, self.input.clone(), &cx) => result,
            () = self.interpreter.until(bounds.timer()) => {
                let message = format!("the outcome of {} could not be looked up in time", self.action);
                Err(Error::new(ErrorKind::UnknownOutcome, message))
            }
        }
    }
}
