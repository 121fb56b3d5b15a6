//! A step's call of an action, within its time.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use trunkline_core::{Connected, Effect, Error, ErrorKind, Recorder, Result};

use crate::{
    StepPath,
    durability::Attempt,
    interpreter::{Interpreter, cancelled},
    process_log::About,
    time::Bounds,
};

/// How long the look-up of an outcome may take after a step's time is over.
const LOOK_UP: Duration = Duration::from_secs(60);

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
        // An attempt whose outcome was looked up comes here again; one of a run that is parked still goes to its end.
        if self.interpreter.is_cancelled() {
            return Err(cancelled());
        }
        self.bounds.check(now())?;
        let _works = self.interpreter.activity().call();
        let cx = self.interpreter.context(self.connected, self.path, self.bounds).with_recorder(recorder, checkpoint);
        let result = tokio::select! {
            biased;
            result = self.connected.run(self.action, self.input.clone(), &cx) => result,
            () = self.interpreter.until(self.bounds.timer()) => Err(match self.effect {
                Effect::Create => self.bounds.error().into_kind(ErrorKind::UnknownOutcome),
                _ => self.bounds.error(),
            }),
            () = self.interpreter.out_of_patience() => Err(cancelled()),
        };
        match result {
            // The action may be the first to notice.
            Err(error) if self.bounds.check(now()).is_err() && error.kind() != ErrorKind::Cancelled => {
                let kind = if error.kind() == ErrorKind::UnknownOutcome { error.kind() } else { ErrorKind::Timeout };
                Err(self.bounds.error().into_kind(kind).source(error))
            }
            result => result,
        }
    }

    fn about(&self) -> About<'_> {
        let spec = self.connected.connector().action_spec(self.action).ok();
        About { action: self.action, connection: self.connected.name(), input: &self.input, spec }
    }

    async fn reconcile(&self, checkpoint: Option<Value>, recorder: Arc<dyn Recorder>) -> Result<Option<Value>> {
        let _works = self.interpreter.activity().call();
        // What the step may have done is looked up even if its time is over.
        let bounds = self.bounds.at_least(self.interpreter.durability().now(), LOOK_UP);
        let cx = self.interpreter.context(self.connected, self.path, &bounds).with_recorder(recorder, checkpoint);
        tokio::select! {
            biased;
            result = self.connected.reconcile(self.action, self.input.clone(), &cx) => result,
            () = self.interpreter.until(bounds.timer()) => {
                let message = format!("what became of {} could not be looked up in time", self.action);
                Err(Error::new(ErrorKind::UnknownOutcome, message))
            }
        }
    }
}
