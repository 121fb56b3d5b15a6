//! The keys that seal all secrets: 32 bytes each, from a file or a value, never from the data directory, never made anew
//! for a store that exists.
//!
//! Commonly there is one. While a store goes over to another, both stand in the file, a line each, the new one first. Which
//! of them seals is not said here, but in the store itself, so that all processes change over in the same instant.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind as Io, Write},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE},
};
use chacha20poly1305::aead::Generate;
use sha2::{Digest, Sha256};
use trunkline_core::{Error, ErrorKind, Result, Secret};
use zeroize::Zeroizing;

use crate::sqlite::file_fault;

/// Where the key comes from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A file outside the data directory, readable by its owner only; made when a new store is made. See
    /// [`Store::rotate_key`](crate::Store::rotate_key) for when it holds more than one key.
    File(PathBuf),
    /// The key itself: 32 bytes in base64 or hexadecimal digits; or several, the newest first, with spaces between them.
    Value(Secret),
}

/// A key and its fingerprint, which is kept beside everything sealed with it.
pub(crate) struct Key {
    pub(crate) bytes: Zeroizing<[u8; 32]>,
    pub(crate) id: String,
    /// As it may be written, so that it is known as a secret for as long as it is in use.
    written: [Secret; 2],
}

/// All keys that this process has met. None is forgotten: a reader may still hold a row that was sealed with an old one.
pub(crate) struct Ring {
    source: KeySource,
    keys: RwLock<Vec<Arc<Key>>>,
}

impl KeySource {
    /// Reads the keys. A missing file is made only if there is no store yet that would need another key.
    fn read(&self, store: Option<&Path>) -> Result<Vec<Key>> {
        match (self, store) {
            (KeySource::Value(secret), _) => parse(secret.expose()).ok_or_else(|| {
                Error::new(ErrorKind::Config, "the key of the store is not 32 bytes in base64 or hexadecimal digits")
                    .hint("`openssl rand -base64 32` makes one for a new store")
            }),
            (KeySource::File(path), None) if !path.exists() => make(path).map(|key| vec![key]),
            (KeySource::File(path), Some(store)) if !path.exists() => {
                Err(Error::new(ErrorKind::Config, format!("the key file {} is missing", path.display()))
                    .hint(
                        "put the key file back that this store was made with, from your backup; without it the secrets \
                         in the store cannot be read by anybody. To begin anew, move the data directory away",
                    )
                    .with("file", store.display()))
            }
            (KeySource::File(path), _) => load(path),
        }
    }
}

impl Ring {
    pub(crate) fn read(source: KeySource, store: Option<&Path>) -> Result<Ring> {
        let keys = source.read(store)?.into_iter().map(Arc::new).collect();
        Ok(Ring { source, keys: RwLock::new(keys) })
    }

    pub(crate) fn source(&self) -> &KeySource {
        &self.source
    }

    /// All known keys, those of the source first and in its order.
    fn known(&self) -> Vec<Arc<Key>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The newest key of the source.
    pub(crate) fn first(&self) -> Result<Arc<Key>> {
        self.known().first().cloned().ok_or_else(|| Error::new(ErrorKind::Internal, "there is no key"))
    }

    /// The ids of all known keys, for a person.
    pub(crate) fn ids(&self) -> String {
        self.known().iter().map(|key| &*key.id).collect::<Vec<_>>().join(", ")
    }

    /// The key of this id. For an unknown one the source is read again: another process may have put it there.
    pub(crate) fn find(&self, id: &str) -> Result<Option<Arc<Key>>> {
        let known = |keys: &[Arc<Key>]| keys.iter().find(|key| key.id == id).cloned();
        if let Some(key) = known(&self.known()) {
            return Ok(Some(key));
        }
        self.reread()?;
        Ok(known(&self.known()))
    }

    /// Reads the source again and returns what stands in it.
    pub(crate) fn reread(&self) -> Result<Vec<Arc<Key>>> {
        let listed = match &self.source {
            KeySource::File(path) => load(path)?,
            KeySource::Value(_) => self.source.read(None)?,
        };
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let same = |key: Key| keys.iter().find(|known| known.id == key.id).cloned().unwrap_or_else(|| Arc::new(key));
        let listed: Vec<_> = listed.into_iter().map(same).collect();
        let rest = keys.iter().filter(|known| listed.iter().all(|key| key.id != known.id)).cloned();
        *keys = listed.iter().cloned().chain(rest).collect();
        Ok(listed)
    }

    /// Makes a new key and puts it into the file, before those that are there.
    pub(crate) fn grow(&self, path: &Path) -> Result<Arc<Key>> {
        let key = Arc::new(Key::new(Zeroizing::new(random::<32>()?)));
        let listed = self.reread()?;
        replace(path, std::iter::once(&key).chain(&listed))?;
        self.reread()?;
        Ok(key)
    }

    /// Takes all keys but one out of the file. Each gets a file of its own beside it, for old backups and for other data
    /// directories that still need it; nobody reads those files unasked.
    pub(crate) fn keep_only(&self, path: &Path, id: &str) -> Result<Vec<PathBuf>> {
        let (kept, retired): (Vec<_>, Vec<_>) = self.reread()?.into_iter().partition(|key| key.id == id);
        if kept.is_empty() {
            return Err(Error::new(
                ErrorKind::Config,
                format!("the key {id} is not in the file {} any more", path.display()),
            )
            .hint(
                "somebody changed the file meanwhile: put the key back from your backup, then run the command again",
            ));
        }
        let mut beside = Vec::new();
        for key in &retired {
            let file = with_end(path, &format!(".{}.old", key.id));
            write(&file, [&**key]).map_err(|error| changing(&file, error))?;
            beside.push(file);
        }
        if !retired.is_empty() {
            replace(path, &kept)?;
        }
        Ok(beside)
    }
}

impl Key {
    fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        let digest = Sha256::new().chain_update(b"trunkline key id").chain_update(bytes.as_slice()).finalize();
        let written = [BASE64_STANDARD.encode(*bytes), hex(bytes.as_slice())].map(Secret::from);
        Key { bytes, id: hex(&digest[..8]), written }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One key or more, with white space between them.
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
        let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
        Zeroizing::new((0..64).step_by(2).map(digits).collect::<Option<Vec<u8>>>()?)
    } else {
        Zeroizing::new(BASE64_STANDARD.decode(text).or_else(|_| BASE64_URL_SAFE.decode(text)).ok()?)
    };
    Some(Zeroizing::new(decoded.as_slice().try_into().ok()?))
}

fn load(path: &Path) -> Result<Vec<Key>> {
    let wrong = |error| file_fault("reading the key file", path, error).into_kind(ErrorKind::Config);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_err(wrong)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Error::new(
                ErrorKind::Config,
                format!("the key file {} may be read by others than its owner (mode {mode:o})", path.display()),
            )
            .hint(format!("`chmod 600 {}`, and think about who may have read it", path.display())));
        }
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(wrong)?);
    parse(&text).ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            format!("the key file {} does not hold 32 bytes in base64 or hexadecimal digits", path.display()),
        )
        .hint("put the key file back that this store was made with, from your backup")
    })
}

/// Makes a key file. It gets its name only when it is complete, and never in place of another.
fn make(path: &Path) -> Result<Key> {
    let failed = |error| file_fault("making the key file", path, error).into_kind(ErrorKind::Config);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    private_dir(parent).map_err(failed)?;
    let key = Key::new(Zeroizing::new(random::<32>()?));
    let draft = with_end(path, &format!(".{}", hex(&random::<8>()?)));
    let written = write(&draft, [&key]).and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match written {
        // Another process was faster: its key it is.
        Err(error) if error.kind() == Io::AlreadyExists => load(path).map(|mut keys| keys.swap_remove(0)),
        Err(error) => Err(failed(error)),
        Ok(()) => {
            removed.and_then(|()| sync_dir(parent)).map_err(failed)?;
            Ok(key)
        }
    }
}

/// Puts other keys into a key file: it is the old or the new one at every moment. Where the file is a link, what it points
/// to is replaced.
fn replace<'a>(path: &Path, keys: impl IntoIterator<Item = &'a Arc<Key>>) -> Result<()> {
    let replaced = || {
        let path = fs::canonicalize(path)?;
        // Always the same name: one that a kill has left is replaced.
        let draft = with_end(&path, ".draft");
        write(&draft, keys.into_iter().map(|key| &**key))?;
        fs::rename(&draft, &path)?;
        path.parent().map_or(Ok(()), sync_dir)
    };
    replaced().map_err(|error| changing(path, error))
}

fn changing(path: &Path, error: std::io::Error) -> Error {
    file_fault("changing the key file", path, error).into_kind(ErrorKind::Config)
}

fn write<'a>(path: &Path, keys: impl IntoIterator<Item = &'a Key>) -> std::io::Result<()> {
    // Made anew: a file that is there already may be readable by others.
    match fs::remove_file(path) {
        Err(error) if error.kind() != Io::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private_file().create_new(true).open(path)?;
    for key in keys {
        let text = Zeroizing::new(format!("{}\n", key.written[0].expose()));
        file.write_all(text.as_bytes())?;
    }
    file.sync_all()
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    <[u8; N]>::try_generate()
        .map_err(|error| Error::new(ErrorKind::Internal, "the system gave no random numbers").source(error))
}

/// Makes a directory, and those above it, for the owner only; one that is there already stays as it is.
pub(crate) fn private_dir(path: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// For writing a file that only its owner may read.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes the names of new files in a directory survive a power cut.
pub(crate) fn sync_dir(path: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}
