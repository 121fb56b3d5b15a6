//! The journal of runs, see [`Journal`](trunkline_engine::Journal): a file for each of its concerns, and what their
//! transactions share.

pub(crate) mod acceptance;
pub(crate) mod deduplication;
pub(crate) mod event_insert;
pub(crate) mod events;
pub(crate) mod flow_versions;
pub(crate) mod item_outcomes;
pub(crate) mod process_log;
pub(crate) mod run_claim;
pub(crate) mod run_index;
pub(crate) mod run_status;
