//! A connection that is in use is not removed.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_core::{Error, ErrorKind, NextStep, Result};

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
        .next(NextStep::DeactivateFlow { flow: if let [only] = flows { Some(only.flow.clone()) } else { None } })
        .next("or give the flow another connection")
        .next(NextStep::ForceRemove { connection: name.to_owned() })
        .next("then no run of these flows can start")
        .with("connection", name)
}

fn in_use(name: &str, found: &[ConnectionUse]) -> Error {
    let listed = found.iter().take(5).map(|one| format!("{} of {} ({})", one.run, one.flow, one.status.as_str()));
    let listed: Vec<_> = listed.collect();
    let more = if found.len() > 5 { format!(" and {} more", found.len() - 5) } else { String::new() };
    let only = if let [only] = found { Some(only.run.as_str().to_owned()) } else { None };
    let message = format!("the connection {name} is used by unfinished runs: {}{more}", listed.join(", "));
    Error::new(ErrorKind::Conflict, message)
        .next(NextStep::ResumeRun { run: only.clone() })
        .next(NextStep::CancelRun { run: only })
        .next(NextStep::ForceRemove { connection: name.to_owned() })
        .next("then these runs cannot be resumed")
        .with("connection", name)
}
