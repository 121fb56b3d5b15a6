//! `runs list`, `runs remove`, `runs prune` and `store retention`: which runs there are, and which ones are kept.

use std::process::ExitCode;

use trunkline::{
    ListedRun, Runtime,
    core::{ForeignText, Result},
    flow::Retention,
    operations::{
        Caller, Empty,
        bulk_runs::{BulkRequest, BulkRuns, BulkVerb},
        run_queries::{ListRuns, RunQuery},
        run_removal::{GetRetention, PruneRequest, PruneRuns, RemoveRuns, RetentionRequest, RunNames, SetRetention},
    },
};

use crate::{
    output::{Output, exit, list as rows_or, time},
    run_text::listed_status,
};

pub(crate) async fn list(runtime: &Runtime, mut query: RunQuery, output: &Output) -> Result<ExitCode> {
    let owner = &Caller::owner();
    let is_filtered = query != RunQuery { limit: query.limit, ..RunQuery::default() };
    let mut page = runtime.execute::<ListRuns>(owner, query.clone()).await?;
    // A search may return pages that are not full.
    let limit = query.limit.unwrap_or(50);
    while page.items.len() < limit && page.next.is_some() {
        query.cursor = page.next.take();
        query.limit = Some(limit - page.items.len());
        let more = runtime.execute::<ListRuns>(owner, query.clone()).await?;
        page.items.extend(more.items);
        page.damaged.extend(more.damaged);
        page.next = more.next;
    }
    output.show(&page, || {
        let rows = page.items.iter().map(|ListedRun { run, state }| {
            let count = |status: &str| Some(format!("{} {status}", run.items.get(status).filter(|count| **count > 0)?));
            let items: Vec<_> = ["done", "skipped", "failed", "unknown"].iter().filter_map(|one| count(one)).collect();
            let status = listed_status(run.status, state.as_ref());
            vec![run.id.to_string(), run.flow.clone(), status, time(run.started_at), items.join(", ")]
        });
        let none = match is_filtered {
            true => "No run fits.",
            false => "There are no runs. `trunkline run NAME|FILE` starts one.",
        };
        rows_or(none, &["Run", "Flow", "Status", "Started (UTC)", "Items"], rows)
    });
    if let (Some(next), false) = (&page.next, output.is_json()) {
        output.info(&format!("There are more runs: `--cursor {next}` goes on behind these."));
    }
    Ok(output.damaged("runs", page.items.len() + page.damaged.len(), page.damaged.iter()))
}

pub(crate) async fn remove(runtime: &Runtime, runs: Vec<String>, output: &Output) -> Result<ExitCode> {
    let done = runtime.execute::<RemoveRuns>(&Caller::owner(), RunNames { runs }).await?;
    output.show(&done, || {
        let removed: Vec<_> = done.removed.iter().map(|run| run.as_str()).collect();
        format!("Removed {}.", removed.join(", "))
    });
    Ok(exit::DONE.into())
}

/// Does something with many runs, and lists those with which it was not done.
pub(crate) async fn bulk(runtime: &Runtime, request: BulkRequest, output: &Output) -> Result<ExitCode> {
    let (verb, dry_run) = (request.verb, request.dry_run);
    let done = runtime.execute::<BulkRuns>(&Caller::owner(), request).await?;
    output.show(&done, || {
        let verb = match verb {
            BulkVerb::Cancel => "cancelled",
            BulkVerb::Resume => "resumed",
            BulkVerb::Rerun => "rerun",
            BulkVerb::Remove => "removed",
        };
        let would = if dry_run { "would be " } else { "" };
        let first = format!("{} of {} runs {would}{verb}.", done.done, done.matched);
        let runs = done.runs.iter().map(|run| format!("  {run}"));
        let refused = done
            .refused
            .iter()
            .map(|one| format!("  {}  not {verb}: {}", ForeignText(&one.run), ForeignText(&one.reason)));
        [first].into_iter().chain(runs).chain(refused).collect::<Vec<_>>().join("\n")
    });
    if let (Some(next), false) = (&done.next, output.is_json()) {
        output.info(&format!("There are more runs: `--cursor {next}` goes on behind these."));
    }
    Ok(if done.refused.is_empty() { exit::DONE } else { exit::PARTIAL }.into())
}

pub(crate) async fn prune(runtime: &Runtime, request: PruneRequest, output: &Output) -> Result<ExitCode> {
    let done = runtime.execute::<PruneRuns>(&Caller::owner(), request).await?;
    output.show(&done, || match done.kept {
        0 => format!("Removed {} runs.", done.removed),
        kept => format!(
            "Removed {} runs. Kept {kept} that are as old: they have unknown outcomes, or a rerun needs them.",
            done.removed
        ),
    });
    Ok(exit::DONE.into())
}

/// Shows the retention of the store, after it has set the given one.
pub(crate) async fn retention(runtime: &Runtime, new: Option<Retention>, output: &Output) -> Result<ExitCode> {
    let owner = &Caller::owner();
    let setting = match new {
        Some(retention) => runtime.execute::<SetRetention>(owner, RetentionRequest { retention }).await?,
        None => runtime.execute::<GetRetention>(owner, Empty {}).await?,
    };
    output.show(&setting, || match setting.retention {
        Some(Retention::Forever) => "Ended runs are kept.".to_owned(),
        Some(length) => format!("Ended runs are kept for {length}; `serve` removes older ones."),
        None => "Ended runs are kept, because an earlier version has made this store. `trunkline store retention 90d` \
                 has `serve` remove them after that time."
            .to_owned(),
    });
    Ok(exit::DONE.into())
}
