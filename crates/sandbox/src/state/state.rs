//! The mutable state of both systems, and the log that restores it after a crash.
//!
//! Every change is one [`Event`]. Under one lock and before the response is sent, the event is appended to a JSON lines
//! file (if there is a state folder) and then applied. At the next start the same events rebuild the same state, so a
//! killed process has lost nothing that a client received a response for. An incomplete last line belongs to a response
//! that was not sent, and is dropped.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::asset::{Asset, Blob, Category};
use super::package::Package;
use super::private::{create_folder, named, private_file};
use super::time::now;
use super::tokens::{AccessToken, AuthorizationCode, RefreshToken};
use super::webhook::Webhook;

/// One change of the state. The variants are the members of the lines of `events.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// A request to any service.
    #[serde(rename = "Hit")]
    Request,
    /// An injected fault, or a leaked credential, by the name it has in the report.
    Fault(String),
    Access(AccessToken),
    Refresh(RefreshToken),
    Code(AuthorizationCode),
    /// A response of a token endpoint. It counts as a refresh, except for the first one of the named connection.
    #[serde(rename = "Answered")]
    TokenResponse(Option<String>),
    /// The revocation of all tokens of one sign-in.
    RevokeFamily(String),
    /// The revocation of one access token.
    RevokeAccess(String),
    /// The expiry of all access tokens.
    ExpireAccess,
    Asset(Box<Asset>),
    AssetGone(Uuid),
    Category(Category),
    CategoryGone(Uuid),
    /// A staged block of a blob.
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
    /// A reported usage of a Mediaflow file.
    Usage {
        file: i64,
        usage: Value,
        /// Removes the usages that were reported for the same project and URL.
        removed: bool,
    },
}

/// The state of both systems.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub access: HashMap<String, AccessToken>,
    pub refresh: HashMap<String, RefreshToken>,
    pub codes: HashMap<String, AuthorizationCode>,
    /// Families of revoked tokens.
    pub revoked: HashSet<String>,
    /// Names of connections that have had their first token response.
    pub connections: HashSet<String>,
    /// The number of token refreshes.
    pub refreshes: u64,
    pub requests: u64,
    pub faults: BTreeMap<String, u64>,
    /// Assets by number, in the order of creation.
    pub assets: BTreeMap<u64, Asset>,
    /// Numbers of assets by asset id.
    numbers: HashMap<Uuid, u64>,
    /// Asset ids by media file id.
    pub media: HashMap<Uuid, Uuid>,
    pub categories: BTreeMap<Uuid, Category>,
    pub blobs: HashMap<Uuid, Blob>,
    pub packages: BTreeMap<Uuid, Package>,
    pub webhooks: BTreeMap<Uuid, Webhook>,
    pub usages: HashMap<i64, Vec<Value>>,
    log: Option<File>,
    closed: bool,
}

impl State {
    /// Appends the event to the log and applies it. After [`StateStore::close`] the call has no effect.
    ///
    /// If the log cannot be written, the event is applied all the same and the error is logged.
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
                tracing::error!(%error, "sandbox: cannot write the state folder; a change will not survive a restart");
            }
        }
        self.apply(event);
    }

    /// Applies the event without writing it to the log.
    pub(crate) fn apply(&mut self, event: Event) {
        match event {
            Event::Request => self.requests += 1,
            Event::Fault(kind) => *self.faults.entry(kind).or_default() += 1,
            Event::Access(access) => {
                if self.access.len() > 20_000 {
                    // Expired tokens would otherwise pile up in a long test.
                    let now = now();
                    self.access.retain(|_, old| old.expires > now);
                }
                self.access.insert(access.token.clone(), access);
            }
            Event::Refresh(refresh) => drop(self.refresh.insert(refresh.token.clone(), refresh)),
            Event::Code(code) => drop(self.codes.insert(code.code.clone(), code)),
            Event::TokenResponse(connection) => {
                if connection.is_none_or(|name| !self.connections.insert(name)) {
                    self.refreshes += 1;
                }
            }
            Event::RevokeFamily(family) => drop(self.revoked.insert(family)),
            Event::RevokeAccess(token) => drop(self.access.remove(&token)),
            Event::ExpireAccess => self.access.clear(),
            Event::Asset(asset) => self.put_asset(*asset),
            Event::AssetGone(id) => {
                if let Some(number) = self.numbers.remove(&id) {
                    self.assets.remove(&number);
                }
            }
            Event::Category(category) => drop(self.categories.insert(category.id, category)),
            Event::CategoryGone(id) => {
                self.categories.remove(&id);
                for asset in self.assets.values_mut() {
                    asset.categories.retain(|category| *category != id);
                }
            }
            Event::Block { blob, id, size } => {
                self.blobs.entry(blob).or_insert_with(|| Blob::new(blob)).staged.insert(id, size);
            }
            Event::Blob(blob) => drop(self.blobs.insert(blob.id, blob)),
            Event::Package(package) => drop(self.packages.insert(package.id, package)),
            Event::PackageGone(id) => drop(self.packages.remove(&id)),
            Event::Webhook(webhook) => drop(self.webhooks.insert(webhook.id, webhook)),
            Event::WebhookGone(id) => drop(self.webhooks.remove(&id)),
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

    /// Returns the asset with this id, also if it is soft-deleted.
    pub(crate) fn asset(&self, id: Uuid) -> Option<&Asset> {
        self.assets.get(self.numbers.get(&id)?)
    }
}

/// The [`State`] behind its lock, and the folder for data that is too large for a line of the log.
#[derive(Debug)]
pub(crate) struct StateStore {
    state: Mutex<State>,
    folder: PathBuf,
    /// Whether the folder was created for this sandbox and is removed when it stops.
    temporary: bool,
}

impl StateStore {
    /// Opens the state folder, or creates a temporary one, and restores the state: first from the events in `seed`,
    /// then from the log.
    pub(crate) fn open(folder: Option<&Path>, seed: Vec<Event>) -> io::Result<StateStore> {
        let mut state = State::default();
        seed.into_iter().for_each(|event| state.apply(event));
        let temporary = folder.is_none();
        let folder = folder.map_or_else(
            || std::env::temp_dir().join(format!("trunkline-sandbox-{}", Uuid::new_v4().simple())),
            Path::to_path_buf,
        );
        create_folder(&folder.join("blocks"))?;
        if !temporary {
            state.log = Some(replay(&folder.join("events.jsonl"), &mut state)?);
        }
        Ok(StateStore { state: Mutex::new(state), folder, temporary })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `act` on the locked state. `act` reads the state or changes it with [`State::record`].
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.lock())
    }

    /// Returns the folder for the staged blocks of one blob.
    pub(crate) fn blocks(&self, blob: Uuid) -> PathBuf {
        self.folder.join("blocks").join(blob.simple().to_string())
    }

    /// Ignores all later changes, closes the log, and removes a temporary folder.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.log = None;
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Applies the events of the log, removes an incomplete last line, and returns the log, open for appending.
fn replay(path: &Path, state: &mut State) -> io::Result<File> {
    let mut log = private_file().read(true).append(true).open(path).map_err(|error| named(path, error))?;
    if !log.metadata()?.is_file() {
        return Err(named(path, io::Error::other("it is not a file")));
    }
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    for (number, line) in
        bytes[..complete].split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty())
    {
        let event = serde_json::from_slice(line).map_err(|error| {
            let text = format!("{} line {}: {error}", path.display(), number + 1);
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        state.apply(event);
    }
    if complete < bytes.len() {
        log.set_len(complete as u64)?;
        log.seek(io::SeekFrom::End(0))?;
    }
    Ok(log)
}
