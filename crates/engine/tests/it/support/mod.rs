//! A connector for tests. Each test has a world of its own, which counts the calls and has the created things.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

pub mod between;
pub mod lab;

use std::{
    collections::{BTreeMap, BTreeSet},
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
    Action, ActionEntry, ActionSpec, AnyAction, AnyClient, CheckReport, Connected, Connection, Connector, Context,
    Diagnostic, Effect, Error, ErrorKind, MemoryVault, Page, Registry, Result, VaultSlot, async_trait,
};
use trunkline_flow::Flow;

/// The things and the counts of one test, and the switches that make its calls fail.
#[derive(Default)]
pub struct World {
    pub calls: Mutex<BTreeMap<String, usize>>,
    pub made: Mutex<Vec<String>>,
    pub down: AtomicBool,
    /// Whether the look-up of a create does not find out its outcome.
    pub blind: AtomicBool,
    /// The kind of error that the look-up fails with, if it fails.
    pub look_up: Mutex<Option<ErrorKind>>,
    /// The names of the things that cannot be created with the fault `door`.
    pub shut: Mutex<BTreeSet<String>>,
    pub pages: AtomicUsize,
    pub working: AtomicUsize,
    pub most: AtomicUsize,
}

static WORLDS: LazyLock<Mutex<BTreeMap<String, Arc<World>>>> = LazyLock::new(Mutex::default);

pub fn world(name: &str) -> Arc<World> {
    WORLDS.lock().unwrap().entry(name.to_owned()).or_default().clone()
}

impl World {
    pub fn count(&self, what: &str) -> usize {
        let mut calls = self.calls.lock().unwrap();
        let count = calls.entry(what.to_owned()).or_default();
        *count += 1;
        *count
    }

    pub fn calls(&self, what: &str) -> usize {
        self.calls.lock().unwrap().get(what).copied().unwrap_or_default()
    }
}

pub struct Shop;

#[derive(Deserialize, JsonSchema)]
pub struct Settings {
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
        // The world is shared through the static; the client is only a handle with its name.
        let shared = world(&settings.world);
        shared.count("connect");
        Ok(World { made: Mutex::new(vec![settings.world]), ..World::default() })
    }
    async fn check(_: &World) -> CheckReport {
        CheckReport::default()
    }
}

fn shared(client: &World) -> Arc<World> {
    world(&client.made.lock().unwrap()[0])
}

#[derive(Deserialize, JsonSchema)]
pub struct Name {
    name: String,
    #[serde(default)]
    fault: String,
    #[serde(default)]
    items: Vec<Value>,
}

#[derive(Serialize, JsonSchema)]
pub struct Made {
    name: String,
    key: String,
}

/// Returns the error of a call that lacks a local resource.
fn starved() -> Error {
    Error::new(ErrorKind::Store, "too many open files").retry(trunkline_core::Retry::Backoff)
}

impl World {
    /// Injects a fault into the call number `times`.
    ///
    /// `busy N` fails N times with a transient error, `later N` fails N times and asks to retry in 40 minutes, `starved
    /// N` fails N times for lack of a local resource, `sleep MS` takes MS milliseconds, and `auth` fails. The actions
    /// implement all other faults.
    async fn fault(&self, fault: &str, times: usize) -> Result<()> {
        let (what, number) = fault.split_once(' ').unwrap_or((fault, "0"));
        let number: u64 = number.parse().unwrap_or_default();
        match what {
            "busy" if times as u64 <= number => {
                Err(Error::new(ErrorKind::Unavailable, "busy").retry(trunkline_core::Retry::Backoff))
            }
            "later" if times as u64 <= number => Err(Error::new(ErrorKind::RateLimited, "the quota is spent")
                .retry(trunkline_core::Retry::After(Duration::from_secs(2400)))),
            "starved" if times as u64 <= number => Err(starved()),
            "sleep" => {
                tokio::time::sleep(Duration::from_millis(number)).await;
                Ok(())
            }
            "auth" => Err(Error::new(ErrorKind::Auth, "signed out")),
            _ => Ok(()),
        }
    }
}

/// Reads a thing, or fails, hangs or panics as the fault of the input says.
pub struct Look;

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
        let times = world.count(&format!("look {}", input.name));
        world.count(cx.idempotency_key());
        for item in &input.items {
            world.count(&format!("item {item}"));
        }
        let working = world.working.fetch_add(1, Ordering::SeqCst) + 1;
        world.most.fetch_max(working, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
        world.working.fetch_sub(1, Ordering::SeqCst);
        world.fault(&input.fault, times).await?;
        if let Some(bytes) = input.fault.strip_prefix("big ") {
            return Ok(Made { name: "x".repeat(bytes.parse().unwrap()), key: String::new() });
        }
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

/// Creates a thing. With the fault `lost`, the first attempt takes effect and its response is lost; with `early`, the
/// request is lost.
pub struct Make<const RECONCILES: bool>;

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
        let times = world.count(&format!("make {}", input.name));
        world.count(cx.idempotency_key());
        let first = times == 1;
        if input.fault.starts_with("busy") || input.fault.starts_with("starved") {
            world.fault(&input.fault, times).await?;
        }
        if input.fault == "down" && world.down.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Auth, "signed out"));
        }
        if input.fault == "door" && world.shut.lock().unwrap().contains(&input.name) {
            return Err(Error::new(ErrorKind::InvalidInput, "the door is shut"));
        }
        let lost = || Error::new(ErrorKind::UnknownOutcome, "the response was lost");
        if first && input.fault == "early" {
            return Err(lost());
        }
        world.made.lock().unwrap().push(input.name.clone());
        if input.fault.starts_with("sleep") {
            world.fault(&input.fault, times).await?;
        }
        if first && input.fault == "lost" {
            return Err(lost());
        }
        Ok(Made { name: input.name, key: cx.idempotency_key().to_owned() })
    }
    async fn reconcile(client: &World, input: Name, cx: &Context) -> Result<Option<Made>> {
        if !RECONCILES || shared(client).blind.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::UnknownOutcome, "cannot be known"));
        }
        if shared(client).down.load(Ordering::SeqCst) {
            return Err(starved());
        }
        if let Some(kind) = *shared(client).look_up.lock().unwrap() {
            return Err(Error::new(kind, "the look-up failed").retry(trunkline_core::Retry::Backoff));
        }
        let there = shared(client).made.lock().unwrap().contains(&input.name);
        Ok(there.then(|| Made { name: input.name, key: cx.idempotency_key().to_owned() }))
    }
}

/// Lists `pages` pages of three things. The list shifts by one between two pages, as if a thing was added meanwhile.
pub struct List(ActionSpec);

#[async_trait]
impl AnyAction for List {
    fn spec(&self) -> &ActionSpec {
        &self.0
    }
    async fn run(&self, _: &AnyClient, _: Value, _: &Context) -> Result<Value> {
        unreachable!("only listed")
    }
    async fn page(&self, client: &AnyClient, input: Value, from: Option<Value>, _: &Context) -> Result<Page> {
        let world = shared(client.downcast_ref().unwrap());
        let times = world.pages.fetch_add(1, Ordering::SeqCst) + 1;
        // The first `failures` requests for a page fail.
        if input["failures"].as_u64().is_some_and(|failures| times as u64 <= failures) {
            return Err(Error::new(ErrorKind::Unavailable, "no page").retry(trunkline_core::Retry::Backoff));
        }
        let page = from.and_then(|from| from.as_u64()).unwrap_or_default();
        let first = (page * 3).saturating_sub(page.min(1));
        let items = (first..first + 3).map(|n| json!({ "name": format!("t{n}") })).collect();
        let next = (page + 1 < input["pages"].as_u64().unwrap()).then(|| (page + 1).into());
        Ok(Page { items, next, ..Page::default() })
    }
}

pub fn registry() -> Registry {
    let list = ActionEntry::many::<Shop>(|| {
        Ok(vec![Box::new(List(ActionSpec {
            name: "thing.list".into(),
            title: "List".into(),
            group: String::new(),
            about: String::new(),
            effect: Effect::Read,
            route: None,
            lists: true,
            scopes: Vec::new(),
            input: json!({ "type": "object", "properties": { "pages": { "type": "integer" } }, "required": ["pages"] }),
            output: json!({ "type": "object", "properties": { "items": { "type": "array",
                "items": { "type": "object", "properties": { "name": { "type": "string" } } } }, "next": true } }),
        }))])
    });
    let registry = Registry::empty().with_connector::<Shop>().with_action::<Look>().with_action::<Make<true>>();
    registry.with_action::<Make<false>>().with_entry(list).checked().unwrap()
}

pub fn slots(world: &str) -> BTreeMap<String, Connected> {
    let document = json!({ "name": "shop", "connector": "shop-v1.0", "world": world });
    let connection = Connection::from_value(document).unwrap();
    let lookup = |_: &_| unreachable!("no secrets here");
    let connected = registry().connect(&connection, Arc::new(MemoryVault::default()), &lookup).unwrap();
    BTreeMap::from([("shop".to_owned(), connected)])
}

pub fn flow(steps: Value) -> Flow {
    let document = json!({ "name": "test", "connections": { "shop": "shop" }, "steps": steps });
    let flow = Flow::from_value(document).unwrap();
    Diagnostic::accept("the flow", &flow.check(&registry())).unwrap();
    flow
}

pub fn call(id: &str, action: &str, input: Value) -> Value {
    json!({ "id": id, "action": action, "connection": "shop", "input": input })
}

/// Returns the fact with this key that an error shows.
pub(crate) fn fact<'a>(error: &'a Error, key: &str) -> Option<&'a str> {
    error.facts().find(|(known, _)| *known == key).map(|(_, value)| value)
}
