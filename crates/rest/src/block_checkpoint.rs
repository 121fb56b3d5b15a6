//! How far an upload got: what a checkpoint holds so that another process can go on.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use trunkline_core::{Digest, Position, STAGED};

use crate::digests::Digests;

/// How far an upload in blocks got: the blocks that are staged without a gap from the first on, the digests of exactly their
/// bytes, and which version of the source they are of. It holds no signed address; `Default` is an upload that has not
/// begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockCheckpoint {
    /// Tells the blocks of this upload from those of another attempt on the same blob.
    pub(crate) name: String,
    /// Host and path of the blob, to notice another target.
    pub(crate) blob: String,
    /// Bytes a block.
    pub(crate) block: u64,
    /// Blocks staged.
    pub(crate) staged: u64,
    /// Bytes in them: the source is opened again at this one.
    pub(crate) bytes: u64,
    /// State of SHA-256 after these bytes, in base64.
    pub(crate) hasher: String,
    /// The same of MD5; empty where nothing is to be held against it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) md5: String,
    /// The version of the source they are of, if it tells; of the copy, if it was spilled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// What its digest is said to be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) declared: Vec<Digest>,
}

impl BlockCheckpoint {
    /// Bytes that are staged and need not be sent again.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Azure's name of a block: all have the same length, as it demands.
    pub(crate) fn id(&self, index: u64) -> String {
        BASE64_STANDARD.encode(format!("{}{index:08}", self.name))
    }

    /// Where the source has to be opened again.
    pub(crate) fn position(&self) -> Position {
        Position { byte: self.bytes, version: self.version.clone() }
    }

    /// The same upload with nothing sent of it, which still finds what was spilled for it.
    pub(crate) fn unsent(&self) -> BlockCheckpoint {
        BlockCheckpoint { version: self.version.clone(), declared: self.declared.clone(), ..BlockCheckpoint::default() }
    }

    /// Whether bytes of these digests are not all that the copy had which they were read from.
    pub(crate) fn is_damaged(&self, digests: &Digests) -> bool {
        let copy = self.version.as_ref().and_then(|version| version.strip_prefix(STAGED));
        copy.is_some_and(|sha256| sha256 != digests.sha256())
    }

    pub(crate) fn digests(&self) -> Option<Digests> {
        Digests::restored(self.bytes, [&self.hasher, &self.md5], &self.declared)
    }

    /// One more block is staged; these are the digests up to its end.
    pub(crate) fn staged(&mut self, digests: &Digests) {
        self.staged += 1;
        self.bytes = digests.bytes;
        [self.hasher, self.md5] = digests.state();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_of_before_is_read() {
        let old = r#"{"name":"n","blob":"b","block":4,"staged":1,"bytes":4,"hasher":"AA=="}"#;
        let blocks: BlockCheckpoint = serde_json::from_str(old).unwrap();
        assert_eq!((blocks.bytes(), blocks.version.clone(), blocks.declared.len()), (4, None, 0));
        assert_eq!(serde_json::to_string(&blocks).unwrap(), old);
        assert!(serde_json::from_str::<BlockCheckpoint>("{}").unwrap().digests().is_some());
    }

    #[test]
    fn ids_have_one_length() {
        let blocks = BlockCheckpoint { name: "0123456789abcdef".into(), ..BlockCheckpoint::default() };
        assert_eq!(blocks.id(0).len(), blocks.id(49_999).len());
        assert_ne!(blocks.id(1), blocks.id(10));
    }
}
