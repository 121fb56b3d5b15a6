//! Values as texts, for a query, a form or a header.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Error, ErrorKind};

/// How the elements of a list are sent in a query or a form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lists {
    /// As one value, separated by commas: `tag=a,b`. An element with a comma in it is refused.
    #[default]
    Commas,
    /// Each as a value of its own: `tag=a&tag=b`.
    Repeat,
}

/// The reason why a value cannot be written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotPlain {
    /// It is an object, or a list with an object, a list or a null in it.
    Nested,
    /// It is a list whose elements are separated by commas, and one of them has a comma.
    Comma,
}

impl NotPlain {
    /// Returns the error for a value of this name in this part of the request, such as `query`.
    pub(crate) fn to_error(self, name: &str, part: &str) -> Error {
        let (why, hint) = match self {
            NotPlain::Nested => {
                ("an object, or a list of lists or objects", "give a text, a number, or a list of them")
            }
            NotPlain::Comma => (
                "a list in which an element has a comma, and commas separate the elements",
                "if the service takes each element as a value of its own, declare it: `lists` is `repeat`",
            ),
        };
        Error::new(ErrorKind::InvalidInput, format!("{name} does not fit into a {part}: it is {why}"))
            .with("input", format_args!("/{name}"))
            .hint(format!("{hint}; nothing was sent"))
    }
}

/// Returns a value as the texts that are sent under its name: none for null and for an empty list.
pub(crate) fn plain_texts(value: &Value, lists: Lists) -> Result<Vec<String>, NotPlain> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        _ => Err(NotPlain::Nested),
    };
    let Value::Array(elements) = value else {
        return if value.is_null() { Ok(Vec::new()) } else { scalar(value).map(|text| vec![text]) };
    };
    let texts = elements.iter().map(scalar).collect::<Result<Vec<_>, _>>()?;
    match lists {
        Lists::Commas if texts.is_empty() => Ok(texts),
        Lists::Commas if texts.iter().any(|text| text.contains(',')) => Err(NotPlain::Comma),
        Lists::Commas => Ok(vec![texts.join(",")]),
        Lists::Repeat => Ok(texts),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_become_texts_or_are_refused() {
        let texts = |texts: &[&str]| Ok(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        for (value, commas, repeated) in [
            (json!("a,b"), texts(&["a,b"]), texts(&["a,b"])),
            (json!(1.5), texts(&["1.5"]), texts(&["1.5"])),
            (json!(true), texts(&["true"]), texts(&["true"])),
            (json!(null), texts(&[]), texts(&[])),
            (json!([]), texts(&[]), texts(&[])),
            (json!(["a", 2]), texts(&["a,2"]), texts(&["a", "2"])),
            (json!(["a,b", "c"]), Err(NotPlain::Comma), texts(&["a,b", "c"])),
            (json!(["c", ","]), Err(NotPlain::Comma), texts(&["c", ","])),
            (json!(["a,b"]), Err(NotPlain::Comma), texts(&["a,b"])),
            (json!({ "a": 1 }), Err(NotPlain::Nested), Err(NotPlain::Nested)),
            (json!([{ "a": 1 }]), Err(NotPlain::Nested), Err(NotPlain::Nested)),
            (json!([["a"]]), Err(NotPlain::Nested), Err(NotPlain::Nested)),
            (json!(["a", null]), Err(NotPlain::Nested), Err(NotPlain::Nested)),
        ] {
            assert_eq!(plain_texts(&value, Lists::Commas), commas, "{value}");
            assert_eq!(plain_texts(&value, Lists::Repeat), repeated, "{value}");
        }
    }
}
