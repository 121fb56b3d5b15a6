//! The authentication of rows. Each row has a MAC of its columns under a key that is sealed in the store: without the
//! key of the store no row can be made or changed, and what a disk has changed is an error, never a result.
//!
//! Triggers compute the MAC of a row (the writer does so for runs, events and items), and views check it on reading.
//! Both are temporary objects of each connection, and those in the file are switched off, so that the file does not
//! decide whether it is checked. They call two SQL functions: `mac(value, …)`, where the first value is the name of the
//! table, and `sound(intact, table, key, …)`, which fails at a row that is not. A MAC has 64 bits: a forged one cannot be
//! tried without this process.

use std::cell::Cell;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{
    Connection, ErrorCode,
    functions::{Context, FunctionFlags},
    types::{Value, ValueRef},
};
use sha2::{Digest, Sha256};
use trunkline_core::{Error, ErrorKind};

use crate::{
    encryption::RecordKey,
    sqlite::{completeness::corrupt, ours},
};

/// Lets a connection read rows, and write them if it `writes`. Triggers and views of the file itself have to be off.
pub(crate) fn authenticate(connection: &Connection, key: &RecordKey, writes: bool) -> rusqlite::Result<()> {
    functions(connection, key)?;
    connection.execute_batch(include_str!("views.sql"))?;
    if writes { connection.execute_batch(include_str!("triggers.sql")) } else { Ok(()) }
}

/// Registers the SQL functions. What stands in the file cannot call them, because its schema is not trusted.
pub(crate) fn functions(connection: &Connection, key: &RecordKey) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let keyed = Hmac::<Sha256>::new_from_slice(key.as_slice())
        .map_err(|error| rusqlite::Error::UserFunctionError(Box::new(error)))?;
    connection.create_scalar_function("mac", -1, flags, move |values| mac(values, keyed.clone()))?;
    connection.create_scalar_function("sound", -1, flags, |values| {
        if values.get::<Option<bool>>(0)? == Some(true) {
            return Ok(true);
        }
        let text = |index: usize| values.get::<Value>(index).map(|value| text_of(&value));
        let key = (2..values.len()).map(text).collect::<rusqlite::Result<Vec<_>>>()?;
        DAMAGED.set(Some(damaged_row(&text(1)?, &key.join(" "))));
        // SQLite passes on the code or the text of an error, not both.
        Err(corrupt(None))
    })
}

/// Registers the function `checksum` of the formats up to 10, for migrations. It has no key.
pub(crate) fn former_functions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("checksum", -1, flags, |values| {
        let mut digest = Sha256::new();
        each(values, |piece| digest.update(piece));
        Ok(number(&digest.finalize()))
    })?;
    // Views of these formats name it, and are only parsed.
    connection.create_scalar_function("intact", -1, flags, |_| Ok(true))
}

thread_local! {
    /// The row at which the last statement of this thread has failed.
    static DAMAGED: Cell<Option<Error>> = const { Cell::new(None) };
}

/// Names the row in the error of a statement that has failed at a damaged one.
pub(crate) fn name_row(error: rusqlite::Error) -> rusqlite::Error {
    match (error.sqlite_error_code(), DAMAGED.take()) {
        (Some(ErrorCode::DatabaseCorrupt), Some(row)) => ours(row),
        _ => error,
    }
}

/// The error of a row that this store did not write as it is.
pub(crate) fn damaged_row(table: &str, row: &str) -> Error {
    let message =
        format!("the row {row} of the table {table} is damaged, or was changed by something other than Trunkline");
    let hint = match table {
        "connections" | "vault" | "kept_flows" | "webhooks" | "findings" => {
            "find out what wrote to the store; then remove the connection or the flow and add it again, or restore the \
             last backup of the data directory"
        }
        _ => "find out what wrote to the store; then restore the last backup of the data directory",
    };
    Error::new(ErrorKind::Store, message).hint(hint).with("table", table).with("row", row)
}

/// Returns what a list says of an entry that is damaged.
pub(crate) fn note(error: &Error) -> String {
    error.advice().map_or_else(|| error.message().to_owned(), |advice| format!("{}: {advice}", error.message()))
}

pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => HEXLOWER.encode(bytes),
    }
}

fn mac(values: &Context<'_>, mut keyed: Hmac<Sha256>) -> rusqlite::Result<i64> {
    each(values, |piece| keyed.update(piece));
    Ok(number(&keyed.finalize().into_bytes()))
}

/// Passes on values with their types and lengths, so that no two rows have the same bytes.
fn each(values: &Context<'_>, mut add: impl FnMut(&[u8])) {
    for index in 0..values.len() {
        let (kind, content): (u8, &[u8]) = match values.get_raw(index) {
            ValueRef::Null => (0, &[]),
            ValueRef::Integer(number) => (1, &number.to_le_bytes()),
            ValueRef::Real(number) => (2, &number.to_le_bytes()),
            ValueRef::Text(text) => (3, text),
            ValueRef::Blob(bytes) => (4, bytes),
        };
        add(&[kind]);
        add(&(content.len() as u64).to_le_bytes());
        add(content);
    }
}

/// Returns the first 64 bits of a digest.
pub(crate) fn number(digest: &[u8]) -> i64 {
    digest.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}
