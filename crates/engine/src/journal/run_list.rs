//! Lists of runs: which runs a list has, and one page of it.

use trunkline_core::{RunId, Timestamp};

use crate::{journal::RunSummary, run::RunStatus};

/// Which runs a list has. The default has all of them.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Only runs of this flow.
    pub flow: Option<String>,
    /// Only runs with this status.
    pub status: Option<RunStatus>,
    /// Only runs that were accepted at this time or later.
    pub since: Option<Timestamp>,
    /// Only runs that were accepted before this time.
    pub until: Option<Timestamp>,
    /// Only runs that ended before this time.
    pub ended_before: Option<Timestamp>,
    /// Only runs that this kind of trigger has started, such as `webhook`.
    pub trigger: Option<String>,
    /// Only runs whose id, flow, or kind or message of error contains this text, without regard to upper and lower case.
    pub search: Option<String>,
}

impl RunFilter {
    /// Returns whether a run belongs to the list. `message` returns the message of its error, and is called only if that
    /// decides.
    pub fn matches(&self, run: &RunSummary, message: impl FnOnce() -> Option<String>) -> bool {
        let has = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
        let is_found = |part: &String| {
            let kind = run.error.is_some_and(|kind| has(kind.as_str(), part));
            let named = kind || has(&run.flow, part) || has(run.id.as_str(), part);
            named || run.error.is_some() && message().is_some_and(|message| has(&message, part))
        };
        self.flow.as_ref().is_none_or(|flow| *flow == run.flow)
            && self.status.is_none_or(|status| status == run.status)
            && self.since.is_none_or(|since| run.started_at >= since)
            && self.until.is_none_or(|until| run.started_at < until)
            && self.ended_before.is_none_or(|before| run.finished_at.is_some_and(|ended| ended < before))
            && self.trigger.as_ref().is_none_or(|trigger| run.trigger.as_ref() == Some(trigger))
            && self.search.as_ref().is_none_or(is_found)
    }
}

/// A place in a list of runs, which is ordered by these two, the greatest first.
pub type RunPlace = (Timestamp, RunId);

/// A page of a list of runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunPage {
    /// The runs, newest first; runs of the same time by their ids, the greatest first.
    pub runs: Vec<RunSummary>,
    /// The place after which the next page begins; `None` after the last page.
    pub next: Option<RunPlace>,
    /// Runs that are damaged where the page lies: what is damaged of each, with what to do. They hide no other run.
    pub damaged: Vec<String>,
}

impl RunPage {
    /// Returns a page of a list, of all runs in any order, each with the message of its error: for a journal that holds them
    /// in memory.
    pub fn of(
        mut all: Vec<(RunSummary, Option<String>)>,
        filter: &RunFilter,
        after: Option<&RunPlace>,
        most: usize,
    ) -> RunPage {
        let place = |run: &RunSummary| (run.started_at, run.id.clone());
        all.retain(|(run, _)| after.is_none_or(|after| place(run) < *after));
        let fitting = all.into_iter().filter(|(run, message)| filter.matches(run, || message.clone()));
        let mut all: Vec<_> = fitting.map(|(run, _)| run).collect();
        all.sort_by_key(|run| std::cmp::Reverse(place(run)));
        let has_more = all.len() > most;
        all.truncate(most);
        let next = all.last().filter(|_| has_more).map(place);
        RunPage { runs: all, next, damaged: Vec::new() }
    }
}
