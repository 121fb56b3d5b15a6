//! Shows a run while it works: items done, skipped, failed, megabytes a second, time left.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::broadcast::error::RecvError;
use trunkline::{
    core::Result,
    engine::{Notice, Run, Running},
};

use super::{output::Output, runs::waits};

/// How often somebody who is not at a terminal gets a line.
const LINE_EVERY: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Seen {
    listed: u64,
    complete: bool,
    done: u64,
    skipped: u64,
    failed: u64,
    bytes: u64,
}

impl Seen {
    fn take(&mut self, notice: &Notice) {
        match notice {
            Notice::Listed { items, last, .. } => {
                self.listed += items;
                self.complete = *last;
            }
            Notice::Progress { bytes, .. } => self.bytes += bytes,
            Notice::ItemFinished { status, .. } => match *status {
                "done" => self.done += 1,
                "skipped" => self.skipped += 1,
                _ => self.failed += 1,
            },
            _ => {}
        }
    }

    fn ended(&self) -> u64 {
        self.done + self.skipped + self.failed
    }

    fn line(&self, since: Instant) -> String {
        let seconds = since.elapsed().as_secs_f64().max(0.001);
        let rate = self.bytes as f64 / 1e6 / seconds;
        let left = match self.ended() {
            0 => "time left unknown".to_owned(),
            ended if self.complete => {
                format!("{:.0} s left", seconds / ended as f64 * self.listed.saturating_sub(ended) as f64)
            }
            _ => "more to list".to_owned(),
        };
        format!(
            "{} done, {} skipped, {} failed of {}{} | {rate:.1} MB/s | {left}",
            self.done,
            self.skipped,
            self.failed,
            self.listed,
            if self.complete { "" } else { "+" },
        )
    }
}

/// Watches a run to its end.
pub(crate) async fn watch(running: Running, output: &Output) -> Result<Run> {
    let mut notices = running.notices();
    let (since, mut last_line) = (Instant::now(), Instant::now());
    let mut seen = Seen::default();
    let bar = if output.is_watched() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
        bar.set_style(style);
    }
    loop {
        match notices.recv().await {
            Ok(Notice::Finished { .. }) | Err(RecvError::Closed) => break,
            // Notices were missed: the counts on the way are a little low, the ledger at the end is not.
            Err(RecvError::Lagged(_)) => {}
            Ok(Notice::Waiting { step, wait }) => {
                bar.suspend(|| output.say(&waits(running.id(), &step, &wait)));
            }
            Ok(notice) => seen.take(&notice),
        }
        if output.is_watched() {
            bar.set_length(seen.listed);
            bar.set_position(seen.ended());
            bar.set_message(seen.line(since));
        } else if last_line.elapsed() >= LINE_EVERY {
            last_line = Instant::now();
            output.say(&seen.line(since));
        }
    }
    bar.finish_and_clear();
    running.wait().await
}
