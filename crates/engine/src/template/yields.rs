//! What an expression yields, as JSON: bounded while it is made, for a list may be short to write and long to read.

use std::fmt;

use minijinja::value::Value as Dynamic;
use serde_json::{Map, Value};
use trunkline_core::ErrorKind;

use super::OUTPUT_LIMIT;
use crate::json_kinds::Kinds;

/// How deep lists and objects may lie in each other.
const DEEPEST: usize = 128;

/// Why something is no JSON, or too much of it.
#[derive(Debug)]
pub(crate) enum Unfit {
    TooMuch,
    TooDeep,
    Missing,
    NotJson(String),
}

impl Unfit {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Unfit::TooMuch | Unfit::TooDeep => ErrorKind::Limit,
            Unfit::Missing | Unfit::NotJson(_) => ErrorKind::InvalidInput,
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::TooMuch => write!(f, "it yields more than {OUTPUT_LIMIT} bytes"),
            Unfit::TooDeep => write!(f, "it is nested more than {DEEPEST} deep"),
            Unfit::Missing => f.write_str("a value in it is missing"),
            Unfit::NotJson(what) => write!(f, "it yields what JSON cannot hold: {what}"),
        }
    }
}

/// The value as JSON.
pub(crate) fn to_json(value: &Dynamic) -> Result<Value, Unfit> {
    let mut left = OUTPUT_LIMIT;
    convert(value, &mut left, 0)
}

/// The value as text: a text as it is, anything else as JSON.
pub(crate) fn text_of(value: &Dynamic) -> Result<String, Unfit> {
    Ok(match to_json(value)? {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

fn convert(value: &Dynamic, left: &mut usize, depth: usize) -> Result<Value, Unfit> {
    let not_json = |error: &dyn fmt::Display| Unfit::NotJson(error.to_string());
    if depth > DEEPEST {
        return Err(Unfit::TooDeep);
    }
    Ok(match Kinds::of_dynamic(value) {
        Kinds::TEXT => {
            let text = value.as_str().unwrap_or_default();
            take(left, text.len() + 2)?;
            text.into()
        }
        Kinds::LIST => {
            let mut items = Vec::new();
            for item in value.try_iter().map_err(|error| not_json(&error))? {
                take(left, 2)?;
                items.push(convert(&item, left, depth + 1)?);
            }
            items.into()
        }
        Kinds::OBJECT => {
            let mut members = Map::new();
            for key in value.try_iter().map_err(|error| not_json(&error))? {
                let Some(name) = key.as_str() else { return Err(not_json(&"a name that is no text")) };
                take(left, name.len() + 4)?;
                let member = value.get_item(&key).map_err(|error| not_json(&error))?;
                members.insert(name.to_owned(), convert(&member, left, depth + 1)?);
            }
            members.into()
        }
        Kinds::NOTHING if value.is_undefined() => return Err(Unfit::Missing),
        Kinds::NOTHING => return Err(not_json(&value.kind())),
        _ => {
            take(left, 8)?;
            match serde_json::to_value(value).map_err(|error| not_json(&error))? {
                Value::Null if !value.is_none() => return Err(not_json(&"a number without end")),
                scalar => scalar,
            }
        }
    })
}

fn take(left: &mut usize, bytes: usize) -> Result<(), Unfit> {
    *left = left.checked_sub(bytes).ok_or(Unfit::TooMuch)?;
    Ok(())
}
