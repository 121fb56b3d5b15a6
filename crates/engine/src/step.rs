//! Steps as the interpreter runs them.
//!
//! A [`Step`] is a step document after [`Reader`](crate::reader::Reader) has read it: durations are parsed, expressions
//! are compiled, and each step keeps the JSON pointer under which its errors are reported.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use trunkline_core::{Error, Retry};

use crate::Template;

/// One step: an id that later steps refer to, and an operation.
#[derive(Debug)]
pub struct Step {
    pub(crate) id: Arc<str>,
    /// JSON pointer of the step in the document.
    pub(crate) pointer: String,
    pub(crate) kind: StepKind,
    pub(crate) guard: StepPolicy,
}

impl Step {
    /// Calls `visitor` with this step and with all steps inside it.
    pub(crate) fn visit(&self, visitor: &mut dyn FnMut(&Step)) {
        visitor(self);
        let inside: Vec<&Arc<[Step]>> = match &self.kind {
            StepKind::Each { steps, .. } => vec![steps],
            StepKind::If { then, otherwise, .. } => vec![then, otherwise],
            StepKind::Parallel(branches) => branches.iter().map(|(_, steps)| steps).collect(),
            _ => Vec::new(),
        };
        let handler = match &self.guard.on_error {
            OnError::Steps(steps) => Some(steps),
            OnError::Fail | OnError::Continue => None,
        };
        inside.into_iter().chain(handler).flat_map(|steps| steps.iter()).for_each(|step| step.visit(visitor));
    }
}

/// The operation of a step.
#[derive(Debug)]
pub(crate) enum StepKind {
    /// Calls an action.
    Action(Call),
    /// Runs steps for each item of a list, or for each batch of items.
    Each {
        over: Box<Over>,
        key: Option<Template>,
        /// The state of an item. An item that an earlier run processed in the same state is skipped.
        once: Option<Box<Template>>,
        concurrency: usize,
        batch: Option<usize>,
        steps: Arc<[Step]>,
    },
    /// Runs one list of steps or the other.
    If { condition: Template, then: Arc<[Step]>, otherwise: Arc<[Step]> },
    /// Runs several lists of steps at the same time, by their names.
    Parallel(Vec<(String, Arc<[Step]>)>),
    /// Runs another flow.
    Call(SubFlow),
    /// Gives names to values.
    Set(Template),
    /// Waits for some time, until a time, or for a signal.
    Wait(Wait),
    /// Ends the item, or the run, as skipped.
    Skip(Template),
    /// Ends the item, or the run, as failed.
    Fail(Template),
}

/// A call of an action.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) action: String,
    /// The connection binding it is called on.
    pub(crate) slot: String,
    pub(crate) input: Template,
}

/// A call of a flow, with its input.
#[derive(Debug)]
pub(crate) struct SubFlow {
    pub(crate) called: FlowCall,
    pub(crate) input: Template,
}

/// A step's reference to another flow, and how the connection bindings of that flow are bound.
#[derive(Clone, Debug)]
pub(crate) struct FlowCall {
    /// JSON pointer of the step.
    pub(crate) pointer: String,
    /// The name of the called flow.
    pub(crate) flow: String,
    /// The bindings of the called flow, each with the caller's binding to use for it.
    bindings: BTreeMap<String, String>,
}

impl FlowCall {
    pub(crate) fn new(pointer: &str, flow: String, bindings: BTreeMap<String, String>) -> FlowCall {
        FlowCall { pointer: pointer.to_owned(), flow, bindings }
    }

    /// Returns the caller's binding for this binding of the called flow: the one that the step names, or else the one
    /// of the same name.
    pub(crate) fn slot<'a>(&'a self, binding: &'a str) -> &'a str {
        self.bindings.get(binding).map_or(binding, String::as_str)
    }

    /// The bindings of the called flow that the step names.
    pub(crate) fn named_bindings(&self) -> impl Iterator<Item = &str> {
        self.bindings.keys().map(String::as_str)
    }
}

/// The source of the items of an `each`.
#[derive(Debug)]
pub(crate) enum Over {
    /// A list that an expression yields.
    List(Template),
    /// An action that lists, page by page.
    Action(Call),
}

/// The end of a `wait`.
#[derive(Debug)]
pub(crate) enum Wait {
    /// After a length of time.
    For(Duration),
    /// At a time.
    Until(Template),
    /// When a signal of this name arrives.
    Signal(Template),
}

/// What happens when a step fails or takes too long.
#[derive(Debug, Default)]
pub(crate) struct StepPolicy {
    pub(crate) retry: Option<Tries>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) on_error: OnError,
}

/// How often a step is tried, and how long it waits in between.
#[derive(Debug)]
pub(crate) struct Tries {
    /// The number of tries in all, the first one included.
    pub(crate) tries: u32,
    /// The wait before the second try. It doubles with each further try.
    pub(crate) wait: Duration,
    /// The longest wait that doubling can lead to.
    pub(crate) longest: Duration,
}

impl Tries {
    /// Returns the wait before the next try, after `failed` tries of which the last ended with `error`. `None` if there
    /// is no further try. A longer wait that the service asked for takes precedence.
    pub(crate) fn next(&self, failed: u32, error: &Error) -> Option<Duration> {
        let requested = match error.retryable() {
            Retry::Never => return None,
            Retry::Backoff => Duration::ZERO,
            Retry::After(requested) => requested,
        };
        let wait = self.wait.saturating_mul(1 << failed.saturating_sub(1).min(30)).min(self.longest);
        (failed < self.tries).then_some(wait.max(requested))
    }
}

/// What happens when a step has finally failed.
#[derive(Debug, Default)]
pub(crate) enum OnError {
    /// The steps around it fail too.
    #[default]
    Fail,
    /// The run goes on without the step's output.
    Continue,
    /// These steps run in its place.
    Steps(Arc<[Step]>),
}
