//! The checkpoint of an upload in blocks, from which another process can continue it.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use trunkline_core::{Digest, Position, STAGED};

use crate::transport::{DigestState, Digests};

/// The progress of an upload in blocks: the blocks that are staged without a gap from the first one, the state of the
/// digests after exactly their bytes, and the version of the source that they were read from.
///
/// It does not contain the signed URL. The `Default` is an upload that has not begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockCheckpoint {
    /// Prefix of the block ids. It separates the blocks of this upload from those of another attempt on the same blob.
    pub(crate) name: String,
    /// Host and path of the blob. A checkpoint is not used for another blob.
    pub(crate) blob: String,
    /// Size of a block in bytes.
    #[serde(rename = "block")]
    pub(crate) block_size: u64,
    /// Number of staged blocks.
    pub(crate) staged: u64,
    /// Bytes in the staged blocks: the source is reopened at this position.
    pub(crate) bytes: u64,
    /// State of SHA-256 after these bytes, in base64.
    #[serde(rename = "hasher")]
    pub(crate) sha256_state: String,
    /// State of MD5 after these bytes, in base64; empty if no MD5 is declared for the source.
    #[serde(rename = "md5", skip_serializing_if = "String::is_empty")]
    pub(crate) md5_state: String,
    /// The version of the source that the blocks were read from, if the source reports one; that of the copy, if the
    /// source was staged on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// The digests that the source declares.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) declared: Vec<Digest>,
}

impl BlockCheckpoint {
    /// Returns the number of bytes that are staged and need not be sent again.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the id of a block. All ids of a blob have the same length, as Azure requires ("Put Block").
    pub(crate) fn id(&self, index: u64) -> String {
        BASE64_STANDARD.encode(format!("{}{index:08}", self.name))
    }

    /// Returns the position at which the source has to be reopened.
    pub(crate) fn position(&self) -> Position {
        Position { byte: self.bytes, version: self.version.clone() }
    }

    /// Returns this upload with no block sent. It still finds the staged copy of the source.
    pub(crate) fn unsent(&self) -> BlockCheckpoint {
        BlockCheckpoint { version: self.version.clone(), declared: self.declared.clone(), ..BlockCheckpoint::default() }
    }

    /// Returns whether the bytes that were read differ from the staged copy, whose version is its SHA-256.
    pub(crate) fn is_damaged(&self, digests: &Digests) -> bool {
        let copy = self.version.as_ref().and_then(|version| version.strip_prefix(STAGED));
        copy.is_some_and(|sha256| sha256 != digests.sha256())
    }

    /// Restores the digests of the staged bytes; `None` if their saved state is not usable.
    pub(crate) fn digests(&self) -> Option<Digests> {
        Digests::restored(self.bytes, DigestState { sha256: &self.sha256_state, md5: &self.md5_state }, &self.declared)
    }

    /// Records that one more block is staged. The digests are those up to its end.
    pub(crate) fn add_block(&mut self, digests: &Digests) {
        self.staged += 1;
        self.bytes = digests.bytes;
        DigestState { sha256: self.sha256_state, md5: self.md5_state } = digests.state();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_without_version_and_digests_is_read() {
        let old = r#"{"name":"n","blob":"b","block":4,"staged":1,"bytes":4,"hasher":"AA=="}"#;
        let blocks: BlockCheckpoint = serde_json::from_str(old).unwrap();
        assert_eq!((blocks.bytes(), blocks.version.clone(), blocks.declared.len()), (4, None, 0));
        assert_eq!(serde_json::to_string(&blocks).unwrap(), old);
        assert!(serde_json::from_str::<BlockCheckpoint>("{}").unwrap().digests().is_some());
    }

    #[test]
    fn block_ids_have_the_same_length() {
        let blocks = BlockCheckpoint { name: "0123456789abcdef".into(), ..BlockCheckpoint::default() };
        assert_eq!(blocks.id(0).len(), blocks.id(49_999).len());
        assert_ne!(blocks.id(1), blocks.id(10));
    }
}
