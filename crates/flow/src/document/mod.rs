//! The document of a flow: its text, its members, and the compiled flow.

mod flow;
mod flow_document;
mod graph;
mod json_offsets;
mod link;
mod retention;
mod step_position;
pub(crate) mod syntax;
mod yaml;

pub use flow::Flow;
pub use flow_document::Logging;
pub use graph::{FlowGraph, GraphEdge, GraphGroup, GraphNode};
pub use retention::{Retention, age};
pub use step_position::{EnclosingItem, StepOutline, StepPosition};
