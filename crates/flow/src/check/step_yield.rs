//! What each step of a flow yields, as the check knows it.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{
    steps::step::{Step, StepKind},
    typing::schema_algebra::{kinds, parts},
    values::json_kinds::Kinds,
};

/// The deepest value inside an output that is listed by itself; its schema has all.
const DEPTH: usize = 4;

/// What a step yields to the steps after it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StepYield {
    /// The step's id.
    pub step: String,
    /// What the step does: the member of its document, and the action or flow that it calls.
    pub does: String,
    /// The values, from the outermost to the innermost.
    pub values: Vec<YieldedValue>,
    /// JSON Schema of the output.
    pub schema: Value,
}

/// A value that a step yields.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct YieldedValue {
    /// The expression that reads it; `[]` stands for each item of a list.
    pub expression: String,
    /// The kinds of values that it can have.
    pub kind: String,
    /// What it means, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

impl StepYield {
    pub(super) fn new(step: &Step, shape: &Value) -> StepYield {
        let does = match &step.kind {
            StepKind::Action(call) => format!("action {}", call.action),
            StepKind::Call(sub) => format!("call {}", sub.called.flow),
            kind => kind.name().to_owned(),
        };
        let mut values = Vec::new();
        list(format!("steps.{}", step.id), shape, DEPTH, &mut values);
        StepYield { step: step.id.to_string(), does, values, schema: shape.clone() }
    }
}

/// Adds a value, and the values inside it.
fn list(expression: String, shape: &Value, depth: usize, values: &mut Vec<YieldedValue>) {
    let known = kinds(shape);
    let kind = if known == Kinds::ANY { "any value".to_owned() } else { known.to_string() };
    let about = shape.get("description").and_then(Value::as_str);
    let about = about.map(|about| about.split_whitespace().collect::<Vec<_>>().join(" "));
    values.push(YieldedValue { expression: expression.clone(), kind, about });
    if depth == 0 {
        return;
    }
    let mut seen = BTreeSet::new();
    let others = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|name| parts(shape, name));
    for part in std::iter::once(shape).chain(others) {
        for (name, member) in part.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if seen.insert(name.clone()) {
                list(format!("{expression}.{name}"), member, depth - 1, values);
            }
        }
        let item = part.get("items").filter(|item| item.is_object());
        item.into_iter().for_each(|item| list(format!("{expression}[]"), item, depth - 1, values));
    }
}
