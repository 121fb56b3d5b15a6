//! Sending a file to a block blob at a signed address: constant memory, resumable to the block.
//!
//! A file of moderate size goes in one request, read while it is sent. A larger one is staged block by block (Azure Blob
//! Storage, "Put Block") and becomes visible with the list of its blocks ("Put Block List"). What is staged stays for a
//! week, so a checkpoint of block count and digest is all that is needed to go on after a crash, or with a new address
//! after the old one ran out. The storage compares the MD5 of what arrived with that of what was sent.

use std::sync::{Arc, Mutex, PoisonError};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{BoxStream, Fuse},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use md5::Md5;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};
use trunkline_core::{Context, Error, ErrorKind, FileRef, FileStream, Progress, Result, Retry, Secret};
use url::Url;

use crate::{
    Blocks, Client, address,
    answer::excerpt,
    payload::{Payload, other_size},
    retry::{Waits, retry_after},
    transport::{self, Reply},
    within,
};

/// Version of the storage service's interface that the requests below are written for.
const VERSION: &str = "2021-12-02";

/// Most blocks of a blob; larger files get larger blocks.
const MOST_BLOCKS: u64 = 50_000;

/// What the `upload` fact of an error says when the signed address has run out.
const ADDRESS_EXPIRED: &str = "address expired";

/// What it says when the storage does not know the blocks any more.
const BLOCKS_LOST: &str = "blocks lost";

/// What was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Size of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, in lower-case hex.
    pub sha256: String,
}

/// Whether an upload ended because its signed address ran out or was refused: fetch a new one and call
/// [`Client::upload_blocks`] again with the blocks saved last; nothing that is staged is sent again.
pub fn address_expired(error: &Error) -> bool {
    error.context("upload") == Some(ADDRESS_EXPIRED)
}

impl Client {
    /// Sends a file to the block blob at `target`, a signed address (SAS) of Azure Blob Storage.
    ///
    /// A file of at most [`Limits::one_put`](crate::Limits) bytes (64 MB) goes in one request. For a larger one, and one of
    /// unknown size, `save` is called after each block ([`Limits::block`](crate::Limits), 4 MiB) that is staged; handing
    /// what it was given last to another call continues there, also with a new address of the same blob: at most one block
    /// is sent again. While a block is on its way the next one is read. `begun` for another blob begins anew.
    ///
    /// Neither credentials nor headers of the API go to the storage. Each request is tried
    /// [`Limits::tries`](crate::Limits) times; the context's progress counts what was acknowledged.
    ///
    /// # Errors
    /// `auth` for which [`address_expired`] is true if the address has run out; `conflict` if the source has another size
    /// than it was handed over with; `cancelled`; `unavailable` when the tries are used up.
    pub async fn upload_blocks<S, F>(
        &self,
        target: &Secret,
        file: &FileRef,
        begun: Blocks,
        save: S,
        cx: &Context,
    ) -> Result<Uploaded>
    where
        S: Fn(Blocks) -> F + Send + Sync,
        F: Future<Output = Result<()>> + Send,
    {
        let url = Url::parse(target.expose()).map_err(|_| {
            Error::new(ErrorKind::Unexpected, format!("{} gave no address to upload to", self.0.service))
        })?;
        self.0.guard.check_data("address to upload to", &url, &self.0.base)?;
        let upload = Upload { client: self, url, file, cx };
        let work = async {
            let resumed = begun.staged > 0;
            match upload.run(begun, &save).await {
                // Staged too long ago, and swept up by the storage.
                Err(error) if resumed && error.context("upload") == Some(BLOCKS_LOST) => {
                    upload.run(Blocks::default(), &save).await
                }
                other => other,
            }
        };
        let named = |error: Error| error.with("service", self.0.service).with("file", &file.name);
        within(cx, &format!("the upload of {}", file.name), work).await.map_err(named)
    }
}

/// One upload under way.
struct Upload<'a> {
    client: &'a Client,
    url: Url,
    file: &'a FileRef,
    cx: &'a Context,
}

impl Upload<'_> {
    async fn run<S, F>(&self, begun: Blocks, save: &S) -> Result<Uploaded>
    where
        S: Fn(Blocks) -> F + Send + Sync,
        F: Future<Output = Result<()>> + Send,
    {
        let blob = format!("{}{}", address::host(&self.url), self.url.path());
        let mut blocks = match begun.hasher() {
            Some(_) if begun.staged > 0 && begun.block > 0 && begun.blob == blob => begun,
            _ if self.file.size.is_some_and(|size| size <= self.client.0.limits.one_put) => {
                return self.put_file().await;
            }
            _ => Blocks {
                name: format!("{:016x}", rand::random::<u64>()),
                blob,
                block: self.block(),
                ..Blocks::default()
            },
        };
        let mut hasher = blocks.hasher().unwrap_or_default();
        let mut source = self.source(blocks.bytes).await?;
        let mut block = source.block(blocks.block as usize).await?;
        while !block.is_empty() {
            if blocks.staged >= MOST_BLOCKS {
                let message =
                    format!("{} has more than {MOST_BLOCKS} blocks of {} bytes", self.file.name, blocks.block);
                return Err(Error::new(ErrorKind::Limit, message).hint("hand the file over with its size"));
            }
            hasher.update(&block);
            let (id, bytes) = (blocks.id(blocks.staged), block.len() as u64);
            // A source that fails does not break off the block that is on its way.
            let reading = async { Ok(source.block(blocks.block as usize).await) };
            let (next, ()) = tokio::try_join!(reading, self.put_block(&id, block))?;
            blocks.staged += 1;
            blocks.bytes += bytes;
            blocks.set_hasher(&hasher);
            self.cx.progress(Progress { bytes });
            save(blocks.clone()).await?;
            block = next?;
        }
        if let Some(size) = self.file.size.or(source.size).filter(|size| *size != blocks.bytes) {
            return Err(other_size(&self.file.name, size, blocks.bytes));
        }
        self.put_list(&blocks).await?;
        Ok(Uploaded { bytes: blocks.bytes, sha256: hex(hasher) })
    }

    /// Bytes a block, so that the file does not need more than the storage allows.
    fn block(&self) -> u64 {
        let usual = self.client.0.limits.block.max(1) as u64;
        let needed = self.file.size.unwrap_or(0).div_ceil(MOST_BLOCKS);
        if needed <= usual { usual } else { needed.next_multiple_of(1 << 20) }
    }

    async fn source(&self, from: u64) -> Result<Source> {
        if from > 0 && self.file.size == Some(from) {
            return Ok(Source {
                size: self.file.size,
                bytes: futures::stream::empty().boxed().fuse(),
                rest: BytesMut::new(),
            });
        }
        let FileStream { size, bytes } = self.cx.open(self.file, from).await?;
        Ok(Source { size: size.or(self.file.size), bytes: bytes.fuse(), rest: BytesMut::new() })
    }

    /// The whole file in one request.
    async fn put_file(&self) -> Result<Uploaded> {
        let mut headers = self.media_type();
        headers.insert(HeaderName::from_static("x-ms-blob-type"), HeaderValue::from_static("BlockBlob"));
        // Of the bytes of the last try.
        let sent = Arc::new(Mutex::new(Sent::default()));
        let reply = self.put(&[], headers, || {
            let sent = sent.clone();
            Box::pin(async move {
                let stream = self.cx.open(self.file, 0).await?;
                lock(&sent).clone_from(&Sent::default());
                Payload::of(self.file, stream, None, move |piece| lock(&sent).update(piece))
            })
        });
        let reply = reply.await?;
        let Sent { bytes, sha256, md5 } = lock(&sent).clone();
        let md5 = BASE64_STANDARD.encode(md5.finalize());
        if reply.headers.get("content-md5").is_some_and(|arrived| arrived.as_bytes() != md5.as_bytes()) {
            let message = format!("the storage got other bytes of {} than were sent", self.file.name);
            return Err(Error::new(ErrorKind::Unavailable, message).retry(Retry::Backoff).hint("upload it again"));
        }
        self.cx.progress(Progress { bytes });
        Ok(Uploaded { bytes, sha256: hex(sha256) })
    }

    async fn put_block(&self, id: &str, block: Bytes) -> Result<()> {
        let mut headers = HeaderMap::new();
        let md5 = BASE64_STANDARD.encode(Md5::digest(&block));
        headers.extend(HeaderValue::from_str(&md5).map(|md5| (HeaderName::from_static("content-md5"), md5)));
        self.put(&[("comp", "block"), ("blockid", id)], headers, || ready(block.clone())).await.map(drop)
    }

    /// Committing the same list twice is harmless, so a lost answer is no trouble.
    async fn put_list(&self, blocks: &Blocks) -> Result<()> {
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        for index in 0..blocks.staged {
            list += "<Latest>";
            list += &blocks.id(index);
            list += "</Latest>";
        }
        list += "</BlockList>";
        let mut headers = self.media_type();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let list = Bytes::from(list);
        self.put(&[("comp", "blocklist")], headers, || ready(list.clone())).await.map(drop)
    }

    fn media_type(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(kind) = self.file.media_type.as_deref().and_then(|kind| HeaderValue::from_str(kind).ok()) {
            headers.insert(HeaderName::from_static("x-ms-blob-content-type"), kind);
        }
        headers
    }

    /// One request to the storage, tried again while that may help: all of them can be repeated.
    async fn put<'a>(
        &'a self,
        query: &[(&str, &str)],
        headers: HeaderMap,
        payload: impl Fn() -> BoxFuture<'a, Result<Payload>> + Send + Sync,
    ) -> Result<Reply> {
        let limits = &self.client.0.limits;
        let mut waits = Waits::new(limits, self.cx.deadline().map(Instant::from_std));
        let mut url = self.url.clone();
        // The signature is over what is there; appending leaves that as it is.
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        loop {
            let mut request = reqwest::Request::new(Method::PUT, url.clone());
            request.headers_mut().extend(headers.clone());
            request.headers_mut().insert(HeaderName::from_static("x-ms-version"), HeaderValue::from_static(VERSION));
            let (http, payload) = (&self.client.0.storage, payload().await?);
            let error = match transport::exchange(http, request, payload, limits.block_attempt, 1 << 20).await {
                Ok(reply) if reply.status.is_success() => return Ok(reply),
                Ok(reply) => self.refusal(&reply),
                Err(failure) => failure.error,
            };
            match waits.after(&error) {
                Some(wait) => {
                    tracing::debug!(service = self.client.0.service, %error, "sending to the storage again");
                    sleep(wait).await;
                }
                None => return Err(error),
            }
        }
    }

    fn refusal(&self, reply: &Reply) -> Error {
        let host = address::host(&self.url);
        let text = String::from_utf8_lossy(&reply.body);
        let code = reply.headers.get("x-ms-error-code").and_then(|code| code.to_str().ok());
        let code = code.or_else(|| text.split_once("<Code>")?.1.split_once("</Code>").map(|(code, _)| code));
        let code = excerpt(code.unwrap_or_default().as_bytes(), &[]);
        let later = retry_after(&reply.headers).map_or(Retry::Backoff, Retry::After);
        let status = reply.status;
        let mut message = format!("the storage {host} answered {status} to the upload of {}", self.file.name);
        if !code.is_empty() {
            message += &format!(": {code}");
        }
        let error = |kind| Error::new(kind, message.clone()).with("host", &host).with("status", status.as_u16());
        match status.as_u16() {
            _ if matches!(&*code, "InvalidBlockList" | "InvalidBlockId" | "InvalidBlobOrBlock") => {
                error(ErrorKind::Conflict).with("upload", BLOCKS_LOST).hint("upload the file again from its beginning")
            }
            401 | 403 => error(ErrorKind::Auth)
                .with("upload", ADDRESS_EXPIRED)
                .hint("the signed address has run out: ask for a new one and go on with the same blocks"),
            404 => error(ErrorKind::NotFound).hint("what the address was for is gone: begin the upload again"),
            409 | 412 => error(ErrorKind::Conflict).hint("somebody else writes to the same file"),
            413 => error(ErrorKind::Limit).hint("the storage takes no blocks of this size"),
            429 | 503 => error(ErrorKind::RateLimited).retry(later).hint("wait, or send fewer files at once"),
            408 | 500..=599 => error(ErrorKind::Unavailable).retry(later).hint("try again later"),
            _ if code == "Md5Mismatch" => {
                error(ErrorKind::Unavailable).retry(Retry::Backoff).hint("the bytes changed on the way: try again")
            }
            _ if status.is_redirection() => error(ErrorKind::Unexpected).hint("redirects are not followed"),
            _ if status == StatusCode::BAD_REQUEST => error(ErrorKind::InvalidInput).hint("report it to the vendor"),
            _ => error(ErrorKind::Unexpected).hint("report it to the vendor"),
        }
    }
}

/// What went out in one request.
#[derive(Clone, Default)]
struct Sent {
    bytes: u64,
    sha256: Sha256,
    md5: Md5,
}

impl Sent {
    fn update(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.sha256.update(piece);
        self.md5.update(piece);
    }
}

fn lock(sent: &Mutex<Sent>) -> std::sync::MutexGuard<'_, Sent> {
    sent.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ready<'a>(bytes: Bytes) -> BoxFuture<'a, Result<Payload>> {
    Box::pin(std::future::ready(Ok(bytes.into())))
}

/// The file as it is read, cut into blocks.
struct Source {
    size: Option<u64>,
    bytes: Fuse<BoxStream<'static, Result<Bytes>>>,
    rest: BytesMut,
}

impl Source {
    /// The next block: as long as was asked for, shorter only at the end, empty after it.
    async fn block(&mut self, length: usize) -> Result<Bytes> {
        while self.rest.len() < length {
            match self.bytes.next().await {
                Some(chunk) => self.rest.extend_from_slice(&chunk?),
                None => break,
            }
        }
        Ok(self.rest.split_to(length.min(self.rest.len())).freeze())
    }
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
