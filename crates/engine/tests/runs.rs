//! Runs of flows on a connector made for these tests: what is called how often, what is recorded, what a resumed run does.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{
    Action, ActionEntry, ActionSpec, AnyAction, AnyClient, Connected, Connection, Connector, Context, Diagnostic,
    Effect, Error, ErrorKind, Items, MemoryVault, Registry, Result, VaultSlot, async_trait,
};
use trunkline_engine::{Engine, Flow, Journal, MemoryJournal, RunStatus, StepPath};

/// What the connector was asked, by the name of the world it belongs to: each test has a world of its own.
#[derive(Default)]
struct World {
    calls: Mutex<BTreeMap<String, usize>>,
    made: Mutex<Vec<String>>,
    down: AtomicBool,
    pages: AtomicUsize,
    working: AtomicUsize,
    most: AtomicUsize,
}

static WORLDS: LazyLock<Mutex<BTreeMap<String, Arc<World>>>> = LazyLock::new(Mutex::default);

fn world(name: &str) -> Arc<World> {
    WORLDS.lock().unwrap().entry(name.to_owned()).or_default().clone()
}

impl World {
    fn count(&self, what: &str) -> usize {
        let mut calls = self.calls.lock().unwrap();
        let count = calls.entry(what.to_owned()).or_default();
        *count += 1;
        *count
    }

    fn calls(&self, what: &str) -> usize {
        self.calls.lock().unwrap().get(what).copied().unwrap_or_default()
    }
}

struct Shop;

#[derive(Deserialize, JsonSchema)]
struct Settings {
    world: String,
}

#[async_trait]
impl Connector for Shop {
    const NAME: &'static str = "shop";
    const VERSION: &'static str = "1.0";
    const TITLE: &'static str = "Shop";
    type Settings = Settings;
    type Client = World;
    fn connect(settings: Settings, _: VaultSlot) -> Result<World> {
        // Shared through the static: the client is only a handle.
        let shared = world(&settings.world);
        shared.count("connect");
        Ok(World { made: Mutex::new(vec![settings.world]), ..World::default() })
    }
    async fn check(_: &World) -> Vec<Diagnostic> {
        Vec::new()
    }
}

fn shared(client: &World) -> Arc<World> {
    world(&client.made.lock().unwrap()[0])
}

#[derive(Deserialize, JsonSchema)]
struct Name {
    name: String,
    #[serde(default)]
    fault: String,
}

#[derive(Serialize, JsonSchema)]
struct Made {
    name: String,
    key: String,
}

/// Looks, fails, dawdles or panics, as the input says.
struct Look;

#[async_trait]
impl Action for Look {
    type Connector = Shop;
    type Input = Name;
    type Output = Made;
    const NAME: &'static str = "thing.look";
    const TITLE: &'static str = "Look";
    const EFFECT: Effect = Effect::Read;
    async fn run(client: &World, input: Name, cx: &Context) -> Result<Made> {
        let world = shared(client);
        world.count(&format!("look {}", input.name));
        let working = world.working.fetch_add(1, Ordering::SeqCst) + 1;
        world.most.fetch_max(working, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
        world.working.fetch_sub(1, Ordering::SeqCst);
        match input.fault.as_str() {
            "panic" => panic!("as asked"),
            "missing" => Err(Error::new(ErrorKind::NotFound, "no such thing")),
            "down" if world.down.load(Ordering::SeqCst) => Err(Error::new(ErrorKind::Auth, "signed out")),
            "forever" => {
                cx.cancellation().cancelled().await;
                cx.check_cancelled()?;
                unreachable!()
            }
            _ => Ok(Made { name: input.name, key: cx.idempotency_key().to_owned() }),
        }
    }
}

/// Makes a thing. With the fault `lost` the first attempt takes effect and nobody hears of it; `early` loses it before.
struct Make<const RECONCILES: bool>;

#[async_trait]
impl<const RECONCILES: bool> Action for Make<RECONCILES> {
    type Connector = Shop;
    type Input = Name;
    type Output = Made;
    const NAME: &'static str = if RECONCILES { "thing.make" } else { "thing.make_blindly" };
    const TITLE: &'static str = "Make";
    const EFFECT: Effect = Effect::Create;
    async fn run(client: &World, input: Name, cx: &Context) -> Result<Made> {
        let world = shared(client);
        let first = world.count(&format!("make {}", input.name)) == 1;
        if input.fault == "down" && world.down.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Auth, "signed out"));
        }
        let lost = || Error::new(ErrorKind::UnknownOutcome, "the answer was lost");
        if first && input.fault == "early" {
            return Err(lost());
        }
        world.made.lock().unwrap().push(input.name.clone());
        if first && input.fault == "lost" {
            return Err(lost());
        }
        Ok(Made { name: input.name, key: cx.idempotency_key().to_owned() })
    }
    async fn reconcile(client: &World, input: Name, cx: &Context) -> Result<Option<Made>> {
        if !RECONCILES {
            return Err(Error::new(ErrorKind::UnknownOutcome, "cannot be known"));
        }
        let there = shared(client).made.lock().unwrap().contains(&input.name);
        Ok(there.then(|| Made { name: input.name, key: cx.idempotency_key().to_owned() }))
    }
}

/// Lists `pages` pages of three things; the list shifts by one between pages, as lists do that somebody adds to.
struct List(ActionSpec);

#[async_trait]
impl AnyAction for List {
    fn spec(&self) -> &ActionSpec {
        &self.0
    }
    async fn run(&self, _: &AnyClient, _: Value, _: &Context) -> Result<Value> {
        unreachable!("only listed")
    }
    async fn page(&self, client: &AnyClient, input: Value, from: Option<Value>, _: &Context) -> Result<Items> {
        let world = shared(client.downcast_ref().unwrap());
        world.pages.fetch_add(1, Ordering::SeqCst);
        let page = from.and_then(|from| from.as_u64()).unwrap_or_default();
        let first = (page * 3).saturating_sub(page.min(1));
        let items = (first..first + 3).map(|n| json!({ "name": format!("t{n}") })).collect();
        Ok(Items { items, next: (page + 1 < input["pages"].as_u64().unwrap()).then(|| (page + 1).into()) })
    }
}

fn registry() -> Registry {
    let list = ActionEntry::many::<Shop>(|| {
        Ok(vec![Box::new(List(ActionSpec {
            name: "thing.list".into(),
            title: "List".into(),
            group: String::new(),
            about: String::new(),
            effect: Effect::Read,
            route: None,
            lists: true,
            input: json!({ "type": "object", "properties": { "pages": { "type": "integer" } }, "required": ["pages"] }),
            output: json!({ "type": "object", "properties": { "items": { "type": "array",
                "items": { "type": "object", "properties": { "name": { "type": "string" } } } }, "next": true } }),
        }))])
    });
    let registry = Registry::empty().with_connector::<Shop>().with_action::<Look>().with_action::<Make<true>>();
    registry.with_action::<Make<false>>().with_entry(list).checked().unwrap()
}

fn slots(world: &str) -> BTreeMap<String, Connected> {
    let document = json!({ "name": "shop", "connector": "shop-v1.0", "world": world });
    let connection = Connection::from_value(document).unwrap();
    let lookup = |_: &_| unreachable!("no secrets here");
    let connected = registry().connect(&connection, Arc::new(MemoryVault::default()), &lookup).unwrap();
    BTreeMap::from([("shop".to_owned(), connected)])
}

fn flow(steps: Value) -> Flow {
    let document = json!({ "name": "test", "connections": { "shop": "shop" }, "steps": steps });
    let flow = Flow::from_value(document).unwrap();
    let found = flow.check(&registry());
    assert!(found.is_empty(), "{found:#?}");
    flow
}

fn call(id: &str, action: &str, input: Value) -> Value {
    json!({ "id": id, "action": action, "connection": "shop", "input": input })
}

fn engine() -> (Engine, Arc<MemoryJournal>) {
    let journal = Arc::new(MemoryJournal::default());
    (Engine::new(journal.clone()), journal)
}

#[tokio::test]
async fn steps_pass_values_and_every_kind_of_outcome_is_counted() {
    let flow = flow(json!([
        call("seen", "thing.look", json!({ "name": "a" })),
        { "id": "names", "set": { "all": ["{{ steps.seen.name }}", "skip", "fail", "panic", "missing", "odd"] } },
        { "id": "each", "each": "{{ steps.names.all }}", "key": "{{ item }}", "concurrency": 3, "steps": [
            { "id": "gate", "if": "{{ item == 'skip' }}", "skip": "not {{ item }}" },
            { "id": "branch", "if": "{{ item == 'fail' }}", "then": [{ "id": "stop", "fail": "no {{ item }}" }],
              "else": [call("look", "thing.look", json!({ "name": "{{ item }}", "fault": "{{ item }}" }))] },
            { "id": "odd", "if": "{{ item == 'odd' }}", "then": [{ "id": "bad", "set": { "x": "{{ item.nothing }}" } }] }
        ] }
    ]));
    let (engine, _) = engine();
    let run = engine.start(&flow, json!({}), slots("kinds")).await.unwrap().wait().await.unwrap();
    let ledger = &run.ledger[&StepPath::from("each")];
    assert_eq!(run.status, RunStatus::Partial, "{run:#?}");
    assert_eq!((ledger.done, ledger.skipped["not skip"], ledger.faults()), (1, 1, 4), "{ledger:#?}");
    assert_eq!((ledger.failed["no fail"], ledger.failed["no such thing"], ledger.failed["a step panicked"]), (1, 1, 1));
}

#[tokio::test]
async fn a_list_is_fetched_as_it_is_worked_on_and_an_item_that_shifts_is_done_once() {
    let flow = flow(json!([{ "id": "all", "key": "{{ item.name }}", "concurrency": 2,
        "each": { "action": "thing.list", "connection": "shop", "input": { "pages": 40 } },
        "steps": [call("make", "thing.make", json!({ "name": "{{ item.name }}" }))] }]));
    let (engine, _) = engine();
    let run = engine.start(&flow, json!({}), slots("shifting")).await.unwrap().wait().await.unwrap();
    let world = world("shifting");
    let mut made = world.made.lock().unwrap().clone();
    made.sort();
    made.dedup();
    assert_eq!((made.len(), run.ledger[&StepPath::from("all")].done), (119, 119));
    assert_eq!(world.made.lock().unwrap().len(), 119, "t2 stood on two pages and was made once");
    assert_eq!(world.pages.load(Ordering::SeqCst), 40);
}

#[tokio::test]
async fn no_more_items_at_once_than_allowed() {
    let flow = flow(json!([{ "id": "all", "each": (0..40).collect::<Vec<_>>(), "concurrency": 4,
        "steps": [call("look", "thing.look", json!({ "name": "{{ item | string }}" }))] }]));
    let (engine, _) = engine();
    let run = engine.start(&flow, json!({}), slots("bounded")).await.unwrap().wait().await.unwrap();
    assert_eq!(run.ledger[&StepPath::from("all")].done, 40);
    assert_eq!(world("bounded").most.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_looked_up_and_never_repeated_blindly() {
    let (engine, _) = engine();
    let make = |action: &str, fault: &str| {
        flow(json!([{ "id": "all", "each": ["x"], "steps": [
            call("make", action, json!({ "name": "{{ item }}", "fault": fault }))] }]))
    };
    // It took effect: the look-up finds it. It did not: it is made now. Nobody can know: it is left to a person.
    for (place, action, fault, calls, made, unknown) in [
        ("lost", "thing.make", "lost", 1, 1, 0),
        ("early", "thing.make", "early", 2, 1, 0),
        ("blind", "thing.make_blindly", "lost", 1, 1, 1),
    ] {
        let run = engine.start(&make(action, fault), json!({}), slots(place)).await.unwrap().wait().await.unwrap();
        let world = world(place);
        let counted = (world.calls("make x"), world.made.lock().unwrap().len());
        assert_eq!(counted, (calls, made), "{place}");
        assert_eq!(run.ledger[&StepPath::from("all")].unknown.values().sum::<u64>(), unknown, "{place}");
    }
}

#[tokio::test]
async fn what_concerns_the_whole_run_stops_it_and_a_resumed_run_repeats_nothing_recorded() {
    let steps = json!([
        call("first", "thing.make_blindly", json!({ "name": "first" })),
        { "id": "all", "each": ["a", "b", "c", "d"], "key": "{{ item }}", "concurrency": 1, "steps": [
            call("look", "thing.look", json!({ "name": "{{ item }}" })),
            { "id": "sick", "if": "{{ item == 'c' }}", "then": [
                call("make", "thing.make_blindly", json!({ "name": "made", "fault": "down" }))] } ] }
    ]);
    let (engine, journal) = engine();
    let world = world("resumed");
    world.down.store(true, Ordering::SeqCst);
    let running = engine.start(&flow(steps), json!({}), slots("resumed")).await.unwrap();
    let id = running.id().clone();
    let run = running.wait().await.unwrap();
    assert_eq!(run.status, RunStatus::Failed);
    assert_eq!(run.error.unwrap().context("step"), Some("all/c/make"));
    assert_eq!(world.calls("look d"), 0, "nothing new is begun");

    world.down.store(false, Ordering::SeqCst);
    let run = engine.resume(&id, slots("resumed")).await.unwrap().wait().await.unwrap();
    assert_eq!((run.status, run.ledger[&StepPath::from("all")].done), (RunStatus::Succeeded, 4));
    let calls = ["make first", "look a", "look b", "look c", "make made", "look d"].map(|what| world.calls(what));
    assert_eq!(calls, [1, 1, 1, 1, 2, 1], "only the step that failed was called again");
    assert_eq!(engine.resume(&id, slots("resumed")).await.err().unwrap().kind(), ErrorKind::Conflict);
    assert_eq!(journal.runs().await.unwrap()[0].items["done"], 4);
}

#[tokio::test]
async fn a_parked_run_ends_what_is_in_flight_and_another_engine_goes_on() {
    let steps = json!([{ "id": "all", "each": (0..200).collect::<Vec<_>>(), "concurrency": 2, "steps": [
        call("look", "thing.look", json!({ "name": "{{ item }}x" })) ] }]);
    let (engine, journal) = engine();
    let world = world("parked");
    let running = engine.start(&flow(steps), json!({}), slots("parked")).await.unwrap();
    let id = running.id().clone();
    while world.calls("look 3x") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    engine.park();
    let parked = running.wait().await.unwrap();
    assert_eq!((parked.status, parked.finished_at), (RunStatus::Running, None));
    assert_eq!(journal.runs().await.unwrap()[0].status, RunStatus::Running);
    assert_eq!(
        (world.working.load(Ordering::SeqCst), world.calls("look 199x")),
        (0, 0),
        "nothing is torn off, nothing begun"
    );

    let again = Engine::new(journal.clone()).resume(&id, slots("parked")).await.unwrap().wait().await.unwrap();
    assert_eq!((again.status, again.ledger[&StepPath::from("all")].done), (RunStatus::Succeeded, 200));
    let calls = (0..200).map(|item| world.calls(&format!("look {item}x"))).max();
    assert_eq!(calls, Some(1), "what had ended was not called again");
}

#[tokio::test]
async fn a_run_is_cancelled_through_the_journal_and_its_steps_are_broken_off() {
    let flow = flow(json!([call("wait", "thing.look", json!({ "name": "w", "fault": "forever" }))]));
    let (engine, _) = engine();
    let running = engine.start(&flow, json!({}), slots("cancelled")).await.unwrap();
    let id = running.id().clone();
    let twice = engine.resume(&id, slots("cancelled")).await.err().unwrap();
    assert_eq!(twice.kind(), ErrorKind::Conflict, "one process at a time works on a run");
    engine.cancel(&id).await.unwrap();
    assert_eq!(running.wait().await.unwrap().status, RunStatus::Cancelled);
}

#[tokio::test]
async fn the_same_step_of_the_same_item_has_the_same_key_and_no_other_has() {
    let flow = flow(json!([{ "id": "all", "each": ["a", "b"], "key": "{{ item }}", "steps": [
        call("look", "thing.look", json!({ "name": "{{ item }}" })),
        call("again", "thing.look", json!({ "name": "{{ steps.look.key }}" })) ] }]));
    let (engine, _) = engine();
    engine.start(&flow, json!({}), slots("keys")).await.unwrap().wait().await.unwrap();
    let calls = world("keys").calls.lock().unwrap().clone();
    let keys: Vec<_> = calls.keys().filter(|name| name.len() > 10).collect();
    assert_eq!(keys.len(), 2, "{calls:?}");
}

#[test]
fn every_fault_of_a_flow_is_found_at_its_place() {
    let text = r#"{
  "name": "faulty",
  "connections": { "shop": "shop", "other": "nowhere" },
  "steps": [
    { "id": "a", "action": "thing.lok", "connection": "shop" },
    { "id": "b", "action": "thing.look", "connection": "shop", "input": { "nam": "x" } },
    { "id": "c", "if": "{{ steps.later.x }}", "skip": "{{ item.x }}" },
    { "id": "d", "each": { "action": "thing.look", "connection": "shop", "input": { "name": "x" } }, "key": "k", "steps": [] },
    { "id": "e", "action": "thing.look", "connection": "shop", "input": { "name": 7 } },
    { "id": "later", "set": { "y": "{{ steps.e.nothing }} {{ stepz.e }}" } }
  ]
}"#;
    let flow = Flow::parse("faulty.json", text).unwrap();
    let found = Flow::locate("faulty.json", text, flow.check(&registry()));
    let places: Vec<_> = found.iter().map(|one| (one.pointer.as_str(), one.place.as_ref().unwrap().line)).collect();
    let expected = [
        ("/connections/other", 3),
        ("/steps/0/action", 5),
        ("/steps/1/input/nam", 6),
        ("/steps/1/input/name", 6),
        ("/steps/2/if", 7),
        ("/steps/2/skip", 7),
        ("/steps/3/each/action", 8),
        ("/steps/4/input/name", 9),
        ("/steps/5/set/y", 10),
        ("/steps/5/set/y", 10),
    ];
    let mut places = places;
    places.sort();
    assert_eq!(places, expected, "{found:#?}");
    assert_eq!(
        found.iter().find(|one| one.pointer == "/steps/0/action").unwrap().hint.as_deref(),
        Some("did you mean thing.look?")
    );

    let broken = r#"{ "name": "x", "stepz": [], "steps": [ { "id": "1a", "set": {} }, { "id": "b" },
        { "id": "c", "action": "x", "connection": "no", "extra": 1 }, { "id": "d", "set": { "a": "{{ 1 + }}" } } ] }"#;
    let found = Flow::parse("broken.json", broken).unwrap_err();
    assert!(found.iter().any(|one| one.pointer == "/stepz"), "{found:#?}");
    let fixed = broken.replace("\"stepz\": [], ", "");
    let found = Flow::parse("broken.json", &fixed).unwrap_err();
    let places: Vec<_> = found.iter().map(|one| one.pointer.as_str()).collect();
    assert_eq!(places, ["/steps/0/id", "/steps/1", "/steps/2/extra", "/steps/3/set/a"], "{found:#?}");

    let found = Flow::parse("text.json", "{\n  \"name\": }").unwrap_err();
    assert_eq!(found[0].place.as_ref().unwrap().to_string(), "text.json:2:11");
}
