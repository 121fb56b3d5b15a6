//! The authentication of rows. Each row has a MAC of its columns under a key that is sealed in the store: without the
//! key of the store no row can be made or changed, and what a disk has changed is an error, never a result.
//!
//! Triggers compute the MAC of a row (the writer does so for runs, events and items), and views check it on reading.
//! Both are temporary objects of each connection, and those in the file are switched off, so that the file does not
//! decide whether it is checked. They call two SQL functions: `mac(value, …)` and `authentic(mac, value, …)`, where the
//! first value is the name of the table. A MAC has 64 bits: a forged one cannot be tried without this process.

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{
    Connection,
    functions::{Context, FunctionFlags},
    types::ValueRef,
};
use sha2::{Digest, Sha256};

use crate::{encryption::RecordKey, sqlite::completeness::corrupt};

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
    let other = keyed.clone();
    connection.create_scalar_function("mac", -1, flags, move |values| mac(values, 0, keyed.clone()))?;
    connection.create_scalar_function("authentic", -1, flags, move |values| {
        // SQLite passes on the code or the text of an error, not both.
        if values.get::<i64>(0)? == mac(values, 1, other.clone())? { Ok(true) } else { Err(corrupt(None)) }
    })
}

/// Registers the function `checksum` of the formats up to 10, for migrations. It has no key.
pub(crate) fn former_functions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("checksum", -1, flags, |values| {
        let mut digest = Sha256::new();
        each(values, 0, |piece| digest.update(piece));
        Ok(number(&digest.finalize()))
    })?;
    // Views of these formats name it, and are only parsed.
    connection.create_scalar_function("intact", -1, flags, |_| Ok(true))
}

fn mac(values: &Context<'_>, first: usize, mut keyed: Hmac<Sha256>) -> rusqlite::Result<i64> {
    each(values, first, |piece| keyed.update(piece));
    Ok(number(&keyed.finalize().into_bytes()))
}

/// Passes on values with their types and lengths, so that no two rows have the same bytes.
fn each(values: &Context<'_>, first: usize, mut add: impl FnMut(&[u8])) {
    for index in first..values.len() {
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
