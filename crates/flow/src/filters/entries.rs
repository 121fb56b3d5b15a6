//! Short forms for the tables of filters.

use crate::{
    filters::filter::{Argument, Example},
    values::json_kinds::Kinds,
};

pub(super) const TEXT: Kinds = Kinds::TEXT;
pub(super) const SCALAR: Kinds = Kinds::TEXT.or(Kinds::NUMBER).or(Kinds::BOOLEAN);

pub(super) const fn needed(name: &'static str, kinds: Kinds) -> Argument {
    Argument { name, optional: false, many: false, kinds }
}

pub(super) const fn optional(name: &'static str, kinds: Kinds) -> Argument {
    Argument { name, optional: true, many: false, kinds }
}

pub(super) const fn many(name: &'static str, kinds: Kinds) -> Argument {
    Argument { name, optional: false, many: true, kinds }
}

pub(super) const fn example(expression: &'static str, input: &'static str, yields: &'static str) -> Example {
    Example { expression, input, yields }
}
