//! Everything that changes, as events. A change is one [`Event`]: written as a JSON line (when there is a state folder)
//! and then applied, under one lock and before the answer is sent. Reading the lines back at start gives the same world,
//! so a killed process has lost nothing it answered; a torn last line belongs to an answer nobody got, and is dropped.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::asset::{Asset, Blob, Category};
use crate::downloads::Package;
use crate::tokens::{Access, Code, Refresh};
use crate::webhooks::Webhook;

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A point in time the way both APIs write it.
pub(crate) fn timestamp(milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(milliseconds).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

/// One change of the world.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    Hit,
    Fault(String),
    Access(Access),
    Refresh(Refresh),
    Code(Code),
    /// A token answer that counts as a refresh, unless the named connection has had none before.
    Answered(Option<String>),
    RevokeFamily(String),
    RevokeAccess(String),
    ExpireAccess,
    Asset(Box<Asset>),
    AssetGone(Uuid),
    Category(Category),
    CategoryGone(Uuid),
    Block {
        blob: Uuid,
        id: String,
        size: u64,
    },
    Blob(Blob),
    Package(Package),
    PackageGone(Uuid),
    Webhook(Webhook),
    WebhookGone(Uuid),
    Usage {
        file: i64,
        usage: Value,
        /// Takes back what was reported for the same project and address.
        removed: bool,
    },
}

/// The state of both systems.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub access: HashMap<String, Access>,
    pub refresh: HashMap<String, Refresh>,
    pub codes: HashMap<String, Code>,
    pub revoked: HashSet<String>,
    pub connections: HashSet<String>,
    pub refreshes: u64,
    pub requests: u64,
    pub faults: BTreeMap<String, u64>,
    /// In the order they were made.
    pub assets: BTreeMap<u64, Asset>,
    numbers: HashMap<Uuid, u64>,
    pub media: HashMap<Uuid, Uuid>,
    pub categories: BTreeMap<Uuid, Category>,
    pub blobs: HashMap<Uuid, Blob>,
    pub packages: BTreeMap<Uuid, Package>,
    pub webhooks: BTreeMap<Uuid, Webhook>,
    pub usages: HashMap<i64, Vec<Value>>,
    log: Option<File>,
    closed: bool,
}

impl World {
    /// Writes the change down and makes it. After the sandbox was dropped nothing changes any more.
    pub(crate) fn record(&mut self, event: Event) {
        if self.closed {
            return;
        }
        if let Some(log) = &mut self.log {
            let written = serde_json::to_vec(&event).map_err(io::Error::other).and_then(|mut line| {
                line.push(b'\n');
                log.write_all(&line)
            });
            if let Err(error) = written {
                tracing::error!(%error, "sandbox: the state folder cannot be written; this change will not survive");
            }
        }
        self.apply(event);
    }

    pub(crate) fn apply(&mut self, event: Event) {
        match event {
            Event::Hit => self.requests += 1,
            Event::Fault(kind) => *self.faults.entry(kind).or_default() += 1,
            Event::Access(access) => {
                if self.access.len() > 20_000 {
                    let now = now();
                    self.access.retain(|_, old| old.expires > now);
                }
                self.access.insert(access.token.clone(), access);
            }
            Event::Refresh(refresh) => {
                self.refresh.insert(refresh.token.clone(), refresh);
            }
            Event::Code(code) => {
                self.codes.insert(code.code.clone(), code);
            }
            Event::Answered(connection) => {
                if connection.is_none_or(|name| !self.connections.insert(name)) {
                    self.refreshes += 1;
                }
            }
            Event::RevokeFamily(family) => {
                self.revoked.insert(family);
            }
            Event::RevokeAccess(token) => {
                self.access.remove(&token);
            }
            Event::ExpireAccess => self.access.clear(),
            Event::Asset(asset) => self.put_asset(*asset),
            Event::AssetGone(id) => {
                if let Some(number) = self.numbers.remove(&id) {
                    self.assets.remove(&number);
                }
            }
            Event::Category(category) => {
                self.categories.insert(category.id, category);
            }
            Event::CategoryGone(id) => {
                self.categories.remove(&id);
                for asset in self.assets.values_mut() {
                    asset.categories.retain(|category| *category != id);
                }
            }
            Event::Block { blob, id, size } => {
                self.blobs.entry(blob).or_insert_with(|| Blob::new(blob)).staged.insert(id, size);
            }
            Event::Blob(blob) => {
                self.blobs.insert(blob.id, blob);
            }
            Event::Package(package) => {
                self.packages.insert(package.id, package);
            }
            Event::PackageGone(id) => {
                self.packages.remove(&id);
            }
            Event::Webhook(webhook) => {
                self.webhooks.insert(webhook.id, webhook);
            }
            Event::WebhookGone(id) => {
                self.webhooks.remove(&id);
            }
            Event::Usage { file, usage, removed: false } => self.usages.entry(file).or_default().push(usage),
            Event::Usage { file, usage, removed: true } => {
                let same = |old: &Value| old["project"] == usage["project"] && old["url"] == usage["url"];
                self.usages.entry(file).or_default().retain(|old| !same(old));
            }
        }
    }

    fn put_asset(&mut self, mut asset: Asset) {
        asset.index();
        for file in asset.current.iter().chain(&asset.pending) {
            self.media.insert(file.id, asset.id);
        }
        let next = self.assets.last_key_value().map_or(0, |(number, _)| number + 1);
        let number = *self.numbers.entry(asset.id).or_insert(next);
        self.assets.insert(number, asset);
    }

    pub(crate) fn asset(&self, id: Uuid) -> Option<&Asset> {
        self.assets.get(self.numbers.get(&id)?)
    }
}

/// The world behind its lock, and the folder for what is too large for a line.
#[derive(Debug)]
pub(crate) struct State {
    world: Mutex<World>,
    folder: PathBuf,
    /// The folder is ours and goes when the sandbox stops.
    temporary: bool,
}

impl State {
    /// Opens the state folder, or makes a temporary one. `seed` is what every world starts with.
    pub(crate) fn open(folder: Option<&Path>, seed: Vec<Event>) -> io::Result<State> {
        let mut world = World::default();
        seed.into_iter().for_each(|event| world.apply(event));
        let temporary = folder.is_none();
        let folder = folder.map_or_else(
            || std::env::temp_dir().join(format!("trunkline-sandbox-{}", Uuid::new_v4().simple())),
            Path::to_path_buf,
        );
        std::fs::create_dir_all(folder.join("blocks"))?;
        if !temporary {
            world.log = Some(replay(&folder.join("events.jsonl"), &mut world)?);
        }
        Ok(State { world: Mutex::new(world), folder, temporary })
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the world, or changes it by [`World::record`].
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        act(&mut self.lock())
    }

    /// Folder for the staged blocks of one blob.
    pub(crate) fn blocks(&self, blob: Uuid) -> PathBuf {
        self.folder.join("blocks").join(blob.simple().to_string())
    }

    /// No change is accepted from now on; a temporary folder is removed.
    pub(crate) fn close(&self) {
        let mut world = self.lock();
        world.closed = true;
        world.log = None;
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn replay(path: &Path, world: &mut World) -> io::Result<File> {
    let mut log = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    for (number, line) in bytes[..whole].split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let event = serde_json::from_slice(line).map_err(|error| {
            let text = format!("{} line {}: {error}", path.display(), number + 1);
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        world.apply(event);
    }
    if whole < bytes.len() {
        log.set_len(whole as u64)?;
        log.seek(io::SeekFrom::End(0))?;
    }
    Ok(log)
}
