//! Shared helpers: a data directory for each test, and short ways to create connections, runs and events.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use base64::prelude::{BASE64_STANDARD, Engine};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{
    functions::{Context, FunctionFlags},
    types::{Value, ValueRef},
};
use serde_json::json;
use sha2::Sha256;
use tempfile::TempDir;
use tokio::process::Command;
use trunkline_core::{Connection, Result, RunId, Schema, StepPath, Timestamp};
use trunkline_engine::{EventLog, Flush, ItemNote, ItemOutcome, KeyForm, LogEntry, RunEvent};
use trunkline_store::{KeySource, Store};
use trunkline_testkit::process::{TestProcess, test_child};

/// Computes the MAC of a row. Existing stores have it on disk, so the algorithm must not change.
fn mac(key: &[u8], row: &Context<'_>) -> i64 {
    let mut keyed = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    for index in 0..row.len() {
        let (kind, content) = match row.get_raw(index) {
            ValueRef::Null => (0, Vec::new()),
            ValueRef::Integer(number) => (1, number.to_le_bytes().to_vec()),
            ValueRef::Real(number) => (2, number.to_le_bytes().to_vec()),
            ValueRef::Text(text) => (3, text.to_vec()),
            ValueRef::Blob(bytes) => (4, bytes.to_vec()),
        };
        keyed.update(&[kind]);
        keyed.update(&(content.len() as u64).to_le_bytes());
        keyed.update(&content);
    }
    i64::from_le_bytes(keyed.finalize().into_bytes()[..8].try_into().unwrap())
}

/// A temporary folder for a data directory and a key file. It is removed when dropped.
pub struct Home(TempDir);

impl Home {
    pub fn new() -> Home {
        Home(TempDir::new().unwrap())
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    pub fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub fn key(&self) -> PathBuf {
        self.0.path().join("config").join("key")
    }

    pub fn database(&self) -> PathBuf {
        self.data().join("trunkline.db")
    }

    pub fn open(&self) -> Result<Store> {
        Store::open(&self.data(), KeySource::File(self.key()))
    }

    /// Copies the store in another home, as it is on disk now, and makes the copy the owner of its name.
    pub fn copy_from(&self, data: &Path) {
        fs::create_dir_all(self.data()).unwrap();
        fs::create_dir_all(self.0.path().join("config")).unwrap();
        for file in ["trunkline.db", "trunkline.db-wal"] {
            fs::copy(data.join(file), self.data().join(file)).unwrap();
        }
        let runs = self.data().join("runs");
        fs::create_dir_all(&runs).unwrap();
        for file in fs::read_dir(data.join("runs")).into_iter().flatten().map(|file| file.unwrap()) {
            fs::copy(file.path(), runs.join(file.file_name())).unwrap();
        }
        fs::copy(data.with_file_name("config").join("key"), self.key()).unwrap();
        Store::adopt(&self.data(), KeySource::File(self.key())).unwrap();
    }

    /// Opens the database directly, as an attacker could who can write the file.
    pub fn sqlite(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.database()).unwrap()
    }

    /// As [`Home::sqlite`], with the function `mac`, which only the store itself can compute.
    pub fn sqlite_with_key(&self) -> rusqlite::Connection {
        let sqlite = self.sqlite();
        let meta = |name: &str| -> rusqlite::types::Value {
            sqlite.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).unwrap()
        };
        let (Value::Text(instance), Value::Text(id), Value::Blob(sealed)) =
            (meta("instance"), meta("key"), meta("canary"))
        else {
            panic!("the metadata has other types")
        };
        let key = BASE64_STANDARD.decode(fs::read_to_string(self.key()).unwrap().lines().next().unwrap()).unwrap();
        let mut place = b"trunkline 1".to_vec();
        for part in [&*instance, "meta", "records", "value", &*id] {
            place.extend((part.len() as u64).to_le_bytes());
            place.extend(part.as_bytes());
        }
        let cipher = XChaCha20Poly1305::new_from_slice(&key).unwrap();
        let payload = Payload { msg: &sealed[24..], aad: &place };
        let key = cipher.decrypt(&XNonce::try_from(&sealed[..24]).unwrap(), payload).unwrap();
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
        sqlite.create_scalar_function("mac", -1, flags, move |row| Ok(mac(&key, row))).unwrap();
        sqlite
    }

    /// Returns name and content of all files in the data directory, without the index of the write-ahead log, which
    /// SQLite rebuilds from the log.
    pub fn bytes(&self) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(self.data()).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.is_file() && !path.to_string_lossy().ends_with("-shm"));
        files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())).collect()
    }
}

/// The environment variable with the home of a child.
const HOME: &str = "TRUNKLINE_STORE_TEST_HOME";

/// Returns a command that runs a test of this program, such as `processes::child_that_claims`, as a process of its own
/// on the store of a home.
pub fn command(home: &Home, test: &str) -> Command {
    let mut command = test_child(test);
    command.env(HOME, home.path());
    command
}

/// Starts a child.
pub fn child(home: &Home, test: &str) -> TestProcess {
    TestProcess::spawn(&mut command(home, test))
}

/// Returns the store that a child was started for, and `None` in the process of the tests.
pub fn store_of_child() -> Option<Store> {
    let home = PathBuf::from(env::var_os(HOME)?);
    Some(Store::open(&home.join("data"), KeySource::File(home.join("config").join("key"))).unwrap())
}

/// Returns a settings schema with two secrets, one of them in a nested object.
pub fn settings() -> Schema {
    let secret = json!({ "writeOnly": true });
    Schema::from(json!({ "properties": {
        "clientSecret": secret, "flow": { "oneOf": [{ "properties": { "password": secret } }] }
    } }))
}

pub fn connection(name: &str, client_secret: &str, password: &str) -> Connection {
    Connection::from_value(json!({
        "name": name, "connector": "dam-v1.0", "endpointUrl": "https://dam.test", "clientSecret": client_secret,
        "flow": { "username": "u", "password": password }
    }))
    .unwrap()
}

pub fn started(at: u64) -> RunEvent {
    let (connections, calls) = (BTreeMap::new(), BTreeMap::new());
    RunEvent::Started {
        flow: "copy".into(),
        version: "v1".into(),
        input: json!({}),
        connections,
        calls,
        retry: None,
        start_error: None,
        trigger: None,
        keys: KeyForm::default(),
        at: Timestamp::from_millis(at),
    }
}

pub async fn accepted(store: &Store, name: &str) -> RunId {
    let run = RunId::from(name);
    store.accept(&run, "v1", &json!({ "name": "copy" }), started(1), Flush::Now).await.unwrap();
    run
}

pub fn item(key: &str) -> RunEvent {
    RunEvent::ItemFinished {
        step: StepPath::from("files"),
        key: key.to_owned(),
        outcome: ItemOutcome::Done { reason: None },
        once: None,
        note: ItemNote::default(),
        at: Timestamp::from_millis(2),
    }
}

/// Returns an entry of the call log with this input.
pub fn logged(input: serde_json::Value) -> LogEntry {
    LogEntry {
        path: "files/1/asset".into(),
        step: "files/*/asset".into(),
        item: Some("1".into()),
        attempt: 2,
        at: Timestamp::from_millis(7),
        took: 8,
        action: "asset.upload".into(),
        connection: "dam".into(),
        input,
        output: None,
        error: Some(json!({ "kind": "unavailable" })),
    }
}

pub async fn events(store: &Store, run: &RunId) -> Vec<RunEvent> {
    let mut events = Vec::new();
    store.replay(run, &mut |event| events.push(event)).await.unwrap();
    events
}

/// Returns the keys of the items that a run has finished, in order.
pub async fn keys(store: &Store, run: &RunId) -> Vec<String> {
    let key = |event: RunEvent| match event {
        RunEvent::ItemFinished { key, .. } => Some(key),
        _ => None,
    };
    events(store, run).await.into_iter().filter_map(key).collect()
}

pub use trunkline_testkit::fact;

/// Makes a store of format 11 of a closed one.
pub fn downgrade(home: &Home) {
    let sqlite = home.sqlite_with_key();
    sqlite
        .execute_batch(
            "DROP INDEX runs_by_start; DROP INDEX runs_by_flow; DROP INDEX runs_by_status; DROP INDEX runs_by_repeated;
             ALTER TABLE runs DROP COLUMN trigger; ALTER TABLE runs DROP COLUMN error;
             ALTER TABLE runs DROP COLUMN repeats; CREATE INDEX runs_by_start ON runs (started_at);
             UPDATE runs SET sum = mac('runs', id, flow, version, status, started_at, finished_at, cancel_requested,
                 done, skipped, failed, unknown, connections, last, logged);
             DROP INDEX items_by_key; DROP TABLE item_names; DROP TABLE starts;
             DROP TABLE event_order; DROP TABLE deliveries;
             DELETE FROM meta WHERE name = 'retention'; PRAGMA user_version = 11",
        )
        .unwrap();
}
