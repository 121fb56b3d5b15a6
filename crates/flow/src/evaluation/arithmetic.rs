//! Arithmetic that is exact or fails.
//!
//! Whole numbers have 64 bits. Fractions are decimal: `0.1 + 0.2` is `0.3`, and `19.99 * 100` is `1999.0`. A result keeps
//! the 15 to 17 digits that a floating-point number of 64 bits holds; one that would lose a digit before the decimal
//! point is an error.

use minijinja::value::Value as Dynamic;
use rust_decimal::Decimal;
use trunkline_core::ErrorKind;

use crate::{
    evaluation::{Fault, tree::Operator},
    filters::MAX_ITEMS,
    values::{
        conversion::OUTPUT_LIMIT,
        json_kinds::Kinds,
        number::{MAX_EXACT, Number, from_decimal},
    },
};

const TO_NUMBER_HINT: &str = "convert a text to a number with the filter int or number";

/// The error of a text or list that is too large.
pub(super) fn size_fault() -> Fault {
    let reason = format!("it yields more than {OUTPUT_LIMIT} bytes, or a list of more than {MAX_ITEMS} items");
    Fault { kind: ErrorKind::Limit, ..Fault::new(reason) }
}

/// Returns the number with the opposite sign.
pub(super) fn negative(value: &Dynamic) -> Result<Dynamic, Fault> {
    match Number::of(value) {
        Some(Number::Whole(number)) => whole(number.checked_neg(), &format!("-{number}")),
        Some(Number::Fraction(number)) => Ok((-number).into()),
        None => Err(Fault::new(format!("- needs a number, not {}", Kinds::of_dynamic(value))).hint(TO_NUMBER_HINT)),
    }
}

/// Applies an operator. `+` also joins two texts or two lists.
pub(super) fn calculate(operator: Operator, left: &Dynamic, right: &Dynamic) -> Result<Dynamic, Fault> {
    let (one, other) = (Kinds::of_dynamic(left), Kinds::of_dynamic(right));
    match (operator, Number::of(left), Number::of(right)) {
        (_, Some(left), Some(right)) => numbers(operator, left, right),
        (Operator::Add, ..) if one == Kinds::TEXT && other == Kinds::TEXT => {
            let text = [left, right].map(|side| side.as_str().unwrap_or_default()).concat();
            if text.len() > OUTPUT_LIMIT { Err(size_fault()) } else { Ok(text.into()) }
        }
        (Operator::Add, ..) if one == Kinds::LIST && other == Kinds::LIST => {
            let items: Vec<_> = left.try_iter()?.chain(right.try_iter()?).take(MAX_ITEMS + 1).collect();
            if items.len() > MAX_ITEMS { Err(size_fault()) } else { Ok(items.into()) }
        }
        (Operator::Add, ..) => {
            let what = format!("+ adds numbers, texts or lists, not {one} and {other}");
            Err(Fault::new(what).hint(format!("use ~ to join texts, or {TO_NUMBER_HINT}")))
        }
        _ => {
            let sign = sign(operator);
            Err(Fault::new(format!("{sign} needs two numbers, not {one} and {other}")).hint(TO_NUMBER_HINT))
        }
    }
}

fn sign(operator: Operator) -> &'static str {
    match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::FloorDivide => "//",
        Operator::Remainder => "%",
        Operator::Power => "**",
    }
}

fn numbers(operator: Operator, left: Number, right: Number) -> Result<Dynamic, Fault> {
    let divides = matches!(operator, Operator::Divide | Operator::FloorDivide | Operator::Remainder);
    if divides && right.is_zero() {
        let reason = format!("it divides {left} by zero");
        return Err(Fault::new(reason).hint("test the divisor first: x / y if y != 0 else 0"));
    }
    let text = format!("{left} {} {right}", sign(operator));
    if let (Number::Whole(one), Number::Whole(other)) = (left, right) {
        match operator {
            Operator::Add => return whole(one.checked_add(other), &text),
            Operator::Subtract => return whole(one.checked_sub(other), &text),
            Operator::Multiply => return whole(one.checked_mul(other), &text),
            Operator::Divide if one % other == 0 && (one / other) as f64 as i128 != one / other => {
                return whole(Some(one / other), &text);
            }
            // The quotient of whole numbers with 64 bits does not overflow 128 bits.
            Operator::FloorDivide => return whole(Some(floor(one, other)), &text),
            Operator::Remainder => return whole(Some(one - other * floor(one, other)), &text),
            Operator::Power if other >= 0 => {
                return whole(u32::try_from(other).ok().and_then(|other| one.checked_pow(other)), &text);
            }
            Operator::Divide | Operator::Power => {}
        }
    }
    if operator == Operator::Power && right.float().fract() == 0.0 {
        return power(left, right.float(), &text);
    }
    match (left.decimal(), right.decimal()) {
        (Some(one), Some(other)) if operator != Operator::Power => decimal(operator, one, other, &text),
        _ => float(operator, left, right, &text),
    }
}

/// The quotient rounded towards negative infinity.
fn floor(one: i128, other: i128) -> i128 {
    one / other - i128::from(one % other != 0 && (one < 0) != (other < 0))
}

/// Returns a whole number, if it has at most 64 bits.
fn whole(number: Option<i128>, text: &str) -> Result<Dynamic, Fault> {
    let too_large = || {
        Fault::new(format!("{text} is a whole number of more than 64 bits"))
            .hint("compute in a larger unit: whole numbers go from -2^63 to 2^64 - 1")
    };
    let number = number.ok_or_else(too_large)?;
    match (i64::try_from(number), u64::try_from(number)) {
        (Ok(number), _) => Ok(number.into()),
        (_, Ok(number)) => Ok(number.into()),
        _ => Err(too_large()),
    }
}

fn decimal(operator: Operator, one: Decimal, other: Decimal, text: &str) -> Result<Dynamic, Fault> {
    let quotient = || one.checked_div(other);
    let result = match operator {
        Operator::Add => one.checked_add(other),
        Operator::Subtract => one.checked_sub(other),
        Operator::Multiply => one.checked_mul(other),
        Operator::Divide => quotient(),
        Operator::FloorDivide => quotient().map(|quotient| quotient.floor()),
        Operator::Remainder => one.checked_rem(other).and_then(|rest| {
            let other_sign = !rest.is_zero() && rest.is_sign_negative() != other.is_sign_negative();
            if other_sign { rest.checked_add(other) } else { Some(rest) }
        }),
        Operator::Power => None,
    };
    let zero = !one.is_zero() && !other.is_zero() && matches!(operator, Operator::Multiply | Operator::Divide);
    let result = result.filter(|result| !(zero && result.is_zero())).ok_or_else(|| loses_digits(text))?;
    from_decimal(result).map(Dynamic::from).ok_or_else(|| loses_digits(text))
}

/// Computes with floating-point numbers, where decimals do not suffice.
fn float(operator: Operator, left: Number, right: Number, text: &str) -> Result<Dynamic, Fault> {
    let (one, other) = (left.float(), right.float());
    let result = match operator {
        Operator::Add => one + other,
        Operator::Subtract => one - other,
        Operator::Multiply => one * other,
        Operator::Divide => one / other,
        Operator::FloorDivide => (one / other).floor(),
        Operator::Remainder => one - other * (one / other).floor(),
        Operator::Power => one.powf(other),
    };
    if result.is_nan() && operator == Operator::Power {
        return Err(Fault::new(format!("{text} has no real result: the root of a negative number"))
            .hint("test the base first: x ** y if x >= 0 else 0"));
    }
    let zero =
        result == 0.0 && one != 0.0 && matches!(operator, Operator::Multiply | Operator::Divide | Operator::Power);
    let exact = [one, other, result].iter().all(|number| number.is_finite() && number.abs() < MAX_EXACT);
    if exact && !zero { Ok(result.into()) } else { Err(loses_digits(text)) }
}

/// The digits of a decimal before the zeros that an exponent of ten stands for: from 1 up to 10.
type Scientific = (Decimal, i64);

fn scientific(number: Number) -> Option<Scientific> {
    let text = match number {
        Number::Whole(number) => format!("{number:e}"),
        Number::Fraction(number) => format!("{number:e}"),
    };
    let (digits, exponent) = text.split_once('e')?;
    Some((Decimal::from_str_exact(digits).ok()?, exponent.parse().ok()?))
}

fn times(one: Scientific, other: Scientific) -> Option<Scientific> {
    let digits = one.0.checked_mul(other.0)?;
    let exponent = one.1.checked_add(other.1)?;
    match digits.abs() >= Decimal::TEN {
        true => Some((digits.checked_div(Decimal::TEN)?, exponent.checked_add(1)?)),
        false => Some((digits, exponent)),
    }
}

/// A power with a whole exponent: products of decimals, with 28 digits each.
fn power(base: Number, exponent: f64, text: &str) -> Result<Dynamic, Fault> {
    if base.is_zero() && exponent < 0.0 {
        return Err(Fault::new(format!("{text} divides by zero")).hint("test the base first: x ** y if x != 0 else 0"));
    }
    if base.is_zero() {
        return Ok((if exponent == 0.0 { 1.0 } else { 0.0 }).into());
    }
    let result = || {
        let mut rest = if exponent.abs() < MAX_EXACT { exponent.abs() as u64 } else { return None };
        let (mut factor, mut product) = (scientific(base)?, (Decimal::ONE, 0));
        while rest > 0 {
            if rest % 2 == 1 {
                product = times(product, factor)?;
            }
            rest /= 2;
            if rest > 0 {
                factor = times(factor, factor)?;
            }
        }
        let (digits, size) = match exponent < 0.0 {
            true => (Decimal::ONE.checked_div(product.0)?, -product.1),
            false => product,
        };
        let number: f64 = format!("{digits}e{size}").parse().ok()?;
        let exact = || Number::Fraction(number).decimal() == Decimal::from_scientific(&format!("{digits}e{size}")).ok();
        (number.is_normal() && (number.abs() < MAX_EXACT || size <= 28 && exact())).then_some(number)
    };
    result().map(Dynamic::from).ok_or_else(|| loses_digits(text))
}

fn loses_digits(text: &str) -> Fault {
    Fault::new(format!("{text} has no result with all its digits: a number with a fraction is exact up to 2^53"))
        .hint("compute in a larger unit if the result is large, in a smaller one if it is close to 0")
}
