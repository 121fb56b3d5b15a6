//! Files go from step to step by reference: a journal holds a few words, never bytes and never a signed URL.

use std::fmt;

use bytes::Bytes;
use futures::stream::BoxStream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Digest, Result};

/// A file in one of the connected systems, and how to open it again from any byte.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileRef {
    /// # File name
    /// With its extension, without a path.
    pub name: String,
    /// # Media type
    /// Such as `image/jpeg`, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// # Size in bytes
    /// If known. A source that turns out to have another size is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// # Digest
    /// `sha-256:` or `md5:` and hexadecimal digits, if known. Bytes that turn out to have another digest are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// # Connection
    /// Name of the connection that can open the file.
    pub connection: String,
    /// # Source
    /// What that connection's connector needs to find the file: ids, never a signed address.
    pub source: Value,
}

/// Where reading begins, and in which version of the file: a file that has another one by then is not opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The first byte that is wanted.
    pub byte: u64,
    /// What [`FileStream::version`] said when the bytes before it were read.
    pub version: Option<String>,
}

impl From<u64> for Position {
    /// This byte of whatever version there is.
    fn from(byte: u64) -> Position {
        Position { byte, version: None }
    }
}

/// A file being read: constant memory whatever its size.
pub struct FileStream {
    /// Size of the whole file in bytes, if the service says so.
    pub size: Option<u64>,
    /// Tells this version of the file from every other one, byte for byte, if the service says so. For a [`Position`].
    pub version: Option<String>,
    /// Digest of the whole file, if the service says so.
    pub digest: Option<Digest>,
    /// The bytes from the requested position on, in pieces of any size.
    pub bytes: BoxStream<'static, Result<Bytes>>,
}

impl FileStream {
    /// A stream of which nothing is known but its size, if that is.
    pub fn new(size: Option<u64>, bytes: BoxStream<'static, Result<Bytes>>) -> FileStream {
        FileStream { size, version: None, digest: None, bytes }
    }
}

impl fmt::Debug for FileStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut known = f.debug_struct("FileStream");
        known.field("size", &self.size).field("version", &self.version).field("digest", &self.digest);
        known.finish_non_exhaustive()
    }
}
