//! JSON in which a member that occurs twice is not decided silently.
//!
//! RFC 8259 section 4 leaves open which value counts, so two readers could take different ones. Serde's own reader of
//! values keeps the last one.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

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
/// A syntax error, or a member that occurs twice in an object and is not accepted.
pub fn read_json(bytes: &[u8], repeated: RepeatedMember) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = repeated.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
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

    proptest! {
        #[test]
        fn other_documents_are_read_as_by_serde_json(text in "[\\[\\]{}:,\" a-c0-9.eE\\-ntrufls\\\\]{0,40}") {
            let usual = serde_json::from_str::<Value>(&text).ok();
            let ours = read_json(text.as_bytes(), RepeatedMember::AcceptedIfEqual).ok();
            prop_assert!(ours == usual || ours.is_none() && text.contains('{'), "{:?} {:?}", ours, usual);
        }
    }
}
