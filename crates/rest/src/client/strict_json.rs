//! Reads the JSON of services, a little more strictly than usual.
//!
//! An object with two different values under one name is an error. RFC 8259 section 4 leaves open which value counts,
//! so two readers could take different ones.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Parses a JSON document.
///
/// # Errors
///
/// A syntax error, or a name that occurs twice in an object with different values.
pub(crate) fn read(bytes: &[u8]) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = pairs.next_key::<String>()? {
            let value = pairs.next_value_seed(Strict)?;
            if object.get(&key).is_some_and(|before| *before != value) {
                return Err(A::Error::custom(format_args!("`{key}` occurs twice, with different values")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            array.push(item);
        }
        Ok(Value::Array(array))
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
        assert_eq!(read(br#"{"a": 1, "b": [{"a": 1}], "a": 1}"#).unwrap(), json!({ "a": 1, "b": [{ "a": 1 }] }));
        for text in [r#"{"id": 1, "id": 2}"#, r#"[{"a": {"id": "x", "b": null, "id": "y"}}]"#] {
            assert!(read(text.as_bytes()).unwrap_err().to_string().contains("`id` occurs twice"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn other_documents_are_read_as_by_serde_json(text in "[\\[\\]{}:,\" a-c0-9.eE\\-ntrufls\\\\]{0,40}") {
            let usual = serde_json::from_str::<Value>(&text).ok();
            let ours = read(text.as_bytes()).ok();
            prop_assert!(ours == usual || ours.is_none() && text.contains('{'), "{:?} {:?}", ours, usual);
        }
    }
}
