//! A connection that is in use is not removed.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_core::{Error, ErrorKind, Result};

use crate::connections::connection_store::{ConnectionUse, FlowUse};

/// Fails if an unfinished run or an active flow uses a connection.
pub(crate) fn must_be_unused(name: &str, runs: &[ConnectionUse], flows: &[FlowUse]) -> Result<()> {
    if !runs.is_empty() {
        return Err(in_use(name, runs));
    }
    let active: Vec<_> = flows.iter().filter(|one| one.active).cloned().collect();
    if active.is_empty() { Ok(()) } else { Err(in_flows(name, &active)) }
}

/// Returns each connection of these bindings once.
pub(crate) fn bound(bindings: BTreeMap<String, String>) -> BTreeSet<String> {
    bindings.into_values().collect()
}

fn in_flows(name: &str, flows: &[FlowUse]) -> Error {
    let listed: Vec<_> = flows.iter().map(|one| one.flow.as_str()).collect();
    let message = format!("the connection {name} is in use by active flows: {}", listed.join(", "));
    Error::new(ErrorKind::Conflict, message)
        .hint(
            "run `trunkline flow deactivate NAME` first, or give the flow another connection; `--force` removes the \
             connection anyway, and then no run of these flows can start",
        )
        .with("connection", name)
}

fn in_use(name: &str, found: &[ConnectionUse]) -> Error {
    let listed = found.iter().take(5).map(|one| format!("{} of {} ({})", one.run, one.flow, one.status.as_str()));
    let listed: Vec<_> = listed.collect();
    let more = if found.len() > 5 { format!(" and {} more", found.len() - 5) } else { String::new() };
    let message = format!("the connection {name} is used by unfinished runs: {}{more}", listed.join(", "));
    Error::new(ErrorKind::Conflict, message)
        .hint(
            "resume them, or end them with `trunkline runs cancel ID`; `--force` removes the connection anyway, and then \
             they cannot be resumed",
        )
        .with("connection", name)
}
