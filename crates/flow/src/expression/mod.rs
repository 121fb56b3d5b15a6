//! Expressions in the values of a flow: compiled once, and evaluated on the names of a run.

mod scope;
mod template;

pub use scope::Scope;
pub use template::Template;
pub(crate) use template::{Compiled, Node, Piece, literal_parts};
