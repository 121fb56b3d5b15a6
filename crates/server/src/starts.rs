//! What triggers have started, and could not start.
//!
//! It is collected in memory and written to the store once a second, so that a webhook with many calls costs one more
//! write a second. A failed start runs the failure handler of its flow, as a failed run does: the first one after a start
//! that succeeded, and each new due time of a schedule. A trigger that fails every minute does not report it every
//! minute.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use trunkline::Runtime;
use trunkline_core::{ErrorKind, Result, Timestamp};
use trunkline_store::{FailedStart, SavedFlow, TriggerDelivery, TriggerStarts};

/// What is not yet in the store.
#[derive(Default)]
pub(crate) struct Starts(Mutex<BTreeMap<String, New>>);

#[derive(Default)]
struct New {
    /// Whether a start has succeeded. The failures before it do not count any more.
    succeeded: bool,
    starts: TriggerStarts,
    /// The latest deliveries, oldest first.
    deliveries: Vec<TriggerDelivery>,
}

impl New {
    /// Returns what is to be stored in place of what is.
    fn onto(&self, stored: TriggerStarts) -> TriggerStarts {
        let TriggerStarts { last, failures, mut failed } = stored;
        for one in &self.starts.failed {
            // A due time that failed is tried again until it succeeds.
            failed.pop_if(|last| is_again(last, one));
            failed.push(one.clone());
        }
        failed.drain(..failed.len().saturating_sub(TriggerStarts::MOST_FAILED));
        let before = if self.succeeded { 0 } else { failures };
        TriggerStarts { last: self.starts.last.or(last), failures: before + self.starts.failures, failed }
    }
}

fn is_again(last: &FailedStart, now: &FailedStart) -> bool {
    now.due.is_some() && now.due == last.due
}

impl Starts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, New>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the trigger of a flow works. With a time, it has started a run then.
    pub(crate) fn succeeded(&self, flow: &str, at: Option<Timestamp>) {
        let mut new = self.lock();
        let new = new.entry(flow.to_owned()).or_default();
        new.succeeded = true;
        new.starts.failures = 0;
        new.starts.last = at.or(new.starts.last);
    }

    /// Records what a delivery to the trigger of a flow has led to.
    pub(crate) fn delivered(&self, flow: &str, delivery: TriggerDelivery) {
        let mut new = self.lock();
        let deliveries = &mut new.entry(flow.to_owned()).or_default().deliveries;
        deliveries.push(delivery);
        let excess = deliveries.len().saturating_sub(TriggerDelivery::MOST);
        deliveries.drain(..excess);
    }

    /// Records a failed start of a flow. Returns whether it is news, of which the failure handler has to know.
    pub(crate) fn failed(&self, saved: &SavedFlow, failed: FailedStart) -> bool {
        let mut new = self.lock();
        let new = new.entry(saved.name.clone()).or_default();
        let known = new.onto(saved.starts.clone());
        let again = known.failures > 0 && known.failed.last().is_some_and(|last| is_again(last, &failed));
        let is_news = known.failures == 0 || (failed.due.is_some() && !again);
        new.starts.failures += u64::from(!again);
        new.starts.failed.push(failed);
        let excess = new.starts.failed.len().saturating_sub(TriggerStarts::MOST_FAILED);
        new.starts.failed.drain(..excess);
        is_news
    }

    /// Writes what is new to the store.
    ///
    /// # Errors
    ///
    /// `store` if it fails.
    pub(crate) async fn flush(&self, runtime: &Runtime) -> Result<()> {
        let names: Vec<_> = self.lock().keys().cloned().collect();
        for flow in names {
            let Some(new) = self.lock().remove(&flow) else { continue };
            let stored = async {
                let stored = runtime.flows().saved_flow(&flow).await?.starts;
                let now = new.onto(stored.clone());
                if now != stored {
                    runtime.flows().set_starts(&flow, now).await?;
                }
                match new.deliveries.is_empty() {
                    true => Ok(()),
                    false => runtime.flows().add_deliveries(&flow, new.deliveries.clone()).await,
                }
            };
            match stored.await {
                // The flow was removed meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    self.lock().entry(flow).or_insert(new);
                    return Err(error);
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }
}
