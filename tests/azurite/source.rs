//! A connector with one file of any length that is never held in memory: each byte is computed from its position.

use std::sync::{Arc, OnceLock};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use trunkline_core::{
    CheckReport, Connection, Connector, Context, FileRef, FileStream, MemoryVault, Position, Registry, Result,
    VaultSlot, async_trait,
};

/// The media type of the file.
pub const MEDIA_TYPE: &str = "video/mp4";

/// The bytes repeat after this many. A prime, so that no two blocks of a file are equal.
const PERIOD: u64 = 1_000_003;

/// Bytes per read.
const PIECE: u64 = 128 << 10;

fn pattern() -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    PATTERN.get_or_init(|| (0..PERIOD).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8).collect())
}

/// Returns the bytes from one position to another, or to the end of a piece.
fn piece(from: u64, to: u64) -> &'static [u8] {
    let begin = from % PERIOD;
    &pattern()[begin as usize..PERIOD.min(begin + PIECE.min(to - from)) as usize]
}

/// Returns the SHA-256 digest of a file of this length, in hexadecimal.
pub fn sha256(length: u64) -> String {
    let (mut hasher, mut at) = (Sha256::new(), 0);
    while at < length {
        let piece = piece(at, length);
        hasher.update(piece);
        at += piece.len() as u64;
    }
    hex(hasher)
}

/// Returns a digest in hexadecimal.
pub fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Generated;

#[derive(Deserialize, JsonSchema)]
struct Settings {
    length: u64,
}

#[async_trait]
impl Connector for Generated {
    const NAME: &'static str = "generated";
    const VERSION: &'static str = "1.0";
    const TITLE: &'static str = "Generated";
    type Settings = Settings;
    type Client = Settings;

    fn connect(settings: Settings, _: VaultSlot) -> Result<Settings> {
        Ok(settings)
    }

    async fn check(_: &Settings) -> CheckReport {
        CheckReport::default()
    }

    async fn open(client: &Settings, _: &Value, from: Position, _: &Context) -> Result<FileStream> {
        let length = client.length;
        let bytes = futures::stream::unfold(from.byte, move |at| async move {
            let piece = (at < length).then(|| piece(at, length))?;
            Some((Ok(piece.into()), at + piece.len() as u64))
        });
        let version = Some("\"1\"".to_owned());
        Ok(FileStream { version, ..FileStream::new(None, Box::pin(bytes)) })
    }
}

/// Returns a reference to a file of this length, with its size if `known_size`, and a context that can open it.
pub fn file(length: u64, known_size: bool) -> (FileRef, Context) {
    let registry = Registry::empty().with_connector::<Generated>().checked().unwrap();
    let document = json!({ "name": "source", "connector": "generated-v1.0", "length": length });
    let connection = Connection::from_value(document).unwrap();
    let vault = Arc::new(MemoryVault::default());
    let connected = registry.connect(&connection, vault, &|_| unreachable!()).unwrap();
    let file = FileRef {
        name: "film.mp4".into(),
        media_type: Some(MEDIA_TYPE.into()),
        size: known_size.then_some(length),
        connection: "source".into(),
        digest: None,
        source: Value::Null,
    };
    (file, Context::new("key", "target", [connected].into_iter().collect()))
}
