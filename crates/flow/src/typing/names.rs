//! The names that expressions can refer to before a run, with the shapes of their values.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;

use crate::{
    typing::schema_algebra::{Shape, described, list_of, object_of, of_kinds},
    values::json_kinds::Kinds,
};

/// Returns the shape of the items that failed, as steps after an `each` and failure handlers see them.
pub(crate) fn failed_items() -> Value {
    let text = |(name, about): (&str, &str)| (name.to_owned(), described(of_kinds(Kinds::TEXT), about));
    let members = [
        ("step", "The path of its `each`."),
        ("key", "Its key."),
        ("label", "Its label, or else its key."),
        ("status", "`failed` or `unknown`."),
        ("reason", "The message of the error."),
    ];
    let items = list_of(object_of(members.into_iter().map(text).collect()));
    described(items, "The first 100 items that failed or whose outcome is unknown.")
}

/// What is known about the output of a step.
#[derive(Clone)]
pub(crate) struct StepOutput {
    pub(crate) shape: Arc<Value>,
    /// The step has run whenever the expression is evaluated. Otherwise it may have been left out or have failed.
    pub(crate) certain: bool,
}

/// The outputs of steps, by their ids.
pub(crate) type StepOutputs = BTreeMap<String, StepOutput>;

/// The names that expressions at one place can refer to, with the shapes of their values. Names are nested like the
/// lists of steps: an inner list sees the names around it, and adds its own. So no list copies the names of another.
#[derive(Clone)]
pub(crate) struct Names<'a> {
    pub(crate) input: Shape<'a>,
    /// The item, inside of an `each` without `batch`.
    pub(crate) item: Option<Shape<'a>>,
    /// The list of items, inside of an `each` with `batch`.
    pub(crate) items: Option<Shape<'a>>,
    /// Whether `error` exists.
    pub(crate) error: bool,
    /// The outputs of earlier steps of the same list.
    pub(crate) steps: StepOutputs,
    /// The flow's tables themselves, not their shape.
    pub(crate) tables: &'a Value,
    /// The names around it.
    pub(crate) outer: Option<&'a Names<'a>>,
}

impl<'a> Names<'a> {
    /// Returns the names of a run's first steps.
    pub(crate) fn new(input: Shape<'a>, tables: &'a Value) -> Self {
        Names { input, item: None, items: None, error: false, steps: StepOutputs::new(), tables, outer: None }
    }

    /// Returns the names of an inner list of steps.
    pub(crate) fn inside(&'a self) -> Names<'a> {
        let borrowed = |shape: &'a Option<Shape<'a>>| shape.as_deref().map(Cow::Borrowed);
        Names {
            input: Cow::Borrowed(&self.input),
            item: borrowed(&self.item),
            items: borrowed(&self.items),
            outer: Some(self),
            steps: StepOutputs::new(),
            ..*self
        }
    }

    /// Adds the outputs of the steps of a branch. `runs` says whether the branch certainly runs.
    pub(crate) fn add_branch(&mut self, branch: StepOutputs, runs: bool) {
        for (id, output) in branch {
            let certain = runs && output.certain;
            self.steps.entry(id).or_insert(StepOutput { certain, ..output });
        }
    }

    /// Returns the output of an earlier step.
    pub(crate) fn step(&self, id: &str) -> Option<&StepOutput> {
        self.steps.get(id).or_else(|| self.outer?.step(id))
    }

    /// Returns the ids of all earlier steps, sorted.
    pub(crate) fn step_ids(&self) -> BTreeSet<&str> {
        let outer = self.outer.into_iter().flat_map(Names::step_ids);
        self.steps.keys().map(String::as_str).chain(outer).collect()
    }
}
