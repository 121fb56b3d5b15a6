//! One step of a flow by itself, while the flow is written: the interpreter executes it as in a run, and nothing of it is
//! recorded.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use trunkline_core::{CancellationToken, Connected, Error, ErrorKind, Result, Timestamp};
use trunkline_flow::{Flow, Logging, Scope};

use crate::{
    interpreter::{
        ActivityMonitor, Interpreter, InterpreterParts, bounds::Bounds, cancellation::Stop, record::RunRecord,
    },
    journal::{Flush, LogEntry, MemoryJournal, journaled_run::JournaledRun},
    supervisor::{AcceptedRun, Engine, recorded_scope::at_keys, run_end::unstage},
};

/// A step to try.
pub struct StepTrial {
    /// The flow of the step. Its other steps need not be right.
    pub flow: Flow,
    /// The step, see [`Flow::find_step`].
    pub step: String,
    /// The keys of the items around it, for the paths in the log.
    pub keys: Vec<String>,
    /// The values that its expressions see.
    pub scope: Scope,
    /// The connections of the bindings that it uses.
    pub bindings: BTreeMap<String, Connected>,
    /// The longest time that it may take.
    pub timeout: Duration,
}

/// What a step did that was tried.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TriedStep {
    /// Its output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why it would have ended the item or the run as skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// The first 100 calls of actions, as the log of a run has them.
    pub calls: Vec<LogEntry>,
    /// Warnings of services whose calls succeeded.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Executes one step in this scope, without its retries and its failure handler. Nothing is recorded as a run. Steps
    /// inside it run as in a run, but are not tried again. If the returned future is dropped, the step is cancelled.
    ///
    /// # Errors
    ///
    /// `not_found` if the flow has no such step. A failure of the step is not an error but part of the result.
    pub async fn try_step(&self, trial: StepTrial) -> Result<TriedStep> {
        let StepTrial { flow, step, keys, scope, bindings, timeout } = trial;
        let (step, outer) = flow
            .find_step(&step)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("the flow {} has no step {step}", flow.name())))?;
        let outer = at_keys(&outer, &keys);
        let engine = Engine {
            journal: Arc::new(MemoryJournal::default()),
            process: Arc::default(),
            reading: Arc::default(),
            ..self.clone()
        };
        let (accepted, started) = engine.claimed(&flow, Value::Null, bindings, None, None).await?;
        let AcceptedRun { run, bindings, claim: _claim, memory, held, .. } = accepted;
        let id = run.id.clone();
        engine.journal.accept(&id, flow.version(), flow.document(), started, Flush::Later).await?;
        let record = Arc::new(RunRecord {
            run: JournaledRun::new(run, engine.journal.clone(), false),
            previous: None,
            subscribers: Arc::default(),
            clock: engine.clock.clone(),
            limits: engine.limits.clone(),
            logging: Logging::All,
            memory,
            held: Mutex::new(held),
            retries: false,
        });
        let cancellation = CancellationToken::new();
        let _cancels = cancellation.clone().drop_guard();
        let interpreter = Interpreter::new(InterpreterParts {
            flow: flow.clone(),
            bindings,
            record: record.clone(),
            stop: Stop { cancellation, draining: engine.draining.child_token() },
            activity: ActivityMonitor::default(),
            staging: engine.staging.clone(),
        });
        let path = outer.join(&step.id);
        let bounds = Bounds::of_run(Timestamp::MAX, Duration::MAX).within(&path, engine.now() + timeout, timeout);
        let result = interpreter.try_once(step, &scope, &outer, bounds).await;
        let (output, skipped, error) = match result {
            Ok(None) => (scope.output_of(&step.id), None, None),
            Ok(skipped) => (None, skipped, None),
            Err(error) => (None, None, Some(error)),
        };
        unstage(engine.staging.as_ref(), &id).await;
        let calls = engine.log(&id, 0).await?.entries.into_iter().map(|(_, entry)| entry).collect();
        let warnings = record.run.read(|run| run.warnings.keys().cloned().collect());
        Ok(TriedStep { output, skipped, error, calls, warnings })
    }
}
