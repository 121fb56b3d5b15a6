//! The filter language of MediaValet's search: conditions of the form `Field OP value`, joined by AND and OR, with
//! brackets.

use std::cmp::Ordering;

use super::rows::asset_type;
use crate::state::Asset;

/// A parsed filter.
#[derive(Debug)]
pub(crate) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    AssetType { equal: bool, value: String },
    Status { equal: bool, value: i64 },
    CreatedBy { equal: bool, value: String },
    Date { field: DateField, holds: fn(Ordering) -> bool, value: i64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum DateField {
    Uploaded,
    Approved,
}

impl Filter {
    /// Parses a filter. The error is a sentence for the response.
    pub(crate) fn parse(text: &str) -> Result<Filter, String> {
        let tokens = tokens(text)?;
        let mut rest = tokens.as_slice();
        let filter = parse_any(&mut rest)?;
        if rest.is_empty() { Ok(filter) } else { Err(format!("The filter has an unexpected {:?}", rest[0])) }
    }

    /// Returns whether the asset passes the filter at the time `now`, in milliseconds since 1970.
    pub(crate) fn matches(&self, asset: &Asset, now: i64) -> bool {
        match self {
            Filter::All(parts) => parts.iter().all(|part| part.matches(asset, now)),
            Filter::Any(parts) => parts.iter().any(|part| part.matches(asset, now)),
            Filter::AssetType { equal, value } => asset_type(asset.filename()).eq_ignore_ascii_case(value) == *equal,
            Filter::Status { equal, value } => (asset.is_ready(now) && *value == 0) == *equal,
            Filter::CreatedBy { equal, value } => asset.created_by.eq_ignore_ascii_case(value) == *equal,
            Filter::Date { field: DateField::Approved, .. } if !asset.is_ready(now) => false,
            Filter::Date { field, holds, value } => {
                let at = match field {
                    DateField::Uploaded => asset.created_at,
                    DateField::Approved => asset.ready_at.max(asset.created_at),
                };
                holds(at.cmp(value))
            }
        }
    }
}

/// Splits a filter into brackets, quoted texts and words.
fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' => 1,
            '\'' | '"' => 2 + rest[1..].find(first).ok_or("A quotation mark of the filter is not closed")?,
            _ => rest.find(|c: char| c.is_whitespace() || c == '(' || c == ')').unwrap_or(rest.len()),
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// Parses conditions joined by OR.
fn parse_any(rest: &mut &[String]) -> Result<Filter, String> {
    let mut parts = vec![parse_all(rest)?];
    while rest.first().is_some_and(|token| token.eq_ignore_ascii_case("OR")) {
        *rest = &rest[1..];
        parts.push(parse_all(rest)?);
    }
    Ok(Filter::Any(parts))
}

/// Parses conditions joined by AND.
fn parse_all(rest: &mut &[String]) -> Result<Filter, String> {
    let mut parts = vec![parse_condition(rest)?];
    while rest.first().is_some_and(|token| token.eq_ignore_ascii_case("AND")) {
        *rest = &rest[1..];
        parts.push(parse_condition(rest)?);
    }
    Ok(Filter::All(parts))
}

/// Parses one condition or a filter in brackets.
fn parse_condition(rest: &mut &[String]) -> Result<Filter, String> {
    if rest.first().is_some_and(|token| token == "(") {
        *rest = &rest[1..];
        let inner = parse_any(rest)?;
        if rest.first().is_none_or(|token| token != ")") {
            return Err("A bracket of the filter is not closed".to_owned());
        }
        *rest = &rest[1..];
        return Ok(inner);
    }
    let [field, operator, value, ..] = rest else { return Err("The filter ends in the middle of a condition".into()) };
    let value = value.trim_matches(|c| c == '\'' || c == '"');
    let operator = operator.to_ascii_uppercase();
    let holds: fn(Ordering) -> bool = match operator.as_str() {
        "EQ" => Ordering::is_eq,
        "NE" => Ordering::is_ne,
        "LT" => Ordering::is_lt,
        "GT" => Ordering::is_gt,
        "LE" => Ordering::is_le,
        "GE" => Ordering::is_ge,
        other => return Err(format!("Unknown operator {other}")),
    };
    let equal = match operator.as_str() {
        "EQ" => Ok(true),
        "NE" => Ok(false),
        _ => Err(format!("{field} can only be compared with EQ and NE")),
    };
    let date = |field| -> Result<Filter, String> {
        let at: jiff::Timestamp = value.parse().map_err(|_| format!("{value} is not a point in time"))?;
        Ok(Filter::Date { field, holds, value: at.as_millisecond() })
    };
    let filter = match field.to_ascii_lowercase().as_str() {
        "assettype" => Filter::AssetType { equal: equal?, value: value.to_owned() },
        "status" => {
            let value = value.parse().map_err(|_| format!("{value} is not the number of a status"))?;
            Filter::Status { equal: equal?, value }
        }
        "createdby" => Filter::CreatedBy { equal: equal?, value: value.to_owned() },
        "dateuploaded" => date(DateField::Uploaded)?,
        "dateapproved" => date(DateField::Approved)?,
        other => return Err(format!("The sandbox cannot filter by {other}")),
    };
    *rest = &rest[3..];
    Ok(filter)
}
