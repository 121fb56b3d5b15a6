//! The operations: every verb of the product once, with its name, input, output, role and effect.
//!
//! Doors such as the command line and the HTTP API carry out operations and show their outputs; none of them shapes
//! JSON of its own. Code that knows an operation calls it with its types:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use trunkline::{Runtime, operations::{Caller, Empty, catalogue::ListConnectors}};
//!
//! let runtime = Runtime::in_memory(trunkline::registry(None)?);
//! let connectors = runtime.execute::<ListConnectors>(&Caller::owner(), Empty {}).await?;
//! assert!(connectors.iter().any(|one| one.name == "mediavalet"));
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
mod caller;
pub mod catalogue;
pub mod connections;
pub mod connector_icon;
mod consent;
mod flow_file;
pub mod flows;
mod operation;
pub mod remembered_items;
pub mod run_queries;
pub mod run_removal;
pub mod runs;
pub mod sign_ins;

use std::sync::LazyLock;

pub use caller::{Caller, Role};
pub use flow_file::{FlowChoice, FlowFile, FlowText};
pub use operation::{
    AnyOperation, Empty, Operation, OperationOutput, OperationSpec, OutputStream, StreamOperation, read,
};

use operation::{operation_table, streaming};

/// Returns all operations, by name.
pub fn operations() -> &'static [Box<dyn AnyOperation>] {
    static OPERATIONS: LazyLock<Vec<Box<dyn AnyOperation>>> = LazyLock::new(|| {
        let tables = [
            actions::table(),
            catalogue::table(),
            connections::table(),
            connector_icon::table(),
            flows::table(),
            remembered_items::table(),
            run_queries::table(),
            run_removal::table(),
            runs::table(),
            sign_ins::table(),
        ];
        let mut all: Vec<_> = tables.into_iter().flatten().collect();
        all.push((actions::ListActionItems::NAME, streaming::<actions::ListActionItems>()));
        all.push((run_queries::WatchRun::NAME, streaming::<run_queries::WatchRun>()));
        all.sort_by_key(|(name, _)| *name);
        all.into_iter().map(|(_, operation)| operation).collect()
    });
    &OPERATIONS
}
