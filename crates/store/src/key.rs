//! The key that seals all secrets: 32 bytes from a file or a value, never from the data directory, never made anew for a
//! store that exists.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind as Io, Write},
    path::{Path, PathBuf},
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
    /// A file outside the data directory, readable by its owner only; made when a new store is made.
    File(PathBuf),
    /// The key itself: 32 bytes in base64 or hexadecimal digits.
    Value(Secret),
}

/// A key and its fingerprint, which is kept beside everything sealed with it.
pub(crate) struct Key {
    pub(crate) bytes: Zeroizing<[u8; 32]>,
    pub(crate) id: String,
}

impl KeySource {
    /// Reads the key. A missing file is made only if there is no store yet that would need another key.
    pub(crate) fn read(&self, store: Option<&Path>) -> Result<Key> {
        match (self, store) {
            (KeySource::Value(secret), _) => parse(secret.expose()).map(Key::new).ok_or_else(|| {
                Error::new(ErrorKind::Config, "the key of the store is not 32 bytes in base64 or hexadecimal digits")
                    .hint("`openssl rand -base64 32` makes one for a new store")
            }),
            (KeySource::File(path), None) if !path.exists() => make(path),
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

impl Key {
    fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        let digest = Sha256::new().chain_update(b"trunkline key id").chain_update(bytes.as_slice()).finalize();
        Key { bytes, id: hex(&digest[..8]) }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let text = text.trim();
    let decoded = if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
        Zeroizing::new((0..64).step_by(2).map(digits).collect::<Option<Vec<u8>>>()?)
    } else {
        Zeroizing::new(BASE64_STANDARD.decode(text).or_else(|_| BASE64_URL_SAFE.decode(text)).ok()?)
    };
    Some(Zeroizing::new(decoded.as_slice().try_into().ok()?))
}

fn load(path: &Path) -> Result<Key> {
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
    parse(&text).map(Key::new).ok_or_else(|| {
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
    let bytes = Zeroizing::new(random::<32>()?);
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", hex(&random::<8>()?)));
    let draft = PathBuf::from(draft);
    let written = (|| {
        let text = Zeroizing::new(BASE64_STANDARD.encode(*bytes) + "\n");
        let mut file = private_file().create_new(true).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::hard_link(&draft, path)
    })();
    let removed = fs::remove_file(&draft);
    match written {
        // Another process was faster: its key it is.
        Err(error) if error.kind() == Io::AlreadyExists => load(path),
        Err(error) => Err(failed(error)),
        Ok(()) => {
            removed.and_then(|()| sync_dir(parent)).map_err(failed)?;
            Ok(Key::new(bytes))
        }
    }
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
