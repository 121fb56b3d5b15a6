//! The end of a run: its status is recorded and its staged copies are removed, or it is left to be resumed.

use std::sync::Arc;

use serde_json::Value;
use trunkline_core::{ErrorKind, Result, RunId, Staging};

use crate::{
    interpreter::{cancellation::Stop, record::RunRecord},
    journal::Flush,
    run::{
        Ledger, Run, RunEvent, RunNotification, RunStatus,
        failure::{is_transient, stops_the_run},
    },
};

/// Ends a run whose steps have ended, or leaves it to be resumed.
pub(crate) async fn conclude(
    record: &RunRecord,
    result: Result<Value>,
    stop: &Stop,
    staging: Option<&Arc<dyn Staging>>,
) -> Result<Run> {
    if matches!(&result, Err(error) if error.kind() == ErrorKind::Cancelled) && stop.suspends() {
        return record.run.suspend().await;
    }
    let result = match result {
        Ok(output) => record.record_missing_items().await.map(|()| output),
        failed => failed,
    };
    if let Err(error) = &result
        && is_transient(error)
        && !stop.cancellation.is_cancelled()
    {
        tracing::warn!("the run is left to be resumed: {error}");
        let _ = record.run.suspend().await;
        return Err(error.clone());
    }
    let run = finish(record, result, stop).await?;
    // The staged copies stay if the run can be resumed: its steps continue from their checkpoints then.
    if run.status != RunStatus::Failed || !run.error.as_ref().is_some_and(stops_the_run) {
        unstage(staging, &run.id).await;
    }
    Ok(run)
}

/// Records the end of a run.
async fn finish(record: &RunRecord, result: Result<Value>, stop: &Stop) -> Result<Run> {
    let failed_items = record.run.read(|run| run.ledger.values().map(Ledger::faults).sum::<u64>());
    let (status, error) = match result {
        Ok(_) if failed_items > 0 => (RunStatus::Partial, None),
        Ok(_) => (RunStatus::Succeeded, None),
        Err(error) if error.kind() == ErrorKind::Cancelled => (RunStatus::Cancelled, None),
        // Not failed: a failed run could be resumed, and the operator has cancelled this one.
        Err(error) if stop.cancellation.is_cancelled() => (RunStatus::Cancelled, Some(error)),
        Err(error) => (RunStatus::Failed, Some(error)),
    };
    let (run, flow) = (record.run.id(), record.run.read(|run| run.flow.clone()));
    match &error {
        None => tracing::info!(%run, flow, "the run is over: {}", status.as_str()),
        Some(error) => tracing::warn!(%run, flow, kind = error.kind().as_str(), "the run has failed: {error}"),
    }
    record.run.record(RunEvent::Finished { status, error, at: record.now() }, Flush::Now).await?;
    record.notify(RunNotification::Finished { status });
    Ok(record.run.take())
}

/// Removes the staged copies of a run.
pub(crate) async fn unstage(staging: Option<&Arc<dyn Staging>>, run: &RunId) {
    if let Some(staging) = staging {
        staging.unstage(run.as_str(), None).await;
    }
}
