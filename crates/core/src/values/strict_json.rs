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
    lossy_numbers::{Lossy, LossyNumbers},
    number::lossy_number_message,
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
/// A syntax error, a member that occurs twice in an object and is not accepted, or a number that cannot be kept as it is
/// written. The error has line and column.
pub fn read_json(bytes: &[u8], repeated: RepeatedMember) -> serde_json::Result<Value> {
    read_json_as(bytes, repeated, &[])
}

/// Like [`read_json`], with places that are declared as text: a number there that cannot be kept becomes a text with the
/// same digits. A place is a JSON pointer in which `*` stands for each item or member.
///
/// ```
/// # use trunkline_core::{RepeatedMember, read_json_as};
/// let text = br#"[{ "id": 18446744073709551617 }]"#;
/// let value = read_json_as(text, RepeatedMember::Refused, &["/*/id".to_owned()])?;
/// assert_eq!(value[0]["id"], "18446744073709551617");
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// # Errors
///
/// As [`read_json`].
pub fn read_json_as(bytes: &[u8], repeated: RepeatedMember, texts: &[String]) -> serde_json::Result<Value> {
    let (mut quoted, mut copied) = (Vec::new(), 0);
    for lossy in LossyNumbers::new(bytes) {
        if !texts.iter().any(|place| is_at(&lossy.pointer, place)) {
            return Err(refused(bytes, &lossy));
        }
        quoted.extend_from_slice(&bytes[copied..lossy.offset]);
        quoted.extend_from_slice(format!("\"{}\"", lossy.text).as_bytes());
        copied = lossy.offset + lossy.text.len();
    }
    let rest = &bytes[copied..];
    let text: Cow<'_, [u8]> = if copied == 0 { rest.into() } else { [&quoted, rest].concat().into() };
    let mut reader = serde_json::Deserializer::from_slice(&text);
    let value = repeated.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Returns whether a JSON pointer is one of those that a place stands for.
fn is_at(pointer: &str, place: &str) -> bool {
    let (parts, wanted) = (pointer.split('/'), place.split('/'));
    parts.clone().count() == wanted.clone().count()
        && parts.zip(wanted).all(|(part, wanted)| wanted == "*" || part == wanted)
}

fn refused(json: &[u8], lossy: &Lossy<'_>) -> serde_json::Error {
    let before = &json[..lossy.offset];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
    let message = lossy_number_message(lossy.text, &lossy.pointer, lossy.reason);
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
    fn a_large_number_is_text_where_text_is_declared() {
        let places = ["/items/*/id".to_owned(), "/next".into(), "/a~1b/*/*".into()];
        let read = |text: &str| read_json_as(text.as_bytes(), RepeatedMember::AcceptedIfEqual, &places);
        let text = r#"{ "items": [{ "id": 18446744073709551617 }, { "id": 7, "n": 1.5 }, { "id": -1e400 }],
            "next": 12345678901234567.890, "a/b": { "x": [123456789012345678901] } }"#;
        let expected = json!({ "items": [{ "id": "18446744073709551617" }, { "id": 7, "n": 1.5 }, { "id": "-1e400" }],
            "next": "12345678901234567.890", "a/b": { "x": ["123456789012345678901"] } });
        assert_eq!(read(text).unwrap(), expected);
        for other in [r#"{"id": 1e400}"#, r#"{"items": [{"n": 1e400}]}"#, r#"{"next": [1e400]}"#, "1e400"] {
            assert!(read(other).unwrap_err().to_string().contains("declare it as text"), "{other}");
        }
    }

    proptest! {
        #[test]
        fn other_documents_are_read_as_by_serde_json(text in "[\\[\\]{}:,\" a-c0-9.eE\\-ntrufls\\\\]{0,40}") {
            let usual = serde_json::from_str::<Value>(&text).ok();
            let ours = read_json(text.as_bytes(), RepeatedMember::AcceptedIfEqual).ok();
            let lossy = LossyNumbers::new(text.as_bytes()).next().is_some();
            prop_assert!(ours == usual || ours.is_none() && (text.contains('{') || lossy), "{:?} {:?}", ours, usual);
        }
    }
}
