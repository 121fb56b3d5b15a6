//! The inputs of an operation.

use serde_json::Value;

use super::{path_value::Slashes, plain_text::Lists};

/// The part of the request that an input goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputLocation {
    Path,
    Query,
    Body,
    Header,
}

/// An input of an operation.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) name: String,
    /// Its name in the request.
    pub(crate) wire_name: String,
    pub(crate) location: InputLocation,
    pub(crate) required: bool,
    /// Value to send if the caller gives none.
    pub(crate) default: Option<Value>,
    /// For an input in the path.
    pub(crate) slashes: Slashes,
    /// For an input in the query or in a form.
    pub(crate) lists: Lists,
}
