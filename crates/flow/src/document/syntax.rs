//! Reads documents in JSON and YAML, and finds the line and column of each value in them. An object with the same
//! member twice is an error in both.

use std::collections::{BTreeSet, HashMap};

use saphyr_parser::Marker;
use serde_json::Value;
use trunkline_core::{Diagnostic, ErrorKind, RepeatedMember, SourceLocation, read_json};

use crate::document::{
    json_offsets::json_offsets,
    yaml::{MAX_VALUES, YamlError, YamlReader, too_many_values},
};

/// The largest text of a flow, in bytes.
const MAX_TEXT: usize = 8 * 1024 * 1024;

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::document::yaml::scalar;

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
