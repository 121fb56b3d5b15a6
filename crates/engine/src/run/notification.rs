//! Notifications for subscribers in the same process as the run.
//!
//! They are for displays. A slow subscriber misses some; outcomes are in the journal in any case.

use std::sync::OnceLock;

use serde::Serialize;
use tokio::sync::broadcast::{self, Receiver, Sender};
use trunkline_core::{StepPath, Timestamp};

use crate::run::{RunStatus, Waiting};

/// The number of notifications that a slow subscriber may lag behind before it misses some.
const CAPACITY: usize = 4096;

/// The subscribers of a run. Most runs have none, so the channel is created for the first one.
#[derive(Default)]
pub(crate) struct Subscribers(OnceLock<Sender<RunNotification>>);

impl Subscribers {
    /// Returns a receiver of all notifications from now on.
    pub(crate) fn subscribe(&self) -> Receiver<RunNotification> {
        self.0.get_or_init(|| Sender::new(CAPACITY)).subscribe()
    }

    pub(crate) fn send(&self, notification: RunNotification) {
        if let Some(sender) = self.0.get() {
            // An error means that all subscribers have left.
            let _ = sender.send(notification);
        }
    }

    /// Returns a closed channel, for subscribers that come after the run has ended.
    pub(crate) fn closed() -> Receiver<RunNotification> {
        broadcast::channel(1).1
    }
}

/// A notification about a run, for subscribers in the process that works on it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum RunNotification {
    /// An `each` step has read more items of its list.
    Listed {
        /// The `each` step.
        step: StepPath,
        /// The number of further items.
        items: u64,
        /// Whether these were the last.
        last: bool,
    },
    /// Bytes were transferred from one system to another.
    Progress {
        /// The step that transfers them.
        step: StepPath,
        /// The number of bytes since the last notification.
        bytes: u64,
    },
    /// A step succeeded.
    StepFinished {
        /// The step.
        step: StepPath,
    },
    /// A step waits.
    Waiting {
        /// The step.
        step: StepPath,
        /// The condition and the end of the wait.
        wait: Waiting,
    },
    /// A step failed and will be tried again.
    StepRetried {
        /// The step.
        step: StepPath,
        /// The message of the error.
        message: String,
        /// When the next attempt begins.
        until: Timestamp,
    },
    /// A service reported a warning although its call succeeded.
    Warning {
        /// The step that called it.
        step: StepPath,
        /// The text of the warning.
        message: String,
    },
    /// A step failed.
    StepFailed {
        /// The step.
        step: StepPath,
        /// The message of the error.
        message: String,
    },
    /// An item has its outcome.
    ItemFinished {
        /// The `each` step.
        step: StepPath,
        /// The item's key.
        key: String,
        /// `done`, `skipped`, `failed` or `unknown`.
        status: &'static str,
        /// The reason of the skip, the message of the error, or the warnings of an item that is done.
        reason: Option<String>,
    },
    /// The run ended.
    Finished {
        /// The run's status from now on.
        status: RunStatus,
    },
}
