//! The reason why a JSON text cannot be read.

use std::{collections::HashSet, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::error::Category;

use crate::{ErrorKind, values::pointer::pointer_part};

/// The deepest nesting of lists and objects in a document, as the JSON parser has it.
pub const MAX_NESTING: usize = 127;

/// Why a JSON text cannot be read: what is wrong, with line and column, or the limit that it exceeds.
#[derive(Debug)]
pub struct JsonError {
    error: serde_json::Error,
    is_too_deep: bool,
    repeated: Option<String>,
}

impl JsonError {
    /// Returns the error of the parser about this text.
    pub(crate) fn new(json: &[u8], error: serde_json::Error) -> JsonError {
        let repeated = (error.classify() == Category::Data).then(|| repeated_member(json)).flatten();
        JsonError { error, is_too_deep: is_too_deep(json), repeated }
    }

    /// Returns the JSON pointer of the first member that occurs twice, if there is one.
    pub fn repeated(&self) -> Option<&str> {
        self.repeated.as_deref()
    }

    /// Returns `limit` if the text exceeds a limit of Trunkline, and else `invalid_input`.
    pub fn kind(&self) -> ErrorKind {
        if self.is_too_deep { ErrorKind::Limit } else { ErrorKind::InvalidInput }
    }

    /// Returns the line, counted from 1.
    pub fn line(&self) -> usize {
        self.error.line()
    }

    /// Returns the column in bytes, counted from 1.
    pub fn column(&self) -> usize {
        self.error.column()
    }

    /// Returns whether the text is not JSON, or ends too early.
    pub fn classify(&self) -> Category {
        self.error.classify()
    }

    /// Returns the message without line and column.
    pub fn reason(&self) -> String {
        match self.is_too_deep {
            true => format!("lists and objects are nested more than {MAX_NESTING} levels deep, which is the limit"),
            false => {
                let message = self.error.to_string();
                message.split(" at line ").next().unwrap_or_default().to_owned()
            }
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_too_deep, &self.repeated) {
            (true, _) => write!(f, "{} at line {} column {}", self.reason(), self.line(), self.column()),
            (false, Some(pointer)) => write!(f, "{}, which is {pointer}", self.error),
            (false, None) => self.error.fmt(f),
        }
    }
}

impl std::error::Error for JsonError {}

/// Returns whether lists and objects are nested deeper than the parser reads them. The text need not be valid.
fn is_too_deep(json: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTING {
            return true;
        }
    }
    false
}

/// Returns the JSON pointer of the first member that occurs twice.
fn repeated_member(json: &[u8]) -> Option<String> {
    let mut place = Place::default();
    // The reason of the error is known: only its place is wanted.
    let _ = Repeated(&mut place).deserialize(&mut serde_json::Deserializer::from_slice(json));
    place.is_repeated.then(|| place.parts.iter().map(|part| format!("/{}", pointer_part(part))).collect())
}

/// The place of the value that is read.
#[derive(Default)]
struct Place {
    parts: Vec<String>,
    is_repeated: bool,
}

/// Reads a document up to a member that occurs twice. Its place is left.
struct Repeated<'p>(&'p mut Place);

impl<'de> DeserializeSeed<'de> for Repeated<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Repeated<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            let is_new = names.insert(name.clone());
            self.0.parts.push(name);
            if !is_new {
                self.0.is_repeated = true;
                return Err(A::Error::custom("it occurs twice"));
            }
            members.next_value_seed(Repeated(self.0))?;
            self.0.parts.pop();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for index in 0.. {
            self.0.parts.push(index.to_string());
            let item = items.next_element_seed(Repeated(self.0))?;
            self.0.parts.pop();
            if item.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RepeatedMember, read_json};

    fn nested(levels: usize) -> String {
        "[{\"a\":".repeat(levels / 2) + &"[".repeat(levels % 2) + &"]".repeat(levels % 2) + &"}]".repeat(levels / 2)
    }

    #[test]
    fn the_depth_of_the_parser_is_named_with_its_number_and_nothing_else_is() {
        let read = |text: &str| read_json(text.as_bytes(), RepeatedMember::Refused);
        let deepest = format!("{}1{}", "[".repeat(MAX_NESTING), "]".repeat(MAX_NESTING));
        assert!(read(&deepest).is_ok());
        for text in [format!("[{deepest}]"), "[".repeat(1 << 20), "{\"a\":[".repeat(64), nested(301)] {
            let error = read(&text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit);
            assert!(error.to_string().starts_with("lists and objects are nested more than 127 levels deep"), "{error}");
        }
        // The parser alone reports it as any other text that is not JSON.
        let bare = serde_json::from_str::<serde_json::Value>(&format!("[{deepest}]")).unwrap_err();
        assert!(!bare.to_string().contains("127"), "{bare}");
        let brackets = format!("\"\\\"{}\" x", "[".repeat(300));
        for text in ["[1,", "{\"a\": 1, \"a\": 2}", &brackets, "]]"] {
            assert_eq!(read(text).unwrap_err().kind(), ErrorKind::InvalidInput, "{text}");
        }
    }

    #[test]
    fn a_member_that_occurs_twice_is_named_by_its_pointer() {
        for (text, pointer) in [
            (r#"{"a": 1, "a": 1}"#, "/a"),
            (r#"{"x": [0, {"b/c": {"id": 1, "n": 2, "id": [3]}}]}"#, "/x/1/b~1c/id"),
            (r#"[[], {"a": {}, "\u0061": 2}]"#, "/1/a"),
        ] {
            let error = read_json(text.as_bytes(), RepeatedMember::Refused).unwrap_err();
            assert_eq!((error.repeated(), error.kind()), (Some(pointer), ErrorKind::InvalidInput), "{text}");
            assert!(error.to_string().ends_with(&format!("which is {pointer}")), "{error}");
        }
        let number = read_json(br#"{"a": 1e400}"#, RepeatedMember::Refused).unwrap_err();
        assert_eq!(number.repeated(), None);
    }
}
