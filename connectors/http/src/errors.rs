//! Errors of connectors that are loaded from folders.

use std::{io, path::Path};

use trunkline_core::{Error, ErrorKind};

/// Returns the error for a folder of connectors that cannot be read.
pub(crate) fn unreadable(folder: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Config, format!("the connectors in {} cannot be read: {error}", folder.display()))
        .hint("give a folder that has a sub-folder with a connector.toml for each connector")
}

/// Returns the error for a client that another connector has made.
pub(crate) fn wrong_client() -> Error {
    Error::new(ErrorKind::Internal, "the connector was called with another connector's client")
}
