//! What those hear who watch a run in the process that works on it.

use std::sync::OnceLock;

use serde::Serialize;
use tokio::sync::broadcast::{self, Receiver, Sender};
use trunkline_core::Timestamp;

use crate::{RunStatus, StepPath, Waiting};

/// How many notices a slow watcher may lag behind before it misses some.
const NOTICES: usize = 4096;

/// Those who watch a run. Most runs nobody watches: room for notices is made for the first who does.
#[derive(Default)]
pub(crate) struct Subscribers(OnceLock<Sender<RunNotification>>);

impl Subscribers {
    /// What happens from now on.
    pub(crate) fn watch(&self) -> Receiver<RunNotification> {
        self.0.get_or_init(|| Sender::new(NOTICES)).subscribe()
    }

    pub(crate) fn tell(&self, notice: RunNotification) {
        if let Some(sender) = self.0.get() {
            // That they have left meanwhile is fine.
            let _ = sender.send(notice);
        }
    }

    /// For who comes when all is over.
    pub(crate) fn over() -> Receiver<RunNotification> {
        broadcast::channel(1).1
    }
}

/// What somebody who watches a run sees.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum RunNotification {
    /// An `each` step knows of more items to work on.
    Listed {
        /// The `each` step.
        step: StepPath,
        /// How many more.
        items: u64,
        /// Whether these were the last.
        last: bool,
    },
    /// Bytes went from one system to another.
    Progress {
        /// The step that moved them.
        step: StepPath,
        /// How many since the last notice.
        bytes: u64,
    },
    /// A step ended well.
    StepFinished {
        /// Which.
        step: StepPath,
    },
    /// A step waits.
    Waiting {
        /// Which.
        step: StepPath,
        /// For what, and until when.
        wait: Waiting,
    },
    /// A step failed and is tried again.
    StepRetried {
        /// Which.
        step: StepPath,
        /// Why it failed.
        message: String,
        /// When it is tried again.
        until: Timestamp,
    },
    /// A service said something although its call succeeded.
    Warning {
        /// The step that called it.
        step: StepPath,
        /// What it said.
        message: String,
    },
    /// A step ended badly.
    StepFailed {
        /// Which.
        step: StepPath,
        /// Why.
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
        /// Why it is not done.
        reason: Option<String>,
    },
    /// The run ended.
    Finished {
        /// How.
        status: RunStatus,
    },
}
