//! Input of commands: JSON arguments, files and standard input.

use std::{fs, io::Read};

use serde_json::Value;
use trunkline::core::{Error, ErrorKind, Result};

/// Reads a JSON argument: JSON text, `@FILE`, or `-` for standard input.
pub(crate) fn json(argument: &str, what: &str) -> Result<Value> {
    let (text, from) = match argument.strip_prefix('@') {
        Some(file) => (read(file)?, file),
        None if argument == "-" => (read("-")?, "standard input"),
        None => (argument.to_owned(), what),
    };
    serde_json::from_str(&text).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("{from}:{}:{}: this is not JSON", error.line(), error.column()))
            .source(error)
            .hint("give JSON, @FILE, or - for standard input")
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
