//! A call of a filter, with its limits.

use minijinja::{Error, ErrorKind, Value};

use crate::values::conversion::OUTPUT_LIMIT;

/// The largest number of items in a list that a filter reads or returns.
pub(crate) const MAX_ITEMS: usize = 100_000;

/// A call of a filter. The kinds of its value and arguments are those that the table allows.
pub(crate) struct FilterCall<'a> {
    /// The name of the filter.
    pub(crate) filter: &'static str,
    /// The tables of the flow.
    pub(crate) tables: &'a Value,
    pub(crate) value: Value,
    pub(crate) arguments: &'a [Value],
}

impl FilterCall<'_> {
    /// The text that it is applied to.
    pub(crate) fn text(&self) -> Result<&str, Error> {
        let text = self.value.as_str().unwrap_or_default();
        if text.len() > OUTPUT_LIMIT { Err(too_long(self.filter)) } else { Ok(text) }
    }

    /// The argument at this position, if it is there and is a text.
    pub(crate) fn text_at(&self, index: usize) -> Option<&str> {
        self.arguments.get(index)?.as_str()
    }

    /// The items of the list that it is applied to. Fails at the first item beyond [`MAX_ITEMS`].
    pub(crate) fn items(&self) -> Result<impl Iterator<Item = Result<Value, Error>>, Error> {
        let bounded = move |(index, item)| if index < MAX_ITEMS { Ok(item) } else { Err(too_many(self.filter)) };
        Ok(self.value.try_iter()?.enumerate().map(bounded))
    }

    pub(crate) fn error(&self, reason: impl std::fmt::Display) -> Error {
        error(format!("the filter {}: {reason}", self.filter))
    }
}

pub(crate) fn error(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

pub(crate) fn too_long(filter: &str) -> Error {
    error(format!("the filter {filter} cannot take or return a text of more than {OUTPUT_LIMIT} bytes"))
}

pub(crate) fn too_many(filter: &str) -> Error {
    error(format!("the filter {filter} cannot take or return a list of more than {MAX_ITEMS} items"))
}

/// Shortens a text for a message.
pub(crate) fn brief(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}
