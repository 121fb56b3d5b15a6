//! Files go from step to step by reference: a journal holds a few words, never bytes and never a signed URL.

use std::fmt;

use bytes::Bytes;
use futures::stream::BoxStream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Result;

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
    /// # Connection
    /// Name of the connection that can open the file.
    pub connection: String,
    /// # Source
    /// What that connection's connector needs to find the file: ids, never a signed address.
    pub source: Value,
}

/// A file being read: constant memory whatever its size.
pub struct FileStream {
    /// Size of the whole file in bytes, if the service says so.
    pub size: Option<u64>,
    /// The bytes from the requested offset on, in pieces of any size.
    pub bytes: BoxStream<'static, Result<Bytes>>,
}

impl fmt::Debug for FileStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStream").field("size", &self.size).finish_non_exhaustive()
    }
}
