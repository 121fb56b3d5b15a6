//! Evaluation of expressions: a walk over a tree of our own, with operators that lose nothing silently.
//!
//! minijinja parses, and this module evaluates, because the operators of Jinja guess: every value is true or false, any
//! two values have an order, and numbers are rounded. Here, values of different types are never compared, conditions are
//! true or false, and arithmetic is exact or fails.

mod arithmetic;
mod comparison;
mod evaluate;
mod fault;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use evaluate::BOOLEAN_HINT;
pub(crate) use fault::Fault;
pub(crate) use tree::Tree;
