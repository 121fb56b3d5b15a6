//! The state of a run: its events, and what is folded from them.

mod event;
pub(crate) mod failure;
pub(crate) mod key_form;
mod ledger;
mod limits;
pub(crate) mod notification;
mod outcome;
mod progress;
pub(crate) mod quota;
mod run_state;
mod state;
pub(crate) mod time;

pub use event::{RerunOf, RunEvent, Waiting};
pub use key_form::{ItemKey, KeyForm};
pub use ledger::Ledger;
pub(crate) use limits::json_size;
pub use limits::{RunLimits, VALUE_NESTING};
pub use notification::RunNotification;
pub(crate) use outcome::MAX_RESULT;
pub use outcome::{Collected, ItemNote, ItemOutcome, RunStatus, Verdict};
pub use progress::{ListProgress, Rate};
pub use quota::{QuotaShare, QuotaUse};
pub use run_state::{RunNote, RunState};
pub use state::Run;
pub(crate) use state::{FailedAttempts, LONG_WAIT, ListPosition, list_values::MAX_COLLECTED_BYTES};
