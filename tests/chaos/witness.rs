//! The witness: a process of its own that receives effects over HTTP, and writes each of them to disk before it
//! responds.
//!
//! It is another instance of the test program, started with [`child_that_witnesses`] and a file name in the
//! environment. The query of a call controls the response: `hold` delays the first response to a path that ends with
//! `at`, in milliseconds; `busy` refuses the first `busy` calls of a path. Each response has a unique `nonce`.

use std::{
    collections::BTreeMap,
    env,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use trunkline_tests::{Cli, serve};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

const FILE: &str = "CHAOS_WITNESS_FILE";
/// Set if each response closes its connection.
const HANGS_UP: &str = "CHAOS_WITNESS_HANGS_UP";

/// One effect: method, path and idempotency key of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) method: String,
    /// `RUN/ITEM/STEP`.
    pub(crate) place: String,
    pub(crate) key: String,
}

struct Writing {
    file: Mutex<(File, u64)>,
    calls: Mutex<BTreeMap<String, u64>>,
    hangs_up: bool,
}

impl Respond for Writing {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let query: BTreeMap<_, _> = request.url.query_pairs().collect();
        let number = |name: &str| query.get(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        let path = request.url.path();
        let mut calls = self.calls.lock().unwrap();
        let times = calls.entry(path.to_owned()).or_default();
        *times += 1;
        if *times <= number("busy") {
            return ResponseTemplate::new(503);
        }
        let key = request.headers.get("idempotency-key").map_or("", |key| key.to_str().unwrap());
        let mut file = self.file.lock().unwrap();
        file.0.write_all(format!("{} {} {key}\n", request.method, path.trim_start_matches('/')).as_bytes()).unwrap();
        file.0.sync_data().unwrap();
        file.1 += 1;
        let mut answer = ResponseTemplate::new(200).set_body_json(json!({ "nonce": file.1 }));
        if self.hangs_up {
            answer = answer.insert_header("connection", "close");
        }
        match number("hold") {
            hold if hold > 0 && *times == 1 && path.ends_with(&*query["at"]) => {
                answer.set_delay(Duration::from_millis(hold))
            }
            _ => answer,
        }
    }
}

#[tokio::test]
async fn child_that_witnesses() {
    let Some(file) = env::var_os(FILE) else { return };
    let file = OpenOptions::new().create(true).append(true).open(file).unwrap();
    let server = MockServer::builder().disable_request_recording().start().await;
    let writing =
        Writing { file: Mutex::new((file, 0)), calls: Mutex::default(), hangs_up: env::var_os(HANGS_UP).is_some() };
    Mock::given(any()).respond_with(writing).mount(&server).await;
    println!("\nwitness {}", server.uri());
    // Until the test has ended, in whatever way.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

/// The running witness, killed when dropped.
pub(crate) struct Witness {
    process: Child,
    pub(crate) address: String,
    file: PathBuf,
    read: u64,
    seen: Vec<Effect>,
    _folder: TempDir,
}

impl Witness {
    pub(crate) fn start() -> Witness {
        Witness::with(false)
    }

    /// Starts a witness. With `hangs_up`, each call needs a new connection.
    pub(crate) fn with(hangs_up: bool) -> Witness {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("effects");
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "witness::child_that_witnesses", "--nocapture"]).env(FILE, &file);
        if hangs_up {
            command.env(HANGS_UP, "1");
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.as_mut().unwrap()).lines();
        let address = lines.map(Result::unwrap).find_map(|line| line.strip_prefix("witness ").map(str::to_owned));
        Witness { process, address: address.unwrap(), file, read: 0, seen: Vec::new(), _folder: folder }
    }

    /// Returns all effects so far, in their order.
    pub(crate) fn seen(&mut self) -> &[Effect] {
        let Ok(mut file) = File::open(&self.file) else { return &self.seen };
        let mut more = String::new();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        file.read_to_string(&mut more).unwrap();
        let whole = more.rfind('\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        for line in more[..whole].lines() {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            let mut word = || words.next().unwrap();
            self.seen.push(Effect { method: word(), place: word(), key: word() });
        }
        &self.seen
    }

    /// Returns a command line with a connection to the witness and the saved flow [`witnessed`].
    pub(crate) async fn home(&self) -> Cli {
        let cli = Cli::default();
        self.connect(&cli).await;
        cli
    }

    pub(crate) async fn connect(&self, cli: &Cli) {
        cli.add(&json!({ "name": "http", "connector": "http-v1.0", "endpointUrl": self.address,
            "authentication": "none", "allowPrivateNetwork": true }))
            .await;
        serve::save(cli, &witnessed()).await;
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Returns a step that calls the witness. Its path there is its path in the journal, after the id of the run.
pub(crate) fn call(id: &str, method: &str, key: &str) -> Value {
    json!({ "id": id, "action": "request", "connection": "there", "input": {
        "method": method, "path": "/{run}/{item}/{step}",
        "parameters": { "run": "{{ run.id }}", "item": "{{ item }}", "step": id },
        "headers": { "Idempotency-Key": key }, "query": { "hold": "{{ input.hold }}", "at": "{{ input.at }}" }
    } })
}

/// Returns a flow that makes three calls for each item: a read, an idempotent change, and a create. Results of reads
/// and idempotent changes reach the disk some milliseconds after the response, so a kill may repeat them; before a
/// create, everything is on disk. The key of the create contains the response to the read, so it stays the same only if
/// the read is not repeated.
pub(crate) fn witnessed() -> Value {
    let (item, key) = ("{{ run.id }}-{{ item }}", "{{ run.id }}-{{ item }}-{{ steps.read.body.nonce }}");
    json!({
        "name": "witnessed", "connections": { "there": "http" }, "overlap": "parallel",
        "input": { "type": "object", "required": ["items", "hold", "at"], "properties": {
            "items": { "type": "array" }, "hold": { "type": "integer" }, "at": { "type": "string" } } },
        "steps": [{ "id": "all", "each": "{{ input.items }}", "key": "{{ item }}", "concurrency": 2, "steps": [
            call("read", "GET", item), call("put", "PUT", item), call("create", "POST", key)
        ] }]
    })
}

/// Returns the input of that flow, with `items` items.
pub(crate) fn input(items: usize) -> Value {
    held(items, "", 0)
}

/// Returns the same input, with the first response of each call of the step `at` held for `hold` milliseconds.
pub(crate) fn held(items: usize, at: &str, hold: u64) -> Value {
    json!({ "items": (0..items).map(|item| format!("i{item}")).collect::<Vec<_>>(), "at": at, "hold": hold })
}
