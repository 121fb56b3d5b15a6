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

/// How many blocks are in memory at once: one is sent while the next is read.
const BLOCKS: usize = 2;

/// The blocks of a source, one of them read ahead; reading stops when this is dropped.
pub(crate) struct Ahead {
    blocks: mpsc::Receiver<Result<Block>>,
    /// The block that was given out last.
    given: Bytes,
    /// Where the next blocks are read into.
    room: mpsc::Sender<BytesMut>,
    task: AbortOnDropHandle<()>,
}

impl Ahead {
    /// Cuts the stream into blocks of this length, with their MD5 or without; the digests are those of what came before it.
    pub(crate) fn read(bytes: BoxStream<'static, Result<Bytes>>, length: usize, md5: bool, digests: Digests) -> Ahead {
        let ((sender, blocks), (room, mut rooms)) = (mpsc::channel(BLOCKS), mpsc::channel(BLOCKS));
        let mut reader = Reader { bytes: bytes.fuse(), rest: Bytes::new(), length, md5, digests };
        let work = async move {
            while let Some(room) = rooms.recv().await {
                let Some(block) = reader.block(room).await.transpose() else { return };
                let failed = block.is_err();
                if sender.send(block).await.is_err() || failed {
                    return;
                }
            }
        };
        let task = AbortOnDropHandle::new(tokio::spawn(work.in_current_span()));
        let mut ahead = Ahead { blocks, given: Bytes::new(), room, task };
        for _ in 1..BLOCKS {
            ahead.make_room();
        }
        ahead
    }

    /// The next block: as long as was asked for, shorter only at the end; `None` after it. Another one is read to where the one
    /// before it was.
    pub(crate) async fn next(&mut self) -> Result<Option<Block>> {
        self.make_room();
        match self.blocks.recv().await {
            Some(block) => block.map(|block| {
                self.given = block.bytes.clone();
                Some(block)
            }),
            // A reader that panicked has not read to the end.
            None => (&mut self.task).await.map(|()| None).map_err(broke_off),
        }
    }

    fn make_room(&mut self) {
        // New room if somebody still holds the old one.
        let mut room = std::mem::take(&mut self.given).try_into_mut().unwrap_or_default();
        room.clear();
        // There is a place for it; a reader that has ended needs none.
        let _ = self.room.try_send(room);
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
    /// The next block, read into this room.
    async fn block(&mut self, mut block: BytesMut) -> Result<Option<Block>> {
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use futures::stream;

    use super::*;

    const LENGTH: usize = 100;

    /// Ten blocks and a half, in pieces that fit no block, and how many bytes of them were asked for.
    fn source() -> (Ahead, Vec<u8>, Arc<AtomicUsize>) {
        let (whole, read) =
            ((0..LENGTH * 21 / 2).map(|at| at as u8).collect::<Vec<_>>(), Arc::<AtomicUsize>::default());
        let count = read.clone();
        let pieces: Vec<_> = whole.chunks(7).map(Bytes::copy_from_slice).collect();
        let bytes = stream::iter(pieces).map(move |piece| {
            count.fetch_add(piece.len(), Relaxed);
            Ok(piece)
        });
        (Ahead::read(bytes.boxed(), LENGTH, false, Digests::default()), whole, read)
    }

    #[tokio::test]
    async fn two_blocks_are_in_memory_at_most() {
        let (mut ahead, _, read) = source();
        for number in 1.. {
            let Some(block) = ahead.next().await.unwrap() else { break };
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            drop(block);
            assert!(read.load(Relaxed) < (number + 1) * LENGTH + 7, "{number}");
        }
    }

    #[tokio::test]
    async fn a_block_that_somebody_keeps_stays_as_it_is() {
        let (mut ahead, whole, _) = source();
        let mut kept = Vec::new();
        while let Some(block) = ahead.next().await.unwrap() {
            kept.push(block.bytes);
        }
        assert_eq!((kept.len(), kept.concat()), (11, whole));
    }
}
