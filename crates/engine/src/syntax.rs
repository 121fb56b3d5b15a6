//! Documents as texts, in JSON or in YAML: the value in them, and where in the text each part of it stands.
//!
//! YAML is read as if it were JSON with fewer quotes: a plain word is a number, true, false or null exactly where it would be
//! one in JSON, and a text everywhere else (`no`, `0x10` and `2026-11-21` are texts). A document that names the same member
//! twice is refused in both.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};
use trunkline_core::{Diagnostic, SourceLocation, pointer_part};

/// How deep a YAML document may be nested; for JSON its parser has the same limit.
const MAX_NESTING: usize = 128;
/// How many bytes a YAML document may come to when everything it refers to is in its place.
const MAX_SIZE: usize = 16 * 1024 * 1024;

/// The value in the text of a file.
pub(crate) fn read(file: &str, text: &str) -> Result<Value, Diagnostic> {
    if is_yaml(file, text) {
        return Yaml::read(text).map(|(value, _)| value).map_err(|fault| {
            Diagnostic::error("", format!("this is not YAML: {}", fault.info())).at(place(file, fault.marker()))
        });
    }
    serde_json::from_str(text).map(|Unique(value)| value).map_err(|error| {
        let place = SourceLocation { file: file.to_owned(), line: error.line(), column: error.column() };
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        Diagnostic::error("", format!("this is not JSON: {message}")).at(place)
    })
}

/// Adds file, line and column to findings about the value in the text.
pub(crate) fn locate(file: &str, text: &str, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let yaml = is_yaml(file, text).then(|| Yaml::read(text).ok()).flatten();
    let place = |one: Diagnostic| {
        let place = match &yaml {
            Some((_, places)) => nearest(places, &one.pointer).map(|marker| place(file, marker)),
            None => offset(text, &one.pointer).map(|offset| SourceLocation::of(file, text, offset)),
        };
        match place {
            Some(place) => one.at(place),
            None => one,
        }
    };
    found.into_iter().map(place).collect()
}

/// The name says it; where it does not, only JSON begins with a brace.
fn is_yaml(file: &str, text: &str) -> bool {
    match file.rsplit_once('.').map(|(_, extension)| extension) {
        Some("yaml" | "yml") => true,
        Some("json") => false,
        _ => !text.trim_start().starts_with('{'),
    }
}

fn place(file: &str, marker: &Marker) -> SourceLocation {
    SourceLocation { file: file.to_owned(), line: marker.line(), column: marker.col() + 1 }
}

/// A JSON value in which no object names a member twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
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
            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(Unique(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(list.into())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
                let mut object = Map::new();
                while let Some(name) = members.next_key::<String>()? {
                    if object.contains_key(&name) {
                        return Err(A::Error::custom(twice(&name)));
                    }
                    let Unique(value) = members.next_value()?;
                    object.insert(name, value);
                }
                Ok(object.into())
            }
        }
        deserializer.deserialize_any(Any).map(Unique)
    }
}

fn twice(name: &str) -> String {
    format!("the member \"{name}\" is there twice")
}

type Places = BTreeMap<String, Marker>;

/// Builds a value of what the parser tells, and remembers where each part began.
struct Yaml<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// What anchors stand for.
    anchors: HashMap<usize, Value>,
    places: Places,
    size: usize,
}

impl<'a> Yaml<'a> {
    fn read(text: &'a str) -> Result<(Value, Places), ScanError> {
        let mut yaml =
            Yaml { parser: Parser::new_from_str(text), anchors: HashMap::new(), places: Places::new(), size: 0 };
        let value = loop {
            match yaml.next()? {
                (Event::StreamStart | Event::DocumentStart(_), _) => {}
                (Event::StreamEnd, span) => return Err(ScanError::new_str(span.start, "it is empty")),
                (event, span) => break yaml.value(event, span, "", 0)?,
            }
        };
        loop {
            match yaml.next()? {
                (Event::StreamEnd, _) => return Ok((value, yaml.places)),
                (Event::DocumentStart(_), span) => {
                    return Err(ScanError::new_str(span.start, "a file holds one document"));
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), ScanError> {
        let end = || ScanError::new_str(Marker::new(0, 1, 0), "it ends too early");
        self.parser.next_event().unwrap_or_else(|| Err(end()))
    }

    fn value(&mut self, event: Event<'a>, span: Span, pointer: &str, depth: usize) -> Result<Value, ScanError> {
        let fault = |message: String| Err(ScanError::new(span.start, message));
        if depth > MAX_NESTING {
            return fault(format!("it is nested more than {MAX_NESTING} deep"));
        }
        self.places.insert(pointer.to_owned(), span.start);
        self.grow(pointer.len() + 8, span)?;
        let (anchor, value) = match event {
            Event::Alias(anchor) => {
                let Some(value) = self.anchors.get(&anchor) else {
                    return fault("what it refers to is not complete yet".to_owned());
                };
                let value = value.clone();
                self.grow(size(&value), span)?;
                return Ok(value);
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.grow(text.len(), span)?;
                let plain = match tag {
                    None => style == ScalarStyle::Plain,
                    Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => false,
                    Some(tag) => return fault(format!("it has the tag {tag}, and only !!str is known")),
                };
                (anchor, if plain { scalar(&text) } else { text.into_owned().into() })
            }
            Event::SequenceStart(anchor, None) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => {
                            let pointer = format!("{pointer}/{}", items.len());
                            items.push(self.value(event, span, &pointer, depth + 1)?);
                        }
                    }
                }
                (anchor, items.into())
            }
            Event::MappingStart(anchor, None) => {
                let mut members = Map::new();
                loop {
                    let name = match self.next()? {
                        (Event::MappingEnd, _) => break,
                        (Event::Scalar(name, _, 0, None), span) if members.contains_key(&*name) => {
                            return Err(ScanError::new(span.start, twice(&name)));
                        }
                        (Event::Scalar(name, _, 0, None), _) => name.into_owned(),
                        (_, span) => return Err(ScanError::new_str(span.start, "a member's name has to be a text")),
                    };
                    let pointer = format!("{pointer}/{}", pointer_part(&name));
                    let (event, span) = self.next()?;
                    let value = self.value(event, span, &pointer, depth + 1)?;
                    members.insert(name, value);
                }
                (anchor, members.into())
            }
            other => return fault(format!("{other:?} is not expected here")),
        };
        if anchor > 0 {
            self.grow(size(&value), span)?;
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    /// Counts what the document comes to: a short one may refer to its own parts again and again.
    fn grow(&mut self, bytes: usize, span: Span) -> Result<(), ScanError> {
        self.size += bytes;
        if self.size > MAX_SIZE {
            let message = format!("it comes to more than {MAX_SIZE} bytes, the limit");
            return Err(ScanError::new(span.start, message));
        }
        Ok(())
    }
}

/// What a plain word is.
fn scalar(text: &str) -> Value {
    match text {
        "" | "~" => Value::Null,
        word => match serde_json::from_str(word) {
            Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Null)) => value,
            _ => word.into(),
        },
    }
}

/// Rough size of a value in bytes.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 8,
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 8,
        Value::Object(members) => members.iter().map(|(name, member)| name.len() + 8 + size(member)).sum::<usize>() + 8,
        _ => 8,
    }
}

/// The place of the value, or of the nearest one around it.
fn nearest<'a>(places: &'a Places, pointer: &str) -> Option<&'a Marker> {
    places.get(pointer).or_else(|| nearest(places, pointer.rsplit_once('/')?.0))
}

/// The byte at which the value a JSON pointer names begins; where it is missing, that of what should hold it.
fn offset(text: &str, pointer: &str) -> Option<usize> {
    let mut raw: &RawValue = serde_json::from_str(text).ok()?;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let inner = match raw.get().as_bytes().first() {
            Some(b'{') => serde_json::from_str::<BTreeMap<String, &RawValue>>(raw.get()).ok()?.get(&part).copied(),
            Some(b'[') => {
                serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok()?.get(part.parse::<usize>().ok()?).copied()
            }
            _ => None,
        };
        match inner {
            Some(inner) => raw = inner,
            None => break,
        }
    }
    Some(raw.get().as_ptr() as usize - text.as_ptr() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault(file: &str, text: &str) -> String {
        read(file, text).unwrap_err().to_string()
    }

    #[test]
    fn yaml_is_json_with_fewer_quotes() {
        let yaml = "name: x # comment\nno: [no, 0x10, 2026-11-21, 1e3, -7, .5, true, null, ~, 9007199254740993]\n\
                    text: |\n  {{ item }}\n  two\nempty:\nquoted: ['7', \"\\n\", !!str 7]\ndefaults: &d { a: 1 }\nuse: *d\n";
        let expected = json!({
            "name": "x", "no": ["no", "0x10", "2026-11-21", 1e3, -7, ".5", true, null, null, 9_007_199_254_740_993_u64],
            "text": "{{ item }}\ntwo\n", "empty": null, "quoted": ["7", "\n", "7"], "defaults": { "a": 1 },
            "use": { "a": 1 }
        });
        assert_eq!(read("flow.yaml", yaml).unwrap(), expected);
        assert_eq!(read("-", yaml).unwrap(), expected, "what does not begin with a brace is YAML");
        // JSON is YAML.
        let text = expected.to_string();
        assert_eq!((read("a.yml", &text).unwrap(), read("a.json", &text).unwrap()), (expected.clone(), expected));
    }

    #[test]
    fn findings_have_their_line_and_column_in_both() {
        let json = "{\n  \"a\": [1,\n    { \"b/c\": 2 }]\n}";
        let yaml = "# comment\na:\n- 1\n-  b/c: 2\n";
        let at = |file: &str, text: &str, pointer: &str| {
            let found = locate(file, text, vec![Diagnostic::error(pointer, "x")]).pop().unwrap();
            found.place.map(|place| (place.line, place.column)).unwrap()
        };
        assert_eq!((at("x.json", json, "/a/1/b~1c"), at("x.yaml", yaml, "/a/1/b~1c")), ((3, 14), (4, 9)));
        assert_eq!((at("x.json", json, "/a/0"), at("x.yaml", yaml, "/a/0")), ((2, 9), (3, 3)));
        // What is missing is told where it should be.
        assert_eq!((at("x.json", json, "/a/1/nothing"), at("x.yaml", yaml, "/a/1/nothing")), ((3, 5), (4, 4)));
    }

    #[test]
    fn what_is_there_twice_or_broken_is_refused_with_its_place() {
        assert_eq!(
            fault("x.json", "{\"a\": {\"b\": 1,\n \"b\": 2}}"),
            "x.json:2:4: this is not JSON: the member \"b\" is there twice"
        );
        assert_eq!(
            fault("x.yaml", "a:\n  b: 1\n  b: 2\n"),
            "x.yaml:3:3: this is not YAML: the member \"b\" is there twice"
        );
        for (text, words) in [
            ("a: [1\nb: 2", "x.yaml:2:"),
            ("a: 1\n---\nb: 2\n", "one document"),
            ("? [1]\n: 2\n", "has to be a text"),
            ("a: !secret x\n", "only !!str"),
            ("a: *nobody\n", "x.yaml:1:"),
            ("a: &a [*a]\n", "x.yaml:1:"),
            ("", "empty"),
            ("# nothing\n", "empty"),
        ] {
            assert!(fault("x.yaml", text).contains(words), "{text:?}: {}", fault("x.yaml", text));
        }
    }

    #[test]
    fn a_document_that_would_come_to_gigabytes_is_refused_at_once() {
        let mut bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for level in 1..20 {
            let all = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb += &format!("a{level}: &a{level} [{all}]\n");
        }
        assert!(fault("x.yaml", &bomb).contains("16777216 bytes"), "{}", fault("x.yaml", &bomb));
        let deep = "[".repeat(5_000) + &"]".repeat(5_000);
        assert!(fault("x.yaml", &deep).contains("recursion limit"), "{}", fault("x.yaml", &deep));
        let deep = "- ".repeat(200) + "x";
        assert!(fault("x.yaml", &deep).contains("128 deep"), "{}", fault("x.yaml", &deep));
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(fault("x.json", &deep).contains("recursion limit"));
    }
}
