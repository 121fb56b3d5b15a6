//! Finds filters by name, and checks their constant arguments.

use trunkline_core::check_pointer;

use crate::filters::{Filter, date_math, dates, encodings, filters, lists, parsing, paths, texts, units};

/// Returns the filter of this name.
pub(crate) fn find(name: &str) -> Option<&'static Filter> {
    filters().iter().copied().find(|filter| filter.name == name)
}

/// Fails if an argument that is constant, and so known before a run, cannot work.
pub(crate) fn check_constants(filter: &Filter, arguments: &[Option<&str>]) -> Result<(), String> {
    let check = |index: usize, check: fn(&str) -> Result<(), String>| {
        arguments.get(index).copied().flatten().map_or(Ok(()), check)
    };
    for (index, argument) in filter.arguments.iter().enumerate() {
        if filter.reads_paths() && matches!(argument.name, "path" | "key" | "value") {
            check(index, paths::check_path)?;
        }
    }
    match (filter.name, arguments) {
        ("unit", [Some(from), Some(to)]) => units::check(from, to),
        ("date", _) => dates::check(arguments),
        ("date_add", _) => date_math::check_duration_and_zone(arguments),
        ("date_diff", _) => check(1, date_math::check_unit),
        ("split", [Some("")]) => Err("the separator is empty".into()),
        ("replace", [Some(""), _]) => Err(texts::EMPTY_PART.into()),
        ("json_pointer", [Some(pointer)]) => check_pointer(pointer),
        ("where" | "find", [_, _, _]) => check(1, lists::check_relation),
        ("sort", _) => check(1, lists::check_direction),
        ("base64", _) => check(0, encodings::check_alphabet),
        ("hash", _) => check(0, |name| encodings::check_function(name, false)).and(check(1, encodings::check_form)),
        ("hmac", _) => check(1, |name| encodings::check_function(name, true)).and(check(2, encodings::check_form)),
        ("parse_csv", _) => check(0, parsing::check_separator),
        _ => Ok(()),
    }
}

/// The tests of expressions, such as `{{ value is defined }}`.
pub(crate) const TESTS: [&str; 2] = ["defined", "none"];
