//! A call of a filter, with its limits.

use std::cell::Cell;

use minijinja::{Error, ErrorKind, Value};

use crate::values::conversion::OUTPUT_LIMIT;

/// The largest number of items in a list that a filter reads or returns.
pub(crate) const MAX_ITEMS: usize = 100_000;

/// The most work that one expression may take: an item of a list, a member of an object, or 64 bytes of a text is one
/// unit, each time that an operator or a filter reads it.
pub(crate) const MAX_WORK: usize = 5_000_000;

/// The work that an expression may still take.
pub(crate) struct Fuel(Cell<usize>);

impl Default for Fuel {
    fn default() -> Fuel {
        Fuel(Cell::new(MAX_WORK))
    }
}

impl Fuel {
    /// Takes the work of reading this value once. Fails if there is not enough left.
    pub(crate) fn read(&self, value: &Value) -> Result<(), Error> {
        self.spend(match value.as_str() {
            Some(text) => text.len() / 64,
            None => value.len().unwrap_or_default(),
        })
    }

    /// Takes these units of work. Fails if there are not enough left.
    pub(crate) fn spend(&self, units: usize) -> Result<(), Error> {
        let left = self.0.get().checked_sub(units.saturating_add(1)).ok_or_else(|| {
            limit(format!("it needs more than {MAX_WORK} units of work; divide it among several steps with `set`"))
        })?;
        self.0.set(left);
        Ok(())
    }
}

/// A call of a filter. The kinds of its value and arguments are those that the table allows.
pub(crate) struct FilterCall<'a> {
    /// The name of the filter.
    pub(crate) filter: &'static str,
    /// The tables of the flow.
    pub(crate) tables: &'a Value,
    pub(crate) fuel: &'a Fuel,
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

    /// The whole number at this position, if it is there.
    pub(crate) fn whole_at(&self, index: usize) -> Result<Option<i64>, Error> {
        let Some(given) = self.arguments.get(index) else { return Ok(None) };
        let whole = i64::try_from(given.clone());
        whole.map(Some).map_err(|_| self.error(format!("{given} is not a whole number of 64 bits")))
    }

    /// The items of the list that it is applied to. Fails at the first item beyond [`MAX_ITEMS`].
    pub(crate) fn items(&self) -> Result<impl Iterator<Item = Result<Value, Error>>, Error> {
        self.items_of(&self.value)
    }

    /// The items of a list, bounded in the same way.
    pub(crate) fn items_of(&self, list: &Value) -> Result<impl Iterator<Item = Result<Value, Error>>, Error> {
        let bounded = move |(index, item)| if index < MAX_ITEMS { Ok(item) } else { Err(too_many(self.filter)) };
        Ok(list.try_iter()?.enumerate().map(bounded))
    }

    /// The items of the list that it is applied to, as a list.
    pub(crate) fn list(&self) -> Result<Vec<Value>, Error> {
        self.items()?.collect()
    }

    /// Returns a list, unless it has too many items.
    pub(crate) fn bounded(&self, items: Vec<Value>) -> Result<Value, Error> {
        if items.len() > MAX_ITEMS { Err(too_many(self.filter)) } else { Ok(items.into()) }
    }

    pub(crate) fn error(&self, reason: impl std::fmt::Display) -> Error {
        error(format!("the filter {}: {reason}", self.filter))
    }
}

pub(crate) fn error(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// The source of an error of a limit.
#[derive(Debug)]
struct LimitExceeded;

impl std::fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a limit of expressions was exceeded")
    }
}

impl std::error::Error for LimitExceeded {}

/// The error of a limit.
fn limit(message: String) -> Error {
    error(message).with_source(LimitExceeded)
}

/// Returns whether an error says that a limit was exceeded.
pub(crate) fn is_limit(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<LimitExceeded>())
}

pub(crate) fn too_long(filter: &str) -> Error {
    limit(format!("the filter {filter} cannot take or return a text of more than {OUTPUT_LIMIT} bytes"))
}

pub(crate) fn too_many(filter: &str) -> Error {
    limit(format!("the filter {filter} cannot take or return a list of more than {MAX_ITEMS} items"))
}

/// Shortens a text for a message.
pub(crate) fn brief(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}
