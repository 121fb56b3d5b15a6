//! The status of a run and the kind of an error, as a column stores them.

use serde::de::DeserializeOwned;

/// Returns what has this name in JSON.
pub(crate) fn named<T: DeserializeOwned>(name: String) -> rusqlite::Result<T> {
    serde_json::from_value(name.into())
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}
