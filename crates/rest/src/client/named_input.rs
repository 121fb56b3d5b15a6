//! The input that an error response of a service names.
//!
//! The idea: services have no common form for it, but most put the name of the field into a member with one of a few
//! names, or use it as the name of a member. It counts only if the operation has an input that is sent under that name.

use serde_json::Value;
use trunkline_core::pointer_part;

use crate::table::Input;

/// Members whose text, or list of texts, is a name or a path.
const NAMES: &[&str] = &[
    "field",
    "fieldName",
    "field_name",
    "param",
    "parameter",
    "property",
    "propertyName",
    "name",
    "pointer",
    "path",
    "target",
    "loc",
];

/// Members whose own members are named like the fields.
const MAPS: &[&str] = &["errors", "fieldErrors", "field_errors", "validationErrors", "modelState", "fields"];

/// The deepest level that is looked at.
const DEEPEST: usize = 6;

/// Returns the JSON pointer, into the input of the step, of the first input that the body names.
pub(crate) fn named_input(body: &Value, inputs: &[Input]) -> Option<String> {
    find(body, inputs, 0)
}

fn find(node: &Value, inputs: &[Input], depth: usize) -> Option<String> {
    if depth > DEEPEST {
        return None;
    }
    match node {
        Value::Array(items) => items.iter().find_map(|item| find(item, inputs, depth + 1)),
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            let own = NAMES.contains(&&**name).then(|| path_of(value)).flatten();
            let keys = value.as_object().filter(|_| MAPS.contains(&&**name)).into_iter().flat_map(|map| map.keys());
            let found = own.into_iter().chain(keys.cloned()).find_map(|path| input_at(&path, inputs));
            found.or_else(|| find(value, inputs, depth + 1))
        }),
        _ => None,
    }
}

/// Returns the path in a member: a text, or a list of names and numbers.
fn path_of(value: &Value) -> Option<String> {
    match value {
        Value::String(path) => Some(path.clone()),
        Value::Array(parts) => {
            let parts = parts.iter().map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned));
            Some(parts.collect::<Vec<_>>().join("/"))
        }
        _ => None,
    }
}

/// Returns the pointer of the input that a path leads to: `title`, `/data/title`, `$.title`, `items[0].name`.
fn input_at(path: &str, inputs: &[Input]) -> Option<String> {
    let mut parts = path.split(['/', '.', '#', '$', '[', ']']).filter(|part| !part.is_empty());
    let input = parts.find_map(|part| inputs.iter().find(|input| input.wire_name.eq_ignore_ascii_case(part)))?;
    let pointer = format!("/{}", pointer_part(&input.name));
    Some(parts.fold(pointer, |pointer, part| pointer + "/" + &pointer_part(part)))
}
