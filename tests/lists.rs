//! Lists that change while they are read. With the real paging and `each`, no item is processed twice, every read ends,
//! and if an item that was always in the list is missed, the run reports that items may be missing.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use futures::TryStreamExt;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_core::{
    ActionEntry, ActionSpec, AnyAction, AnyClient, CheckReport, Connected, Connection, ConnectionContext, Connector,
    Context, MemoryVault, Page, Registry, Result, async_trait,
};
use trunkline_engine::{Engine, ItemOutcome, MemoryJournal, Run, RunEvent, RunStatus};
use trunkline_flow::Flow;
use trunkline_rest::{Client, ClientLimits, Table};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

const ROWS: &str = r#"
[[operation]]
name = "thing.offset"
title = "By offset"
route = "GET /offset"
page = { kind = "offset", offset = "offset", count = "count", size = 100, items = "/items", total = "/total" }

[[operation]]
name = "thing.bare"
title = "By offset, without a total"
route = "GET /bare"
page = { kind = "offset", offset = "offset", count = "count", size = 100, items = "/items" }

[[operation]]
name = "thing.number"
title = "By number"
route = "GET /number"
page = { kind = "number", page = "page", count = "per_page", size = 100, items = "/items" }

[[operation]]
name = "thing.cursor"
title = "By cursor"
route = "GET /cursor"
page = { kind = "cursor", cursor = "after", next = "/next", items = "/items" }
"#;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    Table::parse("shelf", &[("rows.toml".into(), ROWS.into())]).unwrap_or_else(|found| panic!("{found:#?}"))
});

struct Shelf;

#[derive(Deserialize, JsonSchema)]
struct Settings {
    address: String,
}

#[async_trait]
impl Connector for Shelf {
    const NAME: &'static str = "shelf";
    const VERSION: &'static str = "1.0";
    const TITLE: &'static str = "Shelf";
    type Settings = Settings;
    type Client = Client;
    fn connect(settings: Settings, _: ConnectionContext) -> Result<Client> {
        client(&settings.address)
    }
    async fn check(_: &Client) -> CheckReport {
        CheckReport::default()
    }
}

fn client(address: &str) -> Result<Client> {
    let limits = ClientLimits { first_wait: Duration::from_millis(10), ..ClientLimits::default() };
    Client::builder("Shelf", address.parse().unwrap(), &*TABLE).private_network(true).limits(limits).build()
}

/// Sabotage: a list that never reports a change.
struct IgnoresChanges(Box<dyn AnyAction>);

#[async_trait]
impl AnyAction for IgnoresChanges {
    fn spec(&self) -> &ActionSpec {
        self.0.spec()
    }
    async fn run(&self, client: &AnyClient, input: Value, cx: &Context) -> Result<Value> {
        self.0.run(client, input, cx).await
    }
    async fn page(&self, client: &AnyClient, input: Value, from: Option<Value>, cx: &Context) -> Result<Page> {
        let page = self.0.page(client, input, from, cx).await?;
        Ok(Page { maybe_incomplete: None, ..page })
    }
}

fn registry(ignores_changes: bool) -> Registry {
    let entry = match ignores_changes {
        false => ActionEntry::many::<Shelf>(|| TABLE.actions()),
        true => ActionEntry::many::<Shelf>(|| {
            Ok(TABLE
                .actions()?
                .into_iter()
                .map(|action| Box::new(IgnoresChanges(action)) as Box<dyn AnyAction>)
                .collect())
        }),
    };
    Registry::empty().with_connector::<Shelf>().with_entry(entry).checked().unwrap()
}

/// A list on a server. It changes after each request, as often as the seed determines.
struct List {
    items: Vec<u64>,
    /// Items that were in the list from the beginning and were never removed.
    stayed: BTreeSet<u64>,
    new: u64,
    random: u64,
    /// The percentage of requests that are followed by changes, and the most changes.
    often: (u64, u64),
    /// The kinds of change.
    changes: &'static [Change],
    changed: u64,
    /// Two items that are swapped after the first request.
    swap: Option<(usize, usize)>,
}

#[derive(Clone, Copy)]
enum Change {
    Insert,
    Delete,
    Move,
}

const ALL: &[Change] = &[Change::Insert, Change::Delete, Change::Move];

impl List {
    fn new(size: u64, seed: u64, changes: &'static [Change]) -> List {
        // From lists that change once or twice while they are read to lists that change all the time; some do not
        // change.
        let often = [(0, 1), (1, 1), (3, 1), (10, 2), (40, 3), (100, 10), (2, 40)][usize::try_from(seed % 7).unwrap()];
        let items: Vec<_> = (0..size).collect();
        let stayed = items.iter().copied().collect();
        List {
            items,
            stayed,
            new: size,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            often,
            changes,
            changed: 0,
            swap: None,
        }
    }

    /// Returns a random number below `below` (SplitMix64).
    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below.max(1)
    }

    fn place(&mut self) -> usize {
        let length = self.items.len() as u64;
        usize::try_from(self.random(length)).unwrap()
    }

    fn shift(&mut self) {
        if self.random(100) >= self.often.0 {
            return;
        }
        for _ in 0..=self.random(self.often.1) {
            self.changed += 1;
            let change = self.random(self.changes.len() as u64);
            match self.changes[usize::try_from(change).unwrap()] {
                Change::Insert => {
                    let place = self.place();
                    self.items.insert(place, self.new);
                    self.new += 1;
                }
                Change::Delete if self.items.is_empty() => {}
                Change::Delete => {
                    let place = self.place();
                    let gone = self.items.remove(place);
                    self.stayed.remove(&gone);
                }
                Change::Move => {
                    let place = self.place();
                    let item = self.items.remove(place);
                    let place = self.place();
                    self.items.insert(place, item);
                }
            }
        }
    }

    fn answer(&mut self, request: &Request) -> Value {
        let given = |name: &str| -> Option<usize> {
            request.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.parse().unwrap())
        };
        let (from, count) = match request.url.path() {
            "/number" => ((given("page").unwrap() - 1) * given("per_page").unwrap(), given("per_page").unwrap()),
            _ => (given("offset").unwrap(), given("count").unwrap()),
        };
        let page: Vec<_> = self.items.iter().skip(from).take(count).map(|id| json!({ "id": id })).collect();
        let total = (request.url.path() == "/offset").then_some(self.items.len());
        if let Some((one, other)) = self.swap.take() {
            self.items.swap(one, other);
        }
        self.shift();
        json!({ "items": page, "total": total })
    }
}

async fn serve(list: List) -> (MockServer, Arc<Mutex<List>>) {
    let server = MockServer::start().await;
    let list = Arc::new(Mutex::new(list));
    let answering = list.clone();
    let answer =
        move |request: &Request| ResponseTemplate::new(200).set_body_json(answering.lock().unwrap().answer(request));
    Mock::given(any()).respond_with(answer).mount(&server).await;
    (server, list)
}

/// The result of a run over a list.
struct Read {
    run: Run,
    /// Items that were always in the list and were not processed.
    missed: usize,
    doubles: usize,
    changed: u64,
}

impl Read {
    fn is_flagged(&self) -> bool {
        self.run.ledger[&"all".into()].maybe_incomplete.is_some()
    }
}

fn connect(address: &str, registry: &Registry) -> BTreeMap<String, Connected> {
    let document = json!({ "name": "shelf", "connector": "shelf-v1.0", "address": address });
    let connection = Connection::from_value(document).unwrap();
    let lookup = |_: &_| unreachable!("no secrets here");
    let connected = registry.connect(&connection, Arc::new(MemoryVault::default()), &lookup).unwrap();
    BTreeMap::from([("shelf".to_owned(), connected)])
}

fn flow(action: &str) -> Flow {
    let flow = Flow::from_value(json!({
        "name": "reads", "connections": { "shelf": "shelf" },
        "steps": [{ "id": "all", "each": { "action": action, "connection": "shelf", "input": {} }, "key": "{{ item.id }}",
            "concurrency": 4, "steps": [{ "id": "noted", "set": { "id": "{{ item.id }}" } }] }],
        "output": { "maybe": "{{ steps.all.maybe_incomplete }}" }
    }));
    flow.unwrap()
}

async fn read(action: &str, list: List, registry: &Registry) -> Read {
    let (server, list) = serve(list).await;
    let journal = Arc::new(MemoryJournal::default());
    let engine = Engine::new(journal.clone());
    let running = engine.start(&flow(action), json!({}), connect(&server.uri(), registry)).await.unwrap();
    let id = running.id().clone();
    let run = running.wait().await.unwrap();
    let mut ends = BTreeMap::<u64, usize>::new();
    let visit = &mut |event| {
        // An item that is listed again is skipped, as an item of its own.
        if let RunEvent::ItemFinished { key, outcome: ItemOutcome::Done { .. }, .. } = event {
            *ends.entry(key.parse().unwrap()).or_default() += 1;
        }
    };
    trunkline_engine::EventLog::replay(&*journal, &id, visit).await.unwrap();
    let list = list.lock().unwrap();
    let missed = list.stayed.iter().filter(|id| !ends.contains_key(id)).count();
    let doubles = ends.values().filter(|times| **times > 1).count();
    Read { run, missed, doubles, changed: list.changed }
}

/// Reads one list of this size per seed. Returns how many reads missed items, and how many were flagged.
async fn hold(action: &str, size: u64, seeds: std::ops::Range<u64>) -> (usize, usize) {
    let registry = registry(false);
    let (mut missed, mut flagged) = (0, 0);
    for seed in seeds {
        let read = read(action, List::new(size, seed, ALL), &registry).await;
        assert_eq!((read.run.status, read.doubles), (RunStatus::Succeeded, 0), "{action}, seed {seed}");
        assert!(read.missed == 0 || read.is_flagged(), "{action}, seed {seed}: {} missed silently", read.missed);
        assert!(read.changed > 0 || !read.is_flagged(), "{action}, seed {seed}: {:?}", read.run.ledger);
        assert_eq!(read.run.output.as_ref().unwrap()["maybe"], read.is_flagged());
        missed += usize::from(read.missed > 0);
        flagged += usize::from(read.is_flagged());
    }
    println!("{action}: items were missed in {missed} readings, {flagged} were flagged");
    (missed, flagged)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_item_of_a_changing_list_is_missed_silently() {
    for action in ["thing.offset", "thing.bare", "thing.number"] {
        let (missed, _) = hold(action, 1_000, 0..21).await;
        assert!(missed > 0, "{action}: no read missed an item, so nothing was tested");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: a hundred lists of five thousand items, with three kinds of paging"]
async fn no_item_of_a_hundred_long_changing_lists_is_missed_silently() {
    for action in ["thing.offset", "thing.bare", "thing.number"] {
        let (missed, _) = hold(action, 5_000, 0..100).await;
        assert!(missed > 0, "{action}: no read missed an item, so nothing was tested");
    }
}

/// The sabotage twin: deletions alone repeat no item, so only the paging can detect them.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_comparison_of_adjacent_pages_items_are_missed_silently() {
    for (ignores_changes, silent) in [(false, false), (true, true)] {
        let registry = registry(ignores_changes);
        let mut missed_silently = false;
        for (action, seed) in [("thing.offset", 3), ("thing.bare", 4), ("thing.number", 3)] {
            let read = read(action, List::new(1_000, seed, &[Change::Delete]), &registry).await;
            missed_silently |= read.missed > 0 && !read.is_flagged();
        }
        assert_eq!(missed_silently, silent);
    }
}

/// Two items are swapped far from a page boundary: the paging cannot detect it, `each` recognizes the repeated item.
#[tokio::test(flavor = "multi_thread")]
async fn swapped_items_are_detected_by_their_keys() {
    for action in ["thing.offset", "thing.bare"] {
        let list = List { swap: Some((10, 250)), ..List::new(300, 0, ALL) };
        let read = read(action, list, &registry(false)).await;
        assert_eq!((read.missed, read.doubles), (1, 0), "{action}");
        let reason = read.run.ledger[&"all".into()].maybe_incomplete.clone().unwrap();
        assert!(reason.starts_with("10 was on two pages"), "{action}: {reason}");
    }
}

/// Items that were processed before a run was suspended are listed again, which does not mean that the list changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_run_reports_no_change_for_an_unchanged_list() {
    for action in ["thing.offset", "thing.number"] {
        let (server, _) = serve(List::new(3_000, 0, ALL)).await;
        let journal = Arc::new(MemoryJournal::default());
        let (registry, flow) = (registry(false), flow(action));
        let first = Engine::new(journal.clone());
        let running = first.start(&flow, json!({}), connect(&server.uri(), &registry)).await.unwrap();
        let id = running.id().clone();
        while server.received_requests().await.unwrap().len() < 5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        first.drain();
        let suspended = running.wait().await.unwrap();
        assert!(suspended.status == RunStatus::Running && suspended.ledger[&"all".into()].done > 0, "{suspended:#?}");
        let second = Engine::new(journal.clone());
        let running = second.resume(&id, connect(&server.uri(), &registry)).await.unwrap();
        let run = running.wait().await.unwrap();
        assert_eq!(run.ledger[&"all".into()].done, 3_000);
        assert_eq!(run.ledger[&"all".into()].maybe_incomplete, None, "{action}");
    }
}

/// The loop over `next` as users of the client write it: it ends, and repeats an item only on a page that reports a
/// change.
#[tokio::test(flavor = "multi_thread")]
async fn the_loop_over_next_ends_and_repeats_no_item_silently() {
    for action in ["thing.offset", "thing.bare", "thing.number"] {
        for seed in 0..14 {
            let (server, _) = serve(List::new(1_000, seed, &[Change::Insert, Change::Delete])).await;
            let client = client(&server.uri()).unwrap();
            let cx = Context::default();
            let pages: Vec<Page> = client.pages(action, json!({}), &cx).try_collect().await.unwrap();
            let reported = pages.iter().any(|page| page.maybe_incomplete.is_some());
            let ids: Vec<_> = pages.iter().flat_map(|page| &page.items).map(ToString::to_string).collect();
            let distinct: BTreeSet<_> = ids.iter().collect();
            assert!(reported || distinct.len() == ids.len(), "{action}, seed {seed}");
        }
    }
}

/// A list that breaks off: the run fails with the error, keeps what it has done, and never reports success.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_breaks_off_fails_its_run() {
    let broken = [
        json!({ "error": { "code": 42, "message": "quota used up" } }),
        json!({ "message": "the index is being built" }),
        json!({ "items": null }),
        json!({ "items": [], "errors": ["timeout"] }),
        json!({ "items": [], "next": { "href": "/cursor?after=3" } }),
        json!({ "items": [{ "id": 7 }], "nextPageToken": "x" }),
    ];
    for (body, first) in broken.iter().flat_map(|body| [(body, true), (body, false)]) {
        let server = MockServer::start().await;
        let answer = body.clone();
        let respond = move |request: &Request| {
            let is_first = request.url.query().is_none();
            let good = json!({ "items": [{ "id": 1 }, { "id": 2 }], "next": "p2" });
            ResponseTemplate::new(200).set_body_json(if is_first == first { answer.clone() } else { good })
        };
        Mock::given(any()).respond_with(respond).mount(&server).await;
        let engine = Engine::new(Arc::new(MemoryJournal::default()));
        let connections = connect(&server.uri(), &registry(false));
        let running = engine.start(&flow("thing.cursor"), json!({}), connections).await.unwrap();
        let run = running.wait().await.unwrap();
        assert_eq!(run.status, RunStatus::Failed, "{body}: {run:#?}");
        let done = run.ledger.get(&"all".into()).map_or(0, |ledger| ledger.done);
        assert_eq!(done, if first { 0 } else { 2 }, "{body}");
    }
}
