//! Paths to a value in each item of a list.

use minijinja::{Error, Value};
use serde_json::Value as Json;

use crate::{
    filters::call::FilterCall,
    values::{
        comparison::type_of,
        conversion::to_json,
        json_kinds::Kinds,
        number::{MAX_EXACT, Number},
    },
};

/// The reason why a path is refused.
pub(super) const EMPTY_NAME: &str = "a name in the path is empty";

/// Fails if a path cannot name a value. The empty path is the item itself.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    if !path.is_empty() && path.split('.').any(str::is_empty) { Err(EMPTY_NAME.into()) } else { Ok(()) }
}

/// A path such as file.fileName or files.0.name.
pub(super) struct Path<'a>(&'a str);

impl<'a> Path<'a> {
    /// The path at this position of the arguments; the item itself, if there is none.
    pub(super) fn of(call: &'a FilterCall<'_>, index: usize) -> Result<Path<'a>, Error> {
        let path = call.text_at(index).unwrap_or_default();
        check_path(path).map_err(|reason| call.error(reason))?;
        Ok(Path(path))
    }

    pub(super) fn text(&self) -> &str {
        self.0
    }

    /// Returns the value at the path, which is undefined if any part of it is missing.
    pub(super) fn at(&self, item: &Value) -> Value {
        let names = self.0.split('.').filter(|name| !name.is_empty());
        names.fold(item.clone(), |value, name| part(&value, name))
    }

    /// Returns the items of the list that a filter is applied to, each with its value at the path. Fails if the values
    /// are not all numbers, or all texts.
    pub(super) fn ordered(&self, call: &FilterCall<'_>) -> Result<Vec<(Value, Value)>, Error> {
        let mut all: Vec<(Value, Value)> = Vec::new();
        for (index, item) in call.items()?.enumerate() {
            let item = item?;
            let key = self.at(&item);
            let (kind, first) = (type_of(&key), all.first().map(|(_, key)| type_of(key)));
            let place = || if self.0.is_empty() { String::new() } else { format!(" at {:?}", self.0) };
            let shown = if key.is_undefined() { "no value".to_owned() } else { kind.to_string() };
            if kind != Kinds::NUMBER && kind != Kinds::TEXT {
                let cure = "leave such items out first: where(path, '!=', none)";
                let what = format!("item {index} has {shown}{}, and only numbers and texts have an order", place());
                return Err(call.error(format!("{what}; {cure}")));
            }
            if first.is_some_and(|first| first != kind) {
                let first = first.unwrap_or(kind);
                let what = format!("item {index} has {shown}{}, and the items before it {first}", place());
                return Err(call.error(format!("{what}; convert them to one type first")));
            }
            all.push((item, key));
        }
        Ok(all)
    }
}

/// Returns a member of an object, or an item of a list. An index has no leading zeros (RFC 6901 section 4).
pub(super) fn part(value: &Value, name: &str) -> Value {
    let index = name.parse::<usize>().ok().filter(|index| index.to_string() == name);
    match (Kinds::of_dynamic(value), index) {
        (Kinds::LIST, Some(index)) => value.get_item_by_index(index).unwrap_or(Value::UNDEFINED),
        _ => member(value, name),
    }
}

/// Returns a member of an object. Values of other kinds have no members.
pub(super) fn member(value: &Value, name: &str) -> Value {
    if Kinds::of_dynamic(value) != Kinds::OBJECT {
        return Value::UNDEFINED;
    }
    value.get_attr(name).unwrap_or(Value::UNDEFINED)
}

/// Returns a text that equal values share, and no others: 1 and 1.0 are equal, and so are objects whose members have
/// another order.
pub(super) fn canonical(call: &FilterCall<'_>, value: &Value) -> Result<String, Error> {
    let mut json = to_json(value).map_err(|error| call.error(error))?;
    normalise(&mut json);
    let text = json.to_string();
    call.fuel.spend(text.len() / 64)?;
    Ok(text)
}

fn normalise(value: &mut Json) {
    match value {
        Json::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|_| number.is_f64())
                && whole.fract() == 0.0
                && whole.abs() < MAX_EXACT
            {
                *value = Json::from(whole as i64);
            }
        }
        Json::Array(items) => items.iter_mut().for_each(normalise),
        Json::Object(members) => {
            members.sort_keys();
            members.values_mut().for_each(normalise);
        }
        _ => {}
    }
}

/// Returns the number that a value is.
pub(super) fn number_of(call: &FilterCall<'_>, index: usize, value: &Value) -> Result<Number, Error> {
    Number::of(value).ok_or_else(|| {
        let kind = if value.is_undefined() { "no value".to_owned() } else { type_of(value).to_string() };
        call.error(format!(
            "item {index} has {kind}, not a number; leave it out with where(path, '!=', none), or convert it"
        ))
    })
}
