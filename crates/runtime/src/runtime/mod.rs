//! The runtime, and what it holds besides its ports: the launcher of runs, and the open sign-ins.

mod launch;
mod recent_pages;
mod runtime;
mod sign_ins;
mod warnings;

pub(crate) use launch::with_default_input;
pub use launch::{Cause, LocalLauncher, NewRerun, NewRun, RunLauncher, StartOutcome};
pub(crate) use runtime::check_lists;
pub use runtime::{CallOutput, ListedItem, Removal, Runtime};
pub use sign_ins::{FinishedSignIn, StartedSignIn};
