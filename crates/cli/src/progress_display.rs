//! Shows the progress of a run: the counts of items by outcome, the time left, megabytes and their rate of the last
//! minute, and whether a service has throttled it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use trunkline::{
    Runtime,
    core::{Error, ErrorKind, Result, RunId, StepPath, Timestamp},
    engine::{ListProgress, QuotaUse, Rate, Run, RunNotification, RunState, Waiting},
};

use crate::{
    output::{Output, time},
    run_text::{duration, quota_text, wait_text},
};

/// The time between two updates of a terminal.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// The time between two lines of progress where standard error is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The counts to display. Only outermost lists are counted: a list within an item is part of that item.
#[derive(Default)]
struct DisplayState {
    /// The lists, and whether each has been read to its end.
    lists: BTreeMap<StepPath, bool>,
    listed: u64,
    done: u64,
    skipped: u64,
    failed: u64,
    bytes: u64,
    items_rate: Rate,
    bytes_rate: Rate,
    /// The steps that have started to wait since the last update.
    waiting: Vec<(StepPath, Waiting)>,
    /// What the list takes of a quota, as measured last.
    quota: Option<QuotaUse>,
}

impl DisplayState {
    /// Counts a notification. `at` is the time since the start of the display.
    fn take(&mut self, notification: &RunNotification, at: Timestamp) {
        match notification {
            RunNotification::Listed { step, items, last } if self.is_outermost(step) => {
                *self.lists.entry(step.clone()).or_default() |= *last;
                self.listed += items;
                self.items_rate.begin(at);
            }
            RunNotification::Progress { bytes, .. } => {
                self.bytes += bytes;
                self.bytes_rate.add(*bytes, at);
            }
            RunNotification::ItemFinished { step, status, .. } if self.is_outermost(step) => {
                self.items_rate.add(1, at);
                match *status {
                    "done" => self.done += 1,
                    "skipped" => self.skipped += 1,
                    _ => self.failed += 1,
                }
            }
            RunNotification::Waiting { step, wait } => self.waiting.push((step.clone(), wait.clone())),
            _ => {}
        }
    }

    fn is_outermost(&self, step: &StepPath) -> bool {
        let within =
            |list: &StepPath| step.as_str().strip_prefix(list.as_str()).is_some_and(|rest| rest.starts_with('/'));
        !self.lists.keys().any(within)
    }

    fn ended(&self) -> u64 {
        self.done + self.skipped + self.failed
    }

    /// Returns whether all lists that were begun have been read to their ends.
    fn is_complete(&self) -> bool {
        !self.lists.is_empty() && self.lists.values().all(|complete| *complete)
    }

    /// Returns how many of how many items the bar shows. It stays empty until the number of all items is known.
    fn bar(&self) -> (u64, u64) {
        match self.is_complete() && self.listed > 0 {
            true => (self.ended(), self.listed),
            false => (0, 1),
        }
    }

    fn line(&self, at: Timestamp, state: &RunState) -> String {
        let complete = self.is_complete();
        let mut parts = Vec::new();
        if let RunState::Throttled { until, .. } = state {
            parts.push(format!("throttled until {} (UTC)", &time(*until)[11..]));
        }
        match (self.listed.max(self.ended()), complete) {
            (0, true) => parts.push("nothing to do: the list is empty".to_owned()),
            (0, false) => parts.push("no items yet".to_owned()),
            (listed, _) => {
                let counts = [(self.skipped, "skipped"), (self.failed, "failed")].into_iter().filter(|(n, _)| *n > 0);
                let counts: String = counts.map(|(count, status)| format!(", {count} {status}")).collect();
                let more = if complete { "" } else { "+" };
                parts.push(format!("{} of {listed}{more} items{counts}", self.ended()));
            }
        }
        let progress = ListProgress::new(self.listed, complete, self.ended(), &self.items_rate, at);
        let about = if complete { "about" } else { "at least" };
        if let Some(left) = progress.left.filter(|left| *left > 0) {
            parts.push(format!("{about} {} left", duration(left)));
        }
        let quota = self.quota.as_ref().filter(|quota| self.lists.contains_key(&quota.list));
        if let Some(quota) = quota.and_then(|quota| quota.share(&progress)) {
            parts.push(format!("{about} {}", quota_text(&quota)));
        }
        if self.bytes > 0 {
            let rate = self.bytes_rate.per_second(at).unwrap_or_default() / 1e6;
            parts.push(format!("{:.1} MB, {rate:.1} MB/s", self.bytes as f64 / 1e6));
        }
        parts.join(" | ")
    }
}

/// Shows the progress of a run that was started in this process until it ends, and returns the run.
pub(crate) async fn watch(runtime: &Runtime, run: &RunId, output: &Output) -> Result<Run> {
    let handle = runtime.take_handle(run);
    let handle = handle.ok_or_else(|| Error::new(ErrorKind::Internal, format!("run {run} was not started here")))?;
    let (since, mut last_line, activity) = (Instant::now(), Instant::now(), handle.activity());
    let state = Arc::<Mutex<DisplayState>>::default();
    // A task of its own: there are thousands of notifications a second, and the display is updated ten times a second.
    let mut counting = tokio::spawn(count(handle.notifications(), state.clone(), since));
    let bar = if output.is_interactive() { ProgressBar::new(1) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:16} {wide_msg}") {
        bar.set_style(style);
    }
    let mut is_over = false;
    while !is_over {
        is_over = tokio::time::timeout(DRAW_EVERY, &mut counting).await.is_ok();
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.quota = activity.quota();
        for (step, wait) in std::mem::take(&mut state.waiting) {
            bar.suspend(|| output.info(&wait_text(handle.id(), &step, &wait)));
        }
        if output.is_interactive() {
            let (position, length) = state.bar();
            bar.set_length(length);
            bar.set_position(position);
            bar.set_message(state.line(elapsed(since), &activity.state(runtime.now())));
        } else if last_line.elapsed() >= LINE_EVERY {
            last_line = Instant::now();
            output.info(&state.line(elapsed(since), &activity.state(runtime.now())));
        }
    }
    bar.finish_and_clear();
    handle.wait().await
}

/// Counts notifications until the run ends.
async fn count(mut notifications: Receiver<RunNotification>, state: Arc<Mutex<DisplayState>>, since: Instant) {
    loop {
        match notifications.recv().await {
            Ok(RunNotification::Finished { .. }) | Err(RecvError::Closed) => return,
            // Some notifications were missed: the displayed counts are a little low, but the ledger at the end is
            // exact.
            Err(RecvError::Lagged(_)) => {}
            Ok(notification) => {
                state.lock().unwrap_or_else(PoisonError::into_inner).take(&notification, elapsed(since))
            }
        }
    }
}

fn elapsed(since: Instant) -> Timestamp {
    Timestamp::EPOCH + since.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(step: &str, items: u64, last: bool) -> RunNotification {
        RunNotification::Listed { step: step.into(), items, last }
    }

    fn finished(step: &str, status: &'static str) -> RunNotification {
        RunNotification::ItemFinished { step: step.into(), key: "k".into(), status, reason: None }
    }

    #[test]
    fn the_time_left_is_estimated_from_the_items_listed_so_far() {
        let at = Timestamp::from_millis;
        let mut state = DisplayState::default();
        let line = |state: &DisplayState, millis| state.line(at(millis), &RunState::Running);
        assert_eq!(line(&state, 0), "no items yet");
        state.take(&listed("files", 100, false), at(0));
        assert_eq!((line(&state, 1000).as_str(), state.bar()), ("0 of 100+ items", (0, 1)));
        state.take(&RunNotification::Progress { step: "files/k/copy".into(), bytes: 20_000_000 }, at(5_000));
        for status in ["done", "skipped", "failed", "unknown"] {
            state.take(&finished("files", status), at(10_000));
        }
        // Items of a list within an item are not counted.
        state.take(&listed("files/k/parts", 7, true), at(10_000));
        state.take(&finished("files/k/parts", "done"), at(10_000));
        let counts = "4 of 100+ items, 1 skipped, 2 failed";
        assert_eq!(line(&state, 10_000), format!("{counts} | 20.0 MB, 4.0 MB/s"), "ten seconds show little");
        assert_eq!(state.bar(), (0, 1), "the bar is empty until the number of items is known");
        for second in 10..170 {
            state.take(&finished("files", "done"), at(second * 1000));
            state.take(&listed("files", 1, second == 169), at(second * 1000));
        }
        let counts = "164 of 260 items, 1 skipped, 2 failed";
        assert_eq!(line(&state, 170_000), format!("{counts} | about 1 min 36 s left | 20.0 MB, 0.0 MB/s"));
        assert_eq!(state.bar(), (164, 260));
        let (connection, list, until) = ("dam".to_owned(), "files".into(), at(86_400_000));
        state.quota = Some(QuotaUse { list, per_item: 2.5, connection, limit: 2_000, left: 1_500, until });
        let share = "about 12 % of the quota of dam until 1970-01-02 00:00:00 (UTC), of which 75 % is left";
        assert!(line(&state, 170_000).contains(&format!("about 1 min 36 s left | {share} | 20.0 MB")), "{share}");
        state.quota = None;
        let throttled = RunState::Throttled { until: at(270_000), connection: None };
        assert!(state.line(at(170_000), &throttled).starts_with("throttled until 00:04:30 (UTC) | 164 of 260 items"));
        // Half a minute later, without progress, the rate is not steady.
        assert_eq!(line(&state, 200_000), format!("{counts} | 20.0 MB, 0.0 MB/s"));
    }

    #[test]
    fn a_list_without_items_says_so_and_leaves_the_bar_empty() {
        let mut state = DisplayState::default();
        state.take(&listed("files", 0, true), Timestamp::EPOCH);
        assert_eq!(state.line(Timestamp::EPOCH, &RunState::Running), "nothing to do: the list is empty");
        assert_eq!(state.bar(), (0, 1));
    }
}
