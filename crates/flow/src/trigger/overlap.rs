//! What happens when a run is due while another run of the flow is active.

use schemars::JsonSchema;
use serde::Deserialize;

/// What happens when a run is due while another run of the flow is active.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OverlapDocument {
    /// One of these.
    Mode(OverlapMode),
    /// It starts at once if fewer runs than this number are active, or else waits.
    #[schemars(extend("additionalProperties" = false))]
    AtMost {
        /// The largest number of active runs.
        #[schemars(range(min = 1))]
        parallel: usize,
    },
}

/// What happens when a run is due while another run of the flow is active.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OverlapMode {
    /// It waits until the runs before it have ended.
    Queue,
    /// It does not start.
    Skip,
    /// It starts at once.
    Parallel,
}

/// What happens when a run is due while another run of the flow is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// It does not start.
    Skip,
    /// It starts if fewer runs than this number are active, or else waits until one has ended.
    AtMost(usize),
}

impl Overlap {
    /// The largest number of runs of the flow that may be active at once.
    pub fn at_once(self) -> usize {
        match self {
            Overlap::Skip => 1,
            Overlap::AtMost(limit) => limit,
        }
    }
}

impl From<Option<OverlapDocument>> for Overlap {
    fn from(document: Option<OverlapDocument>) -> Self {
        match document {
            Some(OverlapDocument::Mode(OverlapMode::Skip)) => Overlap::Skip,
            Some(OverlapDocument::Mode(OverlapMode::Parallel)) => Overlap::AtMost(usize::MAX),
            Some(OverlapDocument::AtMost { parallel }) => Overlap::AtMost(parallel),
            Some(OverlapDocument::Mode(OverlapMode::Queue)) | None => Overlap::AtMost(1),
        }
    }
}
