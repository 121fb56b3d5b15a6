//! Kinds of JSON values as sets: what a filter takes, what an expression may yield, what a schema allows.

use std::{fmt, ops};

use minijinja::value::{Value as Dynamic, ValueKind};
use serde_json::Value;

/// A set of kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

impl Kinds {
    pub(crate) const NULL: Kinds = Kinds(1);
    pub(crate) const BOOLEAN: Kinds = Kinds(2);
    pub(crate) const INTEGER: Kinds = Kinds(4);
    /// Numbers that are not whole.
    pub(crate) const FRACTION: Kinds = Kinds(8);
    pub(crate) const NUMBER: Kinds = Kinds(4 | 8);
    pub(crate) const TEXT: Kinds = Kinds(16);
    pub(crate) const LIST: Kinds = Kinds(32);
    pub(crate) const OBJECT: Kinds = Kinds(64);
    pub(crate) const NOTHING: Kinds = Kinds(0);
    pub(crate) const ANY: Kinds = Kinds(127);

    pub(crate) const fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    /// Whether the two have nothing in common.
    pub(crate) fn excludes(self, other: Kinds) -> bool {
        self.0 & other.0 == 0
    }

    pub(crate) fn within(self, other: Kinds) -> bool {
        self.0 & !other.0 == 0
    }

    /// The kind of a value of JSON.
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

    /// The kind of a value of an expression; nothing for what JSON has not.
    pub(crate) fn of_dynamic(value: &Dynamic) -> Kinds {
        match value.kind() {
            ValueKind::None => Kinds::NULL,
            ValueKind::Bool => Kinds::BOOLEAN,
            ValueKind::Number if value.is_integer() => Kinds::INTEGER,
            ValueKind::Number => Kinds::FRACTION,
            ValueKind::String => Kinds::TEXT,
            ValueKind::Seq | ValueKind::Iterable => Kinds::LIST,
            ValueKind::Map => Kinds::OBJECT,
            _ => Kinds::NOTHING,
        }
    }

    /// The kind that a JSON Schema calls by this name.
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
        let named = names.iter().filter(|(kind, _, told)| *told && kind.within(*self));
        let named: Vec<_> = named.map(|(_, name, _)| *name).collect();
        match named.split_last() {
            None => f.write_str("nothing JSON has"),
            Some((only, [])) => f.write_str(only),
            Some((last, before)) => write!(f, "{} or {last}", before.join(", ")),
        }
    }
}
