//! Files, which pass from step to step by reference.
//!
//! A [`FileRef`] says which connection can open a file and how to find it there. The journal stores the reference,
//! never bytes and never a signed URL. A step opens the file as a [`FileStream`], from the start or from a
//! [`Position`].

use std::fmt;

use bytes::Bytes;
use futures::stream::BoxStream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Digest, Result};

/// A reference to a file in one of the connected systems. It can be opened again from any byte.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("format" = "file"))]
pub struct FileRef {
    /// # File name
    /// The file name with its extension and without a path.
    pub name: String,
    /// # Media type
    /// The media type, such as `image/jpeg`, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// # Size in bytes
    /// The size in bytes, if known. A file that turns out to have another size is rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// # Digest
    /// `sha-256:` or `md5:` and hexadecimal digits, if known. A file that turns out to have another digest is rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// # Connection
    /// The name of the connection that can open the file.
    pub connection: String,
    /// # Source
    /// What the connector needs to find the file: ids, never a signed URL.
    pub source: Value,
}

/// The position at which reading starts, and the expected version of the file. A file of another version is not opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The offset of the first byte to read.
    pub byte: u64,
    /// The [`FileStream::version`] from which the bytes before this position were read; `None` accepts any version.
    pub version: Option<String>,
}

impl From<u64> for Position {
    /// Returns the position of this byte in any version of the file.
    fn from(byte: u64) -> Position {
        Position { byte, version: None }
    }
}

/// A file that is being read. It takes constant memory for a file of any size.
pub struct FileStream {
    /// The size of the whole file in bytes, if the service reports it.
    pub size: Option<u64>,
    /// The version of the file, if the service reports one: two files of the same version have the same bytes. A
    /// [`Position`] takes it.
    pub version: Option<String>,
    /// The digest of the whole file, if the service reports it.
    pub digest: Option<Digest>,
    /// The bytes from the requested position on, in chunks of any size.
    pub bytes: BoxStream<'static, Result<Bytes>>,
}

impl FileStream {
    /// Returns a stream without a version and a digest.
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
