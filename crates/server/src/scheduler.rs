//! Starts runs by the triggers `schedule` and `poll`: at set times, and for new items of a list.
//!
//! The scheduler checks the saved flows once a second. The position of each trigger is stored in the transaction that
//! accepts a run, so after a crash at any moment the next scheduler continues from there.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Map;
use tokio::time::Instant;
use trunkline::{Cause, NewRun, Runtime, StartOutcome};
use trunkline_core::{CancellationToken, Error, ErrorKind, Result, Timestamp};
use trunkline_engine::TriggerEvent;
use trunkline_flow::{Flow, Poll, Schedule, Trigger};
use trunkline_store::{DeliveryOutcome, SavedFlow, TriggerFinding};

use crate::{
    dispatcher::Dispatcher,
    findings::{Findings, changed},
    health::Health,
    look::{Look, Looked},
};

/// The time between two checks of all triggers.
const TICK: Duration = Duration::from_secs(1);
/// The pause of a trigger after it failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(60);
/// The pause of a trigger after a failure that may be a hiccup. Only if the next check fails too, it is reported.
const PAUSE_BEFORE_REPORT: Duration = Duration::from_secs(10);
/// The pause of a trigger after the store failed. It is short: while the store fails, no trigger is checked anyway.
const PAUSE_AFTER_STORE_ERROR: Duration = Duration::from_secs(5);

/// Checks the triggers of all active flows.
pub(crate) struct Scheduler {
    runtime: Runtime,
    dispatcher: Arc<Dispatcher>,
    health: Arc<Health>,
    closing: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The flows whose triggers are being checked.
    busy: HashSet<String>,
    /// The flows whose trigger is paused because it failed or has just polled, each with its version and the end of the
    /// pause. Another version of the flow ends the pause.
    paused: HashMap<String, (String, Instant)>,
    /// The digests of the lists whose latest look may have been incomplete and so was not the first one, by flow.
    incomplete: HashMap<String, u64>,
    /// The flows whose last check failed for the first time, in a way that may be a hiccup of the service.
    unconfirmed: HashSet<String>,
    /// The flows that are damaged and were logged.
    damaged: HashSet<String>,
}

impl Scheduler {
    /// Checks the triggers once a second, until `closing` is cancelled.
    pub(crate) fn start(
        runtime: Runtime,
        dispatcher: Arc<Dispatcher>,
        health: Arc<Health>,
        closing: CancellationToken,
    ) {
        let scheduler = Arc::new(Scheduler { runtime, dispatcher, health, closing, state: Mutex::default() });
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = scheduler.closing.cancelled() => return,
                    () = tokio::time::sleep(TICK) => {}
                }
                if !scheduler.health.is_ok() {
                    continue;
                }
                scheduler.dispatcher.advance();
                if let Err(error) = scheduler.tick().await {
                    scheduler.health.report(&error);
                    tracing::error!("the triggers cannot be checked: {error}");
                }
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tick(self: &Arc<Self>) -> Result<()> {
        self.dispatcher.starts.flush(&self.runtime).await?;
        let all = self.runtime.flows().saved_flows().await?;
        let is_found = |one: &&SavedFlow| one.damaged.is_some() || one.active && !one.findings.is_empty();
        self.health.set_findings(all.iter().filter(is_found).count());
        self.health.set_failed_starts(all.iter().filter(|one| one.active).map(|one| &one.starts));
        for (name, damaged) in all.iter().filter_map(|one| Some((&one.name, one.damaged.as_ref()?))) {
            if self.lock().damaged.insert(name.clone()) {
                tracing::error!(flow = name, "its trigger starts no runs: {damaged}");
            }
        }
        for saved in all.into_iter().filter(|one| one.active) {
            let name = saved.name.clone();
            let flow = match self.runtime.flow_of(&saved).await {
                Ok(flow) => flow,
                Err(error) if error.store_fault().is_some() => return Err(error),
                // A document that is damaged stops no other trigger.
                Err(error) => {
                    self.report(&name, Findings::of(&error), false).await?;
                    continue;
                }
            };
            if !matches!(flow.trigger(), Some(Trigger::Schedule(_) | Trigger::Poll(_))) {
                continue;
            }
            {
                let mut state = self.lock();
                let paused =
                    state.paused.get(&name).is_some_and(|(of, until)| *of == saved.version && *until > Instant::now());
                if paused || !state.busy.insert(name.clone()) {
                    continue;
                }
            }
            let this = self.clone();
            tokio::spawn(async move {
                let pause = match this.check(&name, &flow).await {
                    Ok(pause) => {
                        this.lock().unconfirmed.remove(&name);
                        pause
                    }
                    Err(error) => Some(this.failed(&name, &error).await),
                };
                let mut state = this.lock();
                state.busy.remove(&name);
                match pause.and_then(|pause| Instant::now().checked_add(pause)) {
                    Some(until) => state.paused.insert(name, (saved.version, until)),
                    None => state.paused.remove(&name),
                };
            });
        }
        Ok(())
    }

    /// Reports that a trigger has failed, and returns how long it is paused.
    async fn failed(&self, name: &str, error: &Error) -> Duration {
        self.health.report(error);
        if may_be_hiccup(error) && self.lock().unconfirmed.insert(name.to_owned()) {
            tracing::info!(flow = name, "its trigger failed, and is checked once more: {error}");
            return PAUSE_BEFORE_REPORT;
        }
        let reported = match error.kind() {
            ErrorKind::Store => Err(error.clone()),
            _ => self.report(name, Findings::of(error), false).await,
        };
        match reported {
            Ok(is_news) => {
                // Once as a warning: the log shows an operator why no run is started.
                match is_news {
                    true => tracing::warn!(flow = name, "its trigger failed: {error:?}"),
                    false => tracing::debug!(flow = name, "its trigger failed: {error:?}"),
                }
                self.start_failed(name, error).await;
                PAUSE_AFTER_ERROR
            }
            Err(error) => {
                tracing::warn!(flow = name, "its trigger failed: {error:?}");
                PAUSE_AFTER_STORE_ERROR
            }
        }
    }

    /// Records that the trigger of a flow could not start a run.
    async fn start_failed(&self, name: &str, error: &Error) {
        let Ok((saved, flow)) = self.runtime.saved_flow(name).await else { return };
        // Those before the one that failed were started, and are not due any more.
        let (input, due) = match (flow.trigger(), saved.through) {
            (Some(Trigger::Schedule(schedule)), Some(through)) => {
                let due = schedule.due(through, self.runtime.now()).into_iter().next();
                (due.map_or_else(|| Map::new().into(), |due| schedule.input(due)), due)
            }
            _ => (Map::new().into(), None),
        };
        self.dispatcher.start_failed(saved, flow, (input, due), error).await;
    }

    /// Starts the runs that are due, and returns how long the trigger can be paused.
    async fn check(&self, name: &str, flow: &Flow) -> Result<Option<Duration>> {
        // Read here, where no other task checks this trigger, so that the position is the one of the previous check.
        let saved = &self.runtime.flows().saved_flow(name).await?;
        match flow.trigger() {
            Some(Trigger::Schedule(schedule)) => {
                self.schedule(saved, schedule).await?;
                if !saved.findings.is_empty() {
                    self.report(name, Findings::default(), true).await?;
                }
                Ok(None)
            }
            Some(Trigger::Poll(poll)) => {
                // New items stay in the list until the previous run has ended.
                if flow.overlap().at_once() == 1 && self.dispatcher.is_busy(&saved.name) {
                    return Ok(None);
                }
                // A previous poll in the future is ignored: the system clock was set back.
                let now = self.runtime.now();
                let since = saved.through.filter(|last| *last <= now).map_or(Duration::MAX, |last| now.since(last));
                match poll.every().checked_sub(since).filter(|pause| !pause.is_zero()) {
                    Some(pause) => Ok(Some(pause)),
                    None => self.poll(saved, flow, poll).await.map(|()| Some(poll.every())),
                }
            }
            _ => Ok(None),
        }
    }

    async fn schedule(&self, saved: &SavedFlow, schedule: &Schedule) -> Result<()> {
        let (journal, now) = (self.runtime.journal(), self.runtime.now());
        let event = |at: Option<Timestamp>, through: Timestamp| TriggerEvent {
            flow: saved.name.clone(),
            keys: at.map(|at| at.to_string()).into_iter().collect(),
            through: Some(through),
            ..TriggerEvent::default()
        };
        // The first check of a schedule only records the time. The same is done if the recorded time is in the future,
        // because the system clock was set back: otherwise no run would start until that time. Due times that occur
        // twice start no second run, because their deduplication keys are stored.
        let Some(through) = saved.through.filter(|through| *through <= now) else {
            return journal.remember_trigger(event(None, now)).await;
        };
        let flow = &self.runtime.flow_of(saved).await?;
        for at in schedule.due(through, now) {
            let new = NewRun::of_saved(saved.clone(), flow.clone(), schedule.input(at));
            match self.dispatcher.dispatch(new, Cause::Trigger(&event(Some(at), at))).await? {
                StartOutcome::Run(run) => {
                    tracing::info!(flow = saved.name, %run, %at, "started by its schedule");
                    self.dispatcher.starts.succeeded(&saved.name, Some(now));
                    self.dispatcher.delivered(&saved.name, "schedule", DeliveryOutcome::Started { run });
                }
                // Started by another process, or skipped.
                StartOutcome::Duplicate(_) | StartOutcome::Skipped => {
                    self.dispatcher.starts.succeeded(&saved.name, None);
                    journal.remember_trigger(event(Some(at), at)).await?
                }
            }
        }
        Ok(())
    }

    /// Looks at the list of a poll.
    async fn poll(&self, saved: &SavedFlow, flow: &Flow, poll: &Poll) -> Result<()> {
        let incomplete = self.lock().incomplete.remove(&saved.name);
        let (runtime, dispatcher) = (&self.runtime, &self.dispatcher);
        let looked = Look { runtime, dispatcher, saved, flow, poll, incomplete }.look().await?;
        let Looked { findings, to_the_end, incomplete } = looked;
        if let Some(digest) = incomplete {
            self.lock().incomplete.insert(saved.name.clone(), digest);
        }
        if saved.starts.failures > 0 {
            self.dispatcher.starts.succeeded(&saved.name, None);
        }
        self.report(&saved.name, findings, to_the_end).await.map(drop)
    }

    /// Saves what a check has found, if it is something else than before. Items that are found for the first time are
    /// also logged. Returns whether anything is.
    async fn report(&self, name: &str, findings: Findings, to_the_end: bool) -> Result<bool> {
        let flows = self.runtime.flows();
        let before = flows.saved_flow(name).await?.findings;
        let now = findings.merge(&before, to_the_end, self.runtime.now(), self.runtime.redactor());
        let mut is_news = false;
        for one in now.iter().filter(|one| before.iter().all(|known| known.what != one.what)) {
            is_news = true;
            if let TriggerFinding { what, hint, place, items: Some(items), .. } = one {
                tracing::warn!(flow = name, items, place, hint, "{what}");
            }
        }
        if now.is_empty() && !before.is_empty() {
            tracing::info!(flow = name, "nothing is wrong with its trigger any more");
        }
        if changed(&before, &now) {
            flows.set_findings(name, now).await?;
        }
        Ok(is_news)
    }
}

/// Returns whether a failure may be gone with the next check: the service or its login server refused or was down.
fn may_be_hiccup(error: &Error) -> bool {
    use ErrorKind::{Auth, Permission, RateLimited, Unavailable};
    matches!(error.kind(), Auth | Permission | RateLimited | Unavailable)
}

#[cfg(test)]
mod tests;
