//! The keys of items as text: how a key that an expression yields is written in events, in paths and in memories of
//! triggers.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use trunkline_core::{Error, ErrorKind, Result, kind_of};
use trunkline_flow::{Scope, Template};
use uuid::Uuid;

/// The form in which a run writes the keys of its items. A run keeps the form that it began with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyForm {
    /// A text as it is, anything else as JSON: `1` and `"1"` are one key. Runs of early versions have it.
    #[default]
    Plain,
    /// Different keys have different texts, and a number is written as the service wrote it: `1` and `1.0` are two
    /// keys.
    Typed,
    /// Different keys have different texts, and equal numbers have one, see [`ItemKey::typed`].
    Equal,
}

/// The key of an item, in both forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemKey {
    /// The key in a form in which different keys differ. A whole number is written without a fraction or an exponent,
    /// so that equal numbers are one key, and any other number as in JSON. A text is written as it is, except
    /// for a text that could be taken for something else: one like a number, `true`, `false`, and one with `"` or `#`
    /// at a place where this form has them. It is written as a JSON text, in quotes. No key is written as the empty
    /// text.
    pub typed: String,
    /// The key as early versions wrote it: a text as it is, anything else as JSON.
    pub plain: String,
}

impl ItemKey {
    /// Returns the key that this value is.
    ///
    /// # Errors
    ///
    /// `invalid_input` if the value cannot identify an item: null, an object, a list or an empty text.
    pub fn of(value: &Value) -> Result<ItemKey> {
        let found = match value {
            Value::String(text) if text.is_empty() => "an empty text",
            Value::String(text) => {
                let quoted = || Value::from(text.as_str()).to_string();
                let typed = if is_ambiguous(text) { quoted() } else { text.clone() };
                return Ok(ItemKey { typed, plain: text.clone() });
            }
            Value::Number(number) => return Ok(ItemKey { typed: number_text(number), plain: number.to_string() }),
            Value::Bool(_) => return Ok(ItemKey { typed: value.to_string(), plain: value.to_string() }),
            other => kind_of(other),
        };
        Err(Error::new(ErrorKind::InvalidInput, format!("the key of the item is {found}, which identifies nothing"))
            .hint(CURE))
    }

    /// Returns the key that an expression yields for the item in this scope.
    ///
    /// # Errors
    ///
    /// `invalid_input` if the value cannot identify an item, and the error of an expression that cannot be evaluated.
    pub(crate) fn evaluate(key: &Template, scope: &Scope) -> Result<ItemKey> {
        match key.render(scope) {
            Ok(key) => ItemKey::of(&key),
            // The hint of the expression is about a value that may be missing. A key may not.
            Err(error) => Err(Error::new(error.kind(), error.message()).hint(CURE).source(error)),
        }
    }

    /// Returns the key in a form.
    pub(crate) fn in_form(&self, form: KeyForm) -> &str {
        match form {
            KeyForm::Plain => &self.plain,
            KeyForm::Typed if self.is_respelled() => &self.plain,
            KeyForm::Typed | KeyForm::Equal => &self.typed,
        }
    }

    /// Returns whether this is a number that the service wrote in another way. Earlier versions recorded it as it was
    /// written, in the plain form.
    pub fn is_respelled(&self) -> bool {
        self.typed != self.plain && !self.typed.starts_with('"')
    }

    /// Returns the text that stands for an item without a key: equal items have the same one. Another item has this
    /// key only in the plain form.
    pub(crate) fn missing(item: &Value) -> ItemKey {
        let mut item = item.clone();
        item.sort_all_objects();
        let name = Uuid::new_v5(&Uuid::NAMESPACE_OID, item.to_string().as_bytes());
        let text = format!("{NO_KEY}{}", &name.simple().to_string()[..12]);
        ItemKey { typed: text.clone(), plain: text }
    }
}

/// What to do about an item without a key.
const CURE: &str = "let `key` yield a text or a number that every item has and no two items share";
/// What the text begins with that stands for an item without a key.
pub(crate) const NO_KEY: &str = "#";

/// Returns the text that stands for the item of this number among those with the same key, from 2.
pub(crate) fn repeated(key: &str, number: u64) -> String {
    format!("{key}#{number}")
}

/// Writes all numbers in a value as keys are written, so that equal numbers are equal. Returns whether one is written in
/// another way now.
pub(crate) fn write_numbers(value: &mut Value) -> bool {
    match value {
        Value::Number(number) => {
            let text = number_text(number);
            let respelled = text != number.to_string();
            if let (true, Ok(other)) = (respelled, text.parse()) {
                *number = other;
            }
            respelled
        }
        Value::Array(values) => values.iter_mut().fold(false, |found, value| write_numbers(value) | found),
        Value::Object(members) => members.values_mut().fold(false, |found, value| write_numbers(value) | found),
        _ => false,
    }
}

/// Returns the text of a number: that of an integer, if an integer is equal to it.
fn number_text(number: &Number) -> String {
    const INTEGERS: Range<f64> = i64::MIN as f64..u64::MAX as f64;
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) if float.fract() == 0.0 && INTEGERS.contains(&float) => (float as i128).to_string(),
        _ => number.to_string(),
    }
}

/// Returns whether a text could be taken for a number, for true or false, for a quoted text, or for what stands for an
/// item without a key or with the key of another item.
fn is_ambiguous(text: &str) -> bool {
    let like_number =
        text.starts_with(|first: char| first.is_ascii_digit() || first == '-') && text.parse::<f64>().is_ok();
    let numbered = text
        .rsplit_once('#')
        .is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    like_number || numbered || matches!(text, "true" | "false") || text.starts_with(['"', '#'])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    /// Values of which no two are the same key, and whether their text has quotes.
    fn different_keys() -> Vec<(Value, bool)> {
        let plain =
            [json!(1), json!(-1), json!(1.5), json!(true), json!(false), json!("a"), json!("null"), json!(" 1")];
        let more = [
            json!("2026-11-30"),
            json!("v1.2"),
            json!("a#b"),
            json!("C#"),
            json!("a\"b\""),
            json!("1a"),
            json!("*"),
            json!("é"),
        ];
        let quoted = [json!("1"), json!("-1"), json!("1.5"), json!("1e3"), json!("007"), json!("true"), json!("false")];
        let reserved =
            [json!("\"1\""), json!("\""), json!("#1"), json!("a#2"), json!("#"), json!("1#2"), json!("\"1\"#2")];
        let all = [(plain.to_vec(), false), (more.to_vec(), false), (quoted.to_vec(), true), (reserved.to_vec(), true)];
        all.into_iter().flat_map(|(values, quotes)| values.into_iter().map(move |value| (value, quotes))).collect()
    }

    #[test]
    fn different_keys_have_different_texts() {
        let mut found = BTreeMap::new();
        for (value, quotes) in different_keys() {
            let key = ItemKey::of(&value).unwrap();
            assert_eq!(key.typed.starts_with('"'), quotes, "{value}");
            for text in [key.typed.clone(), repeated(&key.typed, 2), repeated(&key.typed, 12)] {
                let other = found.insert(text.clone(), value.clone());
                assert_eq!(other, None, "{text} stands for {value}, too");
            }
        }
        let missing = ItemKey::missing(&json!({ "a": 1, "b": 2 }));
        assert_eq!(missing, ItemKey::missing(&json!({ "b": 2, "a": 1 })));
        assert!(!found.contains_key(&missing.typed));
    }

    /// The sabotage twin: the plain form takes different keys for one.
    #[test]
    fn the_plain_form_takes_different_keys_for_one() {
        let mut found = BTreeMap::<String, Vec<Value>>::new();
        for (value, _) in different_keys() {
            found.entry(ItemKey::of(&value).unwrap().plain).or_default().push(value);
        }
        assert_eq!(found.values().filter(|values| values.len() > 1).count(), 5, "{found:?}");
    }

    #[test]
    fn equal_numbers_are_one_key() {
        for (written, text) in [
            ("1 1.0 1e0 10e-1 1.00", "1"),
            ("0 -0 -0.0 0.0 0e5", "0"),
            ("-7 -7.0 -0.7e1", "-7"),
            ("1000000000000000000 1e18", "1000000000000000000"),
            ("10000000000000000000 1e19", "10000000000000000000"),
            ("1.5 15e-1 1.50", "1.5"),
            ("1e300 10e299", "1e+300"),
        ] {
            for number in written.split(' ') {
                let key = ItemKey::of(&serde_json::from_str(number).unwrap()).unwrap();
                assert_eq!(key.in_form(KeyForm::Equal), text, "{number}");
                assert!(!ItemKey::of(&json!(number)).unwrap().is_respelled(), "a text is not a number");
            }
        }
        // The sabotage twin: runs of earlier versions keep the form that they began with.
        let written: Value = serde_json::from_str("1.0").unwrap();
        let key = ItemKey::of(&written).unwrap();
        assert_eq!((key.in_form(KeyForm::Typed), key.in_form(KeyForm::Plain)), ("1.0", "1.0"));
    }

    #[test]
    fn values_that_identify_nothing_are_refused() {
        for (value, found) in [
            (json!(null), "null"),
            (json!(""), "an empty text"),
            (json!([]), "a list"),
            (json!([1]), "a list"),
            (json!({}), "an object"),
            (json!({ "id": 1 }), "an object"),
        ] {
            let error = ItemKey::of(&value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.message().contains(found) && error.advice().is_some(), "{value}: {error:?}");
        }
    }
}
