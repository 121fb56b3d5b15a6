//! The tables of the filters, by what they are applied to.

use std::sync::LazyLock;

use crate::filters::filter::Filter;

mod conversions;
mod dates;
mod lists;
mod numbers;
mod objects;
mod texts;

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
