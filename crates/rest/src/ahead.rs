//! Reading a source ahead of its upload: a task of its own cuts it into blocks and reckons the digest of the whole, another
//! one that of each block, so that none of this waits for the block that is on its way.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt,
    stream::{BoxStream, Fuse},
};
use md5::Md5;
use sha2::Digest as _;
use tokio::{
    sync::mpsc,
    task::{JoinError, spawn_blocking},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use trunkline_core::{Error, ErrorKind, Result};

use crate::digests::Digests;

/// A block that is ready to be sent.
pub(crate) struct Block {
    pub(crate) bytes: Bytes,
    /// MD5 of these bytes, if it is wanted: the slowest of all that is done with a block.
    md5: Option<AbortOnDropHandle<String>>,
    /// Of the source up to the end of this block.
    pub(crate) digests: Digests,
}

impl Block {
    /// As the header has it.
    pub(crate) async fn md5(&mut self) -> Result<Option<String>> {
        match self.md5.take() {
            Some(md5) => md5.await.map(Some).map_err(broke_off),
            None => Ok(None),
        }
    }
}

fn broke_off(error: JoinError) -> Error {
    Error::new(ErrorKind::Internal, "the reading of a file broke off").source(error)
}

/// The blocks of a source, one of them read ahead; reading stops when this is dropped.
pub(crate) struct Ahead {
    blocks: mpsc::Receiver<Result<Block>>,
    task: AbortOnDropHandle<()>,
}

impl Ahead {
    /// Cuts the stream into blocks of this length, with their MD5 or without; the digests are those of what came before it.
    pub(crate) fn read(bytes: BoxStream<'static, Result<Bytes>>, length: usize, md5: bool, digests: Digests) -> Ahead {
        let (sender, blocks) = mpsc::channel(1);
        let mut reader = Reader { bytes: bytes.fuse(), rest: Bytes::new(), length, md5, digests };
        let work = async move {
            while let Some(block) = reader.block().await.transpose() {
                let failed = block.is_err();
                if sender.send(block).await.is_err() || failed {
                    return;
                }
            }
        };
        Ahead { blocks, task: AbortOnDropHandle::new(tokio::spawn(work.in_current_span())) }
    }

    /// The next block: as long as was asked for, shorter only at the end; `None` after it.
    pub(crate) async fn next(&mut self) -> Result<Option<Block>> {
        match self.blocks.recv().await {
            Some(block) => block.map(Some),
            // A reader that panicked has not read to the end.
            None => (&mut self.task).await.map(|()| None).map_err(broke_off),
        }
    }
}

struct Reader {
    bytes: Fuse<BoxStream<'static, Result<Bytes>>>,
    /// What was read of the next block already.
    rest: Bytes,
    length: usize,
    md5: bool,
    digests: Digests,
}

impl Reader {
    async fn block(&mut self) -> Result<Option<Block>> {
        let mut block = BytesMut::new();
        while block.len() < self.length {
            if self.rest.is_empty() {
                match self.bytes.next().await {
                    Some(piece) => self.rest = piece?,
                    None => break,
                }
            }
            let piece = self.rest.split_to(self.rest.len().min(self.length - block.len()));
            if block.is_empty() {
                block.reserve(self.length);
            }
            self.digests.update(&piece);
            block.extend_from_slice(&piece);
        }
        if block.is_empty() {
            return Ok(None);
        }
        let (bytes, digests) = (block.freeze(), self.digests.clone());
        let md5 = self.md5.then(|| {
            let whole = bytes.clone();
            AbortOnDropHandle::new(spawn_blocking(move || BASE64_STANDARD.encode(Md5::digest(&whole))))
        });
        Ok(Some(Block { bytes, md5, digests }))
    }
}
