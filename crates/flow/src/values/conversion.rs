//! Converts the results of expressions to JSON. The size is counted during the conversion, because a short expression
//! can have a huge result.

use std::fmt;

use minijinja::value::Value as Dynamic;
use serde_json::{Map, Value};
use trunkline_core::ErrorKind;

use crate::values::json_kinds::Kinds;

/// The largest result of one evaluation, in bytes of text or JSON.
pub(crate) const OUTPUT_LIMIT: usize = 1024 * 1024;
/// The deepest nesting of lists and objects in a result.
const MAX_DEPTH: usize = 128;

/// The reason why a result cannot be converted to JSON.
#[derive(Debug)]
pub(crate) enum ConversionError {
    TooLarge,
    TooDeep,
    /// A value inside of it does not exist.
    Missing,
    /// JSON has no form for it, or for a value inside of it.
    NotJson(String),
}

impl ConversionError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            ConversionError::TooLarge | ConversionError::TooDeep => ErrorKind::Limit,
            ConversionError::Missing | ConversionError::NotJson(_) => ErrorKind::InvalidInput,
        }
    }
}

impl fmt::Display for ConversionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConversionError::TooLarge => write!(f, "it yields more than {OUTPUT_LIMIT} bytes"),
            ConversionError::TooDeep => write!(f, "it is nested more than {MAX_DEPTH} levels deep"),
            ConversionError::Missing => f.write_str("a value in it is missing"),
            ConversionError::NotJson(what) => write!(f, "it yields something that JSON has no form for: {what}"),
        }
    }
}

/// Returns the value as JSON.
pub(crate) fn to_json(value: &Dynamic) -> Result<Value, ConversionError> {
    let mut left = OUTPUT_LIMIT;
    convert(value, &mut left, 0)
}

/// Returns the value as text: a text as it is, anything else as JSON.
pub(crate) fn text_of(value: &Dynamic) -> Result<String, ConversionError> {
    Ok(match to_json(value)? {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

/// Converts a value; `left` is the number of bytes that may still be added.
fn convert(value: &Dynamic, left: &mut usize, depth: usize) -> Result<Value, ConversionError> {
    let not_json = |error: &dyn fmt::Display| ConversionError::NotJson(error.to_string());
    if depth > MAX_DEPTH {
        return Err(ConversionError::TooDeep);
    }
    Ok(match Kinds::of_dynamic(value) {
        Kinds::TEXT => {
            let text = value.as_str().unwrap_or_default();
            charge(left, text.len() + 2)?;
            text.into()
        }
        Kinds::LIST => {
            let mut items = Vec::new();
            for item in value.try_iter().map_err(|error| not_json(&error))? {
                charge(left, 2)?;
                items.push(convert(&item, left, depth + 1)?);
            }
            items.into()
        }
        Kinds::OBJECT => {
            let mut members = Map::new();
            for key in value.try_iter().map_err(|error| not_json(&error))? {
                let Some(name) = key.as_str() else { return Err(not_json(&"a member name that is not a text")) };
                charge(left, name.len() + 4)?;
                let member = value.get_item(&key).map_err(|error| not_json(&error))?;
                members.insert(name.to_owned(), convert(&member, left, depth + 1)?);
            }
            members.into()
        }
        Kinds::NOTHING if value.is_undefined() => return Err(ConversionError::Missing),
        Kinds::NOTHING => return Err(not_json(&value.kind())),
        _ => {
            charge(left, 8)?;
            match serde_json::to_value(value).map_err(|error| not_json(&error))? {
                Value::Null if !value.is_none() => return Err(not_json(&"an infinite number")),
                scalar => scalar,
            }
        }
    })
}

/// Returns the message of an error of minijinja, without the location.
pub(crate) fn detail(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

fn charge(left: &mut usize, bytes: usize) -> Result<(), ConversionError> {
    *left = left.checked_sub(bytes).ok_or(ConversionError::TooLarge)?;
    Ok(())
}
