//! The flow language: the document that a user writes, its expressions and their types, and the checks before a run.
//!
//! [`Flow::parse`] reads a document and compiles its expressions. [`Flow::check`] compares it with the registered
//! connectors, and [`Flow::link`] adds the flows that it calls. A [`Trigger`] describes what starts runs. This crate
//! executes nothing and reads no clock: the engine walks over the [`Step`]s, and renders each [`Template`] on the
//! [`Scope`] of a run.
//!
//! ```
//! use trunkline_core::Registry;
//! use trunkline_flow::Flow;
//!
//! let flow = Flow::from_value(serde_json::json!({
//!     "name": "greet",
//!     "input": { "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] },
//!     "steps": [{ "id": "hello", "set": { "text": "Hello {{ input.nam }}" } }]
//! })).unwrap();
//! let findings = flow.check(&Registry::empty());
//! assert_eq!(findings[0].pointer, "/steps/0/set/text");
//! assert_eq!(findings[0].advice().as_deref(), Some("did you mean name?"));
//! ```

mod check;
mod document;
mod evaluation;
mod expression;
mod filters;
mod steps;
mod trigger;
mod typing;
mod values;

pub use check::{GrantedScopes, StepYield, YieldedValue};
pub use document::{
    EnclosingItem, Flow, FlowGraph, GraphEdge, GraphGroup, GraphNode, Logging, Retention, StepOutline, StepPosition,
    age,
};
pub use expression::{Scope, Template, kind_words};
pub use filters::{Argument, Example, Filter, filters};
pub use steps::{
    moment,
    step::{
        BoundAction, FlowCall, InnerList, ItemTemplates, ListRole, OnError, Over, Step, StepKind, StepPolicy, SubFlow,
        Tries, Wait,
    },
};
pub use trigger::{
    DeliveryPlace, Encoding, EventTrigger, InitialItems, Missed, Overlap, Poll, Schedule, Signature,
    SignatureAlgorithm, SigningKeyForm, TimestampPlace, Trigger, Webhook, WebhookMethod, WebhookResponseMode,
};
pub use typing::completion::{Completion, CompletionKind};
