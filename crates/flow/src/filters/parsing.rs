//! Filters that read a text as a value.

use std::collections::BTreeSet;

use minijinja::{Error, Value, value::Serde};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value as Json, json};
use trunkline_core::{RepeatedMember, read_json};

use crate::filters::call::{FilterCall, MAX_ITEMS, brief, too_many};

pub(super) fn parse_json(call: &FilterCall<'_>) -> Result<Value, Error> {
    let value = read_json(call.text()?.as_bytes(), RepeatedMember::Refused);
    let value = value.map_err(|error| call.error(format!("the text is not JSON that can be read: {error}")))?;
    Ok(Value::from(Serde(value)))
}

pub(super) fn parse_form(call: &FilterCall<'_>) -> Result<Value, Error> {
    let mut fields = Map::new();
    let text = call.text()?.trim_start_matches('?');
    for (index, pair) in text.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        if index >= MAX_ITEMS {
            return Err(too_many(call.filter));
        }
        let decoded = |part: &str| {
            let spaced = part.replace('+', " ");
            let text = percent_decode_str(&spaced).decode_utf8().map(|text| text.into_owned());
            text.map_err(|_| call.error(format!("{:?} is not a text in UTF-8", brief(part))))
        };
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = Json::from(decoded(value)?);
        match fields.entry(decoded(name)?) {
            serde_json::map::Entry::Vacant(entry) => drop(entry.insert(value)),
            serde_json::map::Entry::Occupied(mut entry) => match entry.get_mut() {
                Json::Array(values) => values.push(value),
                first => *first = json!([first.take(), value]),
            },
        }
    }
    Ok(Value::from(Serde(fields)))
}

/// Fails if the fields of CSV cannot be separated by this text.
pub(super) fn check_separator(separator: &str) -> Result<(), String> {
    match separator.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(()),
        _ => Err(format!("the separator of CSV is one ASCII character, not {:?}", brief(separator))),
    }
}

/// Returns the line on which a quoted field begins that does not end.
fn unclosed_quote(text: &str, separator: &str) -> Option<usize> {
    let (mut line, mut opened, mut at_start) = (1, None, true);
    for character in text.chars() {
        match (opened, character) {
            (Some(_), '"') => opened = None,
            // The second quote of two, which stand for one: the field goes on.
            (None, '"') if at_start => opened = Some(line),
            _ => {}
        }
        line += usize::from(character == '\n');
        at_start =
            opened.is_none() && (character == '"' || separator.starts_with(character) || "\r\n".contains(character));
    }
    opened
}

pub(super) fn parse_csv(call: &FilterCall<'_>) -> Result<Value, Error> {
    let separator = call.text_at(0).unwrap_or(",");
    check_separator(separator).map_err(|reason| call.error(reason))?;
    let text = call.text()?.trim_start_matches('\u{feff}');
    if let Some(line) = unclosed_quote(text, separator) {
        return Err(call.error(format!("the field that begins on line {line} has no closing quote")));
    }
    let mut reader = csv::ReaderBuilder::new().delimiter(separator.as_bytes()[0]).from_reader(text.as_bytes());
    let invalid = |error: csv::Error| call.error(format!("it is not CSV with a row of names: {error}"));
    let names: Vec<_> = reader.headers().map_err(invalid)?.iter().map(str::to_owned).collect();
    let mut known = BTreeSet::new();
    if let Some(twice) = names.iter().find(|name| !known.insert(*name)) {
        return Err(call.error(format!("the column {:?} occurs twice", brief(twice))));
    }
    let (mut rows, mut left) = (Vec::new(), MAX_ITEMS);
    for row in reader.records() {
        let row = row.map_err(invalid)?;
        left = left.checked_sub(row.len()).ok_or_else(|| too_many(call.filter))?;
        rows.push(names.iter().cloned().zip(row.iter().map(Json::from)).collect::<Map<_, _>>());
    }
    Ok(Value::from(Serde(rows)))
}
