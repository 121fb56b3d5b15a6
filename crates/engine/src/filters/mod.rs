//! The filters of expressions: one table with the input, arguments, result and purpose of each, and examples that run
//! as tests.
//!
//! The same table is used to check flows, to check the values of a call at run time, and to print the help of
//! `trunkline flow filters`. Every filter is bounded: it fails on a text or list larger than the limits below, before
//! or while it builds the result.

mod dates;
mod table;
mod texts;
mod units;
mod values;

use minijinja::{Environment, Error, ErrorKind, State, Value, value::Rest};
use serde::Serialize;

use crate::{json_kinds::Kinds, template::OUTPUT_LIMIT};

pub use table::FILTERS;

/// The largest number of items in a list that a filter reads or returns.
pub(crate) const MAX_ITEMS: usize = 100_000;

/// A filter of expressions: `{{ value | name(arguments) }}`.
#[derive(Debug, Serialize)]
pub struct Filter {
    /// Its name in an expression.
    pub name: &'static str,
    /// A description of its result.
    pub about: &'static str,
    /// Its arguments in brackets.
    pub arguments: &'static [Argument],
    /// Expressions that use it, with their results.
    pub examples: &'static [Example],
    /// The kinds of values that it may be applied to.
    #[serde(skip)]
    pub(crate) takes: Kinds,
    #[serde(skip)]
    pub(crate) gives: Gives,
    #[serde(skip)]
    apply: fn(&FilterCall<'_>) -> Result<Value, Error>,
}

/// An argument of a filter, in brackets after its name.
#[derive(Debug, Serialize)]
pub struct Argument {
    /// The argument's name, for documentation and messages. Calls give arguments by position.
    pub name: &'static str,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it may be repeated.
    pub many: bool,
    #[serde(skip)]
    pub(crate) kinds: Kinds,
}

/// An example of an expression: its source, the flow's input, and the result.
#[derive(Debug, Serialize)]
pub struct Example {
    /// The expression without its braces.
    pub expression: &'static str,
    /// The value of `input`, as JSON text.
    pub input: &'static str,
    /// The result, as JSON text.
    pub yields: &'static str,
}

/// The result of a filter, as far as it is known before a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gives {
    /// A value of these kinds.
    Kinds(Kinds),
    /// A list of texts.
    Texts,
    /// An item of the list that it is applied to.
    Item,
    /// A member of the object that it is applied to.
    Member,
    /// The value that it is applied to, or the argument in its place.
    Default,
    /// The value at a path in each item.
    Map,
    /// The object that it is applied to, with only the named members.
    Pick,
    /// The object that it is applied to, without the named members.
    Omit,
    /// A value of a table of the flow.
    Lookup,
    /// The value at a JSON pointer.
    Pointer,
    /// A list of texts; with an argument, one of them.
    Path,
}

impl Filter {
    /// Returns how the filter is written, such as `date(format, zone?, from?)`.
    pub fn usage(&self) -> String {
        let argument = |one: &Argument| match (one.optional, one.many) {
            (true, _) => format!("{}?", one.name),
            (false, true) => format!("{}, ..", one.name),
            (false, false) => one.name.to_owned(),
        };
        match self.arguments {
            [] => self.name.to_owned(),
            some => format!("{}({})", self.name, some.iter().map(argument).collect::<Vec<_>>().join(", ")),
        }
    }

    /// Fails if a call cannot have this number of arguments.
    pub(crate) fn check_count(&self, given: usize) -> Result<(), String> {
        let least = self.arguments.iter().filter(|one| !one.optional).count();
        let most = if self.arguments.iter().any(|one| one.many) { usize::MAX } else { self.arguments.len() };
        match (least..=most).contains(&given) {
            true => Ok(()),
            false => Err(format!("the filter {} is written {}, not with {given} arguments", self.name, self.usage())),
        }
    }

    /// Fails if an argument that is constant, and so known before a run, cannot work.
    pub(crate) fn check_constants(&self, arguments: &[Option<&str>]) -> Result<(), String> {
        match (self.name, arguments) {
            ("unit", [Some(from), Some(to)]) => units::check(from, to),
            ("date", _) => dates::check(arguments),
            ("split", [Some("")]) => Err("the separator is empty".into()),
            ("json_pointer", [Some(pointer)]) if !pointer.is_empty() && !pointer.starts_with('/') => {
                Err("a JSON pointer begins with /".into())
            }
            _ => Ok(()),
        }
    }

    /// Returns the description of the argument at this position.
    pub(crate) fn argument(&self, index: usize) -> Option<&'static Argument> {
        self.arguments.get(index).or_else(|| self.arguments.last().filter(|one| one.many))
    }

    fn call(&'static self, state: &State<'_, '_>, value: Value, arguments: &[Value]) -> Result<Value, Error> {
        self.check_count(arguments.len()).map_err(error)?;
        if value.is_undefined() && self.gives != Gives::Default {
            return Err(Error::new(
                ErrorKind::UndefinedError,
                format!("there is no value for the filter {}", self.name),
            ));
        }
        let kind = Kinds::of_dynamic(&value);
        if kind.excludes(self.takes) && !value.is_undefined() {
            return Err(error(format!("the filter {} takes {}, not {kind}", self.name, self.takes)));
        }
        for (index, given) in arguments.iter().enumerate() {
            let kind = Kinds::of_dynamic(given);
            if let Some(argument) = self.argument(index)
                && kind.excludes(argument.kinds)
            {
                let (name, role) = (self.name, argument.name);
                return Err(error(format!("the filter {name} takes {} as {role}, not {kind}", argument.kinds)));
            }
        }
        let result = (self.apply)(&FilterCall { filter: self, state, value, arguments })?;
        match result.as_str() {
            Some(text) if text.len() > OUTPUT_LIMIT => Err(too_long(self.name)),
            _ => Ok(result),
        }
    }
}

/// A call of a filter. The kinds of its value and arguments are those that the table allows.
struct FilterCall<'a> {
    filter: &'static Filter,
    state: &'a State<'a, 'a>,
    value: Value,
    arguments: &'a [Value],
}

impl FilterCall<'_> {
    /// The text that it is applied to.
    fn text(&self) -> Result<&str, Error> {
        let text = self.value.as_str().unwrap_or_default();
        if text.len() > OUTPUT_LIMIT { Err(too_long(self.filter.name)) } else { Ok(text) }
    }

    /// The argument at this position, if it is there and is a text.
    fn text_at(&self, index: usize) -> Option<&str> {
        self.arguments.get(index)?.as_str()
    }

    /// The items of the list that it is applied to. Fails at the first item beyond [`MAX_ITEMS`].
    fn items(&self) -> Result<impl Iterator<Item = Result<Value, Error>>, Error> {
        let bounded = move |(index, item)| if index < MAX_ITEMS { Ok(item) } else { Err(too_many(self.filter.name)) };
        Ok(self.value.try_iter()?.enumerate().map(bounded))
    }

    fn error(&self, reason: impl std::fmt::Display) -> Error {
        error(format!("the filter {}: {reason}", self.filter.name))
    }
}

fn error(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn too_long(filter: &str) -> Error {
    error(format!("the filter {filter} cannot take or return a text of more than {OUTPUT_LIMIT} bytes"))
}

fn too_many(filter: &str) -> Error {
    error(format!("the filter {filter} cannot take or return a list of more than {MAX_ITEMS} items"))
}

/// Shortens a text for a message.
fn brief(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}

/// Returns the filter of this name.
pub(crate) fn find(name: &str) -> Option<&'static Filter> {
    FILTERS.iter().find(|filter| filter.name == name)
}

/// Adds all filters and tests to the environment that evaluates expressions.
pub(crate) fn add_to(environment: &mut Environment<'static>) {
    for filter in FILTERS {
        environment.add_filter(filter.name, |state: &State<'_, '_>, value: Value, arguments: Rest<Value>| {
            filter.call(state, value, &arguments)
        });
    }
    environment.add_test("defined", minijinja::tests::is_defined);
    environment.add_test("none", minijinja::tests::is_none);
}

/// The tests of expressions, such as `{{ value is defined }}`.
pub(crate) const TESTS: [&str; 2] = ["defined", "none"];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use trunkline_core::Diagnostic;

    use super::*;
    use crate::{Template, template::Scope};

    fn yields(expression: &str, input: &Value) -> trunkline_core::Result<Value> {
        let mut found = Vec::new();
        let template = Template::compile(&json!(format!("{{{{ {expression} }}}}")), "", &mut found);
        Diagnostic::accept(expression, &found)?;
        let tables = json!({ "colours": { "rot": "red", "blau": "blue" } });
        template.render(&Scope::new(input, "r1", &tables))
    }

    #[test]
    fn every_filter_example_yields_its_result() {
        for filter in FILTERS {
            assert!(!filter.examples.is_empty(), "{} has no example", filter.name);
            for example in filter.examples {
                let parse = |text: &str| serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
                let (input, expected): (Value, Value) = (parse(example.input), parse(example.yields));
                assert!(example.expression.contains(filter.name), "{}", example.expression);
                assert_eq!(yields(example.expression, &input).unwrap(), expected, "{}", example.expression);
            }
        }
    }

    #[test]
    fn the_error_of_a_filter_says_what_it_expected() {
        for (expression, words) in [
            ("[1] | upper", "upper takes a text, not a list"),
            ("input | upper", "the filter upper takes a text, not an object"),
            ("'a' | split(input)", "the filter split takes a text as separator, not an object"),
            ("'a' | split", "split(separator)"),
            ("'a' | split(1)", "split takes a text as separator, not a whole number"),
            ("'2024-13-01' | date('%Y')", "2024-13-01"),
            ("'2024-01-01' | date('%Y', 'Mars/Phobos')", "Mars/Phobos"),
            ("'2024-01-01' | date('%!')", "%!"),
            ("3 | unit('cm', 'kg')", "cm is a length, kg is a mass"),
            ("3 | unit('cm', 'parsec')", "mm, cm"),
            ("'grün' | lookup('colours')", "grün"),
            ("'rot' | lookup('sizes')", "colours"),
            ("{'a': 1} | json_pointer('a')", "begins with /"),
            ("'x' | int", "x"),
        ] {
            let error = format!("{:?}", yields(expression, &json!({})).unwrap_err());
            assert!(error.contains(words), "{expression}: {error}");
        }
    }

    #[test]
    fn a_filter_fails_on_a_text_or_list_beyond_its_limits() {
        let many = vec!["ab"; MAX_ITEMS + 1];
        let input = json!({ "long": "x,".repeat(OUTPUT_LIMIT), "many": many, "sharp": "ﷺ".repeat(OUTPUT_LIMIT / 4) });
        for expression in [
            "input.long | split(',')",
            "input.long | upper",
            "input.long | slug",
            "input.sharp | slug",
            "input.long | path(0)",
            "input.long | mime",
            "input.long | date('%Y')",
            "input.many | join",
            "input.many | map('length')",
            "input.many | pick('a')",
            "input | json",
            "'2024-01-01' | date(input.long)",
            "[1] | join(input.long)",
        ] {
            let error = yields(expression, &input).map(|value| value.to_string().len()).unwrap_err();
            assert!(error.message().contains("than"), "{expression}: {error:?}");
        }
        // Texts and lists within the limits work.
        let few = json!({ "many": vec!["ab"; 1000], "long": "x,".repeat(1000) });
        assert_eq!(yields("input.many | join | length", &few).unwrap(), json!(2000));
        assert_eq!(yields("input.long | split(',') | length", &few).unwrap(), json!(1001));
    }
}
