//! Sending a file to a block blob at a signed address: constant memory, resumable to the block.
//!
//! A file of moderate size goes in one request, read while it is sent. A larger one is staged block by block (Azure Blob
//! Storage, "Put Block") and becomes visible with the list of its blocks ("Put Block List"). What is staged stays for a
//! week, so a checkpoint of block count and digest is all that is needed to go on after a crash, or with a new address
//! after the old one ran out. Where neither TLS nor the machine itself guards the bytes on their way, the storage compares
//! the MD5 of each block that arrived with that of what was sent.
//!
//! What becomes visible is one version of the source, with the digest it was said to have. A source that changed while it
//! was sent is sent again from its beginning, under new names of blocks, unless it was handed over with another size or
//! digest: then that is an error, for whatever else is known of it is of the old version, too. A source that tells no
//! versions is spilled first, where the context has a place for that, and sent from the copy; else it is sent as it is read,
//! and nothing that was interrupted can be gone on with.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::time::{Instant, sleep};
use trunkline_core::{ByteProgress, Context, Digest, Error, ErrorKind, FileRef, FileStream, Result, Retry, Secret};
use url::{Host, Url};

use crate::{
    BlockCheckpoint, Client,
    digests::Digests,
    download::{cannot_go_on, changed, source_changed},
    payload::{Payload, lock, other_size},
    read_ahead::Ahead,
    response::excerpt,
    retry::{Waits, retry_after},
    transport::{self, Reply},
    url_policy, with_deadline,
};

/// Version of the storage service's interface that the requests below are written for.
const VERSION: &str = "2021-12-02";

/// Most blocks of a blob; larger files get larger blocks.
const MOST_BLOCKS: u64 = 50_000;

/// How often a source is copied anew that changed while it was copied.
const COPIES: usize = 3;

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
    /// A file of at most [`ClientLimits::one_put`](crate::Limits) bytes (64 MB) goes in one request. For a larger one, and one of
    /// unknown size, `save` is called after each block ([`ClientLimits::block`](crate::Limits), 4 MiB) that is staged; handing
    /// what it was given last to another call continues there, also with a new address of the same blob: at most one block
    /// is sent again. While a block is on its way the next one is read. `begun` for another blob begins anew, and so does
    /// a source that is not the version any more that the staged blocks are of: once in a call.
    ///
    /// Neither credentials nor headers of the API go to the storage. Each request is tried
    /// [`ClientLimits::tries`](crate::Limits) times; the context's progress counts what was acknowledged.
    ///
    /// # Errors
    /// `auth` for which [`address_expired`] is true if the address has run out; `conflict` if the source has another size
    /// or digest than it was handed over with or tells itself, or changes again and again; `cancelled`; `unavailable` when
    /// the tries are used up. Nothing is visible after an error, unless it is an unclear one of the last request.
    pub async fn upload_blocks<S, F>(
        &self,
        target: &Secret,
        file: &FileRef,
        begun: BlockCheckpoint,
        save: S,
        cx: &Context,
    ) -> Result<Uploaded>
    where
        S: Fn(BlockCheckpoint) -> F + Send + Sync,
        F: Future<Output = Result<()>> + Send,
    {
        let url = Url::parse(target.expose()).map_err(|_| {
            Error::new(ErrorKind::Unexpected, format!("{} gave no address to upload to", self.0.service))
        })?;
        self.0.guard.check_data("address to upload to", &url, &self.0.base)?;
        let upload = Upload { client: self, url, file, cx };
        let work = async {
            let (resumed, unsent) = (begun.staged > 0, begun.unsent());
            match upload.run(begun, &save).await {
                // Staged too long ago, and swept up by the storage.
                Err(error) if resumed && error.context("upload") == Some(BLOCKS_LOST) => {
                    upload.run(unsent, &save).await
                }
                Err(error) if source_changed(&error) => {
                    cx.warn(&format!("{} is sent again from its beginning: {}", file.name, error.message()));
                    upload.run(BlockCheckpoint::default(), &save).await
                }
                other => other,
            }
        };
        let named = |error: Error| error.with("service", self.0.service).with("file", &file.name);
        with_deadline(cx, &format!("the upload of {}", file.name), work).await.map_err(named)
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
    async fn run<S, F>(&self, begun: BlockCheckpoint, save: &S) -> Result<Uploaded>
    where
        S: Fn(BlockCheckpoint) -> F + Send + Sync,
        F: Future<Output = Result<()>> + Send,
    {
        let blob = format!("{}{}", url_policy::host(&self.url), self.url.path());
        let (mut blocks, mut source) = match begun.digests() {
            Some(digests) if begun.block > 0 && begun.blob == blob => {
                let source = self.again(&begun, digests).await?;
                (begun, source)
            }
            _ if self.file.size.is_some_and(|size| size <= self.client.0.limits.one_put) => {
                return self.put_file().await;
            }
            _ => {
                let (blocks, source) = self.begin(blob, &begun).await?;
                if blocks.position().is_spilled() {
                    // From here on the source is needed no more.
                    save(blocks.clone()).await?;
                }
                (blocks, source)
            }
        };
        let mut digests = source.digests;
        while let Some(mut block) = source.blocks.next().await? {
            if blocks.staged >= MOST_BLOCKS {
                let message =
                    format!("{} has more than {MOST_BLOCKS} blocks of {} bytes", self.file.name, blocks.block);
                return Err(Error::new(ErrorKind::Limit, message).hint("hand the file over with its size"));
            }
            let (sent, md5) = (ByteProgress { bytes: block.bytes.len() as u64 }, block.md5().await?);
            self.put_block(&blocks.id(blocks.staged), block.bytes, md5).await?;
            blocks.staged(&block.digests);
            digests = block.digests;
            self.cx.progress(sent);
            // The next block has to wait for this: so a crash costs one block, and not two.
            save(blocks.clone()).await?;
        }
        if blocks.is_damaged(&digests) {
            return Err(cannot_go_on("its copy on disk was damaged"));
        }
        if let Some(size) = self.file.size.or(source.size).filter(|size| *size != blocks.bytes) {
            return Err(other_size(&self.file.name, size, blocks.bytes));
        }
        if let Err(error) = digests.check(&self.file.name, &blocks.declared) {
            // What is staged would be found wrong again.
            save(BlockCheckpoint::default()).await?;
            return Err(error);
        }
        self.put_list(&blocks).await?;
        Ok(Uploaded { bytes: blocks.bytes, sha256: digests.sha256() })
    }

    /// Bytes a block, so that the file does not need more than the storage allows.
    fn block(&self) -> u64 {
        let usual = self.client.0.limits.block.max(1) as u64;
        let needed = self.file.size.unwrap_or(0).div_ceil(MOST_BLOCKS);
        if needed <= usual { usual } else { needed.next_multiple_of(1 << 20) }
    }

    /// An upload that begins, and its source; of what was begun before, a copy may be left.
    async fn begin(&self, blob: String, before: &BlockCheckpoint) -> Result<(BlockCheckpoint, Source)> {
        let (stream, declared) = match self.cx.staged(&before.unsent().position()).await? {
            Some(copy) => (copy, before.declared.clone()),
            None => self.open().await?,
        };
        let blocks = BlockCheckpoint {
            name: format!("{:016x}", rand::random::<u64>()),
            blob,
            block: self.block(),
            version: stream.version.clone(),
            declared,
            ..BlockCheckpoint::default()
        };
        let digests = Digests::for_checking(&blocks.declared);
        let source = self.source(stream, &blocks, digests);
        Ok((blocks, source))
    }

    /// The source, or its copy if it tells no versions, from its beginning; and the digests it is said to have.
    async fn open(&self) -> Result<(FileStream, Vec<Digest>)> {
        let mut copies = 1;
        loop {
            let stream = self.cx.open(self.file, 0).await?;
            let (declared, size) = (declared(self.file, &stream), self.file.size.or(stream.size));
            if stream.version.is_some() {
                return Ok((stream, declared));
            }
            match self.cx.staging(self.file, stream).await {
                Err(error) if source_changed(&error) && copies < COPIES => copies += 1,
                Err(error) => return Err(error),
                Ok(copy) => match (size, copy.size) {
                    (Some(size), Some(copied)) if size != copied => {
                        return Err(other_size(&self.file.name, size, copied));
                    }
                    _ => return Ok((copy, declared)),
                },
            }
        }
    }

    /// The source where the staged blocks end, if it is still the one they are of.
    async fn again(&self, blocks: &BlockCheckpoint, digests: Digests) -> Result<Source> {
        if self.file.size == Some(blocks.bytes) {
            // All of it is staged, of one version: nothing has to be read.
            let nothing = FileStream::new(self.file.size, futures::stream::empty().boxed());
            return Ok(self.source(nothing, blocks, digests));
        }
        let position = blocks.position();
        let stream = match &position.version {
            None => return Err(cannot_go_on("its source does not tell whether it is still the same file")),
            Some(_) if position.is_spilled() => {
                self.cx.staged(&position).await?.ok_or_else(|| cannot_go_on("its copy on disk is gone"))?
            }
            Some(_) => self.cx.open(self.file, position).await?,
        };
        match stream.version == blocks.version {
            true => Ok(self.source(stream, blocks, digests)),
            false => Err(changed()),
        }
    }

    fn source(&self, stream: FileStream, blocks: &BlockCheckpoint, digests: Digests) -> Source {
        let ahead = Ahead::read(stream.bytes, blocks.block as usize, !is_guarded(&self.url), digests.clone());
        Source { size: stream.size, digests, blocks: ahead }
    }

    /// The whole file in one request.
    async fn put_file(&self) -> Result<Uploaded> {
        let mut headers = self.media_type();
        headers.insert(HeaderName::from_static("x-ms-blob-type"), HeaderValue::from_static("BlockBlob"));
        // Of the bytes of the last try.
        let seen = Arc::new(Mutex::new(Digests::default()));
        let reply = self.put(&[], headers, || {
            let seen = seen.clone();
            Box::pin(async move {
                let stream = self.cx.open(self.file, 0).await?;
                let digests = Digests::for_checking(&declared(self.file, &stream)).with_md5();
                Payload::of(self.file, stream, None, digests, seen)
            })
        });
        let reply = reply.await?;
        let digests = lock(&seen).clone();
        let arrived = reply.headers.get("content-md5").and_then(|arrived| arrived.to_str().ok());
        if arrived.is_some() && arrived != digests.md5().as_deref() {
            let message = format!("the storage got other bytes of {} than were sent", self.file.name);
            return Err(Error::new(ErrorKind::Unavailable, message).retry(Retry::Backoff).hint("upload it again"));
        }
        self.cx.progress(ByteProgress { bytes: digests.bytes });
        Ok(Uploaded { bytes: digests.bytes, sha256: digests.sha256() })
    }

    async fn put_block(&self, id: &str, block: Bytes, md5: Option<String>) -> Result<()> {
        let mut headers = HeaderMap::new();
        let md5 = md5.as_deref().map(HeaderValue::from_str).and_then(Result::ok);
        headers.extend(md5.map(|md5| (HeaderName::from_static("content-md5"), md5)));
        self.put(&[("comp", "block"), ("blockid", id)], headers, || ready(block.clone())).await.map(drop)
    }

    /// Committing the same list twice is harmless, so a lost answer is no trouble.
    async fn put_list(&self, blocks: &BlockCheckpoint) -> Result<()> {
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
        let host = url_policy::host(&self.url);
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

fn ready<'a>(bytes: Bytes) -> BoxFuture<'a, Result<Payload>> {
    Box::pin(std::future::ready(Ok(bytes.into())))
}

/// The file as it is read from where its blocks end.
struct Source {
    size: Option<u64>,
    /// Of what comes before.
    digests: Digests,
    blocks: Ahead,
}

/// Whether what is sent there cannot change on its way unnoticed: TLS proves every record (RFC 8446 section 5.2), and what
/// stays on the machine is on no way. MD5 costs more than all else that is done with a block.
fn is_guarded(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    };
    url.scheme() == "https" || loopback
}

/// All digests that the file is said to have, by who handed it over and by who has it.
pub(crate) fn declared(file: &FileRef, stream: &FileStream) -> Vec<Digest> {
    let mut declared: Vec<_> = file.digest.iter().chain(&stream.digest).cloned().collect();
    declared.dedup();
    declared
}
