//! What starts runs by itself: schedules, and lists that are looked at for new items.
//!
//! Once a second it looks at the kept flows. How far each trigger is lies in the store, written in the transaction that
//! accepts a run; so a clock that dies at any moment is followed by one that goes on where it was.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;
use trunkline_core::{CancellationToken, Connected, Error, ErrorKind, Result, Timestamp};
use trunkline_engine::{Flow, InitialItems, Poll, Schedule, Trigger, TriggerEvent};
use trunkline_store::SavedFlow;

use super::{
    dispatcher::{Dispatcher, Started},
    health::Health,
};
use crate::{Runtime, flows::Cause};

const TICK: Duration = Duration::from_secs(1);
/// How long a trigger that failed is left alone.
const AFTER_FAULT: Duration = Duration::from_secs(60);
/// The same if the machine was at fault: it may be well soon, and until then nothing is looked at.
const AFTER_STORE: Duration = Duration::from_secs(5);
/// How many items one run gets at most.
const MOST_ITEMS: usize = 100;
/// How many new items are held in memory where the newest come first.
const MOST_KEPT: usize = 10_000;
/// How many pages of a list are read at one look.
const MOST_PAGES: usize = 10_000;

pub(crate) struct Clock {
    runtime: Runtime,
    dispatcher: Arc<Dispatcher>,
    health: Arc<Health>,
    closing: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Flows that are being looked at.
    busy: HashSet<String>,
    /// Flows whose trigger failed, or has looked, and is left alone until then, unless it becomes another version.
    paused: HashMap<String, (String, Instant)>,
}

impl Clock {
    /// Ticks until it is closed.
    pub(crate) fn start(
        runtime: Runtime,
        dispatcher: Arc<Dispatcher>,
        health: Arc<Health>,
        closing: CancellationToken,
    ) {
        let clock = Arc::new(Clock { runtime, dispatcher, health, closing, state: Mutex::default() });
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = clock.closing.cancelled() => return,
                    () = tokio::time::sleep(TICK) => {}
                }
                if !clock.health.is_good() {
                    continue;
                }
                clock.dispatcher.advance();
                if let Err(error) = clock.tick().await {
                    clock.health.met(&error);
                    tracing::error!("the triggers cannot be looked at: {error}");
                }
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tick(self: &Arc<Self>) -> Result<()> {
        let kept = self.runtime.store().saved_flows().await?;
        for kept in kept.into_iter().filter(|one| one.active) {
            let name = kept.name.clone();
            let flow = match self.runtime.flow_of(&kept).await {
                Ok(flow) => flow,
                Err(error) if error.kind() == ErrorKind::Store => return Err(error),
                // One that cannot be read is left alone: `flow activate` says why.
                Err(_) => continue,
            };
            if !matches!(flow.trigger(), Some(Trigger::Schedule(_) | Trigger::Poll(_))) {
                continue;
            }
            {
                let mut state = self.lock();
                let paused =
                    state.paused.get(&name).is_some_and(|(of, until)| *of == kept.version && *until > Instant::now());
                if paused || !state.busy.insert(name.clone()) {
                    continue;
                }
            }
            let this = self.clone();
            tokio::spawn(async move {
                let rest = match this.look(&name, &flow).await {
                    Ok(rest) => rest,
                    Err(error) => {
                        // Also to a person who looks for why nothing happens.
                        tracing::warn!(flow = name, "its trigger failed: {error:?}");
                        this.health.met(&error);
                        Some(if error.kind() == ErrorKind::Store { AFTER_STORE } else { AFTER_FAULT })
                    }
                };
                let mut state = this.lock();
                state.busy.remove(&name);
                match rest.and_then(|rest| Instant::now().checked_add(rest)) {
                    Some(until) => state.paused.insert(name, (kept.version, until)),
                    None => state.paused.remove(&name),
                };
            });
        }
        Ok(())
    }

    /// Starts what is to be started now; how long it may rest after that.
    async fn look(&self, name: &str, flow: &Flow) -> Result<Option<Duration>> {
        // Nobody else looks now: what is read here is how far the last look has come.
        let kept = &self.runtime.store().saved_flow(name).await?;
        match flow.trigger() {
            Some(Trigger::Schedule(schedule)) => self.schedule(kept, schedule).await.map(|()| None),
            Some(Trigger::Poll(poll)) => {
                // What is new stays where it is until the run before has ended.
                if flow.overlap().at_once() == 1 && self.dispatcher.is_busy(&kept.name) {
                    return Ok(None);
                }
                // A look in the future was taken under another clock and says nothing.
                let now = Timestamp::now();
                let since = kept.through.filter(|last| *last <= now).map_or(Duration::MAX, |last| now.since(last));
                match poll.every().checked_sub(since).filter(|rest| !rest.is_zero()) {
                    Some(rest) => Ok(Some(rest)),
                    None => self.poll(kept, poll).await.map(|()| Some(poll.every())),
                }
            }
            _ => Ok(None),
        }
    }

    async fn schedule(&self, kept: &SavedFlow, schedule: &Schedule) -> Result<()> {
        let (store, now) = (self.runtime.store(), Timestamp::now());
        let fired = |at: Option<Timestamp>, through: Timestamp| TriggerEvent {
            flow: kept.name.clone(),
            keys: at.map(|at| at.to_string()).into_iter().collect(),
            through: Some(through),
        };
        // From the first look on. So too if that lies in the future, for the clock was set back: else nothing would start
        // until it is there again. Times that come again were taken, and start nothing.
        let Some(through) = kept.through.filter(|through| *through <= now) else {
            return store.remember_trigger(fired(None, now)).await;
        };
        let flow = &self.runtime.flow_of(kept).await?;
        for at in schedule.due(through, now) {
            let input = schedule.input(at);
            match self.dispatcher.start(kept.clone(), flow, input, Cause::Trigger(&fired(Some(at), at))).await? {
                Started::Run(run) => tracing::info!(flow = kept.name, %run, %at, "started by its schedule"),
                // By another process, or not at all.
                Started::Duplicate(_) | Started::Skipped => store.remember_trigger(fired(Some(at), at)).await?,
            }
        }
        Ok(())
    }

    /// Reads the list, as far as something on it may be new, and starts runs for what is.
    ///
    /// Where the newest come first, the oldest of the new ones are handed over first: so whatever interrupts it, all that is
    /// behind something known is known, and reading may end there the next time.
    async fn poll(&self, kept: &SavedFlow, poll: &Poll) -> Result<()> {
        let looked = Timestamp::now();
        let connected = self.connected(kept, poll).await?;
        let baseline = kept.through.is_none() && poll.existing() == InitialItems::Skip;
        let (mut from, mut before, mut newest, mut seen) = (None, Vec::new(), VecDeque::new(), HashSet::new());
        for _ in 0..MOST_PAGES {
            let (items, next) = poll.page(&connected, from).await?;
            let mut end = next.is_none();
            if baseline {
                before.extend(items.into_iter().map(|(key, _)| key));
            } else {
                let new = self.unseen(kept, items).await?;
                if poll.newest_first() {
                    end |= new.is_empty();
                    newest.extend(new.into_iter().filter(|(key, _)| seen.insert(key.clone())));
                    // Those that are left out are still new at the next look.
                    newest.drain(..newest.len().saturating_sub(MOST_KEPT));
                } else {
                    end |= !self.hand_over(kept, new).await?;
                }
            }
            if end {
                self.hand_over(kept, newest.into_iter().rev().collect()).await?;
                let done = TriggerEvent { flow: kept.name.clone(), keys: before, through: Some(looked) };
                return self.runtime.store().remember_trigger(done).await;
            }
            from = next;
        }
        Err(Error::new(
            ErrorKind::Limit,
            format!("the list that starts {} has more than {MOST_PAGES} pages", kept.name),
        )
        .hint("give its action an input that finds less, or one that has the newest first, and say `newest_first`"))
    }

    /// What is new of a page, each key once, whatever the list says.
    async fn unseen(&self, kept: &SavedFlow, items: Vec<(String, Value)>) -> Result<Vec<(String, Value)>> {
        let keys = items.iter().map(|(key, _)| key.clone()).collect();
        let mut new = self.runtime.store().not_taken(&kept.name, keys).await?;
        Ok(items.into_iter().filter(|(key, _)| new.remove(key)).collect())
    }

    /// Starts runs for new items; whether all have been handed over.
    async fn hand_over(&self, kept: &SavedFlow, items: Vec<(String, Value)>) -> Result<bool> {
        let flow = &self.runtime.flow_of(kept).await?;
        for some in items.chunks(MOST_ITEMS) {
            let (keys, items): (Vec<_>, Vec<_>) = some.iter().cloned().unzip();
            let (count, input) = (items.len(), json!({ "items": items }));
            let fired = TriggerEvent { flow: kept.name.clone(), keys, through: None };
            match self.dispatcher.start(kept.clone(), flow, input, Cause::Trigger(&fired)).await? {
                Started::Run(run) => tracing::info!(flow = kept.name, %run, items = count, "started by new items"),
                // They are still new at the next look; or another process has them.
                Started::Skipped | Started::Duplicate(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn connected(&self, kept: &SavedFlow, poll: &Poll) -> Result<Connected> {
        let name = kept.connections.get(poll.slot()).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("nothing fills the slot {} of flow {}", poll.slot(), kept.name))
        })?;
        self.runtime.connect(name).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use schemars::JsonSchema;
    use serde::Deserialize;
    use trunkline_core::{
        ActionEntry, ActionSpec, AnyAction, AnyClient, CheckReport, Connector, Context, Effect, Page, Registry, Secret,
        VaultSlot, async_trait,
    };
    use trunkline_engine::Journal;
    use trunkline_store::KeySource;

    use super::*;
    use crate::SaveOptions;

    /// The lists, by the name of the test: numbers, and somebody adds to the beginning.
    static FEEDS: LazyLock<Mutex<HashMap<String, Numbers>>> = LazyLock::new(Mutex::default);

    #[derive(Default)]
    struct Numbers {
        all: Vec<u64>,
        /// How many pages have been read.
        pages: usize,
    }

    fn feed<T>(name: &str, look: impl FnOnce(&mut Numbers) -> T) -> T {
        look(FEEDS.lock().unwrap().entry(name.to_owned()).or_default())
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
        fn connect(settings: Settings, _: VaultSlot) -> Result<String> {
            Ok(settings.feed)
        }
        async fn check(_: &String) -> CheckReport {
            CheckReport::default()
        }
    }

    /// Newest first, forty a page.
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

    /// A flow that is started by a list of this name, in a folder that has to be kept.
    async fn watching(name: &str, newest_first: bool) -> (tempfile::TempDir, Arc<Clock>) {
        let home = tempfile::tempdir().unwrap();
        let key = KeySource::Value(Secret::from("c2FtcGxlLWtleS1vZi12ZXJzaW9uLTMtMzItYnl0ZXM="));
        let runtime = Runtime::with(registry(), home.path(), key).unwrap();
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
        let health = Health::of(runtime.store().clone());
        let dispatcher = Dispatcher::new(runtime.clone(), health.clone(), 64, closing.clone());
        (home, Arc::new(Clock { runtime, dispatcher, health, closing, state: Mutex::default() }))
    }

    async fn look(clock: &Clock) -> Result<()> {
        let (kept, flow) = clock.runtime.saved_flow("watch").await?;
        let Some(Trigger::Poll(poll)) = flow.trigger() else { unreachable!() };
        clock.poll(&kept, poll).await
    }

    /// What runs got, in the order they were started.
    async fn got(clock: &Clock) -> Vec<Vec<u64>> {
        let mut got = Vec::new();
        for run in clock.runtime.store().runs().await.unwrap().into_iter().rev() {
            let run = clock.runtime.engine().run(&run.id).await.unwrap();
            got.push(run.input["items"].as_array().unwrap().iter().map(|item| item["id"].as_u64().unwrap()).collect());
        }
        got
    }

    /// A look that is broken off after so many times of waiting for something, as a crash would.
    async fn broken_off(clock: &Clock, after: usize) {
        let mut look = std::pin::pin!(look(clock));
        let mut waits = 0;
        std::future::poll_fn(|cx| {
            waits += 1;
            match look.as_mut().poll(cx) {
                std::task::Poll::Pending if waits <= after => std::task::Poll::Pending,
                _ => std::task::Poll::Ready(()),
            }
        })
        .await;
    }

    #[tokio::test]
    async fn every_item_is_handed_over_once_wherever_a_look_is_broken_off() {
        for newest_first in [true, false] {
            let name = format!("broken {newest_first}");
            let (_home, clock) = watching(&name, newest_first).await;
            for after in 0..40 {
                feed(&name, |feed| feed.all.extend((0..150).map(|new| after as u64 * 150 + new)));
                broken_off(&clock, after).await;
                look(&clock).await.unwrap();
            }
            let mut all: Vec<_> = got(&clock).await.into_iter().flatten().collect();
            all.sort_unstable();
            assert_eq!(all, (0..6000).collect::<Vec<_>>(), "{name}");
        }
    }

    #[tokio::test]
    async fn the_newest_first_are_handed_over_last_and_what_is_known_is_not_read_again() {
        let (_home, clock) = watching("newest", true).await;
        feed("newest", |feed| feed.all.extend(0..250));
        look(&clock).await.unwrap();
        let got = got(&clock).await;
        assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 50], "bounded");
        assert_eq!(got.concat(), (0..250).collect::<Vec<_>>(), "oldest first");
        let read = feed("newest", |feed| feed.pages);
        look(&clock).await.unwrap();
        assert_eq!(feed("newest", |feed| feed.pages), read + 1, "one page, on which nothing is new");
    }
}
