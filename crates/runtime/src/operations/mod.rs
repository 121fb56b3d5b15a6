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
//! | `key rotate` | works on the key file and below the runtime, also where no runtime can be opened |
//! | incoming webhooks, the callback of a sign-in | their form is dictated by the sender, and their caller has no role |
//! | the bytes of files | they are streams of bytes, not JSON |

pub mod actions;
mod caller;
pub mod catalogue;
pub mod connections;
mod flow_file;
pub mod flows;
mod operation;
pub mod run_queries;
pub mod runs;
pub mod sign_ins;

use std::sync::LazyLock;

pub use caller::{Caller, Role};
pub use flow_file::{FlowChoice, FlowFile, FlowText};
pub use operation::{AnyOperation, Empty, Operation, OperationOutput, OperationSpec, OutputStream, StreamOperation};

use operation::{single, streaming};

/// Returns all operations, by name.
pub fn operations() -> &'static [Box<dyn AnyOperation>] {
    static OPERATIONS: LazyLock<Vec<Box<dyn AnyOperation>>> = LazyLock::new(|| {
        vec![
            single::<actions::CallAction>(),
            single::<catalogue::GetAction>(),
            single::<catalogue::ListActions>(),
            streaming::<actions::ListActionItems>(),
            single::<connections::AddConnections>(),
            single::<sign_ins::ApplyDiscovery>(),
            single::<sign_ins::AuthorizeConnection>(),
            single::<connections::CheckConnection>(),
            single::<sign_ins::DiscoverSettings>(),
            single::<sign_ins::ListSignInEvents>(),
            single::<connections::ExportConnections>(),
            single::<connections::GetConnection>(),
            single::<connections::ListConnections>(),
            single::<connections::RemoveConnection>(),
            single::<catalogue::GetConnector>(),
            single::<catalogue::ListConnectors>(),
            single::<catalogue::ListFilters>(),
            single::<flows::ActivateFlow>(),
            single::<flows::DeactivateFlow>(),
            single::<flows::GetFlow>(),
            single::<flows::ListFlows>(),
            single::<flows::NewWebhookAddress>(),
            single::<flows::RemoveFlow>(),
            single::<flows::SaveFlow>(),
            single::<flows::SetWebhookSecret>(),
            single::<flows::ValidateFlow>(),
            single::<runs::CancelRun>(),
            streaming::<run_queries::WatchRun>(),
            single::<run_queries::GetRun>(),
            single::<run_queries::ListItems>(),
            single::<run_queries::ListRuns>(),
            single::<run_queries::ReadRunLog>(),
            single::<runs::RerunRun>(),
            single::<runs::ResolveStep>(),
            single::<runs::ResumeRun>(),
            single::<runs::SignalRun>(),
            single::<runs::StartRun>(),
            single::<run_queries::GetTimeline>(),
            single::<catalogue::GetSchema>(),
        ]
    });
    &OPERATIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_distinct_names_in_order_and_closed_inputs() {
        let names: Vec<_> = operations().iter().map(|one| one.spec().name).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
        for operation in operations() {
            let spec = operation.spec();
            assert!(spec.name.split_once('.').is_some_and(|(noun, verb)| !noun.is_empty() && !verb.is_empty()));
            assert!(spec.about.ends_with('.'), "{}", spec.name);
        }
    }
}
