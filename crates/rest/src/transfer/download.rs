//! Downloads: reads a file at a signed URL in constant memory, and continues after a connection was cut.
//!
//! The reader gets one version of the file from its first byte to its last, or an error. If the server reports no
//! version, the bytes that were read before a cut are read again and compared. The URL is looked up for each request,
//! since it may have expired. No credentials are sent to it, unless the file is one of the API itself
//! ([`generic::DownloadAction`]).
//!
//! [`generic::DownloadAction`]: crate::generic::DownloadAction

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream::BoxStream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep, timeout};
use trunkline_core::{Context, Digest, Error, ErrorDetail, ErrorKind, FileStream, Position, Result, Retry};
use url::Url;

use super::{content_range::content_range, file_name::file_name, status::status_error, version, web_page};
use crate::{
    client::{Client, Credentials, is_throttle},
    table::Target,
    transport::{
        self, ContentType, HttpRequest, HttpResponse, Waits, content_length, decoded, header_text, is_coded,
        retry_after, single, url_policy, with_deadline,
    },
};

/// What a download is called in the error of a cancelled context or a deadline.
const WORK: &str = "the download of the file";

/// A response whose body is read.
struct OpenResponse {
    host: String,
    headers: HeaderMap,
    /// The rest of the body. The mutex is never locked: it only makes the download `Sync`.
    body: Mutex<BoxStream<'static, Result<Bytes>>>,
}

/// Finds the URL of a file, in the context of the download. It is called for each request.
type LocateUrl = Arc<dyn Fn(Context) -> BoxFuture<'static, Result<Url>> + Send + Sync>;

impl Client {
    /// Reads the file at the URL that `locate` finds, from byte `from` on.
    ///
    /// `locate` is called with `cx` for the first request and for each one after a cut. It should ask the service for a
    /// fresh URL. Cancellation and deadline of `cx` also end the stream that is returned. No credentials and no headers
    /// of the API are sent to that URL. A body that is cut short is continued with `Range` and `If-Range` (RFC 9110
    /// section 14), at most [`ClientLimits::tries`](crate::ClientLimits::tries) times without a byte of progress. If
    /// the server does not support ranges, the bytes that were read already are read again and skipped. If it sends
    /// neither a strong ETag nor a `Last-Modified`, they are compared as well. A file that is sent with a content coding
    /// is decoded; it has no known size, version or digest, and it is always read from its beginning.
    ///
    /// # Errors
    ///
    /// `conflict` if the file changed while it was read, or has another version than the position; `config` for a URL
    /// that is not https; `unavailable` when the tries are used up; `unexpected` if the server returns another part
    /// than the one asked for; `cancelled` if the context is cancelled, and `unavailable` after its deadline.
    pub async fn download<F>(&self, locate: F, from: impl Into<Position>, cx: &Context) -> Result<FileStream>
    where
        F: Fn(Context) -> BoxFuture<'static, Result<Url>> + Send + Sync + 'static,
    {
        Download::new(self, FileSource::Signed(Arc::new(locate)), from.into(), cx)?.stream().await
    }

    /// Reads the response of a path of the API as a file, with the credentials of the connection.
    pub(crate) async fn fetch(&self, file: ApiFile, from: Position, cx: &Context) -> Result<FileStream> {
        Download::new(self, FileSource::Api(Box::new(file)), from, cx)?.stream().await
    }

    /// Returns the metadata of such a file from the headers of its response.
    pub(crate) async fn file_metadata(&self, file: ApiFile, cx: &Context) -> Result<FileMetadata> {
        let mut download = Download::new(self, FileSource::Api(Box::new(file)), Position::default(), cx)?;
        download.open().await?;
        let headers = download.body.as_ref().map(|body| body.headers.clone()).unwrap_or_default();
        Ok(FileMetadata {
            name: file_name(&headers),
            media_type: Some(ContentType::of(&headers).media_type).filter(|kind| !kind.is_empty()),
            size: download.total,
            digest: download.digest.clone(),
        })
    }
}

/// The metadata that a service sends with a file.
pub(crate) struct FileMetadata {
    pub(crate) name: Option<String>,
    pub(crate) media_type: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) digest: Option<Digest>,
}

/// Returns whether an error means that the source is not the version that was read before.
pub(crate) fn source_changed(error: &Error) -> bool {
    error.has(&ErrorDetail::SourceChanged)
}

/// The error for a file that changed while it was read.
pub(crate) fn changed() -> Error {
    cannot_continue("the file was changed while it was read")
}

/// The error for a file that has to be read again from its beginning.
pub(crate) fn cannot_continue(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Conflict, why)
        .with_detail(ErrorDetail::SourceChanged)
        .hint("read it again from its beginning")
}

/// A file that the API itself has.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ApiFile {
    #[serde(flatten)]
    pub(crate) target: Target,
    /// Whether the file is known to be a web page, see [`web_page`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) page: bool,
}

/// The place where a file is read from.
enum FileSource {
    /// A signed URL, without credentials.
    Signed(LocateUrl),
    /// A path of the API, with the credentials of the connection.
    Api(Box<ApiFile>),
}

/// Headers that describe the bytes of a content coding, not those of the file.
const CODED_HEADERS: &[&str] =
    &["accept-ranges", "content-md5", "content-range", "etag", "last-modified", "repr-digest", "x-ms-blob-content-md5"];

/// Redirects that are followed from a path of the API.
const REDIRECTS: usize = 5;

/// A file while it is read.
struct Download {
    client: Client,
    source: FileSource,
    cx: Arc<Context>,
    /// The waits between attempts since the last byte arrived.
    waits: Waits,
    /// The first byte that the caller asked for.
    from: u64,
    /// The next byte that the caller gets.
    at: u64,
    /// Bytes of the body to skip first.
    skip: u64,
    /// Size of the whole file, once known.
    total: Option<u64>,
    /// The validator for `If-Range`.
    version: Option<HeaderValue>,
    etag: Option<HeaderValue>,
    digest: Option<Digest>,
    /// Whether the file is sent with a content coding: then it has no ranges.
    coded: bool,
    /// Hash of the bytes that the caller got, if the server reports no version.
    delivered: Sha256,
    /// Hash of those of them that were read again after a cut.
    reread: Option<Sha256>,
    body: Option<Box<OpenResponse>>,
}

impl Download {
    fn new(client: &Client, source: FileSource, from: Position, cx: &Context) -> Result<Download> {
        let version = from.version.map(|version| HeaderValue::from_str(&version));
        Ok(Download {
            client: client.clone(),
            source,
            cx: Arc::new(cx.clone()),
            waits: Waits::new(&client.0.limits, cx.deadline().map(Instant::from_std)),
            from: from.byte,
            at: from.byte,
            skip: 0,
            total: None,
            version: version.transpose().map_err(|error| internal(error.into()))?,
            etag: None,
            digest: None,
            coded: false,
            delivered: Sha256::default(),
            reread: None,
            body: None,
        })
    }

    fn deadline(&self) -> Option<Instant> {
        self.cx.deadline().map(Instant::from_std)
    }

    async fn stream(mut self) -> Result<FileStream> {
        let cx = Arc::clone(&self.cx);
        with_deadline(&cx, WORK, self.open()).await?;
        let version = self.version.as_ref().and_then(|version| version.to_str().ok()).map(str::to_owned);
        let (size, digest) = (self.total, self.digest.clone());
        let bytes = futures::stream::try_unfold(self, |mut download| async move {
            let cx = Arc::clone(&download.cx);
            let chunk = with_deadline(&cx, WORK, download.next()).await?;
            Ok(chunk.map(|chunk| (chunk, download)))
        });
        Ok(FileStream { size, version, digest, bytes: bytes.into_stream().boxed() })
    }

    /// Returns the next piece, or `None` at the end of the file.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.body.is_none() {
                if self.total == Some(self.at) {
                    return Ok(None);
                }
                self.open().await?;
            }
            let Some(body) = &mut self.body else { return Ok(None) };
            let OpenResponse { host, body, .. } = &mut **body;
            let (host, body) = (host.clone(), body.get_mut().unwrap_or_else(PoisonError::into_inner));
            let error = match timeout(self.client.0.limits.idle, body.try_next()).await {
                Ok(Ok(Some(chunk))) => match self.accept(chunk)? {
                    Some(chunk) => return Ok(Some(chunk)),
                    None => continue,
                },
                Ok(Ok(None)) if self.skip == 0 && self.total.is_none_or(|total| total == self.at) => {
                    self.compare_reread()?;
                    return Ok(None);
                }
                Ok(Ok(None)) => {
                    self.error(ErrorKind::Unavailable, format!("{host} ended the response before the end of the file"))
                }
                Ok(Err(error)) => error,
                Err(_) => transport::timed_out(&host, self.client.0.limits.idle),
            };
            self.body = None;
            self.wait_after(error.retry(Retry::Backoff)).await?;
        }
    }

    /// Accounts for a piece of the body. Returns the bytes of it that the caller has not got yet.
    fn accept(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>> {
        let skipped = self.skip.min(chunk.len() as u64);
        let rest = chunk.split_off(skipped as usize);
        if let Some(reread) = &mut self.reread {
            // Bytes before the first one that the caller asked for were not read before.
            let unread = self.from.saturating_sub(self.at - self.skip).min(skipped);
            reread.update(&chunk[unread as usize..]);
        }
        self.skip -= skipped;
        if rest.is_empty() {
            return Ok(None);
        }
        self.compare_reread()?;
        if self.version.is_none() {
            self.delivered.update(&rest);
        }
        self.at += rest.len() as u64;
        if self.total.is_some_and(|total| self.at > total) {
            return Err(self.error(ErrorKind::Unexpected, "the file is longer than its declared size".into()));
        }
        self.waits = Waits::new(&self.client.0.limits, self.deadline());
        Ok(Some(rest))
    }

    /// Compares the bytes that were read again, when all of them have been, with those that the caller got.
    fn compare_reread(&mut self) -> Result<()> {
        match self.reread.take() {
            Some(reread) if reread.clone().finalize() != self.delivered.clone().finalize() => Err(self.changed()),
            _ => Ok(()),
        }
    }

    /// Waits after a failure that may be temporary. Returns the error when the attempts are used up.
    async fn wait_after(&mut self, error: Error) -> Result<()> {
        match self.waits.after(&error) {
            Some(wait) => {
                tracing::debug!(service = &*self.client.0.service, at = self.at, %error, "continues after a failure");
                sleep(wait).await;
                Ok(())
            }
            None => Err(error.with("service", &self.client.0.service)),
        }
    }

    async fn open(&mut self) -> Result<()> {
        let mut was_refused = false;
        loop {
            let error = match self.open_once().await {
                Ok(()) => return Ok(()),
                // The URL may have expired between its lookup and its use; a fresh one is tried once.
                Err(error)
                    if error.kind() == ErrorKind::Permission
                        && !was_refused
                        && matches!(self.source, FileSource::Signed(_)) =>
                {
                    was_refused = true;
                    error.retry(Retry::After(Duration::ZERO))
                }
                Err(error) => error,
            };
            self.wait_after(error).await?;
        }
    }

    /// Sends one request, and returns the response with the URL that it came from.
    async fn request(&self) -> Result<(HttpResponse, Url)> {
        match &self.source {
            FileSource::Signed(locate) => {
                let url = locate((*self.cx).clone()).await?;
                Ok((self.send(url.clone(), HeaderMap::new()).await?, url))
            }
            FileSource::Api(file) => self.send_to_api(&file.target).await,
        }
    }

    /// Sends one request, and decodes its response. The headers that describe the bytes of a coding are removed.
    async fn request_decoded(&mut self) -> Result<(HttpResponse, Url)> {
        let (mut response, mut url) = self.request().await?;
        if is_coded(&response.headers) && response.status.is_success() {
            if self.version.is_some() {
                // The position is one in a file without a coding.
                return Err(self.changed());
            }
            let asked_for_part = self.asks_for_part();
            self.coded = true;
            if asked_for_part {
                // A part of the coded bytes is of no use.
                (response, url) = self.request().await?;
            }
            CODED_HEADERS.iter().for_each(|name| drop(response.headers.remove(*name)));
            response = decoded(&url_policy::host(&url), response)
                .map_err(|error| error.with("service", &self.client.0.service))?;
        }
        if self.at == 0 && response.status.is_success() {
            let (idle, host) = (self.client.0.limits.idle, url_policy::host(&url));
            let typed = timeout(idle, web_page::typed(response)).await;
            response = typed.map_err(|_| transport::timed_out(&host, idle))?;
        }
        Ok((response, url))
    }

    async fn open_once(&mut self) -> Result<()> {
        let (HttpResponse { status, headers, body }, url) = self.request_decoded().await?;
        let (host, part) = (url_policy::host(&url), content_range(&headers));
        let is_page = match &self.source {
            FileSource::Signed(_) => web_page::is_contradicted_page(&url, &headers),
            FileSource::Api(file) if file.page => false,
            // The name of a redirect's target is no reason to accept a page: it may be `login.html`.
            FileSource::Api(file) => {
                let urls = [file.target.url(&self.client.0.base)?, url];
                urls.iter().any(|url| web_page::is_unexpected_page(url, &headers))
            }
        };
        if status.is_success() && is_page {
            let message = format!("{host} returned a web page instead of a file of {}", self.client.0.service);
            return Err(self.error(ErrorKind::Unexpected, message).hint(web_page::HINT).with("host", host));
        }
        match status {
            StatusCode::NO_CONTENT => {
                let message = format!("{host} returned no content for a file of {}", self.client.0.service);
                return Err(self.error(ErrorKind::NotFound, message).hint("there is nothing to export or to download"));
            }
            // A service that makes the file for this request may return 201.
            StatusCode::OK | StatusCode::CREATED => {
                self.check_version(status, &headers, content_length(&headers))?;
                self.skip = self.at;
            }
            StatusCode::PARTIAL_CONTENT => {
                let (start, total) = part.ok_or_else(|| self.wrong_part(&host))?;
                if start != Some(self.at) {
                    return Err(self.wrong_part(&host));
                }
                let length = content_length(&headers);
                self.check_version(status, &headers, total.or(length.map(|length| self.at + length)))?;
                self.skip = 0;
            }
            // There is nothing left to read. This is correct if the file ends here.
            StatusCode::RANGE_NOT_SATISFIABLE if part.is_some_and(|(_, total)| total == Some(self.at)) => {
                self.check_version(status, &headers, Some(self.at))?;
                return Ok(());
            }
            status => {
                let error = status_error(&host, status, &headers, matches!(self.source, FileSource::Api(_)));
                return Err(error.with("service", &self.client.0.service));
            }
        }
        self.body = Some(Box::new(OpenResponse { host, headers, body: Mutex::new(body) }));
        Ok(())
    }

    /// Returns whether only the bytes not read yet are requested. Without a version, the whole file is requested again.
    fn asks_for_part(&self) -> bool {
        !self.coded && self.at > 0 && (self.version.is_some() || self.at == self.from)
    }

    /// Sends one request for the bytes that were not read yet.
    async fn send(&self, url: Url, headers: HeaderMap) -> Result<HttpResponse> {
        let host = url_policy::host(&url);
        let client = &self.client.0;
        client.guard.check_data("URL of the file", &url, &client.base)?;
        let mut request = HttpRequest { headers, ..HttpRequest::new(Method::GET, url) };
        if self.asks_for_part() {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.at));
            request.headers.insert(header::RANGE, range.map_err(|error| internal(error.into()))?);
            if let Some(version) = &self.version {
                request.headers.insert(header::IF_RANGE, version.clone());
            }
        }
        let sent = timeout(self.client.0.limits.idle, client.storage.send(request)).await;
        sent.map_err(|_| transport::timed_out(&host, self.client.0.limits.idle))?
            .map_err(|failure| failure.error.retry(Retry::Backoff))
    }

    /// Sends the request to the API, and follows redirects without credentials. Returns the response and its URL.
    async fn send_to_api(&self, target: &Target) -> Result<(HttpResponse, Url)> {
        let client = &self.client.0;
        let mut url = target.url(&client.base)?;
        let mut headers = client.headers.clone();
        headers.extend(target.headers(&client.headers)?);
        let next_permit = || {
            let latest = Instant::now() + client.limits.longest_wait;
            let deadline = self.deadline().map_or(latest, |deadline| deadline.min(latest));
            self.client.permit(&self.cx, deadline)
        };
        let mut permit = next_permit().await?;
        let credentials = client.signer.credentials().await?;
        let with = |credentials: &Credentials| {
            let mut headers = headers.clone();
            headers.extend(credentials.headers.clone());
            headers
        };
        let mut response = self.send(url.clone(), with(&credentials)).await?;
        if response.status == StatusCode::UNAUTHORIZED
            && let Some(renewed) = client.signer.renewed(&credentials, &response.headers).await?
        {
            drop(permit);
            permit = next_permit().await?;
            response = self.send(url.clone(), with(&renewed)).await?;
        }
        let (status, wait) = (response.status.as_u16(), retry_after(response.status, &response.headers, ""));
        if is_throttle(status, wait) || (status == 503 && wait.is_some()) {
            client.budget.throttled(&permit, wait);
        }
        // Redirects lead to the storage, which the budget of the API does not count.
        drop(permit);
        for _ in 0..REDIRECTS {
            let to = response.headers.get(header::LOCATION).filter(|_| response.status.is_redirection());
            let Some(to) = to.and_then(|to| url.join(&header_text(to)).ok()) else { break };
            url = to;
            response = self.send(url.clone(), HeaderMap::new()).await?;
        }
        Ok((response, url))
    }

    /// Checks that a response is of the version that was read before, and records what its headers say of the file.
    fn check_version(&mut self, status: StatusCode, headers: &HeaderMap, total: Option<u64>) -> Result<()> {
        let etag = single(headers, header::ETAG).cloned();
        let other = matches!((&self.etag, &etag), (Some(before), Some(now)) if before != now)
            || matches!((self.total, total), (Some(before), Some(now)) if before != now)
            || self.version.as_ref().is_some_and(|before| version::is_other(before, headers));
        // A part in response to `If-Range` is of the same version; a whole file has to have the validator in its
        // headers.
        let whole = matches!(status, StatusCode::OK | StatusCode::CREATED);
        if other || self.version.as_ref().is_some_and(|before| whole && !version::is_same(before, headers)) {
            return Err(self.changed());
        }
        let is_start = self.at == self.from;
        self.reread = (!is_start && self.version.is_none()).then(Sha256::default);
        if is_start {
            self.version = self.version.take().or_else(|| version::version(headers));
        }
        self.etag = etag.or(self.etag.take());
        self.digest = transport::declared(status, headers).or(self.digest.take());
        self.total = total.or(self.total);
        if self.total.is_some_and(|total| total < self.at) {
            let message =
                format!("byte {} was asked for, but the file has only {} bytes", self.at, self.total.unwrap_or(0));
            return Err(self
                .error(ErrorKind::Conflict, message)
                .hint("the file was changed in the meantime: read it again"));
        }
        Ok(())
    }

    fn wrong_part(&self, host: &str) -> Error {
        let message = format!("{host} returned another part of the file than the one from byte {}", self.at);
        self.error(ErrorKind::Unexpected, message).with("host", host)
    }

    fn changed(&self) -> Error {
        changed().with("service", &self.client.0.service)
    }

    fn error(&self, kind: ErrorKind, message: String) -> Error {
        Error::new(kind, message).with("service", &self.client.0.service)
    }
}

fn internal(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::new(ErrorKind::Internal, "a value cannot be written as a header").source(source)
}
