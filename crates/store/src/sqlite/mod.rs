//! The SQLite file: how it is opened and read, its tables, and the authentication of its rows.

pub(crate) mod authentication;
mod columns;
pub(crate) mod completeness;
mod database_file;
pub(crate) mod manifest;
pub(crate) mod retention;
pub(crate) mod schema;
mod sqlite_error;

pub(crate) use columns::{column, now, signed, text, time};
pub(crate) use database_file::{Opened, Readers, execute, open_as_it_lies, open_writer, wait};
pub(crate) use schema::seal_in;
pub(crate) use sqlite_error::{WorkError, WorkResult, fault, fault_of, ours};
