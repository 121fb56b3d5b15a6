//! Reads documents in JSON and YAML, and finds the line and column of each value in them.
//!
//! YAML is read as if it were JSON with fewer quotes: a plain scalar is a number where it would be one in JSON, true,
//! false or null as in the core schema of YAML 1.2 (`True`, `~`), and otherwise a text (`2026-11-21`). What other
//! readers of YAML take for a number, true or false (`no`, `0x10`) is an error, and so is the merge key `<<`. An object
//! with the same member twice is an error in both.

use std::collections::{BTreeSet, HashMap};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_json::{Map, Value};
use trunkline_core::{
    Diagnostic, ErrorKind, MAX_NESTING, RepeatedMember, SourceLocation, lossy_number, lossy_number_message,
    pointer_part, read_json,
};

use crate::document::json_offsets::json_offsets;

/// The largest text of a flow, in bytes.
const MAX_TEXT: usize = 8 * 1024 * 1024;
/// The largest number of lists, objects, items and members of a flow. A value takes much more memory than its text.
const MAX_VALUES: usize = 250_000;
/// The largest size of a YAML document in bytes, with every alias replaced by what it refers to.
const MAX_SIZE: usize = 16 * 1024 * 1024;
/// The depth of brackets at which the YAML parser gives up.
const YAML_BRACKETS: usize = 255;

/// Reads the value in the text of a file. The error has file, line and column.
pub(crate) fn read(file: &str, text: &str) -> Result<Value, Diagnostic> {
    if text.len() > MAX_TEXT {
        let message = format!("this document has {} bytes; the limit is {MAX_TEXT}", text.len());
        return Err(Diagnostic::over_limit("", message).hint(DIVIDE_HINT));
    }
    let text = without_mark(text);
    if is_yaml(file, text) {
        return YamlReader::read(text, BTreeSet::new()).map(|(value, _)| value).map_err(|error| {
            let (what, limit) = match error {
                YamlError::Syntax(_) => (format!("this is not valid YAML: {}", error.info()), false),
                YamlError::Limit(_) => (error.info().to_owned(), true),
            };
            Diagnostic { limit, ..Diagnostic::error("", what).at(location(file, error.marker())) }
        });
    }
    let values = count_values(text);
    if values > MAX_VALUES {
        return Err(Diagnostic::over_limit("", too_many_values()).hint(DIVIDE_HINT));
    }
    read_json(text.as_bytes(), RepeatedMember::Refused).map_err(|error| {
        let location = SourceLocation { file: file.to_owned(), line: error.line(), column: error.column() };
        let limit = error.kind() == ErrorKind::Limit;
        let what = if limit { error.reason() } else { format!("this is not valid JSON: {}", error.reason()) };
        Diagnostic { limit, ..Diagnostic::error(error.repeated().unwrap_or_default(), what).at(location) }
    })
}

const DIVIDE_HINT: &str = "divide it into several flows that call each other";

fn too_many_values() -> String {
    format!("this document has more than {MAX_VALUES} values, which is the limit")
}

/// Returns the number of lists, objects, items and members of a JSON text, or a few more. It needs no memory.
fn count_values(text: &str) -> usize {
    let (mut count, mut in_text, mut escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' | b',' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}

/// Adds file, line and column to findings about the value in the text.
pub(crate) fn locate(file: &str, text: &str, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let text = without_mark(text);
    let pointers = || found.iter().map(|one| one.pointer.as_str());
    let is_yaml = is_yaml(file, text);
    // If a value is missing, the nearest value around it counts.
    let wanted = || pointers().flat_map(around).map(str::to_owned).collect();
    let yaml = is_yaml.then(|| YamlReader::read(text, wanted()).ok()).flatten();
    let json = if is_yaml { HashMap::new() } else { json_offsets(text, pointers()) };
    let locate = |one: Diagnostic| {
        let location = match &yaml {
            Some((_, markers)) => around(&one.pointer).find_map(|at| markers.get(at)).map(|at| location(file, at)),
            None => json.get(&one.pointer).map(|offset| SourceLocation::of(file, text, *offset)),
        };
        match location {
            Some(location) => one.at(location),
            None => one,
        }
    };
    found.iter().cloned().map(locate).collect()
}

/// Returns a pointer, and those of the values around it, from the innermost to the outermost.
fn around(pointer: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(pointer), |inner| inner.rsplit_once('/').map(|(outer, _)| outer))
}

/// Returns the text without a byte order mark, which some editors write.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Returns whether the text is YAML: by the file's extension, or else because it does not begin with a brace.
fn is_yaml(file: &str, text: &str) -> bool {
    match file.rsplit_once('.').map(|(_, extension)| extension) {
        Some("yaml" | "yml") => true,
        Some("json") => false,
        _ => !text.trim_start().starts_with('{'),
    }
}

fn location(file: &str, marker: &Marker) -> SourceLocation {
    SourceLocation { file: file.to_owned(), line: marker.line(), column: marker.col() + 1 }
}

fn duplicate(name: &str) -> String {
    format!("the member \"{name}\" occurs twice")
}

/// Where values begin, by their JSON pointers.
type Markers = HashMap<String, Marker>;

/// Why a YAML text cannot be read.
enum YamlError {
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
struct YamlReader<'a> {
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
    fn read(text: &'a str, wanted: BTreeSet<String>) -> Result<(Value, Markers), YamlError> {
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
fn scalar(text: &str) -> Result<Value, String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(file: &str, text: &str) -> String {
        read(file, text).unwrap_err().to_string()
    }

    #[test]
    fn yaml_is_json_with_fewer_quotes() {
        let yaml = "name: x # comment\nno: ['no', 2026-11-21, 1e3, -7, True, FALSE, Null, ~, 9007199254740993]\n\
                    text: |\n  {{ item }}\n  two\nempty:\nquoted: ['7', \"\\n\", !!str 7]\ndefaults: &d { a: 1 }\nuse: *d\n";
        let expected = json!({
            "name": "x", "no": ["no", "2026-11-21", 1e3, -7, true, false, null, null, 9_007_199_254_740_993_u64],
            "text": "{{ item }}\ntwo\n", "empty": null, "quoted": ["7", "\n", "7"], "defaults": { "a": 1 },
            "use": { "a": 1 }
        });
        assert_eq!(read("flow.yaml", yaml).unwrap(), expected);
        assert_eq!(read("-", yaml).unwrap(), expected, "a text that does not begin with a brace is YAML");
        assert_eq!(read("flow.yaml", &format!("\u{feff}{yaml}")).unwrap(), expected, "a byte order mark");
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
        // A missing value is reported where the value around it begins.
        assert_eq!((at("x.json", json, "/a/1/nothing"), at("x.yaml", yaml, "/a/1/nothing")), ((3, 5), (4, 4)));
    }

    #[test]
    fn invalid_texts_and_duplicate_members_are_errors_with_line_and_column() {
        assert_eq!(
            error("x.json", "{\"a\": {\"b\": 1,\n \"b\": 2}}"),
            "x.json:2:4: /a/b: this is not valid JSON: the member \"b\" occurs twice"
        );
        assert_eq!(
            error("x.yaml", "a:\n  b: 1\n  b: 2\n"),
            "x.yaml:3:3: this is not valid YAML: the member \"b\" occurs twice"
        );
        for (text, words) in [
            ("a: [1\nb: 2", "x.yaml:2:"),
            ("a: 1\n---\nb: 2\n", "one document"),
            ("? [1]\n: 2\n", "must be a text"),
            ("a: !secret x\n", "only !!str"),
            ("a: *nothing\n", "x.yaml:1:"),
            ("a: &a [*a]\n", "x.yaml:1:"),
            ("", "empty"),
            ("# nothing\n", "empty"),
        ] {
            assert!(error("x.yaml", text).contains(words), "{text:?}: {}", error("x.yaml", text));
        }
    }

    #[test]
    fn a_plain_scalar_that_other_readers_take_for_another_type_is_an_error() {
        let numbers = "0x1F 0X1f 0o14 0b11 .inf -.INF .NaN +5 +1.5 5. .5 -.5 1.e3 007 -07 1_000";
        for word in numbers.split(' ').chain("yes No ON off".split(' ')) {
            let message = error("x.yaml", &format!("a: {word}"));
            assert!(message.starts_with("x.yaml:1:4: ") && message.contains("write it in quotes"), "{message}");
            for text in [format!("a: '{word}'"), format!("a: !!str {word}")] {
                assert_eq!(read("x.yaml", &text).unwrap(), json!({ "a": word }));
            }
            // As the name of a member it can only be a text.
            assert_eq!(read("x.yaml", &format!("{word}: 1")).unwrap(), json!({ word: 1 }));
        }
        for word in "- . .. _5 0x 0xg 1.2.3 12:30 5m 1e inf nan -inf infinity y n tRUE none 2026-11-21 +a".split(' ') {
            assert_eq!(scalar(word), Ok(word.into()));
        }
        assert!(error("x.yaml", "a: &a { b: 1 }\nc:\n  <<: *a\n").contains("x.yaml:3:3: "));
        assert!(error("x.yaml", "<<: { a: 1 }").contains("merge keys"));
        assert_eq!(read("x.yaml", "'<<': 1").unwrap(), json!({ "<<": 1 }));
    }

    #[test]
    fn a_short_document_that_expands_to_gigabytes_is_an_error_at_once() {
        let bomb = |width: usize, text: &str| {
            let list = |item: String| vec![item; width].join(", ");
            let levels = (1..20).map(|level| format!("a{level}: &a{level} [{}]\n", list(format!("*a{}", level - 1))));
            format!("a0: &a0 [{}]\n{}", list(text.to_owned()), levels.collect::<String>())
        };
        for (bomb, limit) in [(bomb(9, "lol"), "250000 values"), (bomb(9, &"x".repeat(20_000)), "16777216 bytes")] {
            let found = read("x.yaml", &bomb).unwrap_err();
            assert!(found.limit && found.message.contains(limit), "{found}");
        }
    }

    #[test]
    fn a_limit_of_a_parser_is_reported_with_its_number() {
        let flow = |deep: usize| "[".repeat(deep) + &"]".repeat(deep);
        let objects = |deep: usize| "{\"a\":".repeat(deep) + "1" + &"}".repeat(deep);
        for (file, deepest, deeper) in [
            ("x.json", flow(127), flow(128)),
            ("x.json", objects(127), objects(128)),
            ("x.yaml", flow(127), flow(128)),
            ("x.yaml", "- ".repeat(127) + "x", "- ".repeat(128) + "x"),
            ("x.yaml", flow(127), flow(5_000)),
            ("x.json", flow(127), "[".repeat(1 << 16)),
        ] {
            assert!(read(file, &deepest).is_ok(), "{file}");
            let found = read(file, &deeper).unwrap_err();
            assert!(found.limit && found.message.contains("127 levels deep"), "{file}: {found}");
        }
        let many = |count: usize| format!("[{}1]", "1,".repeat(count));
        for file in ["x.json", "x.yaml"] {
            assert!(read(file, &many(100_000)).is_ok());
            let found = read(file, &many(MAX_VALUES)).unwrap_err();
            assert!(found.limit && found.message.contains("250000 values"), "{file}: {found}");
        }
        let found = read("x.json", &format!("\"{}\"", "x".repeat(MAX_TEXT))).unwrap_err();
        assert!(found.limit && found.message.contains("8388610 bytes; the limit is 8388608"), "{found}");
        // What is not a limit is not reported as one, and brackets in a text are not nesting.
        let brackets = format!("a: |\n  {}\nb: [1", "[".repeat(300));
        for (file, text) in [("x.json", "[1,"), ("x.yaml", "a: [1"), ("x.json", "\"[[[")] {
            assert!(!read(file, text).unwrap_err().limit, "{text}");
        }
        assert_eq!(count_values(r#"{"a,[{": [1, "\",", {}]}"#), 5);
        assert!(read("x.yaml", &brackets).is_err());
    }
}
