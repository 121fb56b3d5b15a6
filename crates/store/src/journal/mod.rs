//! The journal of runs, see [`Journal`](trunkline_engine::Journal).

pub(crate) mod deduplication;
pub(crate) mod events;
pub(crate) mod flow_versions;
pub(crate) mod item_outcomes;
pub(crate) mod process_log;
pub(crate) mod run_claim;
