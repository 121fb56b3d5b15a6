//! Measures what operations cost on this machine: `cargo bench --profile dist -p trunkline-tests`, with `-- --json` for
//! output as JSON.
//!
//! Where another program could do the same work, the figure is a ratio to it, measured in the same run against the same
//! server, so that it is comparable across machines. No figure fails the benchmark because it is slow.
#![allow(clippy::unwrap_used)]

mod server;

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use futures::StreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use server::{ROUNDS, Rounds, median, rate, serve_if_requested, server};
use tokio::io::AsyncReadExt;
use trunkline_core::{
    Action, CheckReport, Connected, Connection, Connections, Connector, Context, Effect, MemoryVault, Registry, Result,
    Secret, VaultSlot, async_trait,
};
use trunkline_engine::{Engine, Run, RunStatus};
use trunkline_flow::Flow;
use trunkline_rest::{Auth, Client, Table};
use trunkline_sandbox::Options;
use trunkline_tests::{Cli, fixture, flow_input, http, memory, sandbox};

const STEPS: u64 = 10_000;
const FLUSHES: usize = 3_000;
const CALLS: usize = 20_000;
const IN_FLIGHT: usize = 16;
const FILE: u64 = 1 << 30;
const BLOCK: usize = 4 << 20;

/// A connector that does nothing, so that only the engine and the journal are measured.
struct Nothing;

#[derive(Deserialize, JsonSchema)]
struct NoSettings {}

#[async_trait]
impl Connector for Nothing {
    const NAME: &'static str = "nothing";
    const VERSION: &'static str = "1.0";
    const TITLE: &'static str = "Nothing";
    type Settings = NoSettings;
    type Client = ();
    fn connect(_: NoSettings, _: VaultSlot) -> Result<()> {
        Ok(())
    }
    async fn check((): &()) -> CheckReport {
        CheckReport::default()
    }
}

#[derive(Deserialize, JsonSchema)]
struct Number {
    n: u64,
}

#[derive(Serialize, JsonSchema)]
struct Twice {
    n: u64,
}

/// An action whose result is written to the journal with the next group.
struct Look;
/// An action that waits for the disk before and after the call.
struct Make;

macro_rules! doubles {
    ($action:ident, $name:literal, $effect:expr) => {
        #[async_trait]
        impl Action for $action {
            type Connector = Nothing;
            type Input = Number;
            type Output = Twice;
            const NAME: &'static str = $name;
            const TITLE: &'static str = "Double a number";
            const EFFECT: Effect = $effect;
            async fn run((): &(), input: Number, _: &Context) -> Result<Twice> {
                Ok(Twice { n: input.n * 2 })
            }
        }
    };
}
doubles!(Look, "number.look", Effect::Read);
doubles!(Make, "number.make", Effect::Create);

/// Returns the milliseconds per step of a run over `items` items.
async fn per_step(step: Value, items: u64, concurrency: u64) -> f64 {
    let numbers: Vec<_> = (0..items).collect();
    let flow = json!({
        "name": "steps",
        "connections": { "nothing": "nothing" },
        "steps": [{ "id": "all", "each": "{{ input.numbers }}", "key": "{{ item }}", "concurrency": concurrency, "steps": [step] }]
    });
    let (run, seconds) = timed(flow, json!({ "numbers": numbers })).await;
    assert_eq!(run.ledger[&"all".into()].done, items);
    seconds * 1e3 / items as f64
}

/// Returns the milliseconds per step of a run of `count` steps, one after the other.
async fn in_a_row(step: Value, count: usize, durability: &str) -> f64 {
    let numbered = |number: usize| {
        let mut step = step.clone();
        step["id"] = format!("s{number}").into();
        step
    };
    let steps: Vec<_> = (0..count).map(numbered).collect();
    let flow =
        json!({ "name": "row", "connections": { "nothing": "nothing" }, "durability": durability, "steps": steps });
    timed(flow, json!({})).await.1 * 1e3 / count as f64
}

/// Measures the milliseconds of a step that is on disk before the next one begins, and of a bare append with its flush.
async fn flushes() -> Rounds {
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        let step = json!({ "action": "number.look", "connection": "nothing", "input": { "n": 2 } });
        rounds.add(in_a_row(step, FLUSHES, "every_step").await, bare_flush());
    }
    rounds
}

/// Returns the milliseconds of a bare append with its flush, averaged over as many.
fn bare_flush() -> f64 {
    let cli = Cli::default();
    let mut file = std::fs::File::create(cli.home().join("file")).unwrap();
    let since = Instant::now();
    for _ in 0..FLUSHES {
        file.write_all(&[7; 512]).unwrap();
        file.sync_data().unwrap();
    }
    since.elapsed().as_secs_f64() * 1e3 / FLUSHES as f64
}

/// Runs a flow with the journal in SQLite. Returns the run and the seconds it took.
async fn timed(flow: Value, input: Value) -> (Run, f64) {
    let cli = Cli::default();
    let runtime = cli.runtime();
    let registry = Registry::empty().with_connector::<Nothing>().with_action::<Look>().with_action::<Make>();
    let document = json!({ "name": "nothing", "connector": "nothing-v1.0" });
    let connection = Connection::from_value(document).unwrap();
    let vault = Arc::new(MemoryVault::default());
    let connected: Connected = registry.connect(&connection, vault, &|_| Ok(Secret::from(""))).unwrap();
    let engine = Engine::new(runtime.ports().journal.clone());
    let slots = BTreeMap::from([("nothing".to_owned(), connected)]);
    let flow = Flow::from_value(flow).unwrap();
    let since = Instant::now();
    let running = engine.start(&flow, input, slots).await.unwrap();
    let run = running.wait().await.unwrap();
    let elapsed = since.elapsed();
    assert_eq!(run.status, RunStatus::Succeeded);
    (run, elapsed.as_secs_f64())
}

/// Returns the milliseconds from the start of a process to its first output, as a median.
async fn first_output() -> f64 {
    let cli = Cli::default();
    let mut times = Vec::new();
    for _ in 0..41 {
        let since = Instant::now();
        let mut child = cli.start(&["connectors"]);
        let mut first = [0; 1];
        child.stdout.as_mut().unwrap().read_exact(&mut first).await.unwrap();
        times.push(since.elapsed().as_secs_f64() * 1e3);
        child.wait().await.unwrap();
    }
    median(times.into_iter())
}

/// The argument that makes this program only load the registry and print the time: rows are parsed once per process.
const LOAD_ONLY: &str = "--load-the-registry";

/// The argument that makes this program take one measurement only, named by the next argument, and print it as JSON.
const ONLY: &str = "--only";

/// The limit for loading the registry, in milliseconds.
const LOAD_LIMIT: f64 = 20.0;

fn load() {
    let since = Instant::now();
    let registry = trunkline::registry(None).unwrap();
    let elapsed = since.elapsed().as_secs_f64() * 1e3;
    let actions: usize = registry.connectors().map(|one| one.actions().count()).sum();
    println!("{}", json!({ "ms": elapsed, "actions": actions }));
}

/// Returns the milliseconds that a new process needs to load the whole registry, as a median, and the number of its
/// actions.
fn loading() -> (f64, u64) {
    let program = std::env::current_exe().unwrap();
    let once = |_| {
        let output = std::process::Command::new(&program).arg(LOAD_ONLY).output().unwrap().stdout;
        serde_json::from_slice::<Value>(&output).unwrap()
    };
    let all: Vec<_> = (0..41).map(once).collect();
    (median(all.iter().map(|one| one["ms"].as_f64().unwrap())), all[0]["actions"].as_u64().unwrap())
}

static OPERATIONS: Table = Table::new(
    "figures",
    &[(
        "thing.toml",
        r#"
        [[operation]]
        name  = "thing.get"
        title = "Get a thing"
        route = "GET /things/{id}"
        input.id = { type = "integer" }
        "#,
    )],
);

/// Measures calls per second through [`Client`] and with bare reqwest.
async fn calls() -> Rounds {
    let server = server(0).await;
    let base = &server.address;
    let slot = VaultSlot::new("figures", Arc::new(MemoryVault::default()));
    let client = Client::builder("Figures", base.parse().unwrap(), &OPERATIONS).private_network(true);
    let client = client.auth(Auth::Bearer("token".into()), slot).build().unwrap();
    let (bare, cx) = (http(), Context::default());
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        let plain = rate(CALLS, IN_FLIGHT, async |id| {
            let url = format!("{base}/things/{id}");
            let answer = bare.get(url).bearer_auth("token").send().await.unwrap().json::<Value>().await.unwrap();
            assert_eq!(answer["id"], 7);
        });
        let plain = plain.await;
        let ours = rate(CALLS, IN_FLIGHT, async |id| {
            let answer = client.call("thing.get", json!({ "id": id }), &cx).await.unwrap();
            assert_eq!(answer["id"], 7);
        });
        rounds.add(ours.await, plain);
    }
    rounds
}

/// Measures megabytes per second of a copy by a flow and of one with bare reqwest.
async fn copies() -> Rounds {
    let options =
        Options { files: 1, min_size: FILE, max_size: FILE, processing: Duration::ZERO, ..Options::default() };
    let sandbox = sandbox(options).await;
    let cli = Cli::default();
    let runtime = cli.runtime();
    for settings in sandbox.settings() {
        runtime.add_connection(settings).await.unwrap();
    }
    let (source, target) = (runtime.connect("mediaflow").await.unwrap(), runtime.connect("mediavalet").await.unwrap());
    let text = std::fs::read_to_string(fixture("copy.json")).unwrap();
    let flow = Flow::parse("copy.json", &text).unwrap();
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        let since = Instant::now();
        bare_copy(&source, &target, sandbox.root_folder()).await;
        let bare = FILE as f64 / 1e6 / since.elapsed().as_secs_f64();
        let since = Instant::now();
        let running = runtime.start(&flow, flow_input(&sandbox), BTreeMap::new()).await.unwrap();
        assert_eq!(running.wait().await.unwrap().status, RunStatus::Succeeded);
        rounds.add(FILE as f64 / 1e6 / since.elapsed().as_secs_f64(), bare);
    }
    assert_eq!(sandbox.report().digest_mismatches, 0);
    sandbox.stop().await;
    rounds
}

/// Returns the peak memory of a copy, in MB, less that of a run with nothing to copy.
async fn copy_memory() -> f64 {
    let ((idle, _), (copying, _)) = (memory::peak_of_copies(0, 1).await, memory::peak_of_copies(1, FILE).await);
    copying.saturating_sub(idle) as f64 / 1024.0
}

/// Copies the one file block by block with bare reqwest: the same requests for the same number of blocks, without
/// digests and without a journal.
async fn bare_copy(source: &Connected, target: &Connected, folder: i64) {
    let cx = Context::new("", "", Connections::default());
    let listed = json!({ "id": folder, "fields": ["id", "filename"] });
    let files = source.run("folder.files", listed, &cx).await.unwrap();
    let link = source.run("file.get_download", json!({ "id": files[0]["id"], "formatId": 0 }), &cx).await.unwrap();
    // The simulator compares the bytes with the file of this name.
    let upload = target.run("upload.create", json!({ "filename": files[0]["filename"] }), &cx).await.unwrap();
    let bare = http();
    let from = bare.get(link["downloadURL"].as_str().unwrap()).send().await.unwrap();
    let mut bytes = from.bytes_stream();
    let put = async |query: String, body: Vec<u8>| {
        let url = format!("{}&comp={query}", upload["uploadUrl"].as_str().unwrap());
        let answer = bare.put(url).header("x-ms-version", "2024-11-04").body(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    };
    let (mut block, mut list, mut total) = (Vec::with_capacity(BLOCK), String::new(), 0);
    loop {
        let chunk = bytes.next().await.map(Result::unwrap);
        let mut rest = chunk.as_deref().unwrap_or_default();
        while !rest.is_empty() || (chunk.is_none() && !block.is_empty()) {
            let (now, later) = rest.split_at(rest.len().min(BLOCK - block.len()));
            block.extend_from_slice(now);
            rest = later;
            if block.len() == BLOCK || chunk.is_none() {
                total += block.len() as u64;
                // Eight digits are the base64 form of six bytes.
                let id = format!("{:08}", list.len());
                put(format!("block&blockid={id}"), std::mem::replace(&mut block, Vec::with_capacity(BLOCK))).await;
                list += &format!("<Latest>{id}</Latest>");
            }
        }
        if chunk.is_none() {
            break;
        }
    }
    put("blocklist".into(), format!("<BlockList>{list}</BlockList>").into_bytes()).await;
    assert_eq!(total, FILE);
}

static JSON: LazyLock<bool> = LazyLock::new(|| std::env::args().any(|argument| argument == "--json"));

fn say(text: &str) {
    if !*JSON {
        println!("{text}");
    }
}

#[tokio::main]
async fn main() {
    serve_if_requested().await;
    if std::env::args().any(|argument| argument == LOAD_ONLY) {
        return load();
    }
    if let Some(only) = std::env::args().skip_while(|argument| argument != ONLY).nth(1) {
        let rounds = match only.as_str() {
            "flush" => flushes().await,
            "calls" => calls().await,
            "copy" => copies().await,
            other => panic!("unknown measurement {other}: flush, calls or copy"),
        };
        return println!("{}", json!({ "ratio": rounds.ratio(), "ours": rounds.ours(), "bare": rounds.bare() }));
    }
    let (load, actions) = loading();
    let load_ratio = load / LOAD_LIMIT;
    say(&format!(
        "loading the registry, of its limit of {LOAD_LIMIT} ms       {load_ratio:8.2}   ({load:.1} ms, {actions} actions)"
    ));
    let start = first_output().await;
    say(&format!("start to first output of `trunkline connectors`    {start:8.1} ms"));
    let set = per_step(json!({ "id": "one", "set": { "n": "{{ item * 2 }}" } }), STEPS, 8).await;
    say(&format!("an item with one `set` step                        {:8.1} µs", set * 1e3));
    let action =
        |name: &str| json!({ "id": "one", "action": name, "connection": "nothing", "input": { "n": "{{ item }}" } });
    let read = per_step(action("number.look"), STEPS, 8).await;
    say(&format!("an item with one recorded read                     {:8.1} µs", read * 1e3));
    let create = per_step(action("number.make"), STEPS / 5, 8).await;
    say(&format!("an item with one create, on disk before and after  {:8.1} µs", create * 1e3));
    let row = in_a_row(json!({ "set": { "n": "{{ 2 * 2 }}" } }), 9_000, "by_effect").await;
    say(&format!("one of 9,000 consecutive `set` steps                {:8.1} µs", row * 1e3));
    let flushes = flushes().await;
    let (flushed_ratio, flushed, flush) = (flushes.ratio(), flushes.ours(), flushes.bare());
    say(&format!(
        "a step flushed before the next, of a bare flush's  {flushed_ratio:8.2}   ({:.0} of {:.0} µs)",
        flushed * 1e3,
        flush * 1e3
    ));
    let calls = calls().await;
    let (calls_ratio, calls, bare_calls) = (calls.ratio(), calls.ours(), calls.bare());
    say(&format!(
        "calls through the client, of bare reqwest's        {calls_ratio:8.2}   ({calls:.0} of {bare_calls:.0} a second)"
    ));
    let copies = copies().await;
    let (copy_ratio, copy, bare_copy) = (copies.ratio(), copies.ours(), copies.bare());
    say(&format!(
        "copy of 1 GiB, of bare reqwest's                   {copy_ratio:8.2}   ({copy:.0} of {bare_copy:.0} MB a second)"
    ));
    let copy_mb = copy_memory().await;
    say(&format!("memory of that copy, less that of an idle run       {copy_mb:8.1} MB"));
    if *JSON {
        let figures = json!({
            "load_ratio": load_ratio, "load_ms": load, "actions": actions, "start_ms": start, "set_item_us": set * 1e3, "read_item_us": read * 1e3, "create_item_us": create * 1e3,
            "set_step_us": row * 1e3, "flushed_step_ratio": flushed_ratio, "flushed_step_us": flushed * 1e3,
            "calls_ratio": calls_ratio, "calls_per_second": calls, "bare_calls_per_second": bare_calls,
            "copy_ratio": copy_ratio, "copy_mb_per_second": copy, "bare_copy_mb_per_second": bare_copy,
            "copy_memory_mb": copy_mb,
        });
        println!("{figures}");
    }
}
