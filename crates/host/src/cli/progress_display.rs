//! Shows a run while it works: items done, skipped, failed of how many, megabytes, the rate of the last minute, time left.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use trunkline::{
    core::{Result, Timestamp},
    engine::{ListProgress, Rate, Run, RunHandle, RunNotification, StepPath, Waiting},
};

use super::{inspect::span, output::Output, runs::waits};

/// How often a terminal is drawn anew.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// How often somebody who is not at a terminal gets a line.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What was seen so far. Lists within items of other lists are not counted: they are part of those.
#[derive(Default)]
struct Seen {
    /// Lists, and whether they have been read to their ends.
    lists: BTreeMap<StepPath, bool>,
    listed: u64,
    done: u64,
    skipped: u64,
    failed: u64,
    bytes: u64,
    items_rate: Rate,
    bytes_rate: Rate,
    /// Steps that have begun to wait, and nobody has been told.
    waiting: Vec<(StepPath, Waiting)>,
}

impl Seen {
    /// Takes a notice into account, so many milliseconds after the start.
    fn take(&mut self, notice: &RunNotification, at: Timestamp) {
        match notice {
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
        let far = ListProgress::new(self.listed, complete, self.ended(), self.items_rate.per_second(at));
        let rate = self.bytes_rate.per_second(at).unwrap_or_default() / 1e6;
        let left = match far.left {
            None => "time left unknown".to_owned(),
            Some(left) if complete => format!("{} left", span(left)),
            Some(left) => format!("at least {} left", span(left)),
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

/// Watches a run to its end.
pub(crate) async fn watch(running: RunHandle, output: &Output) -> Result<Run> {
    let (since, mut last_line) = (Instant::now(), Instant::now());
    let counted = Arc::<Mutex<Seen>>::default();
    // In a task of its own: there are thousands of notices a second, and a person sees ten.
    let mut counting = tokio::spawn(count(running.notifications(), counted.clone(), since));
    let bar = if output.is_watched() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
        bar.set_style(style);
    }
    let mut is_over = false;
    while !is_over {
        is_over = tokio::time::timeout(DRAWN_EVERY, &mut counting).await.is_ok();
        let mut seen = counted.lock().unwrap_or_else(PoisonError::into_inner);
        for (step, wait) in std::mem::take(&mut seen.waiting) {
            bar.suspend(|| output.say(&waits(running.id(), &step, &wait)));
        }
        if output.is_watched() {
            bar.set_length(seen.listed);
            bar.set_position(seen.ended());
            bar.set_message(seen.line(elapsed(since)));
        } else if last_line.elapsed() >= LINE_EVERY {
            last_line = Instant::now();
            output.say(&seen.line(elapsed(since)));
        }
    }
    bar.finish_and_clear();
    running.wait().await
}

/// Counts what happens, to the end.
async fn count(mut notifications: Receiver<RunNotification>, seen: Arc<Mutex<Seen>>, since: Instant) {
    loop {
        match notifications.recv().await {
            Ok(RunNotification::Finished { .. }) | Err(RecvError::Closed) => return,
            // Notices were missed: the counts on the way are a little low, the ledger at the end is not.
            Err(RecvError::Lagged(_)) => {}
            Ok(notice) => seen.lock().unwrap_or_else(PoisonError::into_inner).take(&notice, elapsed(since)),
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
    fn time_left_is_told_as_far_as_the_list_is_known() {
        let at = Timestamp::from_millis;
        let mut seen = Seen::default();
        assert!(seen.line(at(0)).ends_with("of 0 | 0.0 MB, 0.0 MB/s | 0 ms left"), "{}", seen.line(at(0)));
        seen.take(&listed("files", 100, false), at(0));
        assert!(seen.line(at(1000)).ends_with("0 failed of 100+ | 0.0 MB, 0.0 MB/s | time left unknown"));
        seen.take(&RunNotification::Progress { step: "files/k/copy".into(), bytes: 20_000_000 }, at(5_000));
        for status in ["done", "skipped", "failed", "unknown"] {
            seen.take(&finished("files", status), at(10_000));
        }
        // Parts of items.
        seen.take(&listed("files/k/parts", 7, true), at(10_000));
        seen.take(&finished("files/k/parts", "done"), at(10_000));
        let line = seen.line(at(10_000));
        assert_eq!(line, "1 done, 1 skipped, 2 failed of 100+ | 20.0 MB, 4.0 MB/s | at least 4 min 0 s left");
        seen.take(&listed("files", 20, true), at(10_000));
        assert!(
            seen.line(at(10_000)).ends_with(" of 120 | 20.0 MB, 4.0 MB/s | 4 min 50 s left"),
            "{}",
            seen.line(at(10_000))
        );
        // Half a minute later nothing has moved.
        assert!(seen.line(at(40_000)).ends_with("| 20.0 MB, 0.6 MB/s | 19 min 20 s left"), "{}", seen.line(at(40_000)));
    }
}
