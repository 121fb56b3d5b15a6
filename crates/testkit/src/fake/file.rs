//! A file of any length that is never held in memory: each byte follows from its position.

use std::sync::OnceLock;

use serde_json::Value;
use sha2::{Digest, Sha256};
use trunkline_core::{Connections, Context, FileRef, FileStream, Position};

use super::Fake;

/// The bytes repeat after this many. A prime, so that no two blocks of a file are equal.
const PERIOD: u64 = 1_000_003;

fn pattern() -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    PATTERN.get_or_init(|| (0..PERIOD).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8).collect())
}

/// The file of a [`Fake`](super::Fake): `film.mp4`, a video.
#[derive(Clone, Debug)]
pub struct FakeFile {
    /// The length in bytes.
    pub length: u64,
    /// The length that the connector reports, if it reports one.
    pub reported: Option<u64>,
    /// The most bytes per read.
    pub piece: u64,
}

impl FakeFile {
    /// The media type of the file.
    pub const MEDIA_TYPE: &'static str = "video/mp4";

    /// Creates a file of this length, which the connector does not report, in pieces of 128 KiB.
    pub fn new(length: u64) -> FakeFile {
        FakeFile { length, reported: None, piece: 128 << 10 }
    }

    /// Returns the bytes from a position on, to the end of a piece.
    fn bytes(&self, from: u64) -> &'static [u8] {
        let begin = from % PERIOD;
        let end = PERIOD.min(begin + self.piece.min(self.length.saturating_sub(from)));
        &pattern()[begin as usize..end as usize]
    }

    /// Returns the whole content.
    pub fn content(&self) -> Vec<u8> {
        let mut content = Vec::new();
        while (content.len() as u64) < self.length {
            content.extend_from_slice(self.bytes(content.len() as u64));
        }
        content
    }

    /// Returns the SHA-256 digest of the content, in hexadecimal.
    pub fn sha256(&self) -> String {
        let (mut hasher, mut at) = (Sha256::new(), 0);
        while at < self.length {
            let piece = self.bytes(at);
            hasher.update(piece);
            at += piece.len() as u64;
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns a reference to the file as a connection of this name offers it; `size` is the length that the reference
    /// states.
    pub fn reference(&self, connection: &str, size: Option<u64>) -> FileRef {
        FileRef {
            name: "film.mp4".into(),
            media_type: Some(FakeFile::MEDIA_TYPE.into()),
            size,
            connection: connection.to_owned(),
            digest: None,
            source: Value::Null,
        }
    }

    /// Returns a reference to the file as [`FakeFile::reference`] does, and the context of a call that can open it. The
    /// file belongs to the connection `source`; the call is one on the connection `target`.
    pub fn offered(&self, size: Option<u64>) -> (FileRef, Context) {
        let source = Fake::new("source").with_file(self.clone()).connected();
        (self.reference("source", size), Context::new("key", "target", Connections::from_iter([source])))
    }

    pub(super) fn open(&self, from: Position) -> FileStream {
        let file = self.clone();
        let bytes = futures::stream::unfold(from.byte, move |at| {
            let piece = (at < file.length).then(|| file.bytes(at));
            async move { piece.map(|piece| (Ok(piece.into()), at + piece.len() as u64)) }
        });
        let version = Some("\"1\"".to_owned());
        FileStream { version, ..FileStream::new(self.reported, Box::pin(bytes)) }
    }
}
