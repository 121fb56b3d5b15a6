//! JSON in which nothing is decided silently: neither a member that occurs twice, nor a number that does not fit.
//!
//! RFC 8259 section 4 leaves open which value of a member counts, so two readers could take different ones. Serde's own
//! reader of values keeps the last one. Section 6 leaves open how a large number is read; see [`lossy_number`].
//!
//! [`lossy_number`]: crate::lossy_number

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::values::{
    json_error::JsonError,
    number::{is_number, lossy_number_message},
    number_tokens::{NumberToken, NumberTokens},
};

/// What happens to a member that occurs twice in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepeatedMember {
    /// It is an error, for documents that a user writes.
    Refused,
    /// It is an error if the values differ, for responses of services.
    AcceptedIfEqual,
}

/// Parses a JSON document.
///
/// # Errors
///
/// A syntax error, a member that occurs twice in an object and is not accepted, a number that cannot be kept as it is
/// written, or nesting deeper than [`MAX_NESTING`](crate::MAX_NESTING). The error has line and column.
pub fn read_json(bytes: &[u8], repeated: RepeatedMember) -> Result<Value, JsonError> {
    read_json_as(bytes, repeated, &TextPlaces::default())
}

/// The places in a document that are declared as text. A place is a JSON pointer in which `*` stands for each item or
/// member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextPlaces {
    /// Places at which a number is a text, as it is written.
    pub texts: Vec<String>,
    /// Places that may hold a number: it stays one, unless it is at a place for text as well and cannot be kept.
    pub numbers: Vec<String>,
}

impl TextPlaces {
    /// Returns whether the number that was read last becomes a text. Of several places for it, those with the fewest `*`
    /// count.
    fn covers(&self, token: &NumberToken<'_>, tokens: &NumberTokens<'_>) -> bool {
        let closest = |places: &[String]| {
            let fitting = places.iter().filter(|place| tokens.is_at(place));
            fitting.map(|place| place.split('/').filter(|part| *part != "*").count()).max()
        };
        let text = closest(&self.texts);
        text.is_some() && (token.reason.is_some() || (is_number(token.text) && text > closest(&self.numbers)))
    }
}

/// Like [`read_json`], with places that are declared as text: a number there becomes a text with the same characters, so
/// that its type does not depend on its digits.
///
/// ```
/// # use trunkline_core::{RepeatedMember, TextPlaces, read_json_as};
/// let text = br#"[{ "id": 18446744073709551617 }, { "id": 1.10 }]"#;
/// let places = TextPlaces { texts: vec!["/*/id".to_owned()], ..TextPlaces::default() };
/// let value = read_json_as(text, RepeatedMember::Refused, &places)?;
/// assert_eq!((&value[0]["id"], &value[1]["id"]), (&"18446744073709551617".into(), &"1.10".into()));
/// # Ok::<(), trunkline_core::JsonError>(())
/// ```
///
/// # Errors
///
/// As [`read_json`].
pub fn read_json_as(bytes: &[u8], repeated: RepeatedMember, places: &TextPlaces) -> Result<Value, JsonError> {
    read(bytes, repeated, places).map_err(|error| JsonError::new(bytes, error))
}

fn read(bytes: &[u8], repeated: RepeatedMember, places: &TextPlaces) -> serde_json::Result<Value> {
    let (mut quoted, mut copied) = (Vec::new(), 0);
    let mut tokens = NumberTokens::new(bytes);
    while let Some(token) = tokens.next() {
        if !places.covers(&token, &tokens) {
            match token.reason {
                Some(reason) => return Err(refused(bytes, &token, &tokens.pointer(), reason)),
                None => continue,
            }
        }
        quoted.extend_from_slice(&bytes[copied..token.offset]);
        quoted.extend_from_slice(format!("\"{}\"", token.text).as_bytes());
        copied = token.offset + token.text.len();
    }
    let rest = &bytes[copied..];
    let text: Cow<'_, [u8]> = if copied == 0 { rest.into() } else { [&quoted, rest].concat().into() };
    let mut reader = serde_json::Deserializer::from_slice(&text);
    let value = repeated.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

fn refused(json: &[u8], token: &NumberToken<'_>, pointer: &str, reason: &str) -> serde_json::Error {
    let before = &json[..token.offset];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
    let message = lossy_number_message(token.text, pointer, reason);
    // Serde reads line and column from the end of the message.
    Error::custom(format_args!("{message} at line {line} column {column}"))
}

impl<'de> DeserializeSeed<'de> for RepeatedMember {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RepeatedMember {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            // Before the value is read, so that the error has the location of the name.
            if self == RepeatedMember::Refused && object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("the member \"{name}\" occurs twice")));
            }
            let value = members.next_value_seed(self)?;
            if object.get(&name).is_some_and(|before| *before != value) {
                return Err(A::Error::custom(format_args!("`{name}` occurs twice, with different values")));
            }
            object.insert(name, value);
        }
        Ok(object.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_that_occurs_twice_must_have_equal_values() {
        assert_eq!(
            read_json(br#"{"a": 1, "b": [{"a": 1}], "a": 1}"#, RepeatedMember::AcceptedIfEqual).unwrap(),
            json!({ "a": 1, "b": [{ "a": 1 }] })
        );
        for text in [r#"{"id": 1, "id": 2}"#, r#"[{"a": {"id": "x", "b": null, "id": "y"}}]"#] {
            assert!(
                read_json(text.as_bytes(), RepeatedMember::AcceptedIfEqual)
                    .unwrap_err()
                    .to_string()
                    .contains("`id` occurs twice"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_number_is_text_where_text_is_declared() {
        let places = TextPlaces {
            texts: vec!["/items/*/id".into(), "/next".into(), "/a~1b/*/*".into()],
            numbers: vec!["/next".into()],
        };
        let read = |text: &str| read_json_as(text.as_bytes(), RepeatedMember::AcceptedIfEqual, &places);
        let text = r#"{ "items": [{ "id": 18446744073709551617 }, { "id": 7, "n": 1.5 }, { "id": -1e400 }, { "id": 1.10 }],
            "next": 12345678901234567.890, "a/b": { "x": [123456789012345678901, 1e2, true] } }"#;
        let expected = json!({ "items": [{ "id": "18446744073709551617" }, { "id": "7", "n": 1.5 }, { "id": "-1e400" },
            { "id": "1.10" }], "next": "12345678901234567.890", "a/b": { "x": ["123456789012345678901", "1e2", true] } });
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read(r#"{"next": 7}"#).unwrap(), json!({ "next": 7 }));
        for bad in ["01", "1.", "-", "+1", "1.2.3", "7 8", "7\"a\""] {
            assert!(read(&format!(r#"{{"items": [{{"id": {bad}}}]}}"#)).is_err(), "{bad}");
        }
        for other in [r#"{"id": 1e400}"#, r#"{"items": [{"n": 1e400}]}"#, r#"{"next": [1e400]}"#, "1e400"] {
            assert!(read(other).unwrap_err().to_string().contains("declare it as text"), "{other}");
        }
    }

    proptest! {
        #[test]
        fn other_documents_are_read_as_by_serde_json(text in "[\\[\\]{}:,\" a-c0-9.eE\\-ntrufls\\\\]{0,40}") {
            let usual = serde_json::from_str::<Value>(&text).ok();
            let ours = read_json(text.as_bytes(), RepeatedMember::AcceptedIfEqual).ok();
            let lossy = NumberTokens::new(text.as_bytes()).any(|token| token.reason.is_some());
            prop_assert!(ours == usual || ours.is_none() && (text.contains('{') || lossy), "{:?} {:?}", ours, usual);
        }
    }
}
