//! Checks that errors carry their meaning as data: no code decides on the text of an error, and no library names a
//! command of the command line.
//!
//! The idea: an error has a kind, details and next steps for code, and a message, facts and a wording for people. The
//! sources are read token by token for the places where the second is used as the first.
#![allow(clippy::unwrap_used)]

use std::{fs, path::PathBuf};

use regex::Regex;
use trunkline_tests::project;

use super::{
    layout::files,
    prose::rust::{Token, tokens},
};

/// The folders below `crates/` that word next steps for a terminal.
const TERMINAL: [&str; 2] = ["host/src/cli/", "cli/src/"];

/// The folders below `crates/` whose errors are not Trunkline's: simulated vendors, and tools of tests.
const OTHER_ERRORS: [&str; 2] = ["sandbox/", "testkit/"];

/// What compares a text or takes it apart.
const COMPARISONS: [&str; 14] = [
    "contains",
    "starts_with",
    "ends_with",
    "strip_prefix",
    "strip_suffix",
    "find",
    "rfind",
    "matches",
    "split",
    "split_once",
    "rsplit_once",
    "eq",
    "eq_ignore_ascii_case",
    "parse",
];

/// The methods of `Error` and `Diagnostic` that return texts for people.
const TEXTS: [&str; 4] = ["message", "advice", "advice_in", "describe"];

/// A place in a source that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    line: usize,
    found: String,
}

/// Returns the tokens of a source without comments, and without its test module at the end.
pub(crate) fn code(source: &str) -> Vec<Token> {
    let mut all: Vec<_> = tokens(source).into_iter().filter(|token| !matches!(token, Token::Comment { .. })).collect();
    let test_module = (0..all.len()).find(|at| {
        let words: Vec<_> = all[*at..].iter().take(10).map(text).collect();
        words.starts_with(&["#", "[", "cfg", "(", "test", ")", "]", "mod"].map(str::to_owned)) && words[9] == "{"
    });
    all.truncate(test_module.unwrap_or(all.len()));
    all
}

fn text(token: &Token) -> String {
    match token {
        Token::Word { text, .. } => text.clone(),
        Token::Mark(mark) => mark.to_string(),
        Token::Text(_) | Token::Comment { .. } => String::new(),
    }
}

fn line(token: &Token) -> usize {
    match token {
        Token::Word { line, .. } | Token::Comment { line, .. } => *line,
        Token::Text(lines) => lines.first().map_or(0, |(line, _)| *line),
        Token::Mark(_) => 0,
    }
}

/// Returns the index after the arguments that begin at `at`, or `at` if none begin there.
fn after_arguments(code: &[Token], at: usize) -> usize {
    let mut depth = 0;
    for (index, token) in code.iter().enumerate().skip(at) {
        match text(token).as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return if index == at { at } else { index + 1 };
        }
    }
    code.len()
}

/// Returns the string literals that name a command or an option of the command line.
fn commands(source: &str) -> Vec<Breach> {
    let command = Regex::new(r"(`trunkline |(^|[\s`'(])--[a-z][a-z-]+)").unwrap();
    let literals = code(source).into_iter().filter_map(|token| match token {
        Token::Text(lines) => Some(lines),
        _ => None,
    });
    let lines = literals.flatten().filter(|(_, text)| command.is_match(text));
    lines.map(|(line, found)| Breach { line, found }).collect()
}

/// Returns the places where code decides on a text for people.
fn decisions(source: &str) -> Vec<Breach> {
    let code = code(source);
    let word = |at: usize| code.get(at).map(text).unwrap_or_default();
    let mut found = Vec::new();
    for at in 1..code.len() {
        let called = word(at - 1) == ".";
        let name = word(at);
        let shown = TEXTS.contains(&name.as_str()) || name == "to_string" && error_before(&code, at - 1);
        // What is done with the text: the first tokens after its arguments and after conversions.
        let mut next = after_arguments(&code, at + 1);
        while word(next) == "."
            && ["as_str", "as_deref", "unwrap_or_default", "unwrap", "to_lowercase", "trim"].contains(&&*word(next + 1))
        {
            next = after_arguments(&code, next + 2);
        }
        let compared = match (&*word(next), &*word(next + 1)) {
            ("=" | "!", "=") => true,
            (".", method) => COMPARISONS.contains(&method) || method == "is_some_and" || method == "is_none_or",
            _ => false,
        };
        let facts = called && name == "facts";
        // Events and errors are read as what they are, not as JSON text.
        let json = COMPARISONS.contains(&name.as_str())
            && word(at + 1) == "("
            && matches!(code.get(at + 2), Some(Token::Text(lines)) if lines[0].1.starts_with("{\""));
        if called && (shown && compared || facts || json) {
            found.push(Breach { line: line(&code[at]), found: name });
        }
    }
    found
}

/// Returns whether the value before the dot at this index is named like an error.
fn error_before(code: &[Token], dot: usize) -> bool {
    let name = dot.checked_sub(1).map(|at| text(&code[at])).unwrap_or_default();
    ["error", "failure", "cause", "rejection", "unclear"].contains(&name.as_str())
}

/// Returns the sources of the libraries and connectors, and of the doors too if `doors` is set, by their path below the
/// project.
fn sources(doors: bool) -> Vec<(String, String)> {
    let mut found: Vec<PathBuf> = Vec::new();
    for below in ["crates", "connectors"] {
        files(&project().join(below), &mut found);
    }
    let paths =
        found.into_iter().map(|path| (path.strip_prefix(project()).unwrap().to_string_lossy().into_owned(), path));
    let wanted = paths.filter(|(name, _)| {
        let inside = name.strip_prefix("crates/").unwrap_or_default();
        let test = name.ends_with("tests.rs") || name.ends_with("hostile.rs") || !name.contains("/src/");
        let left_out = test
            || OTHER_ERRORS.iter().any(|other| inside.starts_with(other))
            || !doors && TERMINAL.iter().any(|door| inside.starts_with(door));
        name.ends_with(".rs") && !left_out
    });
    wanted.map(|(name, path)| (name, fs::read_to_string(path).unwrap())).collect()
}

fn breaches(doors: bool, rule: fn(&str) -> Vec<Breach>) -> Vec<String> {
    let all = sources(doors);
    assert!(all.len() > 150, "{} sources", all.len());
    let found = all.iter().flat_map(|(name, source)| rule(source).into_iter().map(move |one| (name, one)));
    found.map(|(name, Breach { line, found })| format!("{name}:{line}: {found}")).collect()
}

#[test]
fn no_library_names_a_command() {
    assert_eq!(breaches(false, commands), [""; 0], "say it as a `NextStep`, which each door words for itself");
}

#[test]
fn no_form_names_a_command() {
    let mut schemas = Vec::new();
    files(&project().join("schemas"), &mut schemas);
    let named = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        ["`trunkline ", "`connection ", "`flow ", "`runs "].iter().any(|command| text.contains(command))
    };
    let found: Vec<_> = schemas.iter().filter(|path| named(path)).collect();
    assert!(found.is_empty(), "{found:?}");
    assert!(schemas.len() > 3);
}

#[test]
fn a_command_in_a_library_is_found() {
    for source in [
        r#"error.hint("`trunkline runs` lists them")"#,
        r#"error.hint("replace it with --replace")"#,
        r#"error.hint("`--force` removes it")"#,
        "error.hint(\"first this, \\\n   --inactive saves it\")",
        "fn a() {}\n#[cfg(test)]\nmod tests;\nconst A: &str = \"use `trunkline serve`\";",
    ] {
        assert_eq!(commands(source).len(), 1, "{source}");
    }
    for source in [
        "// `trunkline runs` lists them",
        r#"let key = b"trunkline key id";"#,
        r#"let part = "--b\r\n--";"#,
        "#[cfg(test)]\nmod tests {\n const A: &str = \"`trunkline serve`\"; }",
    ] {
        assert_eq!(commands(source), [], "{source}");
    }
}

#[test]
fn no_code_decides_on_the_text_of_an_error() {
    // `Error::describe` is where facts are shown.
    let found: Vec<_> =
        breaches(true, decisions).into_iter().filter(|one| !one.starts_with("crates/core/src/error.rs:")).collect();
    assert_eq!(found, [""; 0], "look at the kind of the error or at its details");
}

#[test]
fn a_decision_on_the_text_of_an_error_is_found() {
    for source in [
        r#"if error.message().starts_with("the schema itself") {}"#,
        r#"all.find(|one| one.message.contains("itself"))"#,
        r#"if error.message() == "closed" {}"#,
        r#"let a = error.message() != text;"#,
        r#"let a = error.to_string().contains("closed");"#,
        r#"let a = error.to_string().to_lowercase().contains("closed");"#,
        r#"let a = error.advice().as_deref() == Some("sign in");"#,
        r#"let a = error.advice().is_some_and(|advice| advice.len() > 3);"#,
        r#"let a = error.describe(word).find("closed");"#,
        r#"let a = error.facts().any(|fact| fact == ("sent", "no"));"#,
        r#"events.iter().any(|event| event.starts_with("{\"event\":\"signalled\""))"#,
    ] {
        assert_eq!(decisions(source).len(), 1, "{source}");
    }
    for source in [
        r#"let text = format!("{}: {error}", error.message());"#,
        "let same = error.kind() == ErrorKind::Auth && error.has(&ErrorDetail::NotSent);",
        r#"let text = error.message().trim().replace('\n', ", ");"#,
        r#"let found = Diagnostic { message: error.message().to_owned(), ..found };"#,
        r#"if name.to_string().contains("a") {}"#,
        "#[cfg(test)]\nmod tests {\n fn a() { assert!(error.message().contains(\"x\")); } }",
    ] {
        assert_eq!(decisions(source), [], "{source}");
    }
}
