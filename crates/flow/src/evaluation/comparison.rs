//! Comparison of values of the same type.
//!
//! Two values of different types are never compared silently: `"5" > 1000` and `1 == "1"` are errors. Null equals only
//! null, and may be compared with everything by `==` and `!=`, because that is how a flow asks for it.

use std::cmp::Ordering;

use minijinja::value::Value as Dynamic;

use crate::{
    evaluation::{Fault, tree::Relation},
    values::{json_kinds::Kinds, number::Number},
};

/// The advice where types differ.
const SAME_TYPE_HINT: &str =
    "convert one of them with the filter int, number or string; give null a value with default(..)";

/// Returns whether a relation holds.
pub(super) fn holds(relation: Relation, left: &Dynamic, right: &Dynamic) -> Result<bool, Fault> {
    match relation {
        Relation::Equal => equal(left, right),
        Relation::NotEqual => equal(left, right).map(|equal| !equal),
        Relation::In => is_in(left, right),
        Relation::NotIn => is_in(left, right).map(|is_in| !is_in),
        Relation::Less => order(left, right).map(Ordering::is_lt),
        Relation::LessOrEqual => order(left, right).map(Ordering::is_le),
        Relation::Greater => order(left, right).map(Ordering::is_gt),
        Relation::GreaterOrEqual => order(left, right).map(Ordering::is_ge),
    }
}

/// Returns the type of a value, where all numbers are of one type.
fn type_of(value: &Dynamic) -> Kinds {
    Kinds::of_dynamic(value).all_numbers()
}

fn order(left: &Dynamic, right: &Dynamic) -> Result<Ordering, Fault> {
    if let (Some(left), Some(right)) = (Number::of(left), Number::of(right)) {
        return Ok(left.compare(right));
    }
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        return Ok(left.cmp(right));
    }
    let (one, other) = (type_of(left), type_of(right));
    let ordered = Kinds::NUMBER.or(Kinds::TEXT);
    if one == other {
        return Err(Fault::new(format!("it orders {one} by size: only numbers and texts have an order")));
    }
    let reason = format!("it compares {one} with {other}: neither is greater than the other");
    let hint = if one.within(ordered) || other.within(ordered) { SAME_TYPE_HINT } else { "compare numbers or texts" };
    Err(Fault::new(reason).hint(hint))
}

fn equal(left: &Dynamic, right: &Dynamic) -> Result<bool, Fault> {
    let (one, other) = (type_of(left), type_of(right));
    if one != other && one != Kinds::NULL && other != Kinds::NULL {
        let reason = format!("it compares {one} with {other}: they are never equal");
        return Err(Fault::new(reason).hint(SAME_TYPE_HINT));
    }
    Ok(same(left, right))
}

/// Returns whether two values are the same value, of whatever type they are.
fn same(left: &Dynamic, right: &Dynamic) -> bool {
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
fn is_in(left: &Dynamic, right: &Dynamic) -> Result<bool, Fault> {
    let kind = type_of(left);
    let of_text = |within: &str| match left.as_str() {
        Some(_) => Ok(()),
        None => Err(Fault::new(format!("it looks for {kind} in {within}, which has only texts"))
            .hint("convert it with the filter string")),
    };
    match type_of(right) {
        Kinds::LIST => {
            let (mut comparable, mut others) = (kind == Kinds::NULL, false);
            for item in right.try_iter()? {
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
            Err(Fault::new(reason).hint(SAME_TYPE_HINT))
        }
        Kinds::TEXT => {
            of_text("a text")?;
            Ok(right.as_str().unwrap_or_default().contains(left.as_str().unwrap_or_default()))
        }
        Kinds::OBJECT => {
            of_text("the names of an object")?;
            Ok(!right.get_item(left)?.is_undefined())
        }
        other => Err(Fault::new(format!("`in` needs a list, a text or an object, not {other}"))),
    }
}
