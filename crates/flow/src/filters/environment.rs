//! Finds filters by name, and checks their constant arguments.

use trunkline_core::check_pointer;

use crate::filters::{FILTERS, Filter, dates, units, values};

/// Returns the filter of this name.
pub(crate) fn find(name: &str) -> Option<&'static Filter> {
    FILTERS.iter().find(|filter| filter.name == name)
}

/// Fails if an argument that is constant, and so known before a run, cannot work.
pub(crate) fn check_constants(filter: &Filter, arguments: &[Option<&str>]) -> Result<(), String> {
    match (filter.name, arguments) {
        ("unit", [Some(from), Some(to)]) => units::check(from, to),
        ("date", _) => dates::check(arguments),
        ("split", [Some("")]) => Err("the separator is empty".into()),
        ("json_pointer", [Some(pointer)]) => check_pointer(pointer),
        ("map", [Some(path)]) if path.split('.').any(str::is_empty) => Err(values::EMPTY_NAME.into()),
        _ => Ok(()),
    }
}

/// The tests of expressions, such as `{{ value is defined }}`.
pub(crate) const TESTS: [&str; 2] = ["defined", "none"];
