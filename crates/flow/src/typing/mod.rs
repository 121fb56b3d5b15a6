//! The types of expressions, known before a run: shapes are JSON Schemas, and [`infer`] computes the shape of a result.

mod calls;
pub(crate) mod infer;
mod operators;
mod paths;
pub(crate) mod schema_algebra;
#[cfg(test)]
mod tests;
