//! Input of commands: JSON arguments, files and standard input.

use std::{
    fs,
    io::{self, Read},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::Value;
use trunkline::{
    core::{Error, ErrorKind, RepeatedMember, Result, read_json},
    rest::read_text_file,
};

use crate::output::Output;

/// Names of members that hold secrets, in lower case and without punctuation.
const SECRET_NAMES: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "clientsecret",
    "token",
    "accesstoken",
    "refreshtoken",
    "apikey",
    "privatekey",
    "authorization",
    "credentials",
];

/// Reads a JSON argument: JSON text, `@FILE`, or `-` for standard input. Warns of secrets in the argument itself, which
/// other users of the machine can read.
pub(crate) fn json(argument: &str, what: &str, output: &Output) -> Result<Value> {
    let (text, from) = match argument.strip_prefix('@') {
        Some(file) => (read(file)?, named(file)),
        None if argument == "-" => (read("-")?, STANDARD_INPUT),
        None => (argument.to_owned(), what),
    };
    let value = document(from, &text).map_err(|error| error.hint("give JSON, @FILE, or - for standard input"))?;
    if from == what
        && let Some(name) = secret_in(&value)
    {
        output.warn(&format!(
            "{what} holds `{name}`, and other users of this machine can read the arguments of a process: give a secret as \
             @FILE, or as - for standard input"
        ));
    }
    Ok(value)
}

/// Returns the name of the first member that holds a secret.
fn secret_in(value: &Value) -> Option<&str> {
    match value {
        Value::Array(all) => all.iter().find_map(secret_in),
        Value::Object(all) => all.iter().find_map(|(name, value)| {
            let plain: String = name.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
            let holds_one = SECRET_NAMES.contains(&&*plain) && value.as_str().is_some_and(|text| !text.is_empty());
            if holds_one { Some(name.as_str()) } else { secret_in(value) }
        }),
        _ => None,
    }
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

/// Whether standard input was read.
static STDIN_READ: AtomicBool = AtomicBool::new(false);

/// Returns how a file that [`read`] reads is named in messages.
pub(crate) fn named(file: &str) -> &str {
    if file == "-" { STANDARD_INPUT } else { file }
}

const STANDARD_INPUT: &str = "standard input";

/// Reads a file, or standard input for `-`. No more of it is read than the limit: a file can be of any size, and a pipe
/// need not end. A pipe is read only if it was passed to this program: opening another one waits for its writer.
pub(crate) fn read(file: &str) -> Result<String> {
    let text = match passed(file) {
        Some(_) if is_stdin(file) && STDIN_READ.swap(true, Ordering::Relaxed) => {
            let message = "standard input cannot be read twice: two arguments are `-`";
            return Err(Error::new(ErrorKind::InvalidInput, message).hint("give one of them as a file"));
        }
        None => read_text_file(Path::new(file), MAX_FILE),
        Some(open) => open.and_then(|open| {
            let mut text = String::new();
            match open.take(MAX_FILE + 1).read_to_string(&mut text)? as u64 > MAX_FILE {
                true => Err(io::ErrorKind::FileTooLarge.into()),
                false => Ok(text),
            }
        }),
    };
    let file = named(file);
    text.map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => {
            let message = format!("{file} is larger than the limit of {MAX_FILE} bytes");
            Error::new(ErrorKind::Limit, message).hint("divide it into several documents")
        }
        _ => Error::new(ErrorKind::InvalidInput, format!("{file} cannot be read: {error}")).hint("check the path"),
    })
}

fn is_stdin(file: &str) -> bool {
    matches!(file, "-" | "/dev/stdin")
}

/// Opens what the caller of this program has opened for it: standard input, or another descriptor, as a shell passes it
/// for `<(command)`.
fn passed(file: &str) -> Option<io::Result<Box<dyn Read>>> {
    match file {
        _ if is_stdin(file) => Some(Ok(Box::new(io::stdin()))),
        _ if file.starts_with("/dev/fd/") => Some(fs::File::open(file).map(|file| Box::new(file) as Box<dyn Read>)),
        _ => None,
    }
}
