//! Uploads: sends a file to a block blob at a signed URL, in constant memory, and resumes at the last staged block.
//!
//! A small file is sent in one request and read while it is sent. A larger one is staged block by block (Azure Blob
//! Storage, "Put Block") and becomes visible with the list of its blocks ("Put Block List"). The storage keeps staged
//! blocks for a week. So a checkpoint with the number of blocks and the state of the digests is enough to continue
//! after a crash, or with a new URL after the old one has expired. If neither TLS nor the loopback interface protects
//! the bytes, each block carries its MD5, and the storage compares it with what arrived.
//!
//! One version of the source becomes visible, with the digest that the source declares. A source that changed while it
//! was sent is sent again from its beginning, with new block ids. If its [`FileRef`] declares another size or digest,
//! the upload fails instead, since the rest of the reference describes the old version, too. A source without versions
//! is copied to disk first, if the context can stage files, and sent from the copy. Else it is sent as it is read, and
//! an interrupted upload cannot continue.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::time::{Instant, sleep};
use trunkline_core::{
    ByteProgress, Context, Digest, Error, ErrorDetail, ErrorKind, FileRef, FileStream, Result, Retry, Secret,
};
use url::{Host, Url};

use super::{
    block_checkpoint::BlockCheckpoint,
    download::{cannot_continue, changed, source_changed},
    read_ahead::BlockReader,
};
use crate::{
    client::Client,
    transport::{
        self, Digests, HttpRequest, Payload, RawResponse, Waits, declared_digests, lock, retry_after, size_mismatch,
        url_policy, with_deadline,
    },
};

/// Version of the API of the storage that the requests below are written for (header `x-ms-version`).
const VERSION: &str = "2021-12-02";

/// The storage allows this many blocks in a blob. Larger files get larger blocks.
const MOST_BLOCKS: u64 = 50_000;

/// Attempts to copy a source that changes while it is copied.
const COPIES: usize = 3;

/// The result of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Size of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// Returns whether an upload ended because its signed URL has expired or was refused.
///
/// The caller then fetches a new URL and calls [`Client::upload_blocks`] again with the checkpoint that was saved last.
/// Staged blocks are not sent again.
pub fn address_expired(error: &Error) -> bool {
    error.has(&ErrorDetail::UrlExpired)
}

impl Client {
    /// Sends a file to the block blob at `target`, a signed URL (SAS) of Azure Blob Storage.
    ///
    /// A file of at most [`ClientLimits::one_put`](crate::ClientLimits::one_put) bytes (64 MB) is sent in one request.
    /// For a larger one, and for one of unknown size, `save` is called with a checkpoint after each staged block
    /// ([`ClientLimits::block`](crate::ClientLimits::block), 4 MiB). A later call with the last checkpoint as `begun`
    /// continues there, also with a new URL of the same blob: at most one block is sent again. The next block is read
    /// while one is sent. The upload starts from the beginning if `begun` is for another blob. Once per call, it also
    /// does so if the source has another version than the staged blocks.
    ///
    /// Neither credentials nor headers of the API are sent to the storage. Each request is tried at most
    /// [`ClientLimits::tries`](crate::ClientLimits::tries) times. The progress of the context counts acknowledged
    /// bytes.
    ///
    /// # Errors
    ///
    /// `auth` for which [`address_expired`] is true if the URL has expired; `conflict` if the source has another size
    /// or digest than its [`FileRef`] or its own headers declare, or changes repeatedly; `cancelled`; `unavailable`
    /// when the tries are used up; the error of `save`. The file is not visible after an error, except after an unclear
    /// failure of the last request.
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
            Error::new(ErrorKind::Unexpected, format!("{} returned no valid URL to upload to", self.0.service))
        })?;
        self.0.guard.check_data("URL to upload to", &url, &self.0.base)?;
        let upload = Upload { client: self, url, file, cx };
        let work = async {
            let (resumed, unsent) = (begun.staged > 0, begun.unsent());
            match upload.run(begun, &save).await {
                // The blocks were staged too long ago, and the storage has removed them.
                Err(error) if resumed && error.has(&ErrorDetail::BlocksLost) => upload.run(unsent, &save).await,
                Err(error) if source_changed(&error) => {
                    cx.warn(&format!("{} is sent again from its beginning: {}", file.name, error.message()));
                    upload.run(BlockCheckpoint::default(), &save).await
                }
                other => other,
            }
        };
        let named = |error: Error| error.with("service", &self.0.service).with("file", &file.name);
        with_deadline(cx, &format!("the upload of {}", file.name), work).await.map_err(named)
    }
}

/// A running upload.
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
            Some(digests) if begun.block_size > 0 && begun.blob == blob => {
                let source = self.reopen(&begun, digests).await?;
                (begun, source)
            }
            _ if self.file.size.is_some_and(|size| size <= self.client.0.limits.one_put) => {
                return self.put_file().await;
            }
            _ => {
                let (blocks, source) = self.begin(blob, &begun).await?;
                if blocks.position().is_staged() {
                    // From here on, the upload does not need the source.
                    save(blocks.clone()).await?;
                }
                (blocks, source)
            }
        };
        let mut digests = source.digests;
        while let Some(mut block) = source.blocks.next().await? {
            if blocks.staged >= MOST_BLOCKS {
                let message =
                    format!("{} has more than {MOST_BLOCKS} blocks of {} bytes", self.file.name, blocks.block_size);
                return Err(Error::new(ErrorKind::Limit, message)
                    .hint("pass the size of the file, so that its blocks can be larger"));
            }
            let (sent, md5) = (ByteProgress { bytes: block.bytes.len() as u64 }, block.md5().await?);
            self.put_block(&blocks.id(blocks.staged), block.bytes, md5).await?;
            blocks.add_block(&block.digests);
            digests = block.digests;
            self.cx.progress(sent);
            // The next block waits for this, so that a crash costs one block and not two.
            save(blocks.clone()).await?;
        }
        if blocks.is_damaged(&digests) {
            return Err(cannot_continue("its copy on disk was damaged"));
        }
        if let Some(size) = self.file.size.or(source.size).filter(|size| *size != blocks.bytes) {
            return Err(size_mismatch(&self.file.name, size, blocks.bytes));
        }
        if let Err(error) = digests.check(&self.file.name, &blocks.declared) {
            // The staged blocks would fail the same check again.
            save(BlockCheckpoint::default()).await?;
            return Err(error);
        }
        self.put_list(&blocks).await?;
        Ok(Uploaded { bytes: blocks.bytes, sha256: digests.sha256() })
    }

    /// Returns the size of a block in bytes: large enough that the file does not need more blocks than the storage
    /// allows.
    fn block_size(&self) -> u64 {
        let usual = self.client.0.limits.block.max(1) as u64;
        let needed = self.file.size.unwrap_or(0).div_ceil(MOST_BLOCKS);
        if needed <= usual { usual } else { needed.next_multiple_of(1 << 20) }
    }

    /// Begins an upload and opens its source. The copy that an earlier upload has staged is used if it still exists.
    async fn begin(&self, blob: String, earlier: &BlockCheckpoint) -> Result<(BlockCheckpoint, Source)> {
        let (stream, declared) = match self.cx.staged(&earlier.unsent().position()).await? {
            Some(copy) => (copy, earlier.declared.clone()),
            None => self.open().await?,
        };
        let blocks = BlockCheckpoint {
            name: format!("{:016x}", rand::random::<u64>()),
            blob,
            block_size: self.block_size(),
            version: stream.version.clone(),
            declared,
            ..BlockCheckpoint::default()
        };
        let digests = Digests::for_checking(&blocks.declared);
        let source = self.source(stream, &blocks, digests);
        Ok((blocks, source))
    }

    /// Opens the source at its beginning, or a copy of it if it reports no version. Returns also the digests that it
    /// declares.
    async fn open(&self) -> Result<(FileStream, Vec<Digest>)> {
        let mut copies = 1;
        loop {
            let stream = self.cx.open(self.file, 0).await?;
            let (declared, size) = (declared_digests(self.file, &stream), self.file.size.or(stream.size));
            if stream.version.is_some() {
                return Ok((stream, declared));
            }
            match self.cx.staging(self.file, stream).await {
                Err(error) if source_changed(&error) && copies < COPIES => copies += 1,
                Err(error) => return Err(error),
                Ok(copy) => match (size, copy.size) {
                    (Some(size), Some(copied)) if size != copied => {
                        return Err(size_mismatch(&self.file.name, size, copied));
                    }
                    _ => return Ok((copy, declared)),
                },
            }
        }
    }

    /// Opens the source where the staged blocks end. Fails if it is not the version that they were read from.
    async fn reopen(&self, blocks: &BlockCheckpoint, digests: Digests) -> Result<Source> {
        if self.file.size == Some(blocks.bytes) {
            // The whole file is staged, of one version: there is nothing to read.
            let nothing = FileStream::new(self.file.size, futures::stream::empty().boxed());
            return Ok(self.source(nothing, blocks, digests));
        }
        let position = blocks.position();
        let stream = match &position.version {
            None => return Err(cannot_continue("its source does not report whether it is still the same file")),
            Some(_) if position.is_staged() => {
                self.cx.staged(&position).await?.ok_or_else(|| cannot_continue("its copy on disk is gone"))?
            }
            Some(_) => self.cx.open(self.file, position).await?,
        };
        match stream.version == blocks.version {
            true => Ok(self.source(stream, blocks, digests)),
            false => Err(changed()),
        }
    }

    fn source(&self, stream: FileStream, blocks: &BlockCheckpoint, digests: Digests) -> Source {
        let (length, md5) = (blocks.block_size as usize, !is_protected(&self.url));
        Source { size: stream.size, blocks: BlockReader::start(stream.bytes, length, md5, digests.clone()), digests }
    }

    /// Sends the whole file in one request.
    async fn put_file(&self) -> Result<Uploaded> {
        let mut headers = self.media_type();
        headers.insert(HeaderName::from_static("x-ms-blob-type"), HeaderValue::from_static("BlockBlob"));
        // The digests of the bytes of the last attempt.
        let sent = Arc::new(Mutex::new(Digests::default()));
        let response = self.put(&[], headers, || {
            let sent = sent.clone();
            Box::pin(async move {
                let stream = self.cx.open(self.file, 0).await?;
                let digests = Digests::for_checking(&declared_digests(self.file, &stream)).with_md5();
                Payload::of(self.file, stream, None, digests, sent)
            })
        });
        let response = response.await?;
        let digests = lock(&sent).clone();
        let arrived = response.headers.get("content-md5").and_then(|arrived| arrived.to_str().ok());
        if arrived.is_some() && arrived != digests.md5().as_deref() {
            let message = format!("the storage received other bytes of {} than were sent", self.file.name);
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

    /// Commits the list of blocks. To commit it twice is harmless, so a lost response is too.
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

    /// Sends a request to the storage, and repeats it while that may help: all of these requests can be repeated.
    async fn put<'a>(
        &'a self,
        query: &[(&str, &str)],
        headers: HeaderMap,
        payload: impl Fn() -> BoxFuture<'a, Result<Payload>> + Send + Sync,
    ) -> Result<RawResponse> {
        let limits = &self.client.0.limits;
        let mut waits = Waits::new(limits, self.cx.deadline().map(Instant::from_std));
        let mut url = self.url.clone();
        // The signature covers the query as it is, so parameters are only appended.
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        loop {
            let mut request = HttpRequest::new(Method::PUT, url.clone());
            request.headers.extend(headers.clone());
            request.headers.insert(HeaderName::from_static("x-ms-version"), HeaderValue::from_static(VERSION));
            let (http, payload) = (&self.client.0.storage, payload().await?);
            let error = match transport::exchange(http, request, payload, limits.block_attempt, 1 << 20).await {
                Ok(response) if response.status.is_success() => return Ok(response),
                Ok(response) => self.error_response(&response),
                Err(failure) => failure.error,
            };
            match waits.after(&error) {
                Some(wait) => {
                    tracing::debug!(service = &*self.client.0.service, %error, "repeats a request to the storage");
                    sleep(wait).await;
                }
                None => return Err(error),
            }
        }
    }

    /// The error that a response of the storage stands for.
    fn error_response(&self, response: &RawResponse) -> Error {
        let host = url_policy::host(&self.url);
        let text = String::from_utf8_lossy(&response.body);
        let code = response.headers.get("x-ms-error-code").and_then(|code| code.to_str().ok());
        let code = code.or_else(|| text.split_once("<Code>")?.1.split_once("</Code>").map(|(code, _)| code));
        let code = self.client.excerpt(code.unwrap_or_default().as_bytes());
        let later = retry_after(response.status, &response.headers, &text).map_or(Retry::Backoff, Retry::After);
        let status = response.status;
        let mut message = format!("the storage {host} returned {status} for the upload of {}", self.file.name);
        if !code.is_empty() {
            message += &format!(": {code}");
        }
        let error = |kind| Error::new(kind, message.clone()).with("host", &host).with("status", status.as_u16());
        match status.as_u16() {
            _ if matches!(&*code, "InvalidBlockList" | "InvalidBlockId" | "InvalidBlobOrBlock") => {
                error(ErrorKind::Conflict)
                    .with_detail(ErrorDetail::BlocksLost)
                    .hint("upload the file again from its beginning")
            }
            401 | 403 => error(ErrorKind::Auth)
                .with_detail(ErrorDetail::UrlExpired)
                .hint("the signed URL has expired: ask for a new one and continue with the same blocks"),
            404 => error(ErrorKind::NotFound).hint("the target of the URL is gone: begin the upload again"),
            409 | 412 => error(ErrorKind::Conflict).hint("another client writes to the same file"),
            413 => error(ErrorKind::Limit).hint("the storage does not accept blocks of this size"),
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

/// The source of an upload, opened where the staged blocks end.
struct Source {
    size: Option<u64>,
    /// Digests of the bytes before the first block.
    digests: Digests,
    blocks: BlockReader,
}

/// Returns whether bytes cannot change unnoticed on the way to this URL: TLS authenticates every record (RFC 8446
/// section 5.2), and loopback traffic does not leave the machine. Then blocks carry no MD5, which costs more than the
/// rest of the work on them.
fn is_protected(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    };
    url.scheme() == "https" || loopback
}
