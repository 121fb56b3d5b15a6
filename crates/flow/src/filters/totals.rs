//! Filters that make one value of the numbers in a list.

use minijinja::{Error, Value};
use rust_decimal::Decimal;

use crate::{
    filters::{
        call::FilterCall,
        paths::{Path, number_of},
        units::number,
    },
    values::{comparison::order, number::from_decimal},
};

/// The reason why a sum or mean is refused.
const INEXACT: &str = "the result has more digits than a number can have; convert the numbers to a larger unit first";

pub(super) fn sum(call: &FilterCall<'_>) -> Result<Value, Error> {
    let (total, _) = total(call)?;
    written(total).ok_or_else(|| call.error(INEXACT))
}

pub(super) fn avg(call: &FilterCall<'_>) -> Result<Value, Error> {
    let (total, count) = total(call)?;
    if count == 0 {
        return Ok(Value::UNDEFINED);
    }
    let mean = total.checked_div(Decimal::from(count));
    mean.and_then(|mean| if mean.is_integer() { written(mean) } else { from_decimal(mean).map(number) })
        .ok_or_else(|| call.error(INEXACT))
}

/// Adds up the numbers, and counts them.
fn total(call: &FilterCall<'_>) -> Result<(Decimal, usize), Error> {
    let path = Path::of(call, 0)?;
    let (mut total, mut count) = (Decimal::ZERO, 0);
    for (index, item) in call.items()?.enumerate() {
        let one = number_of(call, index, &path.at(&item?))?;
        let added = one.decimal().and_then(|one| total.checked_add(one));
        total = added.ok_or_else(|| call.error(INEXACT))?;
        count += 1;
    }
    Ok((total, count))
}

/// Returns a decimal as a number of an expression, if that keeps all digits before the decimal point.
pub(super) fn written(total: Decimal) -> Option<Value> {
    let whole = if total.is_integer() { i128::try_from(total).ok() } else { None };
    match whole {
        Some(whole) => i64::try_from(whole).map(Value::from).or_else(|_| u64::try_from(whole).map(Value::from)).ok(),
        None => from_decimal(total).map(number),
    }
}

pub(super) fn min(call: &FilterCall<'_>) -> Result<Value, Error> {
    extreme(call, false)
}

pub(super) fn max(call: &FilterCall<'_>) -> Result<Value, Error> {
    extreme(call, true)
}

fn extreme(call: &FilterCall<'_>, greatest: bool) -> Result<Value, Error> {
    let all = Path::of(call, 0)?.ordered(call)?.into_iter().map(|(_, key)| key);
    let better =
        |one: &Value, other: &Value| order(one, other).is_some_and(|order| order.is_gt() == greatest && order.is_ne());
    let best = all.reduce(|best, next| if better(&next, &best) { next } else { best });
    Ok(best.unwrap_or(Value::UNDEFINED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::number::Number;

    #[test]
    fn a_total_keeps_every_digit_before_the_decimal_point() {
        assert_eq!(written(Decimal::from(u64::MAX)).unwrap(), Value::from(u64::MAX));
        assert!(written(Decimal::from(u64::MAX) + Decimal::ONE).is_none());
        assert_eq!(Number::of(&written(Decimal::new(55, 1)).unwrap()).unwrap().float(), 5.5);
    }
}
