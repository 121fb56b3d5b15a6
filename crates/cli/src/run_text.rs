//! Runs as text: their status, what their steps wait for, their ledgers, progress and durations.

use trunkline::{
    RunView,
    core::{ForeignText, RunId, StepPath},
    engine::{Ledger, ListProgress, QuotaShare, Resolution, Run, RunState, RunStatus, Verdict, Waiting},
};

use crate::output::time;

/// Formats the status of a run and the outcomes of its items.
pub(crate) fn summary(view: &RunView) -> String {
    let RunView { run, progress, state } = view;
    let status = status_text(run.status, state.as_ref());
    let mut text = format!("run {} of {} (version {}): {status}\n", run.id, ForeignText(&run.flow), run.version);
    let shown = state.as_ref().filter(|state| run.waiting.is_empty() || !matches!(state, RunState::Waiting { .. }));
    if let Some(reason) = shown.and_then(|state| state_text(&run.id, state)) {
        text += &format!("{reason}\n");
    }
    if let Some(retry) = &run.retry {
        text += &format!("this is a rerun of the failed items of run {}\n", retry.run);
    }
    if let Some(by) = &run.rerun_by {
        text += &format!("its failed items were rerun by run {by}\n");
    }
    for (step, wait) in &run.waiting {
        text += &format!("\n{}", wait_text(&run.id, step, wait));
    }
    if let Some(result) = &run.output {
        text += &format!("\noutput: {result}");
    }
    for (step, progress) in progress {
        text += &format!("\n{}: {}", foreign(step), progress_text(progress));
    }
    for (warning, times) in &run.warnings {
        text += &format!("\nwarning ({times}x): {}", ForeignText(warning));
    }
    if let Some(reason) = &run.skipped {
        text += &format!("\nskipped: {}", ForeignText(reason));
    }
    for (step, ledger) in &run.ledger {
        text += &format!("\n{}: ", foreign(step));
        text += &match *ledger == Ledger::default() {
            true if run.retry.is_some() => "nothing to do: the list has no item to repeat\n".to_owned(),
            true => "nothing to do: the list is empty\n".to_owned(),
            false => format!("{} items\n{}", ledger.total(), lines(ledger)),
        };
    }
    text + &advice(run)
}

/// Returns a step as text; its path contains keys of items.
fn foreign(step: &StepPath) -> ForeignText<'_> {
    ForeignText(step.as_str())
}

/// Formats what to do about items that failed or are unknown.
fn advice(run: &Run) -> String {
    let id = &run.id;
    let any = |reasons: fn(&Ledger) -> bool| run.ledger.values().any(reasons);
    let mut text = String::new();
    if run.is_stopped_by_connection() && run.rerun_by.is_none() {
        text += &format!(
            "\nstopped by a connection that did not work: `trunkline serve` resumes it by itself when all of its \
             connections work again, `trunkline runs resume {id}` does so at once"
        );
    }
    if any(|ledger| !ledger.failed.is_empty()) && run.status != RunStatus::Running {
        text += &format!("\nfailed: `trunkline runs items {id} --status failed` lists them");
        if run.rerun_by.is_none() {
            text += &format!(", `trunkline runs rerun {id} --failed` reruns them");
        }
    }
    if any(|ledger| !ledger.unknown.is_empty()) {
        text += &format!(
            "\nunknown: `trunkline runs items {id} --status unknown` lists them, `trunkline runs resolve {id} STEP \
             done|retry|fail` sets the outcome of one"
        );
    }
    text
}

/// Formats the result of resolving a step, and what to do next.
pub(crate) fn resolution_text(resolution: &Resolution) -> String {
    let Resolution { run, step, verdict, items } = resolution;
    let mut text = format!("{} is resolved: {}.", foreign(step), verdict.as_str());
    for item in items {
        let reason = item.outcome.reason().map(|reason| format!(" ({})", ForeignText(reason))).unwrap_or_default();
        let (key, step) = (ForeignText(&item.key), foreign(&item.step));
        text += &format!("\n{key} of {step} is {}{reason}.", item.outcome.status());
    }
    if items.is_empty() {
        text += &format!("\n`trunkline runs resume {run}` continues the run.");
    } else if *verdict != Verdict::Fail && items.iter().any(|item| item.outcome.status() == "failed") {
        text += &format!("\n`trunkline runs rerun {run} --failed` reruns it.");
    }
    text
}

/// Returns the status of a run in one word: what it does, if it has not ended.
pub(crate) fn status_text(status: RunStatus, state: Option<&RunState>) -> &'static str {
    match state {
        Some(state) if status == RunStatus::Running => state.as_str(),
        _ => status.as_str(),
    }
}

/// Formats the status of a run in a list: with the end of its wait, by the time of day.
pub(crate) fn listed_status(status: RunStatus, state: Option<&RunState>) -> String {
    let text = status_text(status, state);
    match state.and_then(RunState::until).filter(|_| matches!(state, Some(RunState::Throttled { .. }))) {
        Some(until) => format!("{text} until {}", &time(until)[11..16]),
        None => text.to_owned(),
    }
}

/// Formats why a run does not go on, and what ends that; nothing for a running run, and for a wait that its steps show.
pub(crate) fn state_text(run: &RunId, state: &RunState) -> Option<String> {
    let by_itself = "the server starts it by itself";
    Some(match state {
        RunState::Running => return None,
        RunState::Waiting { until: Some(until), .. } => format!("waits until {} (UTC)", time(*until)),
        // The advice about its connections says it.
        RunState::Waiting { .. } => return None,
        RunState::Throttled { until, connection } => {
            let what = connection.as_ref().map_or("a service".to_owned(), |name| format!("the service of {name}"));
            format!("throttled until {} (UTC): {what} accepts no requests before", time(*until))
        }
        RunState::Queued { behind: Some(other), .. } => {
            format!("queued behind run {other} of the same flow: {by_itself}")
        }
        RunState::Queued { limit: Some(limit), .. } => {
            format!("queued, because {limit} other runs are active, the most of this server: {by_itself}")
        }
        RunState::Queued { .. } => format!("queued until there is enough memory: {by_itself}"),
        RunState::Left => format!(
            "its process has ended: `trunkline runs resume {run}` continues it, and so does `trunkline serve` when it \
             starts"
        ),
    })
}

/// Formats what a step waits for, and how to end the wait.
pub(crate) fn wait_text(run: &RunId, step: &StepPath, wait: &Waiting) -> String {
    let (until, step) = (time(wait.until), foreign(step));
    match &wait.signal {
        None => format!("{step} waits until {until} (UTC)"),
        Some(name) => {
            let name = ForeignText(name);
            format!(
                "{step} waits for the signal {name}, until {until} (UTC) at most: `trunkline runs signal {run} {name}` \
                 sends it"
            )
        }
    }
}

/// Formats a ledger: the number of items for each outcome and reason, one a line.
pub(crate) fn lines(ledger: &Ledger) -> String {
    let mut text = format!("  {:>7}  done\n", ledger.done);
    for (status, reasons) in [("skipped", &ledger.skipped), ("failed", &ledger.failed), ("unknown", &ledger.unknown)] {
        for (reason, count) in reasons {
            text += &format!("  {count:>7}  {status}: {}\n", ForeignText(reason));
        }
    }
    if let Some(reason) = &ledger.maybe_incomplete {
        text += &format!(
            "  the list changed while it was read: items may be missing; run the flow again ({})\n",
            ForeignText(reason)
        );
    }
    text
}

/// Formats the progress of a list.
pub(crate) fn progress_text(progress: &ListProgress) -> String {
    let ListProgress { listed, complete, ended, per_second, left, quota } = progress;
    let (more, at_least) = if *complete { ("", "") } else { (" so far", "at least ") };
    let mut text = format!("{ended} of {listed} items{more}");
    if let Some(rate) = per_second {
        text += &format!(" | {rate:.1} a second");
    }
    if let Some(left) = left {
        text += &format!(" | {at_least}{} left", duration(*left));
    }
    match quota {
        Some(quota) => text + &format!(" | {at_least}{}", quota_text(quota)),
        None => text,
    }
}

/// Formats the share of a quota.
pub(crate) fn quota_text(quota: &QuotaShare) -> String {
    let QuotaShare { connection, share, left, until } = quota;
    let percent = |share: f64| match share * 100.0 {
        percent if percent < 10.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    };
    let (share, left, connection, until) = (percent(*share), percent(*left), ForeignText(connection), time(*until));
    format!("{share} of the quota of {connection} until {until} (UTC), of which {left} is left")
}

/// Formats a duration, given in milliseconds.
pub(crate) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{:.1} s", milliseconds as f64 / 1e3),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_reports_that_its_list_changed() {
        let ledger = Ledger { done: 7, ..Ledger::default() };
        assert_eq!(lines(&ledger), "        7  done\n");
        let ledger = Ledger { maybe_incomplete: Some("it had 7 items, and then 8".into()), ..ledger };
        assert_eq!(
            lines(&ledger),
            "        7  done\n  the list changed while it was read: items may be missing; run the flow again (it had 7 items, \
             and then 8)\n"
        );
    }
}
