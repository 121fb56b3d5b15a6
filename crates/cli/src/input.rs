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
        let what = match error.kind() {
            ErrorKind::Limit => error.reason(),
            _ => "this is not JSON that can be used".to_owned(),
        };
        Error::new(error.kind(), format!("{location}: {what}")).source(error)
    })
}

/// The largest size of a file that is read as a whole, in bytes.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// Reads a file, or standard input for `-`. No more of it is read than the limit: a file can be of any size, and a pipe
/// need not end.
pub(crate) fn read(file: &str) -> Result<String> {
    let mut text = String::new();
    let size = if file == "-" {
        std::io::stdin().take(MAX_FILE + 1).read_to_string(&mut text)
    } else {
        fs::File::open(file).and_then(|open| open.take(MAX_FILE + 1).read_to_string(&mut text))
    };
    let size = size.map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("{file} cannot be read: {error}")).hint("check the path")
    })?;
    if size as u64 > MAX_FILE {
        let message = format!("{file} is larger than the limit of {MAX_FILE} bytes");
        return Err(Error::new(ErrorKind::Limit, message).hint("divide it into several documents"));
    }
    Ok(text)
}
