//! What starts runs by itself: schedules, and lists that are looked at for new items.
//!
//! Once a second it looks at the kept flows. How far each trigger is lies in the store, written in the transaction that
//! accepts a run; so a clock that dies at any moment is followed by one that goes on where it was.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;
use trunkline_core::{CancellationToken, Connected, Error, ErrorKind, Result};
use trunkline_engine::{Existing, Fired, Flow, Overlap, Poll, Schedule, Trigger};
use trunkline_store::KeptFlow;

use super::dispatch::{Dispatcher, Started};
use crate::Runtime;

const TICK: Duration = Duration::from_secs(1);
/// How long a trigger that failed is left alone.
const AFTER_FAULT: Duration = Duration::from_secs(60);
/// How many items one run gets at most.
const MOST_ITEMS: usize = 100;
/// How many pages of a list are read at one look.
const MOST_PAGES: usize = 1000;

pub(crate) struct Clock {
    runtime: Runtime,
    dispatcher: Arc<Dispatcher>,
    closing: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Flows as they were read, by version.
    flows: HashMap<String, Flow>,
    /// Flows that are being looked at.
    busy: HashSet<String>,
    /// Flows whose trigger failed, or has looked, and is left alone until then, unless it becomes another version.
    rests: HashMap<String, (String, Instant)>,
}

impl Clock {
    /// Ticks until it is closed.
    pub(crate) fn start(runtime: Runtime, dispatcher: Arc<Dispatcher>, closing: CancellationToken) {
        let clock = Arc::new(Clock { runtime, dispatcher, closing, state: Mutex::default() });
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = clock.closing.cancelled() => return,
                    () = tokio::time::sleep(TICK) => {}
                }
                if let Err(error) = clock.tick().await {
                    tracing::error!("the triggers cannot be looked at: {error}");
                }
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tick(self: &Arc<Self>) -> Result<()> {
        let kept = self.runtime.store().kept_flows().await?;
        let versions: HashSet<_> = kept.iter().map(|one| one.version.clone()).collect();
        self.lock().flows.retain(|version, _| versions.contains(version));
        for kept in kept.into_iter().filter(|one| one.active) {
            let name = kept.name.clone();
            let Some(flow) = self.flow(&kept) else { continue };
            if !matches!(flow.trigger(), Some(Trigger::Schedule(_) | Trigger::Poll(_))) {
                continue;
            }
            {
                let mut state = self.lock();
                let rests =
                    state.rests.get(&name).is_some_and(|(of, until)| *of == kept.version && *until > Instant::now());
                if rests || !state.busy.insert(name.clone()) {
                    continue;
                }
            }
            let this = self.clone();
            tokio::spawn(async move {
                let rest = match this.look(&kept, &flow).await {
                    Ok(rest) => rest,
                    Err(error) => {
                        // Also to a person who looks for why nothing happens.
                        tracing::warn!(flow = name, "its trigger failed: {error:?}");
                        Some(AFTER_FAULT)
                    }
                };
                let mut state = this.lock();
                state.busy.remove(&name);
                match rest.and_then(|rest| Instant::now().checked_add(rest)) {
                    Some(until) => state.rests.insert(name, (kept.version, until)),
                    None => state.rests.remove(&name),
                };
            });
        }
        Ok(())
    }

    /// The flow of a kept one, read once a version. One that cannot be read is left alone: `flow activate` says why.
    fn flow(&self, kept: &KeptFlow) -> Option<Flow> {
        if let Some(flow) = self.lock().flows.get(&kept.version) {
            return Some(flow.clone());
        }
        let flow = Flow::from_value(kept.document.clone()).ok()?;
        self.lock().flows.insert(kept.version.clone(), flow.clone());
        Some(flow)
    }

    /// Starts what is to be started now; how long it may rest after that.
    async fn look(&self, kept: &KeptFlow, flow: &Flow) -> Result<Option<Duration>> {
        match flow.trigger() {
            Some(Trigger::Schedule(schedule)) => self.schedule(kept, schedule).await.map(|()| None),
            Some(Trigger::Poll(poll)) => {
                // What is new stays where it is until the run before has ended.
                if flow.overlap() != Overlap::Parallel && self.dispatcher.is_busy(&kept.name) {
                    return Ok(None);
                }
                let since =
                    kept.through.map_or(Duration::MAX, |last| Duration::from_millis(now().saturating_sub(last)));
                match poll.every().checked_sub(since).filter(|rest| !rest.is_zero()) {
                    Some(rest) => Ok(Some(rest)),
                    None => self.poll(kept, poll).await.map(|()| Some(poll.every())),
                }
            }
            _ => Ok(None),
        }
    }

    async fn schedule(&self, kept: &KeptFlow, schedule: &Schedule) -> Result<()> {
        let (store, now) = (self.runtime.store(), now());
        let fired = |at: Option<u64>, through: u64| Fired {
            flow: kept.name.clone(),
            keys: at.map(|at| at.to_string()).into_iter().collect(),
            through: Some(through),
        };
        let Some(through) = kept.through else { return store.take(fired(None, now)).await };
        for at in schedule.due(through, now) {
            let input = schedule.input(at);
            match self.dispatcher.start(&kept.name, input, Default::default(), Some(&fired(Some(at), at))).await? {
                Started::Run(run) => tracing::info!(flow = kept.name, %run, at, "started by its schedule"),
                // By another process, or not at all.
                Started::Before(_) | Started::Skipped => store.take(fired(Some(at), at)).await?,
            }
        }
        Ok(())
    }

    /// Reads the list as far as something on it may be new.
    async fn poll(&self, kept: &KeptFlow, poll: &Poll) -> Result<()> {
        let store = self.runtime.store();
        let looked = now();
        let done = |keys| Fired { flow: kept.name.clone(), keys, through: Some(looked) };
        let connected = self.connected(kept, poll).await?;
        let baseline = kept.through.is_none() && poll.existing() == Existing::Skip;
        let (mut from, mut before) = (None, Vec::new());
        for _ in 0..MOST_PAGES {
            let (items, next) = poll.page(&connected, from).await?;
            if baseline {
                before.extend(items.into_iter().map(|(key, _)| key));
            } else if !self.hand_over(kept, poll, items).await? {
                break;
            }
            from = next;
            if from.is_none() {
                break;
            }
        }
        store.take(done(before)).await
    }

    /// Starts runs for what is new of a page; whether to read on.
    async fn hand_over(&self, kept: &KeptFlow, poll: &Poll, items: Vec<(String, Value)>) -> Result<bool> {
        let keys = items.iter().map(|(key, _)| key.clone()).collect();
        let mut new = self.runtime.store().not_taken(&kept.name, keys).await?;
        let any = !new.is_empty();
        // Each key once, whatever the list says.
        let items: Vec<_> = items.into_iter().filter(|(key, _)| new.remove(key)).collect();
        for some in items.chunks(MOST_ITEMS) {
            let (keys, items): (Vec<_>, Vec<_>) = some.iter().cloned().unzip();
            let fired = Fired { flow: kept.name.clone(), keys, through: None };
            match self.dispatcher.start(&kept.name, json!({ "items": items }), Default::default(), Some(&fired)).await?
            {
                Started::Run(run) => {
                    tracing::info!(flow = kept.name, %run, items = items.len(), "started by new items")
                }
                // They are still new at the next look; or another process has them.
                Started::Skipped | Started::Before(_) => return Ok(false),
            }
        }
        Ok(any || !poll.newest_first())
    }

    async fn connected(&self, kept: &KeptFlow, poll: &Poll) -> Result<Connected> {
        let name = kept.connections.get(poll.slot()).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("nothing fills the slot {} of flow {}", poll.slot(), kept.name))
        })?;
        self.runtime.connect(name).await
    }
}

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
}
