//! `runs steps`: the steps of a run, and what one of them got and returned.

use std::process::ExitCode;

use trunkline::{
    Runtime,
    core::{Result, Timestamp},
    operations::{
        Caller,
        run_steps::{GetStep, ListSteps, RunStep, StepName, StepQuery},
    },
};

use crate::{
    output::{Output, exit, list as rows_or, time},
    run_text::duration,
};

/// Prints the steps of a run.
pub(crate) async fn list(runtime: &Runtime, run: String, output: &Output) -> Result<ExitCode> {
    let mut query = StepQuery { run, limit: Some(500), cursor: None };
    let mut all = runtime.execute::<ListSteps>(&Caller::owner(), query.clone()).await?;
    while all.next.is_some() {
        query.cursor = all.next.take();
        let page = runtime.execute::<ListSteps>(&Caller::owner(), query.clone()).await?;
        all.items.extend(page.items);
        all.next = page.next;
    }
    output.show(&all, || {
        let when = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), time);
        let row = |step: &RunStep| {
            let does = step.action.as_deref().or(step.kind).unwrap_or("-");
            let state = serde_json::to_value(step.state).unwrap_or_default();
            let counts: Vec<_> = step.items.iter().map(|(status, count)| format!("{count} {status}")).collect();
            let took = if step.duration > 0 { duration(step.duration) } else { "-".to_owned() };
            let state = state.as_str().unwrap_or_default().to_owned();
            vec![step.path.clone(), does.to_owned(), state, when(step.started), took, counts.join(", ")]
        };
        let heading = ["Step", "Does", "State", "Started (UTC)", "Took", "Items"];
        rows_or("The flow has no steps.", &heading, all.items.iter().map(row))
    });
    Ok(exit::DONE.into())
}

/// Prints what one step got and returned.
pub(crate) async fn show(runtime: &Runtime, step: StepName, output: &Output) -> Result<ExitCode> {
    output.json(&runtime.execute::<GetStep>(&Caller::owner(), step).await?);
    Ok(exit::DONE.into())
}
