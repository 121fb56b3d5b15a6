//! The journal of runs, see [`Journal`](trunkline_engine::Journal): a file for each of its concerns, and what their
//! transactions share.

mod acceptance;
mod active_marks;
mod deduplication;
mod event_insert;
mod event_order;
mod events;
mod flow_versions;
pub(crate) mod item_outcomes;
mod names;
pub(crate) mod process_log;
pub(crate) mod run_claim;
mod run_index;
mod run_notes;
mod run_removal;

pub(crate) use acceptance::{accepting, run_for, save};
pub(crate) use deduplication::forget;
pub(crate) use event_insert::{insert_event, inserts};
pub(crate) use flow_versions::pin;
pub(crate) use item_outcomes::{Counts, STATUSES};
pub(crate) use names::named;
