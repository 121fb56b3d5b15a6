//! Reads a source ahead of its upload and computes its digests on the way.
//!
//! One task cuts the source into blocks and computes the digest of the whole file; another one computes the digest of
//! each block. So neither reading nor hashing waits for the block that is being sent.

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

use crate::transport::Digests;

/// A block that is ready to be sent.
pub(crate) struct Block {
    pub(crate) bytes: Bytes,
    /// MD5 of these bytes, if it was asked for. It is computed in a task of its own, since it costs more than the rest
    /// of the work on a block.
    md5: Option<AbortOnDropHandle<String>>,
    /// Digests of the source up to the end of this block.
    pub(crate) digests: Digests,
}

impl Block {
    /// Waits for the MD5 of this block and returns it as the header `Content-MD5` takes it; `None` if it was not asked
    /// for.
    pub(crate) async fn md5(&mut self) -> Result<Option<String>> {
        match self.md5.take() {
            Some(md5) => md5.await.map(Some).map_err(task_failed),
            None => Ok(None),
        }
    }
}

fn task_failed(error: JoinError) -> Error {
    Error::new(ErrorKind::Internal, "a task that reads a file ended unexpectedly").source(error)
}

/// Blocks in memory at once: one is sent while the next one is read.
const BLOCKS: usize = 2;

/// The blocks of a source, one of them read ahead. Reading stops when this is dropped.
pub(crate) struct BlockReader {
    blocks: mpsc::Receiver<Result<Block>>,
    /// The block that [`BlockReader::next`] returned last. Its memory is used again if the caller has dropped it.
    last: Bytes,
    /// Empty buffers for the task to read the next blocks into.
    buffers: mpsc::Sender<BytesMut>,
    task: AbortOnDropHandle<()>,
}

impl BlockReader {
    /// Starts to cut `bytes` into blocks of `length` bytes, each with its MD5 if `md5` is set. `digests` are those of
    /// the bytes of the file that come before the stream.
    pub(crate) fn start(
        bytes: BoxStream<'static, Result<Bytes>>,
        length: usize,
        md5: bool,
        digests: Digests,
    ) -> BlockReader {
        let ((sender, blocks), (buffers, mut free)) = (mpsc::channel(BLOCKS), mpsc::channel(BLOCKS));
        let mut source = BlockSource { bytes: bytes.fuse(), rest: Bytes::new(), length, md5, digests };
        let work = async move {
            while let Some(buffer) = free.recv().await {
                let Some(block) = source.block(buffer).await.transpose() else { return };
                let failed = block.is_err();
                if sender.send(block).await.is_err() || failed {
                    return;
                }
            }
        };
        let task = AbortOnDropHandle::new(tokio::spawn(work.in_current_span()));
        let mut reader = BlockReader { blocks, last: Bytes::new(), buffers, task };
        for _ in 1..BLOCKS {
            reader.provide_buffer();
        }
        reader
    }

    /// Returns the next block, or `None` at the end. Only the last block may be shorter than the length asked for. The
    /// task reads another block into the memory of the block returned before this one.
    pub(crate) async fn next(&mut self) -> Result<Option<Block>> {
        self.provide_buffer();
        match self.blocks.recv().await {
            Some(block) => block.map(|block| {
                self.last = block.bytes.clone();
                Some(block)
            }),
            // The task ended. If it panicked, it has not read the source to its end.
            None => (&mut self.task).await.map(|()| None).map_err(task_failed),
        }
    }

    fn provide_buffer(&mut self) {
        // New memory if the caller still holds the last block.
        let mut buffer = std::mem::take(&mut self.last).try_into_mut().unwrap_or_default();
        buffer.clear();
        // The channel has room for it; a task that has ended needs no buffer.
        let _ = self.buffers.try_send(buffer);
    }
}

struct BlockSource {
    bytes: Fuse<BoxStream<'static, Result<Bytes>>>,
    /// Bytes of the next block that were read already.
    rest: Bytes,
    length: usize,
    md5: bool,
    digests: Digests,
}

impl BlockSource {
    /// Reads the next block into this buffer; `None` at the end of the source.
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

    /// A source of ten and a half blocks, in pieces that do not divide a block; its bytes; and how many of them were
    /// read.
    fn source() -> (BlockReader, Vec<u8>, Arc<AtomicUsize>) {
        let (whole, read) =
            ((0..LENGTH * 21 / 2).map(|at| at as u8).collect::<Vec<_>>(), Arc::<AtomicUsize>::default());
        let count = read.clone();
        let pieces: Vec<_> = whole.chunks(7).map(Bytes::copy_from_slice).collect();
        let bytes = stream::iter(pieces).map(move |piece| {
            count.fetch_add(piece.len(), Relaxed);
            Ok(piece)
        });
        (BlockReader::start(bytes.boxed(), LENGTH, false, Digests::default()), whole, read)
    }

    #[tokio::test]
    async fn at_most_two_blocks_are_in_memory() {
        let (mut reader, _, read) = source();
        for number in 1.. {
            let Some(block) = reader.next().await.unwrap() else { break };
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            drop(block);
            assert!(read.load(Relaxed) < (number + 1) * LENGTH + 7, "{number}");
        }
    }

    #[tokio::test]
    async fn a_block_that_the_caller_holds_is_not_overwritten() {
        let (mut reader, whole, _) = source();
        let mut held = Vec::new();
        while let Some(block) = reader.next().await.unwrap() {
            held.push(block.bytes);
        }
        assert_eq!((held.len(), held.concat()), (11, whole));
    }
}
