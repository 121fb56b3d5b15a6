//! Shows the progress of a run: the counts of items by outcome, megabytes, the rate of the last minute, and the time
//! left.

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
    engine::{ListProgress, Rate, Run, RunNotification, Waiting},
};

use crate::{
    output::Output,
    run_text::{duration, wait_text},
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

    fn line(&self, at: Timestamp) -> String {
        let complete = self.lists.values().all(|complete| *complete);
        let progress = ListProgress::new(self.listed, complete, self.ended(), self.items_rate.per_second(at));
        let rate = self.bytes_rate.per_second(at).unwrap_or_default() / 1e6;
        let left = match progress.left {
            None => "time left unknown".to_owned(),
            Some(left) if complete => format!("{} left", duration(left)),
            Some(left) => format!("at least {} left", duration(left)),
        };
        format!(
            "{} done, {} skipped, {} failed of {}{} | {:.1} MB, {rate:.1} MB/s | {left}",
            self.done,
            self.skipped,
            self.failed,
            self.listed,
            if complete { "" } else { "+" },
            self.bytes as f64 / 1e6,
        )
    }
}

/// Shows the progress of a run that was started in this process until it ends, and returns the run.
pub(crate) async fn watch(runtime: &Runtime, run: &RunId, output: &Output) -> Result<Run> {
    let handle = runtime.take_handle(run);
    let handle = handle.ok_or_else(|| Error::new(ErrorKind::Internal, format!("run {run} was not started here")))?;
    let (since, mut last_line) = (Instant::now(), Instant::now());
    let state = Arc::<Mutex<DisplayState>>::default();
    // A task of its own: there are thousands of notifications a second, and the display is updated ten times a second.
    let mut counting = tokio::spawn(count(handle.notifications(), state.clone(), since));
    let bar = if output.is_interactive() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
        bar.set_style(style);
    }
    let mut is_over = false;
    while !is_over {
        is_over = tokio::time::timeout(DRAW_EVERY, &mut counting).await.is_ok();
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        for (step, wait) in std::mem::take(&mut state.waiting) {
            bar.suspend(|| output.info(&wait_text(handle.id(), &step, &wait)));
        }
        if output.is_interactive() {
            bar.set_length(state.listed);
            bar.set_position(state.ended());
            bar.set_message(state.line(elapsed(since)));
        } else if last_line.elapsed() >= LINE_EVERY {
            last_line = Instant::now();
            output.info(&state.line(elapsed(since)));
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
        assert!(state.line(at(0)).ends_with("of 0 | 0.0 MB, 0.0 MB/s | 0 ms left"), "{}", state.line(at(0)));
        state.take(&listed("files", 100, false), at(0));
        assert!(state.line(at(1000)).ends_with("0 failed of 100+ | 0.0 MB, 0.0 MB/s | time left unknown"));
        state.take(&RunNotification::Progress { step: "files/k/copy".into(), bytes: 20_000_000 }, at(5_000));
        for status in ["done", "skipped", "failed", "unknown"] {
            state.take(&finished("files", status), at(10_000));
        }
        // Items of a list within an item are not counted.
        state.take(&listed("files/k/parts", 7, true), at(10_000));
        state.take(&finished("files/k/parts", "done"), at(10_000));
        let line = state.line(at(10_000));
        assert_eq!(line, "1 done, 1 skipped, 2 failed of 100+ | 20.0 MB, 4.0 MB/s | at least 4 min 0 s left");
        state.take(&listed("files", 20, true), at(10_000));
        assert!(
            state.line(at(10_000)).ends_with(" of 120 | 20.0 MB, 4.0 MB/s | 4 min 50 s left"),
            "{}",
            state.line(at(10_000))
        );
        // Half a minute later, without progress, the rates are lower.
        assert!(
            state.line(at(40_000)).ends_with("| 20.0 MB, 0.6 MB/s | 19 min 20 s left"),
            "{}",
            state.line(at(40_000))
        );
    }
}
