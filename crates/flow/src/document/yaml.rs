//! Reads YAML as if it were JSON with fewer quotes.
//!
//! A plain scalar is a number where it would be one in JSON, true, false or null as in the core schema of YAML 1.2
//! (`True`, `~`), and otherwise a text (`2026-11-21`). What other readers of YAML take for a number, true or false
//! (`no`, `0x10`) is an error, and so is the merge key `<<`.

use std::collections::{BTreeSet, HashMap};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_json::{Map, Value};
use trunkline_core::{MAX_NESTING, RepeatedMember, lossy_number, lossy_number_message, pointer_part, read_json};

/// The largest number of lists, objects, items and members of a flow. A value takes much more memory than its text.
pub(super) const MAX_VALUES: usize = 250_000;
/// The largest size of a document in bytes, with every alias replaced by what it refers to.
const MAX_SIZE: usize = 16 * 1024 * 1024;
/// The depth of brackets at which the parser gives up.
const YAML_BRACKETS: usize = 255;

pub(super) fn too_many_values() -> String {
    format!("this document has more than {MAX_VALUES} values, which is the limit")
}

fn duplicate(name: &str) -> String {
    format!("the member \"{name}\" occurs twice")
}

/// Where values begin, by their JSON pointers.
pub(super) type Markers = HashMap<String, Marker>;

/// Why a YAML text cannot be read.
pub(super) enum YamlError {
    /// It is not YAML as it is read here.
    Syntax(ScanError),
    /// It exceeds a limit, which the message names with its number.
    Limit(ScanError),
}

impl From<ScanError> for YamlError {
    fn from(error: ScanError) -> Self {
        YamlError::Syntax(error)
    }
}

impl std::ops::Deref for YamlError {
    type Target = ScanError;

    fn deref(&self) -> &ScanError {
        match self {
            YamlError::Syntax(error) | YamlError::Limit(error) => error,
        }
    }
}

/// Builds a value from the events of the YAML parser, and records where some parts of it begin.
pub(super) struct YamlReader<'a> {
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    /// The values of anchors.
    anchors: HashMap<usize, Value>,
    /// The pointers of the values whose places are recorded.
    wanted: BTreeSet<String>,
    markers: Markers,
    /// Bytes read so far, counted against [`MAX_SIZE`].
    size: usize,
    /// Values read so far, counted against [`MAX_VALUES`].
    values: usize,
}

impl<'a> YamlReader<'a> {
    pub(super) fn read(text: &'a str, wanted: BTreeSet<String>) -> Result<(Value, Markers), YamlError> {
        let (anchors, markers, parser) = (HashMap::new(), Markers::new(), Parser::new_from_str(text));
        let mut reader = YamlReader { text, parser, anchors, wanted, markers, size: 0, values: 0 };
        let value = loop {
            match reader.next()? {
                (Event::StreamStart | Event::DocumentStart(_), _) => {}
                (Event::StreamEnd, span) => return Err(ScanError::new_str(span.start, "the document is empty"))?,
                (event, span) => break reader.value(event, span, "", 0)?,
            }
        };
        loop {
            match reader.next()? {
                (Event::StreamEnd, _) => return Ok((value, reader.markers)),
                (Event::DocumentStart(_), span) => {
                    return Err(ScanError::new_str(span.start, "a file may contain only one document"))?;
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        let end = || ScanError::new_str(Marker::new(0, 1, 0), "the document ends too early");
        self.parser.next_event().unwrap_or_else(|| Err(end())).map_err(|error| {
            // The parser looks ahead for the end of a bracket, so its own limit may come before the one below.
            let before = self.text.chars().take(error.marker().index());
            let deep = before.fold(0usize, |depth, character| match character {
                '[' | '{' => depth + 1,
                ']' | '}' => depth.saturating_sub(1),
                _ => depth,
            });
            if deep >= YAML_BRACKETS { too_deep(*error.marker()) } else { error.into() }
        })
    }

    /// Reads the value that begins with this event.
    fn value(&mut self, event: Event<'a>, span: Span, pointer: &str, depth: usize) -> Result<Value, YamlError> {
        let error = |message: String| Err(ScanError::new(span.start, message).into());
        if depth == MAX_NESTING && matches!(event, Event::SequenceStart(..) | Event::MappingStart(..)) {
            return Err(too_deep(span.start));
        }
        if self.wanted.contains(pointer) {
            self.markers.insert(pointer.to_owned(), span.start);
        }
        self.charge(pointer.len() + 8, 1, span)?;
        let (anchor, value) = match event {
            Event::Alias(anchor) => {
                let Some(value) = self.anchors.get(&anchor) else {
                    return error("an alias refers to the value that it is part of".to_owned());
                };
                let value = value.clone();
                self.charge(size(&value), count(&value), span)?;
                return Ok(value);
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.charge(text.len(), 0, span)?;
                let plain = match tag {
                    None => style == ScalarStyle::Plain,
                    Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => false,
                    Some(tag) => return error(format!("the tag {tag} is not supported, only !!str is")),
                };
                match if plain { scalar(&text) } else { Ok(text.into_owned().into()) } {
                    Ok(value) => (anchor, value),
                    Err(reason) => return error(reason),
                }
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
                            return Err(ScanError::new(span.start, duplicate(&name)))?;
                        }
                        (Event::Scalar(name, ScalarStyle::Plain, 0, None), span) if name == "<<" => {
                            let message = "merge keys (<<) are not supported: write the members out, or refer to a \
                                           whole value with an alias; a member of this name is written in quotes";
                            return Err(ScanError::new_str(span.start, message))?;
                        }
                        (Event::Scalar(name, _, 0, None), _) => name.into_owned(),
                        (_, span) => {
                            return Err(ScanError::new_str(span.start, "the name of a member must be a text"))?;
                        }
                    };
                    let pointer = format!("{pointer}/{}", pointer_part(&name));
                    let (event, span) = self.next()?;
                    let value = self.value(event, span, &pointer, depth + 1)?;
                    members.insert(name, value);
                }
                (anchor, members.into())
            }
            other => return error(format!("{other:?} is not expected here")),
        };
        if anchor > 0 {
            self.charge(size(&value), count(&value), span)?;
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    /// Counts bytes against [`MAX_SIZE`], and values against [`MAX_VALUES`]. A short document can be huge because aliases
    /// repeat its parts.
    fn charge(&mut self, bytes: usize, values: usize, span: Span) -> Result<(), YamlError> {
        self.size += bytes;
        self.values += values;
        if self.size > MAX_SIZE {
            let message =
                format!("with its aliases replaced, the document is larger than the limit of {MAX_SIZE} bytes");
            return Err(YamlError::Limit(ScanError::new(span.start, message)));
        }
        if self.values > MAX_VALUES {
            return Err(YamlError::Limit(ScanError::new(span.start, too_many_values())));
        }
        Ok(())
    }
}

fn too_deep(at: Marker) -> YamlError {
    let message = format!("lists and objects are nested more than {MAX_NESTING} levels deep, which is the limit");
    YamlError::Limit(ScanError::new(at, message))
}

/// Returns the value of a plain scalar, or why it cannot be one: a number that cannot be kept, or what other readers of
/// YAML do not take for a text.
pub(super) fn scalar(text: &str) -> Result<Value, String> {
    match (text, lossy_number(text)) {
        ("" | "~" | "null" | "Null" | "NULL", _) => Ok(Value::Null),
        ("true" | "True" | "TRUE", _) => Ok(true.into()),
        ("false" | "False" | "FALSE", _) => Ok(false.into()),
        (number, Some(reason)) => Err(lossy_number_message(number, "", reason)),
        (word, None) => match read_json(word.as_bytes(), RepeatedMember::Refused) {
            Ok(number @ Value::Number(_)) => Ok(number),
            _ if ["yes", "no", "on", "off"].iter().any(|one| word.eq_ignore_ascii_case(one)) => Err(format!(
                "{word} is true or false in some versions of YAML: write it in quotes, or as true or false"
            )),
            _ if is_other_number(word) => Err(format!(
                "{word} is a number in some versions of YAML: write it in quotes, or as a number such as 0.5"
            )),
            _ => Ok(word.into()),
        },
    }
}

/// Returns whether YAML 1.1 or 1.2 reads this as a number, although it is none in JSON: `0x1F`, `0o14`, `.inf`, `+5`,
/// `5.`, `.5`, `007`, `1_000`.
fn is_other_number(word: &str) -> bool {
    let digits = word.strip_prefix(['+', '-']).unwrap_or(word).replace('_', "").to_ascii_lowercase();
    let in_base = |prefix: &str, base: u32| {
        let rest = digits.strip_prefix(prefix);
        rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(|digit| digit.is_digit(base)))
    };
    let is_decimal = !word.starts_with('_')
        && digits.starts_with(|first: char| first == '.' || first.is_ascii_digit())
        && digits.parse::<f64>().is_ok();
    is_decimal || [".inf", ".nan"].contains(&&*digits) || in_base("0x", 16) || in_base("0o", 8) || in_base("0b", 2)
}

/// Returns the number of values in a value.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(count).sum::<usize>() + 1,
        Value::Object(members) => members.values().map(count).sum::<usize>() + 1,
        _ => 1,
    }
}

/// Returns the rough size of a value in bytes.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 8,
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 8,
        Value::Object(members) => members.iter().map(|(name, member)| name.len() + 8 + size(member)).sum::<usize>() + 8,
        _ => 8,
    }
}
