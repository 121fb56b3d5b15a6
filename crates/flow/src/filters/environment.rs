//! Finds filters by name, and adds them to the environment that evaluates expressions.

use minijinja::{Environment, State, Value, value::Rest};

use crate::filters::{FILTERS, Filter, dates, units};

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
        ("json_pointer", [Some(pointer)]) if !pointer.is_empty() && !pointer.starts_with('/') => {
            Err("a JSON pointer begins with /".into())
        }
        _ => Ok(()),
    }
}

/// The name of a filter that yields a member of a value, and a missing value for a member of a missing one. Users cannot
/// call it, because it is not one of the [`FILTERS`].
pub(crate) const MEMBER: &str = "__member";

/// Adds all filters and tests to the environment that evaluates expressions.
pub(crate) fn add_to(environment: &mut Environment<'static>) {
    for filter in FILTERS {
        environment.add_filter(filter.name, |state: &State<'_, '_>, value: Value, arguments: Rest<Value>| {
            filter.call(state, value, &arguments)
        });
    }
    environment.add_filter(MEMBER, |value: Value, name: Value| match value.is_undefined() || value.is_none() {
        true => Ok(Value::UNDEFINED),
        false => value.get_item(&name),
    });
    environment.add_test("defined", minijinja::tests::is_defined);
    environment.add_test("none", minijinja::tests::is_none);
}

/// The tests of expressions, such as `{{ value is defined }}`.
pub(crate) const TESTS: [&str; 2] = ["defined", "none"];
