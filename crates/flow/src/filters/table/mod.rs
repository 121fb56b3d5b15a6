//! The tables of the filters, by what they are applied to.

use std::sync::LazyLock;

use crate::{
    filters::filter::{Argument, Example, Filter},
    values::json_kinds::Kinds,
};

mod conversions;
mod dates;
mod lists;
mod numbers;
mod objects;
mod texts;

const TEXT: Kinds = Kinds::TEXT;
const SCALAR: Kinds = Kinds::TEXT.or(Kinds::NUMBER).or(Kinds::BOOLEAN);

const fn needed(name: &'static str, kinds: Kinds) -> Argument {
    Argument { name, optional: false, many: false, kinds }
}

const fn optional(name: &'static str, kinds: Kinds) -> Argument {
    Argument { name, optional: true, many: false, kinds }
}

const fn many(name: &'static str, kinds: Kinds) -> Argument {
    Argument { name, optional: false, many: true, kinds }
}

const fn example(expression: &'static str, input: &'static str, yields: &'static str) -> Example {
    Example { expression, input, yields }
}

/// Returns all filters, ordered by name.
pub fn filters() -> &'static [&'static Filter] {
    static FILTERS: LazyLock<Vec<&Filter>> = LazyLock::new(|| {
        let tables =
            [conversions::CONVERSIONS, dates::DATES, lists::LISTS, numbers::NUMBERS, objects::OBJECTS, texts::TEXTS];
        let mut all: Vec<_> = tables.into_iter().flatten().collect();
        all.sort_by_key(|filter| filter.name);
        all
    });
    &FILTERS
}
