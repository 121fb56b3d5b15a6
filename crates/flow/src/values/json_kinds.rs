//! Sets of kinds of JSON values: those that a filter takes, that an expression may yield, or that a schema allows.
//!
//! Type checking is set arithmetic: if the kinds that an expression may yield and the kinds that are expected there
//! have nothing in common, the flow cannot work.

use std::{fmt, ops};

use minijinja::value::{Value as Dynamic, ValueKind};
use serde_json::Value;

/// A set of kinds of JSON values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

impl Kinds {
    pub(crate) const NULL: Kinds = Kinds(1);
    pub(crate) const BOOLEAN: Kinds = Kinds(2);
    pub(crate) const INTEGER: Kinds = Kinds(4);
    /// Numbers that are not integers.
    pub(crate) const FRACTION: Kinds = Kinds(8);
    pub(crate) const NUMBER: Kinds = Kinds(4 | 8);
    pub(crate) const TEXT: Kinds = Kinds(16);
    pub(crate) const LIST: Kinds = Kinds(32);
    pub(crate) const OBJECT: Kinds = Kinds(64);
    /// The empty set.
    pub(crate) const NOTHING: Kinds = Kinds(0);
    /// The set of all kinds.
    pub(crate) const ANY: Kinds = Kinds(127);

    /// Returns the union of the two sets.
    pub(crate) const fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    /// Returns the set with all numbers, if it has some: numbers are compared by value.
    pub(crate) fn all_numbers(self) -> Kinds {
        if self.excludes(Kinds::NUMBER) { self } else { self.or(Kinds::NUMBER) }
    }

    /// Returns whether the two sets have nothing in common.
    pub(crate) fn excludes(self, other: Kinds) -> bool {
        self.0 & other.0 == 0
    }

    /// Returns whether every kind of this set is in the other one.
    pub(crate) fn within(self, other: Kinds) -> bool {
        self.0 & !other.0 == 0
    }

    /// Returns the kind of a JSON value.
    pub(crate) fn of(value: &Value) -> Kinds {
        match value {
            Value::Null => Kinds::NULL,
            Value::Bool(_) => Kinds::BOOLEAN,
            Value::Number(number) if number.is_f64() && number.as_f64().is_some_and(|n| n.fract() != 0.0) => {
                Kinds::FRACTION
            }
            Value::Number(_) => Kinds::INTEGER,
            Value::String(_) => Kinds::TEXT,
            Value::Array(_) => Kinds::LIST,
            Value::Object(_) => Kinds::OBJECT,
        }
    }

    /// Returns the kind of a value in an expression; the empty set if JSON has no such value.
    pub(crate) fn of_dynamic(value: &Dynamic) -> Kinds {
        match value.kind() {
            ValueKind::None => Kinds::NULL,
            ValueKind::Bool => Kinds::BOOLEAN,
            // A number such as 2.0 is whole, as in JSON Schema.
            ValueKind::Number if value.is_integer() || i64::try_from(value.clone()).is_ok() => Kinds::INTEGER,
            ValueKind::Number => Kinds::FRACTION,
            ValueKind::String => Kinds::TEXT,
            ValueKind::Seq | ValueKind::Iterable => Kinds::LIST,
            ValueKind::Map => Kinds::OBJECT,
            _ => Kinds::NOTHING,
        }
    }

    /// Returns the kinds that JSON Schema calls by this name.
    pub(crate) fn named(name: &str) -> Kinds {
        match name {
            "null" => Kinds::NULL,
            "boolean" => Kinds::BOOLEAN,
            "integer" => Kinds::INTEGER,
            "number" => Kinds::NUMBER,
            "string" => Kinds::TEXT,
            "array" => Kinds::LIST,
            "object" => Kinds::OBJECT,
            _ => Kinds::ANY,
        }
    }
}

impl ops::BitAnd for Kinds {
    type Output = Kinds;

    fn bitand(self, other: Kinds) -> Kinds {
        Kinds(self.0 & other.0)
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = Kinds::NUMBER.within(*self);
        let names = [
            (Kinds::TEXT, "a text", true),
            (Kinds::NUMBER, "a number", number),
            (Kinds::INTEGER, "a whole number", !number),
            (Kinds::FRACTION, "a number with a fraction", !number),
            (Kinds::BOOLEAN, "true or false", true),
            (Kinds::LIST, "a list", true),
            (Kinds::OBJECT, "an object", true),
            (Kinds::NULL, "null", true),
        ];
        let shown = names.iter().filter(|(kind, _, shown)| *shown && kind.within(*self));
        let shown: Vec<_> = shown.map(|(_, name, _)| *name).collect();
        match shown.split_last() {
            None => f.write_str("a value that JSON does not have"),
            Some((only, [])) => f.write_str(only),
            Some((last, others)) => write!(f, "{} or {last}", others.join(", ")),
        }
    }
}
