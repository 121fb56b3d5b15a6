//! The filters expressions have, and no others: one table says what each takes, gives and is for, with examples that are
//! run as tests. Flows are checked against the same table that calls are, and `trunkline flow filters` prints it.
//!
//! Every filter is bounded: a text or list of more than the limits below is refused before or while it is made.

mod dates;
mod table;
mod texts;
mod units;
mod values;

use minijinja::{Environment, Error, ErrorKind, State, Value, value::Rest};
use serde::Serialize;

use crate::{json_kinds::Kinds, template::OUTPUT_LIMIT};

pub use table::FILTERS;

/// How many items of a list a filter looks at, or gives.
pub(crate) const MAX_ITEMS: usize = 100_000;

/// A filter of expressions: `{{ value | name(arguments) }}`.
#[derive(Debug, Serialize)]
pub struct Filter {
    /// What it is called.
    pub name: &'static str,
    /// What it gives.
    pub about: &'static str,
    /// What it is given in brackets.
    pub arguments: &'static [Argument],
    /// Expressions with it and what they yield.
    pub examples: &'static [Example],
    /// What it may be applied to.
    #[serde(skip)]
    pub(crate) takes: Kinds,
    #[serde(skip)]
    pub(crate) gives: Gives,
    #[serde(skip)]
    apply: fn(&Call<'_>) -> Result<Value, Error>,
}

/// What a filter is given in brackets.
#[derive(Debug, Serialize)]
pub struct Argument {
    /// What it is.
    pub name: &'static str,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether there may be more of it.
    pub many: bool,
    #[serde(skip)]
    pub(crate) kinds: Kinds,
}

/// An expression, the flow's input it is evaluated on, and what it yields, both as JSON text.
#[derive(Debug, Serialize)]
pub struct Example {
    /// The expression without its braces.
    pub expression: &'static str,
    /// What `input` is.
    pub input: &'static str,
    /// What it yields.
    pub yields: &'static str,
}

/// What a filter gives, as far as it can be said before a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gives {
    /// A value of these kinds.
    Kinds(Kinds),
    /// A list of texts.
    Texts,
    /// An item of the list it is given.
    Item,
    /// A value of the object it is given.
    Member,
    /// What it is given, or the argument in its place.
    Default,
    /// The values at the path, of each item.
    Map,
    /// The object it is given with the members that are named.
    Pick,
    /// The object it is given without the members that are named.
    Omit,
    /// A value of a table of the flow.
    Lookup,
    /// The value at a JSON pointer.
    Pointer,
    /// A list of texts, or with an argument one of them.
    Path,
}

impl Filter {
    /// How it is written, such as `date(format, zone?, from?)`.
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

    /// What is wrong with a call with this many arguments.
    pub(crate) fn count(&self, given: usize) -> Option<String> {
        let least = self.arguments.iter().filter(|one| !one.optional).count();
        let most = if self.arguments.iter().any(|one| one.many) { usize::MAX } else { self.arguments.len() };
        (given < least || given > most)
            .then(|| format!("the filter {} is written {}, not with {given} arguments", self.name, self.usage()))
    }

    /// What is wrong with arguments that are known before a run.
    pub(crate) fn fault(&self, arguments: &[Option<&str>]) -> Option<String> {
        match (self.name, arguments) {
            ("unit", [Some(from), Some(to)]) => units::fault(from, to),
            ("date", _) => dates::fault(arguments),
            ("split", [Some("")]) => Some("the separator is empty".into()),
            ("json_pointer", [Some(pointer)]) if !pointer.is_empty() && !pointer.starts_with('/') => {
                Some("a JSON pointer begins with /".into())
            }
            _ => None,
        }
    }

    /// What the argument at this place is.
    pub(crate) fn argument(&self, index: usize) -> Option<&'static Argument> {
        self.arguments.get(index).or_else(|| self.arguments.last().filter(|one| one.many))
    }

    fn call(&'static self, state: &State<'_, '_>, value: Value, arguments: &[Value]) -> Result<Value, Error> {
        if let Some(fault) = self.count(arguments.len()) {
            return Err(refused(fault));
        }
        if value.is_undefined() && self.gives != Gives::Default {
            return Err(Error::new(
                ErrorKind::UndefinedError,
                format!("there is no value for the filter {}", self.name),
            ));
        }
        let kind = Kinds::of_dynamic(&value);
        if kind.excludes(self.takes) && !value.is_undefined() {
            return Err(refused(format!("the filter {} takes {}, not {kind}", self.name, self.takes)));
        }
        for (index, given) in arguments.iter().enumerate() {
            let kind = Kinds::of_dynamic(given);
            if let Some(argument) = self.argument(index)
                && kind.excludes(argument.kinds)
            {
                let (name, what) = (self.name, argument.name);
                return Err(refused(format!("the filter {name} takes {} as {what}, not {kind}", argument.kinds)));
            }
        }
        let result = (self.apply)(&Call { filter: self, state, value, arguments })?;
        match result.as_str() {
            Some(text) if text.len() > OUTPUT_LIMIT => Err(too_much(self.name)),
            _ => Ok(result),
        }
    }
}

/// A call of a filter; what it is given is of the kinds that the table says.
struct Call<'a> {
    filter: &'static Filter,
    state: &'a State<'a, 'a>,
    value: Value,
    arguments: &'a [Value],
}

impl Call<'_> {
    /// The text it is applied to.
    fn text(&self) -> Result<&str, Error> {
        let text = self.value.as_str().unwrap_or_default();
        if text.len() > OUTPUT_LIMIT { Err(too_much(self.filter.name)) } else { Ok(text) }
    }

    fn text_at(&self, index: usize) -> Option<&str> {
        self.arguments.get(index)?.as_str()
    }

    /// The items of the list it is applied to.
    fn items(&self) -> Result<impl Iterator<Item = Result<Value, Error>>, Error> {
        let many = move |(index, item)| if index < MAX_ITEMS { Ok(item) } else { Err(too_many(self.filter.name)) };
        Ok(self.value.try_iter()?.enumerate().map(many))
    }

    fn refused(&self, why: impl std::fmt::Display) -> Error {
        refused(format!("the filter {}: {why}", self.filter.name))
    }
}

fn refused(why: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

fn too_much(filter: &str) -> Error {
    refused(format!("the filter {filter} takes and gives no text of more than {OUTPUT_LIMIT} bytes"))
}

fn too_many(filter: &str) -> Error {
    refused(format!("the filter {filter} takes and gives no list of more than {MAX_ITEMS} items"))
}

/// A text for a message: not all of a long one.
fn brief(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}

/// The filter of this name.
pub(crate) fn find(name: &str) -> Option<&'static Filter> {
    FILTERS.iter().find(|filter| filter.name == name)
}

pub(crate) fn add_to(environment: &mut Environment<'static>) {
    for filter in FILTERS {
        environment.add_filter(filter.name, |state: &State<'_, '_>, value: Value, arguments: Rest<Value>| {
            filter.call(state, value, &arguments)
        });
    }
    environment.add_test("defined", minijinja::tests::is_defined);
    environment.add_test("none", minijinja::tests::is_none);
}

/// The tests an expression may make: `{{ value is defined }}`.
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
    fn every_filter_does_what_its_examples_say() {
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
    fn what_a_filter_does_not_take_is_refused_in_its_words() {
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
            let said = format!("{:?}", yields(expression, &json!({})).unwrap_err());
            assert!(said.contains(words), "{expression}: {said}");
        }
    }

    #[test]
    fn a_filter_neither_takes_nor_gives_more_than_its_limits() {
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
        // What is within the limits is done.
        let few = json!({ "many": vec!["ab"; 1000], "long": "x,".repeat(1000) });
        assert_eq!(yields("input.many | join | length", &few).unwrap(), json!(2000));
        assert_eq!(yields("input.long | split(',') | length", &few).unwrap(), json!(1001));
    }
}
