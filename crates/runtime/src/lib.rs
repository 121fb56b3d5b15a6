//! Trunkline as a library. A [`Runtime`] holds the connectors, connections, saved flows and runs of one data directory.
//!
//! A flow builder embeds it: `examples/embed.rs` shows how in under 100 lines. The server (`trunkline-server`) and the command line
//! (`trunkline-cli`) are built on it too. Each connector is behind a feature of its name, and all of them are on by default.

mod caller;
mod connectors;
mod csv;
mod environment;
mod export;
mod feeds;
mod flow_checks;
mod flows;
pub mod guides;
pub mod operations;
mod paths;
mod ports;
mod removal;
mod runs;
mod runtime;
mod subscriptions;
mod tickets;
pub mod token;
mod view;
mod watching;

pub use trunkline_core as core;
pub use trunkline_engine as engine;
pub use trunkline_flow as flow;
pub use trunkline_rest as rest;
pub use trunkline_store as store;

#[cfg(feature = "http")]
pub use connectors::connector_schema;
pub use connectors::{registry, with_folder};
pub use csv::{CsvRecords, ITEM_COLUMNS, item_cells, item_result};
pub use environment::environment_variable;
pub use export::{Exported, Provide};
pub use feeds::FeedMemory;
pub use flows::{SaveOptions, activation_reason};
pub use paths::{default_data, default_key};
pub use ports::{EnvironmentSecrets, Ports, SecretResolver};
pub use removal::Pruned;
pub use runtime::{
    CallOutput, Cause, FinishedSignIn, ListedItem, LocalLauncher, NewRerun, NewRun, Removal, RunLauncher, Runtime,
    StartOutcome, StartedSignIn,
};
pub use view::{ListedRun, Redacted, RunView};
pub use watching::WatchedEvent;
