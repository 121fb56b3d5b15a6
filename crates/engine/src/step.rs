//! Steps as the interpreter runs them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use trunkline_core::{Error, Retry};

use crate::Template;

/// One step: an id that later steps refer to, and what it does.
#[derive(Debug)]
pub struct Step {
    pub(crate) id: Arc<str>,
    /// JSON pointer of the step in the document.
    pub(crate) pointer: String,
    pub(crate) kind: StepKind,
    pub(crate) guard: StepPolicy,
}

impl Step {
    /// Shows this step and all steps in it.
    pub(crate) fn visit(&self, look: &mut dyn FnMut(&Step)) {
        look(self);
        let inside: Vec<&Arc<[Step]>> = match &self.kind {
            StepKind::Each { steps, .. } => vec![steps],
            StepKind::If { then, otherwise, .. } => vec![then, otherwise],
            StepKind::Parallel(branches) => branches.iter().map(|(_, steps)| steps).collect(),
            _ => Vec::new(),
        };
        let instead = match &self.guard.on_error {
            OnError::Steps(steps) => Some(steps),
            OnError::Fail | OnError::Continue => None,
        };
        inside.into_iter().chain(instead).flat_map(|steps| steps.iter()).for_each(|step| step.visit(look));
    }
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum StepKind {
    /// Calls an action.
    Action(Call),
    /// Runs steps for each item of a list, or for so many at a time.
    Each {
        over: Box<Over>,
        key: Option<Template>,
        /// What an item is like: one that was done when it was like this is not done again, in whatever run.
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
    /// Waits.
    Wait(Wait),
    /// Ends the item, or the run, as skipped.
    Skip(Template),
    /// Ends the item, or the run, as failed.
    Fail(Template),
}

/// An action, the slot of the connection it runs on, and its input.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) action: String,
    pub(crate) slot: String,
    pub(crate) input: Template,
}

/// A flow to run, and its input.
#[derive(Debug)]
pub(crate) struct SubFlow {
    pub(crate) called: Called,
    pub(crate) input: Template,
}

/// A flow that a step calls, and which slot of ours fills which slot of its.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    /// JSON pointer of the step.
    pub(crate) pointer: String,
    pub(crate) flow: String,
    slots: BTreeMap<String, String>,
}

impl Called {
    pub(crate) fn new(pointer: &str, flow: String, slots: BTreeMap<String, String>) -> Called {
        Called { pointer: pointer.to_owned(), flow, slots }
    }

    /// The slot of ours that fills this one of its.
    pub(crate) fn slot<'a>(&'a self, its: &'a str) -> &'a str {
        self.slots.get(its).map_or(its, String::as_str)
    }

    /// The slots that the step names.
    pub(crate) fn named(&self) -> impl Iterator<Item = &str> {
        self.slots.keys().map(String::as_str)
    }
}

/// What an `each` goes over.
#[derive(Debug)]
pub(crate) enum Over {
    /// A list that an expression yields.
    List(Template),
    /// What an action lists, page by page.
    Action(Call),
}

/// What a `wait` waits for.
#[derive(Debug)]
pub(crate) enum Wait {
    /// So long.
    For(Duration),
    /// A time.
    Until(Template),
    /// A signal.
    Signal(Template),
}

/// What happens to a step that fails, or takes too long.
#[derive(Debug, Default)]
pub(crate) struct StepPolicy {
    pub(crate) retry: Option<Tries>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) on_error: OnError,
}

/// How often a step is tried, and how long is waited in between.
#[derive(Debug)]
pub(crate) struct Tries {
    pub(crate) tries: u32,
    pub(crate) wait: Duration,
    pub(crate) longest: Duration,
}

impl Tries {
    /// How long to wait before the next try, if there is to be one after so many have failed.
    pub(crate) fn next(&self, failed: u32, error: &Error) -> Option<Duration> {
        let asked = match error.retryable() {
            Retry::Never => return None,
            Retry::Backoff => Duration::ZERO,
            Retry::After(asked) => asked,
        };
        let wait = self.wait.saturating_mul(1 << failed.saturating_sub(1).min(30)).min(self.longest);
        (failed < self.tries).then_some(wait.max(asked))
    }
}

/// What happens when a step has failed for good.
#[derive(Debug, Default)]
pub(crate) enum OnError {
    /// The steps around it fail too.
    #[default]
    Fail,
    /// As if it had not been there.
    Continue,
    /// These steps run in its place.
    Steps(Arc<[Step]>),
}
