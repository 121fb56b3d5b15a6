//! The reason why an expression has no result, with advice.

use trunkline_core::ErrorKind;

use crate::{
    filters::is_limit,
    values::{
        comparison::Incomparable,
        conversion::{ConversionError, detail},
    },
};

/// The reason why an expression has no result.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) reason: String,
    pub(crate) hint: Option<String>,
}

impl Fault {
    pub(crate) fn new(reason: impl Into<String>) -> Fault {
        Fault { kind: ErrorKind::InvalidInput, reason: reason.into(), hint: None }
    }

    /// A value does not exist.
    pub(super) fn missing(reason: impl Into<String>) -> Fault {
        Fault::new(reason).hint("add the filter default(..) where a value may be missing")
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Fault {
        Fault { hint: Some(hint.into()), ..self }
    }
}

impl From<minijinja::Error> for Fault {
    fn from(error: minijinja::Error) -> Fault {
        let kind = if is_limit(&error) { ErrorKind::Limit } else { ErrorKind::InvalidInput };
        Fault { kind, ..Fault::new(detail(&error)) }
    }
}

impl From<ConversionError> for Fault {
    fn from(error: ConversionError) -> Fault {
        Fault { kind: error.kind(), ..Fault::new(error.to_string()) }
    }
}

impl From<Incomparable> for Fault {
    fn from(error: Incomparable) -> Fault {
        Fault { hint: error.hint.map(str::to_owned), ..Fault::new(error.reason) }
    }
}
