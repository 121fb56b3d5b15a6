//! Starts runs by the triggers `schedule` and `poll`: at set times, and for new items of a list.
//!
//! The scheduler checks the saved flows once a second. The position of each trigger is stored in the transaction that
//! accepts a run, so after a crash at any moment the next scheduler continues from there.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;
use trunkline::{Cause, NewRun, Runtime, StartOutcome};
use trunkline_core::{CancellationToken, Connected, Error, ErrorKind, Result, Timestamp};
use trunkline_engine::{TriggerEvent, poll_page};
use trunkline_flow::{Flow, InitialItems, Poll, Schedule, Trigger};
use trunkline_store::SavedFlow;

use crate::{dispatcher::Dispatcher, health::Health};

/// The time between two checks of all triggers.
const TICK: Duration = Duration::from_secs(1);
/// The pause of a trigger after it failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(60);
/// The pause of a trigger after the store failed. It is short: while the store fails, no trigger is checked anyway.
const PAUSE_AFTER_STORE_ERROR: Duration = Duration::from_secs(5);
/// The maximum number of items in the input of one run.
const MAX_ITEMS: usize = 100;
/// The maximum number of new items held in memory, if the list has the newest first.
const MAX_HELD: usize = 10_000;
/// The maximum number of pages read in one poll.
const MAX_PAGES: usize = 10_000;

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
        let all = self.runtime.flows().saved_flows().await?;
        for saved in all.into_iter().filter(|one| one.active) {
            let name = saved.name.clone();
            let flow = match self.runtime.flow_of(&saved).await {
                Ok(flow) => flow,
                Err(error) if error.kind() == ErrorKind::Store => return Err(error),
                // A flow that cannot be read is skipped: `flow activate` reports why.
                Err(_) => continue,
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
                    Ok(pause) => pause,
                    Err(error) => {
                        // Logged as a warning: the log shows an operator why no run is started.
                        tracing::warn!(flow = name, "its trigger failed: {error:?}");
                        this.health.report(&error);
                        Some(if error.kind() == ErrorKind::Store { PAUSE_AFTER_STORE_ERROR } else { PAUSE_AFTER_ERROR })
                    }
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

    /// Starts the runs that are due, and returns how long the trigger can be paused.
    async fn check(&self, name: &str, flow: &Flow) -> Result<Option<Duration>> {
        // Read here, where no other task checks this trigger, so that the position is the one of the previous check.
        let saved = &self.runtime.flows().saved_flow(name).await?;
        match flow.trigger() {
            Some(Trigger::Schedule(schedule)) => self.schedule(saved, schedule).await.map(|()| None),
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
                    None => self.poll(saved, poll).await.map(|()| Some(poll.every())),
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
                StartOutcome::Run(run) => tracing::info!(flow = saved.name, %run, %at, "started by its schedule"),
                // Started by another process, or skipped.
                StartOutcome::Duplicate(_) | StartOutcome::Skipped => {
                    journal.remember_trigger(event(Some(at), at)).await?
                }
            }
        }
        Ok(())
    }

    /// Reads the list as far as it can have new items, and starts runs for them.
    ///
    /// If the list has the newest items first, runs are started for the oldest new items first. So wherever this is
    /// interrupted, all items behind a known one are known, and the next poll can stop reading there.
    async fn poll(&self, saved: &SavedFlow, poll: &Poll) -> Result<()> {
        let polled_at = self.runtime.now();
        let connected = self.connected(saved, poll).await?;
        let is_baseline = saved.through.is_none() && poll.existing() == InitialItems::Skip;
        let (mut from, mut existing, mut newest, mut seen) = (None, Vec::new(), VecDeque::new(), HashSet::new());
        for _ in 0..MAX_PAGES {
            let (items, next) = poll_page(poll, &connected, from).await?;
            let mut end = next.is_none();
            if is_baseline {
                existing.extend(items.into_iter().map(|(key, _)| key));
            } else {
                let new = self.unseen(saved, items).await?;
                if poll.newest_first() {
                    end |= new.is_empty();
                    newest.extend(new.into_iter().filter(|(key, _)| seen.insert(key.clone())));
                    // Items that are left out are still new in the next poll.
                    newest.drain(..newest.len().saturating_sub(MAX_HELD));
                } else {
                    end |= !self.start_for(saved, new).await?;
                }
            }
            if end {
                self.start_for(saved, newest.into_iter().rev().collect()).await?;
                let done = TriggerEvent { flow: saved.name.clone(), keys: existing, through: Some(polled_at) };
                return self.runtime.journal().remember_trigger(done).await;
            }
            from = next;
        }
        Err(Error::new(
            ErrorKind::Limit,
            format!("the list that starts {} has more than {MAX_PAGES} pages", saved.name),
        )
        .hint("give its action an input that lists less, or let it list the newest first and set `newest_first`"))
    }

    /// Returns the new items of a page, each key once, even if it occurs twice in the list.
    async fn unseen(&self, saved: &SavedFlow, items: Vec<(String, Value)>) -> Result<Vec<(String, Value)>> {
        let keys = items.iter().map(|(key, _)| key.clone()).collect();
        let mut new = self.runtime.journal().not_taken(&saved.name, keys).await?;
        Ok(items.into_iter().filter(|(key, _)| new.remove(key)).collect())
    }

    /// Starts runs for new items. Returns whether runs were started for all of them.
    async fn start_for(&self, saved: &SavedFlow, items: Vec<(String, Value)>) -> Result<bool> {
        let flow = &self.runtime.flow_of(saved).await?;
        for chunk in items.chunks(MAX_ITEMS) {
            let (keys, items): (Vec<_>, Vec<_>) = chunk.iter().cloned().unzip();
            let (count, input) = (items.len(), json!({ "items": items }));
            let event = TriggerEvent { flow: saved.name.clone(), keys, through: None };
            let new = NewRun::of_saved(saved.clone(), flow.clone(), input);
            match self.dispatcher.dispatch(new, Cause::Trigger(&event)).await? {
                StartOutcome::Run(run) => {
                    tracing::info!(flow = saved.name, %run, items = count, "started by new items")
                }
                // The items are still new in the next poll, or another process has started a run for them.
                StartOutcome::Skipped | StartOutcome::Duplicate(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn connected(&self, saved: &SavedFlow, poll: &Poll) -> Result<Connected> {
        let name = saved.connections.get(&poll.action().binding).ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                format!("the connection {} of flow {} is not bound", poll.action().binding, saved.name),
            )
        })?;
        self.runtime.connect(name).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use schemars::JsonSchema;
    use serde::Deserialize;
    use trunkline::SaveOptions;
    use trunkline_core::{
        ActionEntry, ActionSpec, AnyAction, AnyClient, CheckReport, ConnectionContext, Connector, Context, Effect,
        Page, Registry, Secret, async_trait,
    };

    use trunkline_store::KeySource;

    use trunkline::Ports;

    use super::*;

    /// The lists, by the name of the test. The test adds numbers at the beginning.
    static FEEDS: LazyLock<Mutex<HashMap<String, Numbers>>> = LazyLock::new(Mutex::default);

    #[derive(Default)]
    struct Numbers {
        all: Vec<u64>,
        /// The number of pages read so far.
        pages: usize,
    }

    fn feed<T>(name: &str, access: impl FnOnce(&mut Numbers) -> T) -> T {
        access(FEEDS.lock().unwrap().entry(name.to_owned()).or_default())
    }

    struct Feed;

    #[derive(Deserialize, JsonSchema)]
    struct Settings {
        feed: String,
    }

    #[async_trait]
    impl Connector for Feed {
        const NAME: &'static str = "feed";
        const VERSION: &'static str = "1.0";
        const TITLE: &'static str = "Feed";
        type Settings = Settings;
        type Client = String;
        fn connect(settings: Settings, _: ConnectionContext) -> Result<String> {
            Ok(settings.feed)
        }
        async fn check(_: &String) -> CheckReport {
            CheckReport::default()
        }
    }

    /// An action that lists numbers, the newest first, forty a page.
    struct List(ActionSpec);

    #[async_trait]
    impl AnyAction for List {
        fn spec(&self) -> &ActionSpec {
            &self.0
        }
        async fn run(&self, _: &AnyClient, _: Value, _: &Context) -> Result<Value> {
            unreachable!("only listed")
        }
        async fn page(&self, client: &AnyClient, _: Value, from: Option<Value>, _: &Context) -> Result<Page> {
            tokio::task::yield_now().await;
            let from = usize::try_from(from.and_then(|from| from.as_u64()).unwrap_or_default()).unwrap();
            let name: &String = client.downcast_ref().unwrap();
            Ok(feed(name, |Numbers { all, pages }| {
                *pages += 1;
                let items = all.iter().rev().skip(from).take(40).map(|id| json!({ "id": id })).collect();
                Page { items, next: (from + 40 < all.len()).then(|| (from + 40).into()), ..Page::default() }
            }))
        }
    }

    fn registry() -> Registry {
        let list = ActionEntry::many::<Feed>(|| {
            Ok(vec![Box::new(List(ActionSpec {
                name: "thing.list".into(),
                title: "List".into(),
                group: String::new(),
                about: String::new(),
                effect: Effect::Read,
                route: None,
                lists: true,
                scopes: Vec::new(),
                input: json!({ "type": "object" }),
                output: json!({ "type": "object", "properties": { "items": { "type": "array", "items": {
                    "type": "object", "properties": { "id": { "type": "integer" } } } }, "next": true } }),
            }))])
        });
        Registry::empty().with_connector::<Feed>().with_entry(list).checked().unwrap()
    }

    /// Saves a flow that is triggered by the list of this name. The data directory lives as long as the returned
    /// folder.
    async fn polling(name: &str, newest_first: bool) -> (tempfile::TempDir, Arc<Scheduler>) {
        let home = tempfile::tempdir().unwrap();
        let key = KeySource::Value(Secret::from("c2FtcGxlLWtleS1vZi12ZXJzaW9uLTMtMzItYnl0ZXM="));
        let runtime = Runtime::new(registry(), Ports::sqlite(home.path(), key).unwrap());
        runtime.add_connection(json!({ "name": "feed", "connector": "feed-v1.0", "feed": name })).await.unwrap();
        let flow = Flow::from_value(json!({
            "name": "watch", "connections": { "feed": "feed" }, "overlap": "parallel", "steps": [],
            "trigger": { "poll": {
                "action": "thing.list", "connection": "feed", "every": "1s", "key": "{{ item.id }}",
                "existing": "take", "newest_first": newest_first
            } }
        }));
        runtime.save_flow(&flow.unwrap(), SaveOptions::default()).await.unwrap();
        let closing = CancellationToken::new();
        let health = Health::of(runtime.ports().health.clone());
        let dispatcher = Dispatcher::new(runtime.clone(), health.clone(), 64, closing.clone());
        (home, Arc::new(Scheduler { runtime, dispatcher, health, closing, state: Mutex::default() }))
    }

    async fn poll(scheduler: &Scheduler) -> Result<()> {
        let (saved, flow) = scheduler.runtime.saved_flow("watch").await?;
        let Some(Trigger::Poll(poll)) = flow.trigger() else { unreachable!() };
        scheduler.poll(&saved, poll).await
    }

    /// Returns the items in the inputs of all runs, in the order in which the runs were started.
    async fn inputs(scheduler: &Scheduler) -> Vec<Vec<u64>> {
        let mut got = Vec::new();
        for run in scheduler.runtime.journal().runs().await.unwrap().into_iter().rev() {
            let run = scheduler.runtime.engine().run(&run.id).await.unwrap();
            got.push(run.input["items"].as_array().unwrap().iter().map(|item| item["id"].as_u64().unwrap()).collect());
        }
        got
    }

    /// Polls the list and stops at wait point number `after`, as a crash would.
    async fn interrupted_poll(scheduler: &Scheduler, after: usize) {
        let mut poll = std::pin::pin!(poll(scheduler));
        let mut waits = 0;
        std::future::poll_fn(|cx| {
            waits += 1;
            match poll.as_mut().poll(cx) {
                std::task::Poll::Pending if waits <= after => std::task::Poll::Pending,
                _ => std::task::Poll::Ready(()),
            }
        })
        .await;
    }

    #[tokio::test]
    async fn every_item_goes_to_exactly_one_run_wherever_a_poll_is_interrupted() {
        for newest_first in [true, false] {
            let name = format!("interrupted {newest_first}");
            let (_home, scheduler) = polling(&name, newest_first).await;
            for after in 0..40 {
                feed(&name, |feed| feed.all.extend((0..150).map(|new| after as u64 * 150 + new)));
                interrupted_poll(&scheduler, after).await;
                poll(&scheduler).await.unwrap();
            }
            let mut all: Vec<_> = inputs(&scheduler).await.into_iter().flatten().collect();
            all.sort_unstable();
            assert_eq!(all, (0..6000).collect::<Vec<_>>(), "{name}");
        }
    }

    #[tokio::test]
    async fn runs_start_oldest_first_and_known_pages_are_not_read_again() {
        let (_home, scheduler) = polling("newest", true).await;
        feed("newest", |feed| feed.all.extend(0..250));
        poll(&scheduler).await.unwrap();
        let got = inputs(&scheduler).await;
        assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 50], "bounded");
        assert_eq!(got.concat(), (0..250).collect::<Vec<_>>(), "oldest first");
        let read = feed("newest", |feed| feed.pages);
        poll(&scheduler).await.unwrap();
        assert_eq!(feed("newest", |feed| feed.pages), read + 1, "one page, on which nothing is new");
    }
}
