//! Checks an `each`: its list, the expressions about an item, the steps inside it, and what it yields.

use std::borrow::Cow;

use serde_json::{Value, json};
use trunkline_core::Diagnostic;

use crate::{
    check::checker::Checker,
    steps::step::{Step, StepKind},
    typing::{
        names::{Names, failed_items},
        schema_algebra::{self, described, list_of, of_kinds},
    },
    values::json_kinds::Kinds,
};

const ONCE_HINT: &str = "without it, no change of an item is seen: write true without quotes, for the whole item, or \
                         an expression such as \"{{ item.modified }}\"";

impl<'a> Checker<'a> {
    /// Checks an `each`, and returns the shape of its output.
    pub(super) fn each(&mut self, step: &'a Step, names: &Names<'_>) -> Value {
        let StepKind::Each { over, templates, batch, steps, .. } = &step.kind else { return json!({}) };
        let item = self.over(over, &step.pointer, names);
        let all = batch.map(|_| list_of(self.own(Cow::Borrowed(&item))));
        let mut inside = Names { item: Some(Cow::Borrowed(&item)), ..names.inside() };
        if let Some(key) = &templates.key {
            self.key(key, &step.pointer, &inside);
        }
        if let Some(once) = &templates.once {
            let found = Diagnostic::error(format!("{}/once", step.pointer), "`once` does not read the item");
            self.of_item(once, &Value::Bool(true), &inside, found.hint(ONCE_HINT));
        }
        if let Some(label) = &templates.label {
            let scalar = Kinds::TEXT.or(Kinds::INTEGER).or(Kinds::NUMBER).or(Kinds::BOOLEAN).or(Kinds::NULL);
            self.template(label, &of_kinds(scalar), &inside);
        }
        if let Some(all) = &all {
            inside = Names { item: None, items: Some(Cow::Borrowed(all)), ..inside };
        }
        self.steps(steps, &mut inside);
        // The results belong to one item, also where the steps work on a batch.
        inside.item = Some(Cow::Borrowed(&item));
        if let Some(result) = &templates.result {
            self.template(result, &Value::Bool(true), &inside);
        }
        let collected = templates.collect.as_ref().map(|collect| self.output(collect, &inside));
        let count = |(name, about): (&str, &str)| (name.to_owned(), described(of_kinds(Kinds::INTEGER), about));
        let counts = [
            ("done", "The number of items whose steps all ran."),
            ("skipped", "The number of items that were skipped."),
            ("failed", "The number of items that failed."),
            ("unknown", "The number of items with an unknown outcome."),
        ];
        let changed = "Whether the list seems to have changed while it was read.";
        let values = |shape| described(list_of(shape), "The values of `collect`, in the order of the items.");
        let others = [
            Some(("maybe_incomplete".to_owned(), described(of_kinds(Kinds::BOOLEAN), changed))),
            Some(("failures".to_owned(), failed_items())),
            collected.map(|shape| ("collected".to_owned(), values(shape))),
        ];
        schema_algebra::object_of(counts.map(count).into_iter().chain(others.into_iter().flatten()).collect())
    }
}
