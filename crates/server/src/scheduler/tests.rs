//! Polled lists, with lists that the tests make.

use std::{collections::BTreeMap, sync::LazyLock};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use trunkline::{
    Ports, SaveOptions,
    operations::Caller,
    operations::flows::{FlowDraft, SaveFlow},
};
use trunkline_core::{
    ActionEntry, ActionSpec, AnyAction, AnyClient, CheckReport, ConnectionContext, Connector, Context, Effect, Page,
    Registry, Secret, async_trait,
};
use trunkline_store::KeySource;

use super::*;

/// The lists, by the name of the test and the input `folder`.
static LISTS: LazyLock<Mutex<HashMap<String, Listing>>> = LazyLock::new(Mutex::default);

/// A list: what its pages have, and which pages fail.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) items: Vec<Value>,
    /// The number of the first page that fails, from 0.
    pub(super) fails_at: Option<usize>,
    pub(super) maybe_incomplete: Option<String>,
    /// The number of pages read so far.
    pub(super) pages: usize,
}

/// The number of items on a page.
const PAGE: usize = 40;

pub(super) fn listing<T>(name: &str, access: impl FnOnce(&mut Listing) -> T) -> T {
    access(LISTS.lock().unwrap().entry(name.to_owned()).or_default())
}

struct Feed;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Settings {
    feed: String,
    #[serde(default)]
    #[allow(dead_code, reason = "it says which service the feed belongs to")]
    endpoint_url: String,
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

/// An action that lists.
struct List(ActionSpec);

#[async_trait]
impl AnyAction for List {
    fn spec(&self) -> &ActionSpec {
        &self.0
    }
    async fn run(&self, _: &AnyClient, _: Value, _: &Context) -> Result<Value> {
        unreachable!("only listed")
    }
    async fn page(&self, client: &AnyClient, input: Value, from: Option<Value>, _: &Context) -> Result<Page> {
        tokio::task::yield_now().await;
        let from = usize::try_from(from.and_then(|from| from.as_u64()).unwrap_or_default()).unwrap();
        let name: &String = client.downcast_ref().unwrap();
        let name = input["folder"].as_str().map_or_else(|| name.clone(), |folder| format!("{name}/{folder}"));
        listing(&name, |list| {
            list.pages += 1;
            if list.fails_at.is_some_and(|page| from >= page * PAGE) {
                return Err(Error::new(ErrorKind::Unavailable, "the index is being built"));
            }
            let items = list.items.iter().skip(from).take(PAGE).cloned().collect();
            let next = (from + PAGE < list.items.len()).then(|| (from + PAGE).into());
            let maybe_incomplete = list.maybe_incomplete.clone().filter(|_| next.is_none());
            Ok(Page { items, next, maybe_incomplete })
        })
    }
}

fn spec(name: &str) -> ActionSpec {
    ActionSpec {
        name: name.into(),
        title: "List".into(),
        group: String::new(),
        about: String::new(),
        effect: Effect::Read,
        route: None,
        lists: true,
        scopes: Vec::new(),
        input: json!({ "type": "object" }),
        output: json!({ "type": "object", "properties": { "items": { "type": "array" }, "next": true } }),
    }
}

fn registry() -> Registry {
    let lists = ActionEntry::many::<Feed>(|| {
        Ok(vec![Box::new(List(spec("thing.list"))), Box::new(List(spec("thing.others")))])
    });
    Registry::empty().with_connector::<Feed>().with_entry(lists).checked().unwrap()
}

/// A scheduler on a data directory of its own, which lives as long as this.
pub(super) struct Room {
    _home: tempfile::TempDir,
    pub(super) scheduler: Arc<Scheduler>,
}

/// Opens a store and adds two connections to lists of this name.
pub(super) async fn room(name: &str) -> Room {
    let home = tempfile::tempdir().unwrap();
    let key = KeySource::Value(Secret::from("c2FtcGxlLWtleS1vZi12ZXJzaW9uLTMtMzItYnl0ZXM="));
    room_in(home, key, name).await
}

pub(super) async fn room_in(home: tempfile::TempDir, key: KeySource, name: &str) -> Room {
    let runtime = Runtime::new(registry(), Ports::sqlite(home.path(), key).unwrap());
    for (connection, feed) in [("feed", name.to_owned()), ("feed-2", format!("{name} 2"))] {
        let document = json!({ "name": connection, "connector": "feed-v1.0", "feed": feed });
        let _ = runtime.remove_connection(connection, true).await;
        runtime.add_connection(document).await.unwrap();
    }
    let closing = CancellationToken::new();
    let health = Health::of(runtime.ports().health.clone());
    let dispatcher = Dispatcher::new(runtime.clone(), health.clone(), 64, closing.clone());
    Room {
        _home: home,
        scheduler: Arc::new(Scheduler { runtime, dispatcher, health, closing, state: Mutex::default() }),
    }
}

/// A flow that polls, with changes of its trigger.
pub(super) fn watching(change: Value) -> Value {
    let mut poll = json!({ "action": "thing.list", "connection": "feed", "every": "1s", "key": "{{ item.id }}" });
    poll.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    poll.as_object_mut().unwrap().retain(|_, member| !member.is_null());
    json!({
        "name": "watch", "connections": { "feed": "feed" }, "overlap": "parallel", "steps": [],
        "trigger": { "poll": poll }
    })
}

impl Room {
    /// Saves a flow, and returns the warnings about its trigger.
    pub(super) async fn save(&self, flow: &Value, connection: &str) -> Vec<String> {
        let draft = FlowDraft {
            flow: serde_json::from_value(json!({ "document": flow })).unwrap(),
            connections: BTreeMap::from([("feed".to_owned(), connection.to_owned())]),
            input: None,
            active: Some(true),
            replace: true,
        };
        let saved = self.scheduler.runtime.execute::<SaveFlow>(&Caller::owner(), draft).await.unwrap();
        saved.warnings.into_iter().map(|one| one.message).filter(|one| one.contains("first look")).collect()
    }

    /// Looks at the list once, whenever it was looked at before.
    pub(super) async fn look(&self) -> Result<()> {
        self.look_of("watch").await
    }

    pub(super) async fn look_of(&self, name: &str) -> Result<()> {
        let (saved, flow) = self.scheduler.runtime.saved_flow(name).await?;
        let Some(Trigger::Poll(poll)) = flow.trigger() else { unreachable!() };
        let looked = self.scheduler.poll(&saved, &flow, poll).await;
        if let Err(error) = &looked {
            // As if the look before had failed as well: the first failure is not reported.
            self.scheduler.lock().unconfirmed.insert(name.to_owned());
            self.scheduler.failed(name, error).await;
        }
        looked
    }

    /// Returns the members `id` of the items in the inputs of all runs, in the order in which the runs were started.
    pub(super) async fn inputs(&self) -> Vec<Vec<Value>> {
        let mut got = Vec::new();
        for run in self.scheduler.runtime.journal().runs().await.unwrap().into_iter().rev() {
            let run = self.scheduler.runtime.engine().run(&run.id).await.unwrap();
            got.push(run.input["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect());
        }
        got
    }

    /// Returns how many items all runs have got, sorted as text.
    pub(super) async fn got(&self) -> Vec<String> {
        let mut all: Vec<_> = self.inputs().await.into_iter().flatten().map(|id| id.to_string()).collect();
        all.sort();
        all
    }

    pub(super) async fn findings(&self) -> Vec<TriggerFinding> {
        self.scheduler.runtime.flows().saved_flow("watch").await.unwrap().findings
    }
}

mod account_tests;
mod first_look_tests;
mod item_tests;
mod memory_tests;
mod start_tests;

/// Adds numbers at the beginning of a list.
fn add(name: &str, numbers: std::ops::Range<u64>) {
    listing(name, |list| {
        list.items.splice(0..0, numbers.rev().map(|id| json!({ "id": id })));
    });
}

async fn polling(name: &str, newest_first: bool) -> Room {
    let room = room(name).await;
    let flow = Flow::from_value(watching(json!({ "existing": "take", "newest_first": newest_first }))).unwrap();
    let bindings = BTreeMap::from([("feed".to_owned(), "feed".to_owned())]);
    room.scheduler
        .runtime
        .save_flow(&flow, SaveOptions { bindings, active: Some(true), ..SaveOptions::default() })
        .await
        .unwrap();
    room
}

/// Polls the list and stops at wait point number `after`, as a crash would.
async fn interrupted_poll(room: &Room, after: usize) {
    let mut poll = std::pin::pin!(room.look());
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
        let room = polling(&name, newest_first).await;
        for after in 0..40 {
            add(&name, after * 150..(after + 1) * 150);
            interrupted_poll(&room, usize::try_from(after).unwrap()).await;
            room.look().await.unwrap();
        }
        let mut all: Vec<_> = room.inputs().await.into_iter().flatten().map(|id| id.as_u64().unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..6000).collect::<Vec<_>>(), "{name}");
    }
}

#[tokio::test]
async fn runs_start_oldest_first_and_known_pages_are_not_read_again() {
    let room = polling("newest", true).await;
    add("newest", 0..250);
    room.look().await.unwrap();
    let got = room.inputs().await;
    assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 50], "bounded");
    assert_eq!(got.concat(), (0..250).map(Value::from).collect::<Vec<_>>(), "oldest first");
    let read = listing("newest", |list| list.pages);
    room.look().await.unwrap();
    assert_eq!(listing("newest", |list| list.pages), read + 1, "one page, on which nothing is new");
}
