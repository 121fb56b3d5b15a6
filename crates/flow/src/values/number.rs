//! The numbers of expressions: whole, or with a fraction.
//!
//! Fractions are floating-point numbers of 64 bits outside, as JSON has them, and decimals inside of a calculation.

use std::cmp::Ordering;

use minijinja::value::{Value as Dynamic, ValueKind};
use rust_decimal::{Decimal, prelude::FromPrimitive};

/// From here on, a floating-point number of 64 bits does not hold every whole number: 2^53.
pub(crate) const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A number of an expression.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Whole(i128),
    Fraction(f64),
}

impl Number {
    /// Returns the number that a value is, or `None` if it is not a number.
    pub(crate) fn of(value: &Dynamic) -> Option<Number> {
        match value.kind() {
            ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok().map(Number::Whole),
            ValueKind::Number => f64::try_from(value.clone()).ok().map(Number::Fraction),
            _ => None,
        }
    }

    /// Compares by value: no digit of either number is left out.
    pub(crate) fn compare(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Whole(one), Number::Whole(other)) => one.cmp(&other),
            (Number::Fraction(one), Number::Fraction(other)) => one.partial_cmp(&other).unwrap_or(Ordering::Equal),
            (Number::Fraction(_), Number::Whole(_)) => other.compare(self).reverse(),
            (Number::Whole(one), Number::Fraction(other)) => {
                // The conversion saturates beyond 128 bits, and whole numbers have 64.
                let floor = other.floor();
                one.cmp(&(floor as i128)).then(if floor < other { Ordering::Less } else { Ordering::Equal })
            }
        }
    }

    pub(crate) fn float(self) -> f64 {
        match self {
            Number::Whole(number) => number as f64,
            Number::Fraction(number) => number,
        }
    }

    /// Returns the number as a decimal, or `None` if it has more digits than decimals have here: 28.
    pub(crate) fn decimal(self) -> Option<Decimal> {
        match self {
            Number::Whole(number) => Decimal::from_i128(number),
            Number::Fraction(number) => Decimal::from_str_exact(&number.to_string()).ok(),
        }
    }

    pub(crate) fn is_zero(self) -> bool {
        self.float() == 0.0
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Whole(number) => number.fmt(f),
            // Short, such as 1e308.
            Number::Fraction(number) => write!(f, "{number:?}"),
        }
    }
}

/// Returns a decimal as a floating-point number, or `None` if that does not hold all digits before the decimal point.
/// After the point, 15 to 17 digits in all are kept.
pub(crate) fn from_decimal(decimal: Decimal) -> Option<f64> {
    let number = decimal.to_string().parse::<f64>().ok()?;
    let exact = number.abs() < MAX_EXACT || Number::Fraction(number).decimal() == Some(decimal);
    exact.then_some(number)
}
