//! The types of expressions, known before a run: shapes are JSON Schemas, and [`infer`] computes the shape of a result.

mod calls;
pub(crate) mod completion;
pub(crate) mod infer;
pub(crate) mod names;
mod operators;
mod paths;
pub(crate) mod schema_algebra;
#[cfg(test)]
mod tests;
