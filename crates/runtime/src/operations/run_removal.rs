//! The removal of ended runs, and after which time they are removed by themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_core::{Error, ErrorKind, Result, RunId};
use trunkline_engine::{RunFilter, RunStatus};
use trunkline_flow::{Retention, age};

use super::{Empty, operation_table};
use crate::{Pruned, Runtime};

operation_table! {
    /// Removes ended runs with everything that was recorded of them.
    RemoveRuns: "runs.remove", remove(RunNames) -> RunsRemoved, Admin, Delete;
    /// Removes the runs that ended before a time.
    PruneRuns: "runs.prune", prune(PruneRequest) -> Pruned, Admin, Delete;
    /// Returns after which time ended runs are removed.
    GetRetention: "runs.get_retention", retention(Empty) -> RetentionSetting, Viewer, Read;
    /// Sets after which time ended runs are removed.
    SetRetention: "runs.set_retention", set_retention(RetentionRequest) -> RetentionSetting, Admin, Idempotent;
}

/// Names runs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunNames {
    /// The runs. The first digits of each are enough.
    pub runs: Vec<String>,
}

/// The runs that were removed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RunsRemoved {
    /// The ids of the runs.
    pub removed: Vec<RunId>,
}

async fn remove(runtime: &Runtime, input: RunNames) -> Result<RunsRemoved> {
    let (mut runs, mut removed) = (Vec::new(), Vec::new());
    for name in &input.runs {
        runs.push(runtime.find_run(name).await?);
    }
    for run in runs {
        let done = runtime.remove_run(&run).await;
        done.map_err(|error| if removed.is_empty() { error } else { error.with("removed before", removed.len()) })?;
        removed.push(run);
    }
    Ok(RunsRemoved { removed })
}

/// Which runs to remove.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// Remove the runs that ended longer ago than this, such as `90d`.
    pub older: String,
    /// Only runs of this flow.
    #[serde(default)]
    pub flow: Option<String>,
    /// Only runs with this status.
    #[serde(default)]
    pub status: Option<RunStatus>,
}

async fn prune(runtime: &Runtime, input: PruneRequest) -> Result<Pruned> {
    let PruneRequest { older, flow, status } = input;
    if status == Some(RunStatus::Running) {
        return Err(Error::new(ErrorKind::InvalidInput, "runs that have not ended cannot be removed")
            .next("cancel them first, or choose the status of ended runs"));
    }
    let length = age(&older).map_err(|fault| {
        Error::new(ErrorKind::InvalidInput, format!("`older` cannot be read: {fault}")).hint("write it like 90d or 12h")
    })?;
    let filter = RunFilter { flow, status, ended_before: Some(runtime.now() - length), ..RunFilter::default() };
    runtime.prune(&filter, |_| true).await
}

/// After which time ended runs are removed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RetentionSetting {
    /// Such as `90d`, or `forever`. It is null while nothing is removed because the store was made by an earlier
    /// version and the time was not set since. A flow with a `retention` of its own decides about its runs.
    #[schemars(with = "Option<String>")]
    pub retention: Option<Retention>,
}

async fn retention(runtime: &Runtime, _: Empty) -> Result<RetentionSetting> {
    Ok(RetentionSetting { retention: runtime.journal().retention().await? })
}

/// A new retention of ended runs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionRequest {
    /// Such as `90d`, or `forever`.
    #[schemars(with = "String")]
    pub retention: Retention,
}

async fn set_retention(runtime: &Runtime, input: RetentionRequest) -> Result<RetentionSetting> {
    runtime.journal().set_retention(input.retention).await?;
    Ok(RetentionSetting { retention: Some(input.retention) })
}
