//! Waiting: for a time, for a signal, for the end of a deadline or of a grace period.

use std::time::Duration;

use serde_json::Value;
use trunkline_core::{Error, Result, StepPath};
use trunkline_flow::{Scope, Wait, moment};

use crate::{
    interpreter::{
        activity::{WaitEnd, WaitReason},
        bounds::Bounds,
        interpreter::{Interpreter, cancelled},
    },
    run::{Waiting, time::Timer},
};

/// The time that a call has to stop by itself after the run was cancelled.
const GRACE_PERIOD: Duration = Duration::from_secs(10);
/// The longest sleep before the clock is read again: it may have been set, or the machine may have been suspended.
const TICK: Duration = Duration::from_secs(60);

impl Interpreter {
    /// Executes a `wait` step.
    pub(super) async fn wait(&self, wait: &Wait, scope: &Scope, path: &StepPath, bounds: &Bounds) -> Result<Value> {
        let record = self.record();
        let began = record.now();
        let output = match wait {
            Wait::Signal(name) => {
                let name = name.render_text(scope)?;
                let wait = Waiting { signal: Some(name.clone()), until: bounds.until };
                record.wait(path, wait).await?;
                let end = WaitEnd::of(bounds.timer(), record.now());
                let _waits = self.activity().wait(end, WaitReason::Signal(name.clone()));
                tokio::select! {
                    biased;
                    payload = record.signal(&name) => payload,
                    over = self.over(bounds) => return Err(over),
                }
            }
            Wait::For(length) => {
                let until = record.now() + *length;
                self.wait_until(Timer { until, longest: *length }, path, bounds).await?
            }
            // A calendar time: only the clock counts, even if it is set back.
            Wait::Until(time) => {
                let until = moment(&time.render(scope)?)?;
                self.wait_until(Timer { until, longest: Duration::MAX }, path, bounds).await?
            }
        };
        record.finish(path, output.clone(), Some(began)).await?;
        Ok(output)
    }

    async fn wait_until(&self, timer: Timer, path: &StepPath, bounds: &Bounds) -> Result<Value> {
        let wait = self.record().wait(path, Waiting { signal: None, until: timer.until }).await?;
        self.sleep(Timer { until: wait.until, ..timer }, WaitReason::Time, bounds).await?;
        Ok(Value::Null)
    }

    /// Sleeps until the timer ends. Fails if the run is stopped or the deadline passes before.
    pub(super) async fn sleep(&self, timer: Timer, reason: WaitReason, bounds: &Bounds) -> Result<()> {
        if timer.until <= self.record().now() {
            return Ok(());
        }
        let now = self.record().now();
        let (own, outer) = (WaitEnd::of(timer, now), WaitEnd::of(bounds.timer(), now));
        let _waits = self.activity().wait(if own.left(now) < outer.left(now) { own } else { outer }, reason);
        tokio::select! {
            biased;
            () = self.until(timer) => Ok(()),
            over = self.over(bounds) => Err(over),
        }
    }

    /// Resolves when the clock reaches the timer's time, or when its longest duration has passed: the clock may have
    /// been set back since.
    pub(crate) async fn until(&self, timer: Timer) {
        let began = tokio::time::Instant::now();
        loop {
            let left = timer.until.since(self.record().now());
            let left = left.min(timer.longest.saturating_sub(began.elapsed()));
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(TICK)).await;
        }
    }

    /// Resolves when the run is stopped or the deadline has passed, with the error for that.
    pub(crate) async fn over(&self, bounds: &Bounds) -> Error {
        tokio::select! {
            biased;
            () = self.stop().requested() => cancelled(),
            () = self.until(bounds.timer()) => bounds.error(),
        }
    }

    /// Resolves when a call has had its grace period after the run was cancelled.
    pub(crate) async fn grace_period_over(&self) {
        self.stop().cancellation.cancelled().await;
        tokio::time::sleep(GRACE_PERIOD).await;
    }
}
