//! Comparison of values of the same type.
//!
//! Two values of different types are never compared silently: `"5" > 1000` and `1 == "1"` are errors. Null equals only
//! null, and may be compared with everything by `==` and `!=`, because that is how a flow asks for it.

use std::cmp::Ordering;

use minijinja::value::Value as Dynamic;

use crate::{
    evaluation::{Fault, tree::Relation},
    values::{
        comparison::{self, SAME_TYPE_HINT, is_in, same, type_of},
        json_kinds::Kinds,
    },
};

/// Returns whether a relation holds.
pub(super) fn holds(relation: Relation, left: &Dynamic, right: &Dynamic) -> Result<bool, Fault> {
    match relation {
        Relation::Equal => equal(left, right),
        Relation::NotEqual => equal(left, right).map(|equal| !equal),
        Relation::In => Ok(is_in(left, right)?),
        Relation::NotIn => Ok(!is_in(left, right)?),
        Relation::Less => order(left, right).map(Ordering::is_lt),
        Relation::LessOrEqual => order(left, right).map(Ordering::is_le),
        Relation::Greater => order(left, right).map(Ordering::is_gt),
        Relation::GreaterOrEqual => order(left, right).map(Ordering::is_ge),
    }
}

fn order(left: &Dynamic, right: &Dynamic) -> Result<Ordering, Fault> {
    if let Some(order) = comparison::order(left, right) {
        return Ok(order);
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
