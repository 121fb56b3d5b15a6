//! What starts runs beside a person.
//!
//! The idea: whatever a trigger sees has a key (a delivery's id, an item's key, a due time), and the key is taken in the
//! transaction that accepts the run it is handed to. So nothing is handed over twice, nor lost, whenever the process dies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens when a run of a flow is to begin while another one is at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It waits until those before it have ended.
    #[default]
    Queue,
    /// It does not begin.
    Skip,
    /// It begins at once.
    Parallel,
}

/// What a trigger has seen, and starts a run with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fired {
    /// The flow, by the name it is kept under.
    pub flow: String,
    /// The keys that the run takes: no other run gets them.
    pub keys: Vec<String>,
    /// With this run, the trigger has dealt with everything up to this time, in milliseconds since 1970.
    pub through: Option<u64>,
}
