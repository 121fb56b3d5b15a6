//! The steps of a flow: their documents, the reader that compiles them, and the steps as the engine runs them.

mod duration;
pub(crate) mod reader;
pub(crate) mod step;
pub(crate) mod step_document;

pub use duration::moment;
pub(crate) use duration::{parse as parse_duration, parse_up_to as parse_duration_up_to};
