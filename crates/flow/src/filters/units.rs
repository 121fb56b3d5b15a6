//! Filters of numbers: units of measurement.

use minijinja::{Error, Value};
use rust_decimal::{Decimal, RoundingStrategy::MidpointAwayFromZero};

use crate::{
    filters::call::{FilterCall, brief},
    values::number::{Number, from_decimal},
};

/// The digits of a converted number. Rounding errors of factors such as 5/9 are in later digits.
const DIGITS: u32 = 15;

/// The units of one dimension, each with the factor that converts a value to the dimension's base unit.
struct Dimension {
    name: &'static str,
    units: &'static [(&'static str, f64)],
}

/// What the factor of a unit is divided by, where the quotient has no end.
const DIVISORS: &[(&str, f64)] = &[("pt", 72.0), ("F", 9.0)];
/// Absolute zero below the zero of a temperature scale, in degrees of that scale. Added before the factor is applied.
const OFFSETS: &[(&str, f64)] = &[("C", 273.15), ("F", 459.67)];

const DIMENSIONS: &[Dimension] = &[
    Dimension {
        name: "length",
        units: &[
            ("mm", 0.001),
            ("cm", 0.01),
            ("dm", 0.1),
            ("m", 1.0),
            ("km", 1000.0),
            ("pt", 0.0254),
            ("in", 0.0254),
            ("ft", 0.3048),
            ("yd", 0.9144),
            ("mi", 1609.344),
        ],
    },
    Dimension {
        name: "mass",
        units: &[
            ("mg", 0.000_001),
            ("g", 0.001),
            ("kg", 1.0),
            ("t", 1000.0),
            ("oz", 0.028_349_523_125),
            ("lb", 0.453_592_37),
        ],
    },
    Dimension {
        name: "area",
        units: &[
            ("mm2", 0.000_001),
            ("cm2", 0.0001),
            ("m2", 1.0),
            ("ha", 10_000.0),
            ("km2", 1_000_000.0),
            ("in2", 0.000_645_16),
            ("ft2", 0.092_903_04),
            ("acre", 4_046.856_422_4),
        ],
    },
    Dimension {
        name: "volume",
        units: &[
            ("ml", 0.001),
            ("cl", 0.01),
            ("dl", 0.1),
            ("l", 1.0),
            ("cm3", 0.001),
            ("m3", 1000.0),
            ("floz", 0.029_573_529_562_5),
            ("gal", 3.785_411_784),
        ],
    },
    Dimension { name: "temperature", units: &[("C", 1.0), ("F", 5.0), ("K", 1.0)] },
    Dimension {
        name: "data",
        units: &[
            ("B", 1.0),
            ("kB", 1e3),
            ("MB", 1e6),
            ("GB", 1e9),
            ("TB", 1e12),
            ("KiB", 1024.0),
            ("MiB", 1_048_576.0),
            ("GiB", 1_073_741_824.0),
            ("TiB", 1_099_511_627_776.0),
        ],
    },
    Dimension { name: "resolution", units: &[("dpi", 1.0), ("ppi", 1.0), ("dpcm", 2.54), ("dpmm", 25.4)] },
];

struct Unit {
    dimension: &'static Dimension,
    factor: f64,
    divisor: f64,
    offset: f64,
}

fn find(name: &str) -> Result<Unit, String> {
    for dimension in DIMENSIONS {
        if let Some((_, factor)) = dimension.units.iter().find(|(known, _)| *known == name) {
            let of = |table: &[(&str, f64)]| table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
            let (divisor, offset) = (of(DIVISORS).unwrap_or(1.0), of(OFFSETS).unwrap_or(0.0));
            return Ok(Unit { dimension, factor: *factor, divisor, offset });
        }
    }
    let known: Vec<_> = DIMENSIONS.iter().map(list).collect();
    Err(format!("there is no unit {:?}; the units are {}", brief(name), known.join("; ")))
}

fn list(dimension: &Dimension) -> String {
    let names: Vec<_> = dimension.units.iter().map(|(name, _)| *name).collect();
    format!("{}: {}", dimension.name, names.join(", "))
}

/// Fails if a unit does not exist, or if the two are of different dimensions.
pub(crate) fn check(from: &str, to: &str) -> Result<(), String> {
    units(from, to).map(drop)
}

fn units(from: &str, to: &str) -> Result<(Unit, Unit), String> {
    let (source, target) = (find(from)?, find(to)?);
    if source.dimension.name != target.dimension.name {
        let (one, other) = (source.dimension, target.dimension);
        return Err(format!(
            "{from} is a {}, {to} is a {}; units of {}; units of {}",
            one.name,
            other.name,
            list(one),
            list(other)
        ));
    }
    Ok((source, target))
}

pub(super) fn unit(call: &FilterCall<'_>) -> Result<Value, Error> {
    let (from, to) = (call.text_at(0).unwrap_or_default(), call.text_at(1).unwrap_or_default());
    let (source, target) = units(from, to).map_err(|error| call.error(error))?;
    if from == to {
        return Ok(call.value.clone());
    }
    let convert = || {
        let decimal = |number: f64| Number::Fraction(number).decimal();
        let base = Number::of(&call.value)?.decimal()?.checked_add(decimal(source.offset)?)?;
        let factor = decimal(source.factor)?.checked_mul(decimal(target.divisor)?)?;
        let divisor = decimal(source.divisor)?.checked_mul(decimal(target.factor)?)?;
        let value = base.checked_mul(factor)?.checked_div(divisor)?.checked_sub(decimal(target.offset)?)?;
        let rounded = value.round_sf_with_strategy(DIGITS, MidpointAwayFromZero)?;
        // Digits before the decimal point are not left out.
        if rounded == value || value.abs() < Decimal::from(10_u64.pow(DIGITS)) { from_decimal(rounded) } else { None }
    };
    convert().map(number).ok_or_else(|| call.error(TOO_LARGE))
}

/// The reason why a number cannot be converted or rounded.
const TOO_LARGE: &str = "the number is too large or too small; 15 digits are possible";

pub(super) fn round(call: &FilterCall<'_>) -> Result<Value, Error> {
    let digits = call.arguments.first().map_or(Ok(0), |digits| i64::try_from(digits.clone()))?;
    let digits = u32::try_from(digits).ok().filter(|digits| *digits <= 15);
    let digits = digits.ok_or_else(|| call.error("the number of digits must be from 0 to 15"))?;
    let Some(Number::Fraction(value)) = Number::of(&call.value) else { return Ok(call.value.clone()) };
    let Some(decimal) = Number::Fraction(value).decimal() else { return Err(call.error(TOO_LARGE)) };
    let rounded: Decimal = decimal.round_dp_with_strategy(digits, MidpointAwayFromZero);
    from_decimal(rounded).map(number).ok_or_else(|| call.error(TOO_LARGE))
}

/// Returns the value as an integer if it is one.
pub(super) fn number(value: f64) -> Value {
    match value {
        whole if whole.fract() == 0.0 && whole.abs() < 9e15 => Value::from(whole as i64),
        other => Value::from(other),
    }
}
