//! What a list keeps of an item beside its outcome: what its `label`, `result` and `collect` yield.

use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result, kind_of};
use trunkline_flow::{Scope, Template};

use crate::{
    interpreter::{groups::GroupItem, interpreter::Interpreter, list::List},
    run::{Collected, ItemNote, MAX_COLLECTED_BYTES, MAX_RESULT, json_size},
};

/// The longest label, in characters; a longer one is cut, and ends with `…`.
const MAX_LABEL: usize = 200;

impl Interpreter {
    /// Returns what people call an item.
    pub(super) fn label(&self, list: &List<'_>, scope: &Scope) -> Result<Option<String>> {
        let Some(label) = &list.templates.label else { return Ok(None) };
        let text = match label.render(scope).map_err(|error| at(error, list, "label"))? {
            Value::Null => return Ok(None),
            Value::String(text) => text,
            scalar @ (Value::Number(_) | Value::Bool(_)) => scalar.to_string(),
            other => {
                let message = format!("the label of an item is a text, not {}", kind_of(&other));
                return Err(at(Error::new(ErrorKind::InvalidInput, message), list, "label"));
            }
        };
        let text = self.reason(&text);
        Ok(Some(match text.char_indices().nth(MAX_LABEL) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }))
    }

    /// Returns what is kept of an item whose steps are done, in the scope of its steps.
    pub(super) fn note(&self, list: &List<'_>, item: &GroupItem, scope: &Scope) -> Result<ItemNote> {
        let render = |template: &Option<Template>, name: &str| {
            let value = template.as_ref().map(|template| template.render(scope)).transpose();
            value.map_err(|error| at(error, list, name))
        };
        let result = render(&list.templates.result, "result")?.filter(|result| !result.is_null());
        let result =
            result.map(|result| self.files().redactor().map_or(result.clone(), |all| all.redact_json(&result)));
        result.iter().try_for_each(|result| check_size(list, "result", result, MAX_RESULT))?;
        let collected = render(&list.templates.collect, "collect")?;
        if let Some(value) = &collected {
            self.record()
                .limits
                .payload("the value of `collect`", value)
                .map_err(|error| at(error, list, "collect"))?;
            check_size(list, "collect", value, MAX_COLLECTED_BYTES)?;
        }
        let collected = collected.map(|value| Collected { index: item.index, value });
        Ok(ItemNote { label: item.label.clone(), result, collected })
    }
}

/// Adds the place of an expression to its error.
fn at(error: Error, list: &List<'_>, name: &str) -> Error {
    error.with("pointer", format!("{}/{name}", list.pointer))
}

fn check_size(list: &List<'_>, name: &str, value: &Value, most: usize) -> Result<()> {
    let size = json_size(value);
    if size <= most {
        return Ok(());
    }
    let message = format!("the value of `{name}` is {size} bytes of JSON; the limit is {most}");
    let hint = "keep only what identifies the object, such as its id";
    Err(at(Error::new(ErrorKind::Limit, message).hint(hint), list, name))
}
