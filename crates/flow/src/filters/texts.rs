//! Filters of texts.

use minijinja::{Error, Value};

use crate::{
    filters::call::{FilterCall, MAX_ITEMS, too_long, too_many},
    values::conversion::{OUTPUT_LIMIT, text_of},
};

pub(super) fn upper(call: &FilterCall<'_>) -> Result<Value, Error> {
    Ok(call.text()?.to_uppercase().into())
}

pub(super) fn lower(call: &FilterCall<'_>) -> Result<Value, Error> {
    Ok(call.text()?.to_lowercase().into())
}

pub(super) fn trim(call: &FilterCall<'_>) -> Result<Value, Error> {
    Ok(call.text()?.trim().into())
}

pub(super) fn slug(call: &FilterCall<'_>) -> Result<Value, Error> {
    Ok(slug::slugify(call.text()?).into())
}

pub(super) fn mime(call: &FilterCall<'_>) -> Result<Value, Error> {
    let guess = mime_guess::from_path(call.text()?).first_or_octet_stream();
    Ok(guess.essence_str().into())
}

pub(super) fn join(call: &FilterCall<'_>) -> Result<Value, Error> {
    let separator = call.text_at(0).unwrap_or_default();
    let (mut text, mut any) = (String::new(), false);
    for item in call.items()? {
        let item = item?;
        if item.is_none() {
            continue;
        }
        if std::mem::replace(&mut any, true) {
            text.push_str(separator);
        }
        text.push_str(&text_of(&item).map_err(|error| call.error(error))?);
        if text.len() > OUTPUT_LIMIT {
            return Err(too_long("join"));
        }
    }
    if separator.len() > OUTPUT_LIMIT { Err(too_long("join")) } else { Ok(text.into()) }
}

pub(super) fn split(call: &FilterCall<'_>) -> Result<Value, Error> {
    let separator = call.text_at(0).unwrap_or_default();
    if separator.is_empty() {
        return Err(call.error("the separator is empty"));
    }
    list(call, call.text()?.split(separator))
}

pub(super) fn replace(call: &FilterCall<'_>) -> Result<Value, Error> {
    let (part, by) = (call.text_at(0).unwrap_or_default(), call.text_at(1).unwrap_or_default());
    if part.is_empty() {
        return Err(call.error(EMPTY_PART));
    }
    let text = call.text()?;
    let grown = text.matches(part).count().saturating_mul(by.len());
    if grown.saturating_add(text.len()) > 2 * OUTPUT_LIMIT {
        return Err(too_long(call.filter));
    }
    Ok(text.replace(part, by).into())
}

/// The reason why nothing is replaced.
pub(super) const EMPTY_PART: &str = "the part that is replaced is empty";

pub(super) fn path(call: &FilterCall<'_>) -> Result<Value, Error> {
    let mut parts = call.text()?.split(['/', '\\']).filter(|part| !part.is_empty());
    let Some(part) = call.arguments.first() else { return list(call, parts) };
    let part = i64::try_from(part.clone())?;
    let at = usize::try_from(part.unsigned_abs()).unwrap_or(usize::MAX);
    let part = if part < 0 { parts.rev().nth(at - 1) } else { parts.nth(at) };
    Ok(part.map_or(Value::UNDEFINED, Value::from))
}

fn list<'a>(call: &FilterCall<'_>, parts: impl Iterator<Item = &'a str>) -> Result<Value, Error> {
    let parts: Vec<_> = parts.take(MAX_ITEMS + 1).map(Value::from).collect();
    if parts.len() > MAX_ITEMS { Err(too_many(call.filter)) } else { Ok(parts.into()) }
}
