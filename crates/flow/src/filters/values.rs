//! Filters of lists, objects and values of any kind.

use minijinja::{Error, Value, filters, value::Serde};
use rust_decimal::Decimal;
use serde_json::Value as Json;
use trunkline_core::{check_pointer, lossy_number, pointer_names};

use crate::{
    filters::{
        call::{FilterCall, MAX_ITEMS, brief, too_many},
        paths::{Path, member, part},
    },
    values::{
        conversion::{text_of, to_json},
        json_kinds::Kinds,
        number::Number,
    },
};

pub(super) fn default(call: &FilterCall<'_>) -> Result<Value, Error> {
    let missing = call.value.is_undefined() || call.value.is_none();
    Ok(if missing { call.arguments[0].clone() } else { call.value.clone() })
}

pub(super) fn first(call: &FilterCall<'_>) -> Result<Value, Error> {
    filters::first(&call.value)
}

pub(super) fn last(call: &FilterCall<'_>) -> Result<Value, Error> {
    filters::last(call.value.clone())
}

pub(super) fn length(call: &FilterCall<'_>) -> Result<Value, Error> {
    filters::length(&call.value).map(Value::from)
}

pub(super) fn int(call: &FilterCall<'_>) -> Result<Value, Error> {
    let given = match call.value.as_str() {
        Some(text) => match written_whole(text.trim()) {
            Some(whole) => return Ok(whole),
            None => parsed(call)?,
        },
        None if Kinds::of_dynamic(&call.value) == Kinds::BOOLEAN => return Ok(u8::from(call.value.is_true()).into()),
        None => call.value.clone(),
    };
    match (Number::of(&given), call.value.as_str()) {
        (Some(Number::Fraction(number)), Some(text)) if number.fract() != 0.0 => {
            Err(call.error(format!("{:?} is not a whole number; use the filters number and round first", brief(text))))
        }
        (Some(Number::Fraction(number)), _) => {
            let whole = Number::Fraction(number.trunc()).decimal().and_then(whole);
            whole.ok_or_else(|| call.error(format!("{number:?} is a whole number of more than 64 bits")))
        }
        _ => Ok(given),
    }
}

/// Returns the whole number that a text in the form of JSON has, such as 1e18 and 9007199254740993.0, if it has one.
fn written_whole(text: &str) -> Option<Value> {
    serde_json::from_str::<serde_json::Number>(text).ok()?;
    let digits = Decimal::from_str_exact(text.split(['e', 'E']).next()?).ok()?;
    let has_exponent = text.contains(['e', 'E']);
    whole(if has_exponent { Decimal::from_scientific(text).ok()? } else { digits })
}

/// Returns the decimal as a whole number, if it is one of at most 64 bits.
fn whole(decimal: Decimal) -> Option<Value> {
    let number = i128::try_from(decimal).ok().filter(|_| decimal.is_integer())?;
    i64::try_from(number).map(Value::from).or_else(|_| u64::try_from(number).map(Value::from)).ok()
}

pub(super) fn number(call: &FilterCall<'_>) -> Result<Value, Error> {
    if call.value.as_str().is_some() { parsed(call) } else { Ok(call.value.clone()) }
}

/// Reads a text as a number, as JSON writes numbers.
fn parsed(call: &FilterCall<'_>) -> Result<Value, Error> {
    let text = call.text()?.trim();
    if let Some(reason) = lossy_number(text) {
        return Err(call.error(format!("the number {} cannot be kept exactly, because {reason}", brief(text))));
    }
    match serde_json::from_str::<serde_json::Number>(text) {
        Ok(number) => Ok(Value::from(Serde(number))),
        Err(_) => {
            let reason = format!("{:?} is not a number; write it as JSON does, such as -12 or 3.5", brief(text));
            Err(call.error(reason))
        }
    }
}

pub(super) fn string(call: &FilterCall<'_>) -> Result<Value, Error> {
    text_of(&call.value).map(Value::from).map_err(|error| call.error(error))
}

pub(super) fn json(call: &FilterCall<'_>) -> Result<Value, Error> {
    to_json(&call.value).map(|json| json.to_string().into()).map_err(|error| call.error(error))
}

pub(super) fn map(call: &FilterCall<'_>) -> Result<Value, Error> {
    let path = Path::of(call, 0)?;
    let mut found = Vec::new();
    for item in call.items()? {
        let value = path.at(&item?);
        if !value.is_undefined() {
            found.push(value);
        }
    }
    Ok(found.into())
}

pub(super) fn pick(call: &FilterCall<'_>) -> Result<Value, Error> {
    select(call, true)
}

pub(super) fn omit(call: &FilterCall<'_>) -> Result<Value, Error> {
    select(call, false)
}

fn select(call: &FilterCall<'_>, keep: bool) -> Result<Value, Error> {
    let named = |name: &str| call.arguments.iter().any(|argument| argument.as_str() == Some(name));
    let of = |object: Json| match object {
        Json::Object(mut members) => {
            members.retain(|name, _| named(name) == keep);
            Ok(Json::Object(members))
        }
        _ => Err(call.error("an item of the list is not an object")),
    };
    if call.value.len().is_some_and(|items| items > MAX_ITEMS) {
        return Err(too_many(call.filter));
    }
    let selected = match to_json(&call.value).map_err(|error| call.error(error))? {
        Json::Array(items) => items.into_iter().map(of).collect::<Result<Json, Error>>()?,
        object => of(object)?,
    };
    Ok(Value::from(Serde(selected)))
}

pub(super) fn json_pointer(call: &FilterCall<'_>) -> Result<Value, Error> {
    let pointer = call.text_at(0).unwrap_or_default();
    check_pointer(pointer).map_err(|reason| call.error(reason))?;
    Ok(pointer_names(pointer).fold(call.value.clone(), |value, name| part(&value, &name)))
}

pub(super) fn lookup(call: &FilterCall<'_>) -> Result<Value, Error> {
    let name = call.text_at(0).unwrap_or_default();
    let tables = call.tables;
    let table = member(tables, name);
    if table.is_undefined() {
        let known: Vec<_> = tables.try_iter().into_iter().flatten().map(|known| known.to_string()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(call.error(format!("the flow has no table {:?}; its tables are: {known}", brief(name))));
    }
    let key = text_of(&call.value).map_err(|error| call.error(error))?;
    let found = member(&table, &key);
    match call.arguments.get(1) {
        _ if !found.is_undefined() => Ok(found),
        Some(other) => Ok(other.clone()),
        None => Err(call.error(format!("the table {name} has no entry for {:?}", brief(&key)))),
    }
}

pub(super) fn locale(call: &FilterCall<'_>) -> Result<Value, Error> {
    let plain = |tag: &str| tag.replace('_', "-").to_lowercase();
    let languages = call.value.try_iter()?.take(MAX_ITEMS);
    let languages: Vec<_> = languages.filter_map(|key| Some((plain(key.as_str()?), key))).collect();
    for wanted in call.arguments {
        let wanted = plain(wanted.as_str().unwrap_or_default());
        let mut tag = wanted.as_str();
        while !tag.is_empty() {
            if let Some((_, key)) = languages.iter().find(|(known, _)| known == tag) {
                let value = call.value.get_item(key)?;
                if !value.is_none() {
                    return Ok(value);
                }
            }
            tag = tag.rsplit_once('-').map_or("", |(language, _)| language);
        }
    }
    Ok(Value::UNDEFINED)
}
