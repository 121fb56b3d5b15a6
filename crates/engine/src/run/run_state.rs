//! [`RunState`]: what a run that has not ended does at this moment.
//!
//! It is not part of the fold of a run's events: that a service has asked for a pause, or that a run is queued, is
//! known only to the process that works on the run or keeps it in its queue. That process notes it beside its claim
//! ([`RunClaims::note`](crate::RunClaims::note)), and [`Engine::state_of`](crate::Engine::state_of) returns it in any
//! process. A note counts only as long as its process lives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_core::{RunId, Timestamp};

use crate::run::QuotaUse;

/// What a run that has not ended does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum RunState {
    /// A process works on it.
    Running,
    /// All that is in flight waits: for a time, for a signal, or for connections that do not work.
    Waiting {
        /// When the wait ends at the latest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// The signal that it waits for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        /// The connections of a failed run that a server resumes when all of them work again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        connections: Vec<String>,
    },
    /// A service accepts no requests before this time.
    Throttled {
        /// When the pause ends that the service has asked for.
        until: Timestamp,
        /// The connection to the service, if one call waits for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        connection: Option<String>,
    },
    /// A server starts it by itself as soon as its limits allow it: when there is enough memory, if neither of the
    /// members is there.
    Queued {
        /// The run of the same flow that has to end first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        behind: Option<RunId>,
        /// The number of runs that the server works on at the same time, if it works on that many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    },
    /// No process works on it: its process has ended. It continues when it is resumed.
    Left,
}

/// The state of a run, as a process has noted it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunNote {
    /// The id that the process has claimed for as long as it lives.
    pub by: RunId,
    /// The state.
    pub state: RunState,
    /// What the list that it works on takes of a quota, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaUse>,
}

impl RunState {
    /// Returns the name of the state as JSON writes it.
    pub fn as_str(&self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Waiting { .. } => "waiting",
            RunState::Throttled { .. } => "throttled",
            RunState::Queued { .. } => "queued",
            RunState::Left => "left",
        }
    }

    /// Returns the time until which a run waits or is throttled at most, if there is one.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            RunState::Waiting { until, .. } => *until,
            RunState::Throttled { until, .. } => Some(*until),
            _ => None,
        }
    }
}
