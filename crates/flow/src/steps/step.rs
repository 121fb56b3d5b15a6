//! Steps as the interpreter runs them.
//!
//! A [`Step`] is a step document that was read: durations are parsed, expressions are compiled, and each step
//! keeps the JSON pointer under which its errors are reported.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Serialize;
use trunkline_core::{Error, Retry, pointer_part};

use crate::expression::Template;

/// One step: an id that later steps refer to, and an operation.
#[derive(Debug)]
pub struct Step {
    /// The step's id.
    pub id: Arc<str>,
    /// JSON pointer of the step in the document.
    pub pointer: String,
    /// The operation.
    pub kind: StepKind,
    /// What happens when the step fails or takes too long.
    pub policy: StepPolicy,
}

/// What a list of steps inside a step is to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListRole {
    /// The steps for each item of an `each`.
    Item,
    /// The steps that run if a condition is true.
    Then,
    /// The steps that run if a condition is false.
    Else,
    /// A branch of a `parallel`.
    Branch,
    /// The steps that run in place of a step that has failed.
    OnError,
}

/// A list of steps inside a step.
#[derive(Clone, Copy, Debug)]
pub struct InnerList<'a> {
    /// What the list is to the step.
    pub role: ListRole,
    /// The name of a branch.
    pub name: Option<&'a str>,
    /// The steps.
    pub steps: &'a Arc<[Step]>,
}

impl InnerList<'_> {
    /// Returns whether the list is the `skip` or `fail` of this `if`, which is not a step of its own.
    pub(crate) fn is_part_of(&self, step: &Step) -> bool {
        self.steps.first().is_some_and(|first| first.pointer == step.pointer)
    }

    /// Returns the path of the list, without a last step, inside a step at this path. `*` stands for the key of an item.
    pub(crate) fn path(&self, outer: &str, step: &str) -> String {
        match self.role {
            ListRole::Item => format!("{step}/*"),
            ListRole::Branch => step.to_owned(),
            // These steps stand in the place of the step.
            ListRole::Then | ListRole::Else | ListRole::OnError => outer.to_owned(),
        }
    }

    /// Returns the JSON pointer of the list in a step at this pointer.
    pub(crate) fn pointer(&self, step: &str) -> String {
        match self.role {
            ListRole::Item => format!("{step}/steps"),
            ListRole::Then => format!("{step}/then"),
            ListRole::Else => format!("{step}/else"),
            ListRole::Branch => format!("{step}/parallel/{}", pointer_part(self.name.unwrap_or_default())),
            ListRole::OnError => format!("{step}/on_error"),
        }
    }
}

impl Step {
    /// Returns the lists of steps inside this step, in the order of the document.
    pub fn inner(&self) -> Vec<InnerList<'_>> {
        let list = |role, steps| InnerList { role, name: None, steps };
        let mut lists = match &self.kind {
            StepKind::Each { steps, .. } => vec![list(ListRole::Item, steps)],
            StepKind::If { then, otherwise, .. } => vec![list(ListRole::Then, then), list(ListRole::Else, otherwise)],
            StepKind::Parallel(branches) => {
                let branch = |(name, steps)| InnerList { name: Some(name), ..list(ListRole::Branch, steps) };
                branches.iter().map(|(name, steps): &(String, _)| branch((name.as_str(), steps))).collect()
            }
            _ => Vec::new(),
        };
        if let OnError::Steps(steps) = &self.policy.on_error {
            lists.push(list(ListRole::OnError, steps));
        }
        lists
    }

    /// Calls `visitor` with this step and with all steps inside it.
    pub fn visit(&self, visitor: &mut dyn FnMut(&Step)) {
        visitor(self);
        self.inner().into_iter().flat_map(|list| list.steps.iter()).for_each(|step| step.visit(visitor));
    }

    /// Returns whether this step is the step of this id, or has it inside.
    pub fn holds(&self, id: &str) -> bool {
        *self.id == *id || self.inner().iter().any(|list| list.steps.iter().any(|step| step.holds(id)))
    }
}

/// The operation of a step.
#[derive(Debug)]
pub enum StepKind {
    /// Calls an action.
    Action(BoundAction),
    /// Runs steps for each item of a list, or for each batch of items.
    Each {
        /// The source of the items.
        over: Box<Over>,
        /// What is known of an item and kept of it.
        templates: Box<ItemTemplates>,
        /// The number of items that are processed at the same time.
        concurrency: usize,
        /// The largest number of items of a batch, if the steps run for batches.
        batch: Option<usize>,
        /// The steps for each item or batch.
        steps: Arc<[Step]>,
    },
    /// Runs one list of steps or the other.
    If {
        /// An expression that yields true or false.
        condition: Template,
        /// The steps to run if it is true.
        then: Arc<[Step]>,
        /// The steps to run if it is false.
        otherwise: Arc<[Step]>,
    },
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

impl StepKind {
    /// Returns the member of the document of a step that says what it does.
    pub fn name(&self) -> &'static str {
        match self {
            StepKind::Action(_) => "action",
            StepKind::Each { .. } => "each",
            StepKind::If { .. } => "if",
            StepKind::Parallel(_) => "parallel",
            StepKind::Call(_) => "call",
            StepKind::Set(_) => "set",
            StepKind::Wait(_) => "wait",
            StepKind::Skip(_) => "skip",
            StepKind::Fail(_) => "fail",
        }
    }

    /// Returns the action that a step of this kind calls, or that lists its items.
    pub fn action(&self) -> Option<&BoundAction> {
        match self {
            StepKind::Action(call) => Some(call),
            StepKind::Each { over, .. } => match &**over {
                Over::Action(call) => Some(call),
                Over::List(_) => None,
            },
            _ => None,
        }
    }
}

/// A call of an action.
#[derive(Debug)]
pub struct BoundAction {
    /// The action's name.
    pub action: String,
    /// The connection binding it is called on.
    pub binding: String,
    /// The action's input.
    pub input: Template,
}

/// A call of a flow, with its input.
#[derive(Debug)]
pub struct SubFlow {
    /// The called flow.
    pub called: FlowCall,
    /// The flow's input.
    pub input: Template,
}

/// A step's reference to another flow, and how the connection bindings of that flow are bound.
#[derive(Clone, Debug)]
pub struct FlowCall {
    /// JSON pointer of the step.
    pub pointer: String,
    /// The name of the called flow.
    pub flow: String,
    /// The bindings of the called flow, each with the caller's binding to use for it.
    bindings: BTreeMap<String, String>,
}

impl FlowCall {
    pub(crate) fn new(pointer: &str, flow: String, bindings: BTreeMap<String, String>) -> FlowCall {
        FlowCall { pointer: pointer.to_owned(), flow, bindings }
    }

    /// Returns the caller's binding for this binding of the called flow: the one that the step names, or else the one
    /// of the same name.
    pub fn binding_for<'a>(&'a self, binding: &'a str) -> &'a str {
        self.bindings.get(binding).map_or(binding, String::as_str)
    }

    /// The bindings of the called flow that the step names.
    pub fn named_bindings(&self) -> impl Iterator<Item = &str> {
        self.bindings.keys().map(String::as_str)
    }
}

/// The expressions of an `each` about one item.
#[derive(Debug)]
pub struct ItemTemplates {
    /// The identity of an item among the items of its list.
    pub key: Option<Template>,
    /// The state of an item. An item that an earlier run processed in the same state is skipped.
    pub once: Option<Template>,
    /// What people call an item.
    pub label: Option<Template>,
    /// What an item has become, when it is done.
    pub result: Option<Template>,
    /// The value that an item adds to the output of the `each`, when it is done.
    pub collect: Option<Template>,
}

/// The source of the items of an `each`.
#[derive(Debug)]
pub enum Over {
    /// A list that an expression yields.
    List(Template),
    /// An action that lists, page by page.
    Action(BoundAction),
}

/// The end of a `wait`.
#[derive(Debug)]
pub enum Wait {
    /// After a length of time.
    For(Duration),
    /// At a time.
    Until(Template),
    /// When a signal of this name arrives.
    Signal(Template),
}

/// What happens when a step fails or takes too long.
#[derive(Debug, Default)]
pub struct StepPolicy {
    /// Repeats the step after an error that may pass.
    pub retry: Option<Tries>,
    /// The longest time the step may take, retries included.
    pub timeout: Option<Duration>,
    /// What happens when the step has finally failed.
    pub on_error: OnError,
}

/// How often a step is tried, and how long it waits in between.
#[derive(Clone, Copy, Debug)]
pub struct Tries {
    /// The number of tries in all, the first one included.
    pub tries: u32,
    /// The wait before the second try. It doubles with each further try.
    pub wait: Duration,
    /// The longest wait that doubling can lead to.
    pub longest: Duration,
}

impl Tries {
    /// Returns the wait before the next try, after `failed` tries of which the last ended with `error`. `None` if there
    /// is no further try. A longer wait that the service asked for takes precedence.
    pub fn next(&self, failed: u32, error: &Error) -> Option<Duration> {
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
pub enum OnError {
    /// The steps around it fail too.
    #[default]
    Fail,
    /// The run goes on without the step's output.
    Continue,
    /// These steps run in its place.
    Steps(Arc<[Step]>),
}
