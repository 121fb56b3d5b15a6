//! Values as the columns of the tables store them.

use serde::Serialize;
use trunkline_core::{Error, ErrorKind, Result, Timestamp};

/// A number as SQLite stores it, which has no unsigned ones.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A time as it is stored: milliseconds since 1970.
pub(crate) fn column(time: Timestamp) -> i64 {
    signed(time.as_millis())
}

/// The time in a column, see [`column`].
pub(crate) fn time(column: i64) -> Timestamp {
    Timestamp::from_millis(column.unsigned_abs())
}

/// The current time as it is stored.
pub(crate) fn now() -> i64 {
    column(Timestamp::now())
}

/// A value as JSON text.
pub(crate) fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::new(ErrorKind::Internal, "an event is not JSON").source(error))
}
