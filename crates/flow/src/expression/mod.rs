//! Expressions in the values of a flow: compiled once, and evaluated on the names of a run.

mod completion;
mod evaluation;
mod scope;
mod template;

pub(crate) use completion::complete;
pub use evaluation::kind_words;
pub use scope::Scope;
pub use template::Template;
pub(crate) use template::{Compiled, Node, Piece, literal_parts};
