//! How far an upload got: what a checkpoint holds so that another process can go on.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{
    Sha256,
    digest::common::hazmat::{SerializableState, SerializedState},
};

/// How far an upload in blocks got: the blocks that are staged without a gap from the first on, and the digest of exactly
/// their bytes. It holds no signed address; `Default` is an upload that has not begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Blocks {
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
    /// State of the hasher after these bytes, in base64.
    pub(crate) hasher: String,
}

impl Blocks {
    /// Bytes that are staged and need not be sent again.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Azure's name of a block: all have the same length, as it demands.
    pub(crate) fn id(&self, index: u64) -> String {
        BASE64_STANDARD.encode(format!("{}{index:08}", self.name))
    }

    pub(crate) fn hasher(&self) -> Option<Sha256> {
        if self.hasher.is_empty() {
            return (self.bytes == 0).then(Sha256::default);
        }
        let bytes = BASE64_STANDARD.decode(&self.hasher).ok()?;
        let state = SerializedState::<Sha256>::try_from(bytes.as_slice()).ok()?;
        Sha256::deserialize(&state).ok()
    }

    pub(crate) fn set_hasher(&mut self, hasher: &Sha256) {
        self.hasher = BASE64_STANDARD.encode(hasher.serialize());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest;

    #[test]
    fn the_hasher_goes_on_after_a_restart() {
        let mut blocks = Blocks { bytes: 3, ..Blocks::default() };
        blocks.set_hasher(&Sha256::new_with_prefix("abc"));
        let read: Blocks = serde_json::from_str(&serde_json::to_string(&blocks).unwrap()).unwrap();
        assert_eq!(read, blocks);
        let on = read.hasher().unwrap().chain_update("def");
        assert_eq!(on.finalize(), Sha256::digest("abcdef"));
        assert!(Blocks { bytes: 3, ..Blocks::default() }.hasher().is_none());
        assert!(Blocks { bytes: 3, hasher: "AAAA".into(), ..Blocks::default() }.hasher().is_none());
        assert!(serde_json::from_str::<Blocks>("{}").unwrap().hasher().is_some());
    }

    #[test]
    fn ids_have_one_length() {
        let blocks = Blocks { name: "0123456789abcdef".into(), ..Blocks::default() };
        assert_eq!(blocks.id(0).len(), blocks.id(49_999).len());
        assert_ne!(blocks.id(1), blocks.id(10));
    }
}
