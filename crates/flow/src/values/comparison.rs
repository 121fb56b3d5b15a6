//! Equality and order of the values of expressions, the same for operators and filters.

use std::cmp::Ordering;

use minijinja::value::Value as Dynamic;

use crate::values::{json_kinds::Kinds, number::Number};

/// The advice where types differ.
pub(crate) const SAME_TYPE_HINT: &str =
    "convert one of them with the filter int, number or string; give null a value with default(..)";

/// The reason why two values cannot be compared, with advice.
pub(crate) struct Incomparable {
    pub(crate) reason: String,
    pub(crate) hint: Option<&'static str>,
}

/// Returns the type of a value, where all numbers are of one type.
pub(crate) fn type_of(value: &Dynamic) -> Kinds {
    Kinds::of_dynamic(value).all_numbers()
}

/// Returns the order of two numbers or of two texts. Values of other types, and of different types, have none.
pub(crate) fn order(left: &Dynamic, right: &Dynamic) -> Option<Ordering> {
    if let (Some(left), Some(right)) = (Number::of(left), Number::of(right)) {
        return Some(left.compare(right));
    }
    Some(left.as_str()?.cmp(right.as_str()?))
}

/// Returns whether two values are the same value, of whatever type they are.
pub(crate) fn same(left: &Dynamic, right: &Dynamic) -> bool {
    if let (Some(left), Some(right)) = (Number::of(left), Number::of(right)) {
        return left.compare(right).is_eq();
    }
    let items = |value: &Dynamic| value.try_iter().into_iter().flatten().collect::<Vec<_>>();
    match (type_of(left), type_of(right)) {
        (Kinds::TEXT, Kinds::TEXT) => left.as_str() == right.as_str(),
        (Kinds::BOOLEAN, Kinds::BOOLEAN) => left.is_true() == right.is_true(),
        (Kinds::LIST, Kinds::LIST) if left.len() == right.len() => {
            items(left).iter().zip(&items(right)).all(|(one, other)| same(one, other))
        }
        (Kinds::OBJECT, Kinds::OBJECT) if left.len() == right.len() => items(left).iter().all(|name| {
            let member = |object: &Dynamic| object.get_item(name).ok().filter(|member| !member.is_undefined());
            matches!((member(left), member(right)), (Some(one), Some(other)) if same(&one, &other))
        }),
        (one, other) => one == Kinds::NULL && other == Kinds::NULL,
    }
}

/// Returns whether a list has an item that is equal, a text has this part, or an object has a member of this name.
pub(crate) fn is_in(left: &Dynamic, right: &Dynamic) -> Result<bool, Incomparable> {
    let kind = type_of(left);
    let of_text = |within: &str| match left.as_str() {
        Some(_) => Ok(()),
        None => Err(Incomparable {
            reason: format!("it looks for {kind} in {within}, which has only texts"),
            hint: Some("convert it with the filter string"),
        }),
    };
    match type_of(right) {
        Kinds::LIST => {
            let (mut comparable, mut others) = (kind == Kinds::NULL, false);
            for item in right.try_iter().into_iter().flatten() {
                if same(left, &item) {
                    return Ok(true);
                }
                comparable |= type_of(&item) == kind;
                others |= !item.is_none();
            }
            if comparable || !others {
                return Ok(false);
            }
            let reason = format!("it looks for {kind} in a list that has only values of other types");
            Err(Incomparable { reason, hint: Some(SAME_TYPE_HINT) })
        }
        Kinds::TEXT => {
            of_text("a text")?;
            Ok(right.as_str().unwrap_or_default().contains(left.as_str().unwrap_or_default()))
        }
        Kinds::OBJECT => {
            of_text("the names of an object")?;
            Ok(right.get_item(left).is_ok_and(|member| !member.is_undefined()))
        }
        other => {
            let reason = format!("`in` needs a list, a text or an object, not {other}");
            Err(Incomparable { reason, hint: None })
        }
    }
}
