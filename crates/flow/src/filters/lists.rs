//! Filters of lists. A path names a value in each item, such as file.size; an empty path is the item itself.

use std::{cmp::Ordering, collections::HashSet};

use minijinja::{Error, Value};

use crate::{
    filters::{
        call::{FilterCall, MAX_ITEMS, brief, too_many},
        paths::{Path, canonical},
    },
    values::{
        comparison::{is_in, order, same, type_of},
        json_kinds::Kinds,
        part::part,
    },
};

/// The relations of [`where_`] and [`find`].
const RELATIONS: [&str; 7] = ["==", "!=", "<", "<=", ">", ">=", "in"];

/// Fails if there is no such relation.
pub(super) fn check_relation(relation: &str) -> Result<(), String> {
    match RELATIONS.contains(&relation) {
        true => Ok(()),
        false => Err(format!("{:?} is not a relation: write one of {}", brief(relation), RELATIONS.join(", "))),
    }
}

/// Fails if there is no such direction.
pub(super) fn check_direction(direction: &str) -> Result<(), String> {
    match direction {
        "asc" | "desc" => Ok(()),
        other => Err(format!("the direction is 'asc' or 'desc', not {:?}", brief(other))),
    }
}

pub(super) fn where_(call: &FilterCall<'_>) -> Result<Value, Error> {
    let condition = Condition::of(call)?;
    let mut kept = Vec::new();
    for (index, item) in call.items()?.enumerate() {
        let item = item?;
        if condition.holds(call, index, &item)? {
            kept.push(item);
        }
    }
    condition.end(call)?;
    Ok(kept.into())
}

pub(super) fn find(call: &FilterCall<'_>) -> Result<Value, Error> {
    let condition = Condition::of(call)?;
    for (index, item) in call.items()?.enumerate() {
        let item = item?;
        if condition.holds(call, index, &item)? {
            return Ok(item);
        }
    }
    condition.end(call)?;
    Ok(Value::UNDEFINED)
}

/// What the items of a list are compared with.
struct Condition<'a> {
    path: Path<'a>,
    relation: &'a str,
    value: &'a Value,
    /// Whether a value was compared that is of the same type, or is null.
    comparable: std::cell::Cell<bool>,
    /// A value of another type, if there was one.
    other: std::cell::Cell<Option<Kinds>>,
}

impl<'a> Condition<'a> {
    fn of(call: &'a FilterCall<'_>) -> Result<Condition<'a>, Error> {
        let (relation, value) = match call.arguments {
            [_, relation, value] => {
                let text = relation.as_str().unwrap_or_default();
                check_relation(text).map_err(|reason| call.error(reason))?;
                (text, value)
            }
            _ => ("==", &call.arguments[1]),
        };
        if relation == "in" && type_of(value) != Kinds::LIST {
            return Err(call.error(format!("the relation in needs a list, not {}", type_of(value))));
        }
        let (comparable, other) = Default::default();
        Ok(Condition { path: Path::of(call, 0)?, relation, value, comparable, other })
    }

    /// Returns whether the relation holds for an item.
    fn holds(&self, call: &FilterCall<'_>, index: usize, item: &Value) -> Result<bool, Error> {
        let found = match self.path.at(item) {
            missing if missing.is_undefined() => Value::from(()),
            found => found,
        };
        call.fuel.read(&found)?;
        let equal = |value: &Value| {
            match type_of(&found) == type_of(value) || found.is_none() || value.is_none() {
                true => self.comparable.set(true),
                false => self.other.set(Some(type_of(&found))),
            }
            same(&found, value)
        };
        let ordering = || {
            order(&found, self.value).ok_or_else(|| {
                let (found, wanted) = (type_of(&found), type_of(self.value));
                call.error(format!(
                    "item {index} has {found} at {:?}, which is neither less nor greater than {wanted}; keep the items \
                     with a value first: where(path, '!=', none)",
                    self.path.text()
                ))
            })
        };
        Ok(match self.relation {
            "==" => equal(self.value),
            "!=" => !equal(self.value),
            "in" => {
                let mut found = false;
                for one in self.value.try_iter()? {
                    call.fuel.spend(1)?;
                    found |= equal(&one);
                }
                found
            }
            "<" => ordering()?.is_lt(),
            "<=" => ordering()?.is_le(),
            ">" => ordering()?.is_gt(),
            _ => ordering()?.is_ge(),
        })
    }

    /// Fails if every value was of another type than the one it was compared with.
    fn end(&self, call: &FilterCall<'_>) -> Result<(), Error> {
        match self.other.get() {
            Some(other) if !self.comparable.get() => Err(call.error(format!(
                "it compares {} with {other} at {:?}: they are never equal; convert the value with the filter int, \
                 number or string",
                type_of(self.value),
                self.path.text()
            ))),
            _ => Ok(()),
        }
    }
}

pub(super) fn sort(call: &FilterCall<'_>) -> Result<Value, Error> {
    let path = Path::of(call, 0)?;
    let direction = call.text_at(1).unwrap_or("asc");
    check_direction(direction).map_err(|reason| call.error(reason))?;
    let mut items = Vec::new();
    for (item, key) in path.ordered(call)? {
        items.push((key, item));
    }
    call.fuel.spend(items.len() * items.len().checked_ilog2().unwrap_or_default() as usize)?;
    items.sort_by(|(one, _), (other, _)| {
        let order = order(one, other).unwrap_or(Ordering::Equal);
        if direction == "desc" { order.reverse() } else { order }
    });
    Ok(items.into_iter().map(|(_, item)| item).collect::<Vec<_>>().into())
}

pub(super) fn unique(call: &FilterCall<'_>) -> Result<Value, Error> {
    let path = Path::of(call, 0)?;
    let (mut seen, mut kept) = (HashSet::new(), Vec::new());
    for item in call.items()? {
        let item = item?;
        let found = path.at(&item);
        if found.is_undefined() || seen.insert(canonical(call, &found)?) {
            kept.push(item);
        }
    }
    Ok(kept.into())
}

pub(super) fn flatten(call: &FilterCall<'_>) -> Result<Value, Error> {
    let mut all = Vec::new();
    for item in call.items()? {
        let item = item?;
        if type_of(&item) == Kinds::LIST {
            call.fuel.read(&item)?;
            all.extend(call.items_of(&item)?.collect::<Result<Vec<_>, _>>()?);
        } else {
            all.push(item);
        }
        if all.len() > MAX_ITEMS {
            break;
        }
    }
    call.bounded(all)
}

pub(super) fn slice(call: &FilterCall<'_>) -> Result<Value, Error> {
    let taken = part(&call.value, call.whole_at(0)?, call.whole_at(1)?)?;
    match call.value.as_str() {
        None if taken.len().is_some_and(|items| items > MAX_ITEMS) => Err(too_many(call.filter)),
        _ => Ok(taken),
    }
}

pub(super) fn contains(call: &FilterCall<'_>) -> Result<Value, Error> {
    is_in(&call.arguments[0], &call.value).map(Value::from).map_err(|error| {
        call.error(error.hint.map_or(error.reason.clone(), |hint| format!("{}; {hint}", error.reason)))
    })
}

pub(super) fn zip(call: &FilterCall<'_>) -> Result<Value, Error> {
    let mut rows: Vec<Vec<Value>> = call.list()?.into_iter().map(|item| vec![item]).collect();
    for (index, list) in call.arguments.iter().enumerate() {
        let items = call.items_of(list)?.collect::<Result<Vec<_>, _>>()?;
        if items.len() != rows.len() {
            let (own, other) = (rows.len(), items.len());
            return Err(call.error(format!("the list has {own} items, and list {} has {other}", index + 1)));
        }
        rows.iter_mut().zip(items).for_each(|(row, item)| row.push(item));
    }
    Ok(rows.into_iter().map(Value::from).collect::<Vec<_>>().into())
}
