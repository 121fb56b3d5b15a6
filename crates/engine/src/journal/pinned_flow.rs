//! The flow version that a run is pinned to.

use std::collections::BTreeMap;

use trunkline_core::{Diagnostic, Error, ErrorKind, Result};
use trunkline_flow::Flow;

use crate::{journal::Journal, run::Run};

/// Returns the flow version that a run is pinned to, linked with the flows it calls.
pub(crate) async fn pinned_flow(journal: &dyn Journal, run: &Run) -> Result<Flow> {
    let invalid = |found: Vec<Diagnostic>| {
        let error = Diagnostic::into_error(&format!("the flow of run {}", run.id), &found);
        error.unwrap_or_else(|| Error::new(ErrorKind::Config, "the flow can no longer be read"))
    };
    let mut called = BTreeMap::new();
    for (name, version) in &run.calls {
        let flow = Flow::from_value(journal.flow(version).await?).map_err(invalid)?;
        called.insert(name.clone(), flow);
    }
    let flow = Flow::from_value(journal.flow(&run.version).await?).map_err(invalid)?;
    flow.link(&|name| called.get(name).cloned()).map_err(invalid)
}
