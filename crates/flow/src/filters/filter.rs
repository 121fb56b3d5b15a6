//! The description of a filter: its input, arguments and result, which are checked before a run and at each call.

use minijinja::{Error, Value};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    filters::call::{FilterCall, Fuel, error, too_long},
    values::{conversion::OUTPUT_LIMIT, json_kinds::Kinds},
};

/// A filter of expressions: `{{ value | name(arguments) }}`.
#[derive(Debug, Serialize, JsonSchema)]
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
    pub(crate) apply: fn(&FilterCall<'_>) -> Result<Value, Error>,
}

/// An argument of a filter, in brackets after its name.
#[derive(Debug, Serialize, JsonSchema)]
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
#[derive(Debug, Serialize, JsonSchema)]
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
    /// The value that it is applied to, or fewer or other items of it.
    Same,
    /// The value at the path, or the item itself without one.
    Least,
    /// A list of groups: objects with a `key` and `items`.
    Groups,
    /// A list of lists with an item of each list.
    Tuples,
    /// The items of the lists in the list.
    Flat,
    /// An object whose members have the value at the second path.
    Entries,
    /// The members of the object.
    Members,
    /// The members of all the objects.
    Merged,
    /// A list of objects of texts.
    Records,
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

    /// Returns the description of the argument at this position.
    pub(crate) fn argument(&self, index: usize) -> Option<&'static Argument> {
        self.arguments.get(index).or_else(|| self.arguments.last().filter(|one| one.many))
    }

    /// Returns whether its arguments are paths to a value in each item of a list.
    pub(crate) fn reads_paths(&self) -> bool {
        !matches!(self.name, "contains") && self.arguments.first().is_some_and(|one| matches!(one.name, "path" | "key"))
    }

    /// Returns whether the value that it is applied to may be missing.
    pub(crate) fn takes_missing(&self) -> bool {
        self.gives == Gives::Default
    }

    /// Applies the filter to a value. `tables` are the tables of the flow.
    pub(crate) fn call(
        &'static self,
        tables: &Value,
        fuel: &Fuel,
        value: Value,
        arguments: &[Value],
    ) -> Result<Value, Error> {
        self.check_count(arguments.len()).map_err(error)?;
        let kind = Kinds::of_dynamic(&value);
        if kind.excludes(self.takes) && !value.is_undefined() {
            let cure = conversion(kind, self.takes).map_or_else(String::new, |cure| format!("; {cure}"));
            return Err(error(format!("the filter {} takes {}, not {kind}{cure}", self.name, self.takes)));
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
        arguments.iter().chain([&value]).try_for_each(|read| fuel.read(read))?;
        let result = (self.apply)(&FilterCall { filter: self.name, tables, fuel, value, arguments })?;
        match result.as_str() {
            Some(text) if text.len() > OUTPUT_LIMIT => Err(too_long(self.name)),
            _ => Ok(result),
        }
    }
}

/// Returns how a value of the one kind becomes one of the other kinds, if a filter does that.
pub(crate) fn conversion(given: Kinds, wanted: Kinds) -> Option<&'static str> {
    let from = |kinds: Kinds| given.within(kinds);
    match () {
        () if from(Kinds::NULL) => Some("give it a value with the filter default(..)"),
        () if from(Kinds::TEXT) && !wanted.excludes(Kinds::NUMBER) => Some("convert it with the filter int or number"),
        () if from(Kinds::FRACTION) && !wanted.excludes(Kinds::INTEGER) => {
            Some("convert it with the filter int or round")
        }
        () if from(Kinds::NUMBER.or(Kinds::BOOLEAN)) && !wanted.excludes(Kinds::TEXT) => {
            Some("convert it with the filter string")
        }
        () if from(Kinds::LIST) && !wanted.excludes(Kinds::TEXT) => {
            Some("convert it with the filter join(', ') or json")
        }
        () => None,
    }
}
