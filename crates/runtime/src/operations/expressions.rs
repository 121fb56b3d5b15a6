//! Expressions while they are written: what they yield, and what can be written at a place.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_core::{Diagnostic, Error, ErrorKind, Redactor, Result};
use trunkline_flow::{Completion, Flow, Scope, Template, kind_words};

use super::{FlowFile, operation_table, run_queries::learn_secrets};
use crate::{Redacted, Runtime};

operation_table! {
    /// Evaluates a value with expressions on given values, or on those of a run.
    EvaluateExpression: "expressions.evaluate", evaluate(ExpressionTrial) -> Redacted<Evaluated>, Editor, Read;
    /// Lists what the word at a place in an expression of a flow can be.
    CompleteExpression: "expressions.complete", complete(ExpressionDraft) -> Vec<Completion>, Editor, Read;
}

/// The values that expressions see outside of a run: given ones, or those that a run has recorded.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PinnedValues {
    /// The run whose values count where none are given. Its first digits are enough.
    pub run: Option<String>,
    /// The keys of the items around the step in that run, from the outermost to the innermost.
    pub keys: Vec<String>,
    /// The input of the flow. It cannot be given together with a run.
    pub input: Option<Value>,
    /// The outputs of earlier steps, by their ids.
    pub steps: BTreeMap<String, Value>,
    /// The item, inside the steps of an `each`. The journal of a run does not have it if an action has listed it.
    pub item: Option<Value>,
    /// The items, inside the steps of an `each` with `batch`.
    pub items: Option<Value>,
    /// The error, inside of `on_error` and `on_failure`.
    pub error: Option<Value>,
}

/// A value with expressions, and what they are evaluated on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpressionTrial {
    /// A text such as `{{ input.title | upper }}`, or any value with such texts in it.
    pub value: Value,
    /// The values that the expressions see.
    #[serde(default)]
    pub context: PinnedValues,
    /// The step of the run at whose place the expressions stand: its id, its path or its JSON pointer. A run needs it.
    #[serde(default)]
    pub step: Option<String>,
    /// The tables of the filter `lookup`. Without them, those of the flow of the run.
    #[serde(default)]
    pub tables: Option<Map<String, Value>>,
}

/// What a value with expressions yields, or what is wrong with it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Evaluated {
    /// Whether it has a result.
    pub ok: bool,
    /// The result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What kind of value the result is, in words: `a text`, `a list`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// What is wrong: the JSON pointer of the text in the value, and the line and the column in that text.
    pub findings: Vec<Diagnostic>,
}

async fn evaluate(runtime: &Runtime, input: ExpressionTrial) -> Result<Redacted<Evaluated>> {
    let ExpressionTrial { value, context, step, tables } = input;
    let flow = context.flow(runtime).await?;
    let place = match (&flow, &step) {
        (None, _) => None,
        (Some(flow), Some(step)) => Some((flow, step.as_str())),
        (Some(_), None) => {
            let error = Error::new(ErrorKind::InvalidInput, "`step` is missing, but the context is a run");
            return Err(error.hint("name the step of the run at whose place the expressions stand"));
        }
    };
    let tables = tables.map(Value::from);
    // What an expression makes of a secret could not be redacted any more.
    let scope = context.scope(runtime, place, tables.as_ref(), Some(runtime.redactor())).await?;
    let evaluated = match Template::trial(value, &scope) {
        Ok(value) => {
            let r#type = Some(kind_words(&value));
            Evaluated { ok: true, value: Some(value), r#type, findings: Vec::new() }
        }
        Err(findings) => Evaluated { ok: false, value: None, r#type: None, findings },
    };
    Ok(Redacted::new(evaluated, runtime.redactor()))
}

impl PinnedValues {
    /// Returns the flow of the run, as the run is pinned to it.
    async fn flow(&self, runtime: &Runtime) -> Result<Option<Flow>> {
        let Some(run) = &self.run else { return Ok(None) };
        let run = runtime.engine().run(&runtime.find_run(run).await?).await?;
        learn_secrets(runtime, run.connections.values()).await;
        runtime.engine().flow_of(&run).await.map(Some)
    }

    /// Returns the scope with these values. `place` is the step whose earlier steps count, and its flow. With a redactor,
    /// the values of a run have no secrets.
    pub(super) async fn scope(
        &self,
        runtime: &Runtime,
        place: Option<(&Flow, &str)>,
        tables: Option<&Value>,
        redactor: Option<&Redactor>,
    ) -> Result<Scope> {
        let of_flow = place.map_or(&Value::Null, |(flow, _)| flow.tables());
        let mut scope = match (&self.run, place) {
            (Some(_), _) if self.input.is_some() => {
                let error = Error::new(ErrorKind::InvalidInput, "`input` cannot be given together with a run");
                return Err(error.hint("leave out one of the two"));
            }
            (Some(run), Some((flow, step))) => {
                let run = runtime.find_run(run).await?;
                runtime.engine().recorded_scope(&run, flow, step, &self.keys, redactor).await?
            }
            _ => {
                let input = self.input.clone().unwrap_or_else(|| Map::new().into());
                let input = place.map_or(input.clone(), |(flow, _)| flow.with_defaults(input));
                Scope::new(&input, "", tables.unwrap_or(of_flow))
            }
        };
        for (name, value) in [("item", &self.item), ("items", &self.items), ("error", &self.error)] {
            if let Some(value) = value {
                scope = scope.with(name, value);
            }
        }
        let scope = scope.branch();
        self.steps.iter().for_each(|(id, output)| scope.set_step(&id.as_str().into(), output));
        Ok(scope)
    }
}

/// A text of a flow that is being written, and a place in it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpressionDraft {
    /// The flow. Faults in other parts of it do not matter.
    pub flow: FlowFile,
    /// The JSON pointer of the text in the document, such as `/steps/0/input/title`, or the step that it belongs to: its
    /// id or its path.
    pub at: String,
    /// The text, with the braces of its expressions. What the document has there does not count.
    pub text: String,
    /// The place in the text, in characters (Unicode code points) from its beginning.
    pub offset: usize,
}

async fn complete(runtime: &Runtime, input: ExpressionDraft) -> Result<Vec<Completion>> {
    let ExpressionDraft { flow, at, text, offset } = input;
    let (flow, _) = flow.draft()?;
    if !at.starts_with('/') && flow.find_step(&at).is_none() {
        return Err(no_step(&at));
    }
    Ok(flow.complete(runtime.registry(), &at, &text, offset))
}

/// Returns the error that a flow has no such step.
pub(super) fn no_step(named: &str) -> Error {
    let error = Error::new(ErrorKind::InvalidInput, format!("the flow has no step {named} that can be read"));
    error.hint("give its id, its path as the graph of the flow has it, or its JSON pointer in the document")
}

#[cfg(test)]
mod tests;
