//! The keys that encrypt all secrets. Each has 32 bytes and comes from a file or a value. A key is never in the data
//! directory, and a new key is never made for a store that exists.
//!
//! Usually there is one key. During a rotation both are in the file, one a line, the new one first. The store itself
//! says which one is current, so all processes change at the same moment.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE},
};
use chacha20poly1305::aead::Generate;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest, Sha256};
use trunkline_core::{Error, ErrorKind, Redactor, Result, Secret};
use zeroize::Zeroizing;

use crate::files::{create_private_file, file_fault, private_dir, read_private_file, sync_dir, write_private_file};

/// The source of the key.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A file outside the data directory that only its owner can read. It is created with a new store. During a
    /// rotation it holds more than one key, see [`Store::rotate_key`](crate::Store::rotate_key).
    File(PathBuf),
    /// The key itself: 32 bytes in base64 or hexadecimal; or several keys separated by spaces, the newest first.
    Value(Secret),
}

/// A key and its fingerprint, which is stored beside each value encrypted with it.
pub(crate) struct Key {
    pub(crate) bytes: Zeroizing<[u8; 32]>,
    pub(crate) id: String,
    /// Its text forms. The redactor looks for them while the key is in use.
    written: [Secret; 2],
}

/// All keys that this process has read. None is dropped: a reader may still hold a row that an old key has encrypted.
pub(crate) struct Ring {
    source: KeySource,
    keys: RwLock<Vec<Arc<Key>>>,
    /// Knows all keys.
    redactor: Redactor,
}

impl KeySource {
    /// Reads the keys. A missing file is created only if there is no store yet.
    fn read(&self, store: Option<&Path>) -> Result<Vec<Key>> {
        match (self, store) {
            (KeySource::Value(secret), _) => parse(secret.expose()).ok_or_else(|| {
                Error::new(ErrorKind::Config, "the key of the store is not 32 bytes in base64 or hexadecimal digits")
                    .hint("`openssl rand -base64 32` makes one for a new store")
            }),
            (KeySource::File(path), None) if !path.exists() => make(path).map(|key| vec![key]),
            (KeySource::File(path), Some(store)) if !path.exists() => Err(Error::new(
                ErrorKind::Config,
                format!("the key file {} is missing", path.display()),
            )
            .hint(
                "restore the key file of this store from your backup; without it the secrets in the store cannot \
                         be read. To start with an empty store, move the data directory away",
            )
            .with("file", store.display())),
            (KeySource::File(path), _) => load(path),
        }
    }
}

impl Ring {
    pub(crate) fn read(source: KeySource, store: Option<&Path>) -> Result<Ring> {
        let redactor = Redactor::default();
        if let KeySource::Value(value) = &source {
            redactor.add(value);
        }
        let keys: Vec<_> = source.read(store)?.into_iter().map(Arc::new).collect();
        keys.iter().for_each(|key| key.add_to(&redactor));
        Ok(Ring { source, keys: RwLock::new(keys), redactor })
    }

    /// Returns the redactor that knows all keys.
    pub(crate) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    pub(crate) fn source(&self) -> &KeySource {
        &self.source
    }

    /// Returns all known keys, first those of the source in its order.
    fn known(&self) -> Vec<Arc<Key>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the newest key of the source.
    pub(crate) fn first(&self) -> Result<Arc<Key>> {
        self.known().first().cloned().ok_or_else(|| Error::new(ErrorKind::Internal, "there is no key"))
    }

    /// Returns the ids of all known keys, for a message.
    pub(crate) fn ids(&self) -> String {
        self.known().iter().map(|key| &*key.id).collect::<Vec<_>>().join(", ")
    }

    /// Returns the key with this id. If it is unknown, the source is read again: another process may have added it.
    pub(crate) fn find(&self, id: &str) -> Result<Option<Arc<Key>>> {
        let known = |keys: &[Arc<Key>]| keys.iter().find(|key| key.id == id).cloned();
        if let Some(key) = known(&self.known()) {
            return Ok(Some(key));
        }
        self.reread()?;
        Ok(known(&self.known()))
    }

    /// Reads the source again and returns its keys.
    pub(crate) fn reread(&self) -> Result<Vec<Arc<Key>>> {
        let listed = match &self.source {
            KeySource::File(path) => load(path)?,
            KeySource::Value(_) => self.source.read(None)?,
        };
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let same = |key: Key| keys.iter().find(|known| known.id == key.id).cloned().unwrap_or_else(|| Arc::new(key));
        let listed: Vec<_> = listed.into_iter().map(same).collect();
        listed.iter().for_each(|key| key.add_to(&self.redactor));
        let rest = keys.iter().filter(|known| listed.iter().all(|key| key.id != known.id)).cloned();
        *keys = listed.iter().cloned().chain(rest).collect();
        Ok(listed)
    }

    /// Makes a new key and adds it to the file, before the others.
    pub(crate) fn grow(&self, path: &Path) -> Result<Arc<Key>> {
        let key = Arc::new(Key::new(Zeroizing::new(random::<32>()?)));
        let listed = self.reread()?;
        replace(path, std::iter::once(&key).chain(&listed))?;
        self.reread()?;
        Ok(key)
    }

    /// Removes all keys but one from the file. Each removed key gets a file of its own beside it, for older backups and
    /// for other data directories that still use it. Those files are not read automatically.
    pub(crate) fn keep_only(&self, path: &Path, id: &str) -> Result<Vec<PathBuf>> {
        let (current, retired): (Vec<_>, Vec<_>) = self.reread()?.into_iter().partition(|key| key.id == id);
        if current.is_empty() {
            let message = format!("the key {id} is no longer in the file {}", path.display());
            return Err(Error::new(ErrorKind::Config, message)
            .hint(
                "the file was changed during the rotation: restore the key from your backup, then run the command again",
            ));
        }
        let mut files = Vec::new();
        for key in &retired {
            let file = path.with_added_extension(format!("{}.old", key.id));
            write_private_file(&file, lines([&**key]).as_bytes()).map_err(|error| changing(&file, error))?;
            files.push(file);
        }
        if !retired.is_empty() {
            replace(path, &current)?;
        }
        Ok(files)
    }
}

impl Key {
    fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        let digest = Sha256::new().chain_update(b"trunkline key id").chain_update(bytes.as_slice()).finalize();
        let written = [BASE64_STANDARD.encode(*bytes), HEXLOWER.encode(bytes.as_slice())].map(Secret::from);
        Key { bytes, id: HEXLOWER.encode(&digest[..8]), written }
    }

    fn add_to(&self, redactor: &Redactor) {
        self.written.iter().for_each(|written| redactor.add(written));
    }
}

/// Parses one or more keys, separated by white space.
fn parse(text: &str) -> Option<Vec<Key>> {
    let mut keys: Vec<Key> = Vec::new();
    for word in text.split_whitespace() {
        let key = Key::new(parse_one(word)?);
        if keys.iter().all(|known| known.id != key.id) {
            keys.push(key);
        }
    }
    Some(keys).filter(|keys| !keys.is_empty())
}

fn parse_one(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let decoded = if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Zeroizing::new(HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?)
    } else {
        Zeroizing::new(BASE64_STANDARD.decode(text).or_else(|_| BASE64_URL_SAFE.decode(text)).ok()?)
    };
    Some(Zeroizing::new(decoded.as_slice().try_into().ok()?))
}

fn load(path: &Path) -> Result<Vec<Key>> {
    let text = read_private_file("the key file", path)?;
    parse(&text).ok_or_else(|| {
        let message = format!("the key file {} does not hold 32 bytes in base64 or hexadecimal digits", path.display());
        Error::new(ErrorKind::Config, message).hint("restore the key file of this store from your backup")
    })
}

/// Creates a key file. It gets its name when it is complete, and never replaces another file.
fn make(path: &Path) -> Result<Key> {
    let failed = |error| file_fault("creating the key file", path, error).into_kind(ErrorKind::Config);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    private_dir(parent).map_err(failed)?;
    let key = Key::new(Zeroizing::new(random::<32>()?));
    match create_private_file(path, lines([&key]).as_bytes()).map_err(failed)? {
        true => Ok(key),
        // Another process was faster: its key is used.
        false => load(path).map(|mut keys| keys.swap_remove(0)),
    }
}

/// Replaces the keys in a key file atomically. If the file is a symbolic link, its target is replaced.
fn replace<'a>(path: &Path, keys: impl IntoIterator<Item = &'a Arc<Key>>) -> Result<()> {
    let replaced = || {
        let path = fs::canonicalize(path)?;
        // Always the same name, so that a draft left by a kill is replaced.
        let draft = path.with_added_extension("draft");
        write_private_file(&draft, lines(keys.into_iter().map(|key| &**key)).as_bytes())?;
        fs::rename(&draft, &path)?;
        path.parent().map_or(Ok(()), sync_dir)
    };
    replaced().map_err(|error| changing(path, error))
}

fn changing(path: &Path, error: std::io::Error) -> Error {
    file_fault("changing the key file", path, error).into_kind(ErrorKind::Config)
}

/// Returns the text of a key file, one key a line.
fn lines<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    for key in keys {
        text.push_str(key.written[0].expose());
        text.push('\n');
    }
    text
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    <[u8; N]>::try_generate()
        .map_err(|error| Error::new(ErrorKind::Internal, "the system returned no random numbers").source(error))
}
