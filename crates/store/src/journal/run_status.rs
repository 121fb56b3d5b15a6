//! The status of a run as a column stores it.

use trunkline_engine::RunStatus;

pub(crate) fn status_of(text: String) -> rusqlite::Result<RunStatus> {
    serde_json::from_value(text.into())
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}
