//! Input of commands: JSON arguments, files and standard input.

use std::{fs, io::Read};

use serde_json::Value;
use trunkline::core::{Error, ErrorKind, RepeatedMember, Result, read_json};

/// Reads a JSON argument: JSON text, `@FILE`, or `-` for standard input.
pub(crate) fn json(argument: &str, what: &str) -> Result<Value> {
    let (text, from) = match argument.strip_prefix('@') {
        Some(file) => (read(file)?, file),
        None if argument == "-" => (read("-")?, "standard input"),
        None => (argument.to_owned(), what),
    };
    document(from, &text).map_err(|error| error.hint("give JSON, @FILE, or - for standard input"))
}

/// Reads a JSON document with the rules of all documents that a user writes: no member occurs twice, nothing follows, and
/// a byte order mark is left out. `from` says in an error where it is.
pub(crate) fn document(from: &str, text: &str) -> Result<Value> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    read_json(text.as_bytes(), RepeatedMember::Refused).map_err(|error| {
        let location = format!("{from}:{}:{}", error.line(), error.column());
        Error::new(ErrorKind::InvalidInput, format!("{location}: this is not JSON that can be used")).source(error)
    })
}

/// Reads a file, or standard input for `-`.
pub(crate) fn read(file: &str) -> Result<String> {
    let text = if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    text.map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("{file} cannot be read: {error}")).hint("check the path")
    })
}
