//! The operations: every verb of the product once, with its name, input, output, role and effect.
//!
//! Doors such as the command line and the HTTP API carry out operations and show their outputs; none of them shapes
//! JSON of its own. Code that knows an operation calls it with its types:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use trunkline::{Runtime, operations::{Caller, catalogue::{ConnectorQuery, ListConnectors}}};
//!
//! let runtime = Runtime::in_memory(trunkline::registry(None)?);
//! let page = runtime.execute::<ListConnectors>(&Caller::owner(), ConnectorQuery::default()).await?;
//! assert!(page.items.iter().any(|one| one.name == "mediavalet"));
//! # Ok::<(), trunkline::core::Error>(())
//! # }).unwrap();
//! ```
//!
//! A door that is made of the whole list uses [`operations`] and JSON. Not operations, and why:
//!
//! | what | why not |
//! | --- | --- |
//! | `serve`, `demo`, `sandbox` | they start and stop processes, not work on a data directory |
//! | `store adopt`, `store compact` | they work below the runtime, on a store that no runtime may change |
//! | `key rotate` | works on the key file and below the runtime, also where no runtime can be opened |
//! | incoming webhooks, the callback of a sign-in | their form is dictated by the sender, and their caller has no role |
//! | the bytes of files | they are streams of bytes, not JSON |

pub mod actions;
pub mod bulk_runs;
pub mod catalogue;
pub mod connection_put;
pub mod connections;
pub mod connector_icon;
mod consent;
pub mod event_watch;
pub mod expressions;
mod flow_file;
pub mod flow_put;
pub mod flows;
pub mod graphs;
mod idempotency;
mod listed;
mod operation;
pub mod options;
mod precondition;
pub mod remembered_items;
pub mod run_queries;
pub mod run_removal;
pub mod run_steps;
pub mod runs;
pub mod sign_ins;
pub mod steps;
pub mod triggers;

use std::sync::LazyLock;

pub use crate::caller::{Caller, Role};
pub use flow_file::{FlowChoice, FlowFile, FlowText};
pub use listed::{Listed, PageQuery};
pub use operation::{
    AnyOperation, Empty, Operation, OperationOutput, OperationSpec, OutputStream, StreamOperation, read,
};

use listed::PageRequest;
use operation::{operation_table, streaming};

/// Returns all operations, by name.
pub fn operations() -> &'static [Box<dyn AnyOperation>] {
    static OPERATIONS: LazyLock<Vec<Box<dyn AnyOperation>>> = LazyLock::new(|| {
        let tables = [
            actions::table(),
            bulk_runs::table(),
            catalogue::table(),
            connection_put::table(),
            connections::table(),
            connector_icon::table(),
            event_watch::table(),
            expressions::table(),
            flow_put::table(),
            flows::table(),
            graphs::table(),
            options::table(),
            remembered_items::table(),
            run_queries::table(),
            run_removal::table(),
            run_steps::table(),
            runs::table(),
            sign_ins::table(),
            triggers::table(),
            steps::table(),
        ];
        let mut all: Vec<_> = tables.into_iter().flatten().collect();
        all.push((actions::ListActionItems::NAME, streaming::<actions::ListActionItems>()));
        all.push((event_watch::WatchAllRuns::NAME, streaming::<event_watch::WatchAllRuns>()));
        all.push((run_queries::WatchRun::NAME, streaming::<run_queries::WatchRun>()));
        all.sort_by_key(|(name, _)| *name);
        all.into_iter().map(|(_, operation)| operation).collect()
    });
    &OPERATIONS
}
