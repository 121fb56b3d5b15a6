//! The SQLite file: how it is opened and read, its tables, and the checksums of its rows.

pub(crate) mod checksum;
pub(crate) mod columns;
pub(crate) mod database_file;
pub(crate) mod schema;
pub(crate) mod sqlite_error;
