//! Reading a file at a signed address: constant memory, and a cut is mended by asking for the rest.
//!
//! The address is located anew for each opening, for it may have run out. No credentials go along, unless the file is one of
//! the API itself ([`generic::DownloadAction`](crate::raw::Download)). What is read is one version of the file from its first byte to
//! its last: if it changes in between, the reader is told. Where a server has nothing by which to tell versions apart, what
//! was read is read again from the beginning after a cut, and compared.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep, timeout};
use trunkline_core::{Digest, Error, ErrorKind, FileStream, Position, Result, Retry};
use url::Url;

use crate::{
    Client,
    auth::Credentials,
    digests,
    generic::Target,
    response::is_throttle,
    retry::{Waits, retry_after},
    transport, url_policy, version,
};

/// How a file's address is found, each time anew.
type Locate = Arc<dyn Fn() -> BoxFuture<'static, Result<Url>> + Send + Sync>;

impl Client {
    /// Reads the file at the address that `locate` finds, from byte `from` on.
    ///
    /// `locate` is called for the first opening and for each one after a cut; it should ask the service for a fresh address.
    /// No credentials and no headers of the API are sent there. A body that is cut short is continued with `Range` and
    /// `If-Range` (RFC 9110 section 14), up to [`ClientLimits::tries`](crate::Limits) times without a byte of progress. Where the
    /// server knows no ranges, what was read already is read again and passed over; where it has neither a strong ETag nor a
    /// `Last-Modified`, it is compared as well.
    ///
    /// # Errors
    /// `conflict` if the file changed while it was read, or is not of the position's version any more, `config` for an address that is not https, `unavailable` when the
    /// tries are used up, `unexpected` if the server gives another part than the one asked for.
    pub async fn download<F>(&self, locate: F, from: impl Into<Position>) -> Result<FileStream>
    where
        F: Fn() -> BoxFuture<'static, Result<Url>> + Send + Sync + 'static,
    {
        Reader::new(self, Way::Signed(Arc::new(locate)), from.into())?.stream().await
    }

    /// Reads what a path of the API answers, with the connection's credentials.
    pub(crate) async fn fetch(&self, target: Target, from: Position) -> Result<FileStream> {
        Reader::new(self, Way::Own(Box::new(target)), from)?.stream().await
    }

    /// What there is to know of such a file before it is read.
    pub(crate) async fn look_at(&self, target: Target) -> Result<Found> {
        let mut reader = Reader::new(self, Way::Own(Box::new(target)), Position::default())?;
        reader.open().await?;
        let headers = reader.body.as_ref().map(|body| body.headers().clone()).unwrap_or_default();
        let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let kind = text(header::CONTENT_TYPE);
        let media_type = kind.as_deref().map(|kind| kind.split(';').next().unwrap_or_default().trim());
        Ok(Found {
            name: text(header::CONTENT_DISPOSITION).as_deref().and_then(file_name),
            media_type: media_type.filter(|kind| !kind.is_empty()).map(str::to_owned),
            size: reader.total,
            digest: reader.digest.clone(),
        })
    }
}

/// What a service says of a file.
pub(crate) struct Found {
    pub(crate) name: Option<String>,
    pub(crate) media_type: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) digest: Option<Digest>,
}

/// What the `source` fact of an error says when the file is another than the one that was read before.
const CHANGED: &str = "changed";

/// Whether reading ended because the file is not the one any more whose first bytes were read.
pub(crate) fn source_changed(error: &Error) -> bool {
    error.context("source") == Some(CHANGED)
}

/// What is said of a file that changed.
pub(crate) fn changed() -> Error {
    cannot_go_on("the file was changed while it was read")
}

/// What is said of a file that can only be read again from its beginning.
pub(crate) fn cannot_go_on(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Conflict, why).with("source", CHANGED).hint("read it again from its beginning")
}

/// How the file is reached.
enum Way {
    /// At a signed address, without credentials.
    Signed(Locate),
    /// At a path of the API, with the credentials of the connection.
    Own(Box<Target>),
}

/// Redirects that a file of the API may make.
const REDIRECTS: usize = 5;

/// A file being read.
struct Reader {
    client: Client,
    way: Way,
    /// The tries since the last byte.
    waits: Waits,
    /// The first byte that was asked for, and the next that the reader of this reader gets.
    from: u64,
    at: u64,
    /// Bytes to pass over first.
    skip: u64,
    /// Size of the whole file, once known.
    total: Option<u64>,
    /// What goes into `If-Range`.
    version: Option<HeaderValue>,
    etag: Option<HeaderValue>,
    digest: Option<Digest>,
    /// Of what was given out, and of what was read again of that, where nothing tells versions apart.
    given: Sha256,
    again: Option<Sha256>,
    body: Option<Box<reqwest::Response>>,
}

impl Reader {
    fn new(client: &Client, way: Way, from: Position) -> Result<Reader> {
        let version = from.version.map(|version| HeaderValue::from_str(&version));
        Ok(Reader {
            client: client.clone(),
            way,
            waits: Waits::new(&client.0.limits, None),
            from: from.byte,
            at: from.byte,
            skip: 0,
            total: None,
            version: version.transpose().map_err(|error| internal(error.into()))?,
            etag: None,
            digest: None,
            given: Sha256::default(),
            again: None,
            body: None,
        })
    }

    async fn stream(mut self) -> Result<FileStream> {
        self.open().await?;
        let version = self.version.as_ref().and_then(|version| version.to_str().ok()).map(str::to_owned);
        let (size, digest) = (self.total, self.digest.clone());
        let bytes = futures::stream::try_unfold(self, |mut reader| async move {
            let chunk = reader.next().await?;
            Ok(chunk.map(|chunk| (chunk, reader)))
        });
        Ok(FileStream { size, version, digest, bytes: bytes.into_stream().boxed() })
    }

    /// The next piece, `None` at the end of the file.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.body.is_none() {
                if self.total == Some(self.at) {
                    return Ok(None);
                }
                self.open().await?;
            }
            let Some(body) = &mut self.body else { return Ok(None) };
            let host = url_policy::host(body.url());
            let error = match timeout(self.client.0.limits.idle, body.chunk()).await {
                Ok(Ok(Some(chunk))) => match self.take(chunk)? {
                    Some(chunk) => return Ok(Some(chunk)),
                    None => continue,
                },
                Ok(Ok(None)) if self.skip == 0 && self.total.is_none_or(|total| total == self.at) => {
                    self.compare()?;
                    return Ok(None);
                }
                Ok(Ok(None)) => self.error(ErrorKind::Unavailable, format!("{host} ended the file before its end")),
                Ok(Err(error)) => transport::cut(&host, error).error,
                Err(_) => transport::timed_out(&host, self.client.0.limits.idle),
            };
            self.body = None;
            self.again(error.retry(Retry::Backoff)).await?;
        }
    }

    /// Counts a piece, without what was read before.
    fn take(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>> {
        let over = self.skip.min(chunk.len() as u64);
        let rest = chunk.split_off(over as usize);
        if let Some(again) = &mut self.again {
            // What lies before the first byte that was asked for was never read.
            let unread = self.from.saturating_sub(self.at - self.skip).min(over);
            again.update(&chunk[unread as usize..]);
        }
        self.skip -= over;
        if rest.is_empty() {
            return Ok(None);
        }
        self.compare()?;
        if self.version.is_none() {
            self.given.update(&rest);
        }
        self.at += rest.len() as u64;
        if self.total.is_some_and(|total| self.at > total) {
            return Err(self.error(ErrorKind::Unexpected, "the file is longer than it was said to be".into()));
        }
        self.waits = Waits::new(&self.client.0.limits, None);
        Ok(Some(rest))
    }

    /// Holds what was read again against what was given out, once it is complete.
    fn compare(&mut self) -> Result<()> {
        match self.again.take() {
            Some(again) if again.clone().finalize() != self.given.clone().finalize() => Err(self.changed()),
            _ => Ok(()),
        }
    }

    /// Waits after a failure that may pass; gives it back when there were enough.
    async fn again(&mut self, error: Error) -> Result<()> {
        match self.waits.after(&error) {
            Some(wait) => {
                tracing::debug!(service = self.client.0.service, at = self.at, %error, "reading on after a cut");
                sleep(wait).await;
                Ok(())
            }
            None => Err(error.with("service", self.client.0.service)),
        }
    }

    async fn open(&mut self) -> Result<()> {
        let mut refused_before = false;
        loop {
            let error = match self.open_once().await {
                Ok(()) => return Ok(()),
                // The address may have run out between finding and using it; a fresh one is tried once.
                Err(error)
                    if error.kind() == ErrorKind::Permission
                        && !refused_before
                        && matches!(self.way, Way::Signed(_)) =>
                {
                    refused_before = true;
                    error.retry(Retry::After(Duration::ZERO))
                }
                Err(error) => error,
            };
            self.again(error).await?;
        }
    }

    async fn open_once(&mut self) -> Result<()> {
        let response = match &self.way {
            Way::Signed(locate) => {
                let url = locate().await?;
                self.ask(url, HeaderMap::new()).await?
            }
            Way::Own(target) => self.ask_own(target).await?,
        };
        let host = url_policy::host(response.url());
        let headers = response.headers();
        let part = content_range(headers);
        match response.status() {
            StatusCode::NO_CONTENT => {
                let message =
                    format!("{host} has nothing to read where a file of {} was looked for", self.client.0.service);
                return Err(self.error(ErrorKind::NotFound, message).hint("there is nothing to export or to download"));
            }
            // What is made on being asked for may be answered 201.
            StatusCode::OK | StatusCode::CREATED => {
                self.same_file(response.status(), headers, content_length(&response))?;
                self.skip = self.at;
            }
            StatusCode::PARTIAL_CONTENT => {
                let (start, total) = part.ok_or_else(|| self.odd(&host))?;
                if start != Some(self.at) {
                    return Err(self.odd(&host));
                }
                let length = content_length(&response);
                self.same_file(response.status(), headers, total.or(length.map(|length| self.at + length)))?;
                self.skip = 0;
            }
            // Nothing is left to read: fine, if that is where the file ends.
            StatusCode::RANGE_NOT_SATISFIABLE if part.is_some_and(|(_, total)| total == Some(self.at)) => {
                self.same_file(response.status(), headers, Some(self.at))?;
                return Ok(());
            }
            status => return Err(self.refusal(&host, status, headers)),
        }
        self.body = Some(Box::new(response));
        Ok(())
    }

    /// One request for what is not read yet.
    async fn ask(&self, url: Url, headers: HeaderMap) -> Result<reqwest::Response> {
        let host = url_policy::host(&url);
        let client = &self.client.0;
        client.guard.check_data("address of the file", &url, &client.base)?;
        let mut request = reqwest::Request::new(Method::GET, url);
        request.headers_mut().extend(headers);
        // Without anything that tells versions apart, only one answer as a whole is surely of one version.
        if self.at > 0 && (self.version.is_some() || self.at == self.from) {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.at));
            request.headers_mut().insert(header::RANGE, range.map_err(|error| internal(error.into()))?);
            if let Some(version) = &self.version {
                request.headers_mut().insert(header::IF_RANGE, version.clone());
            }
        }
        let sent = timeout(self.client.0.limits.idle, client.storage.execute(request).boxed()).await;
        sent.map_err(|_| transport::timed_out(&host, self.client.0.limits.idle))?
            .map_err(|error| transport::failed(&host, error).error.retry(Retry::Backoff))
    }

    /// The same at the API: credentials go to the API alone, so a redirect is followed without them.
    async fn ask_own(&self, target: &Target) -> Result<reqwest::Response> {
        let client = &self.client.0;
        let mut url = target.url(&client.base)?;
        let mut headers = client.headers.clone();
        headers.extend(target.headers(&client.headers)?);
        let turn = || self.client.turn(&client.lane, Instant::now() + client.limits.longest_wait);
        let mut held = turn().await?;
        let credentials = client.signer.credentials().await?;
        let with = |credentials: &Credentials| {
            let mut headers = headers.clone();
            headers.extend(credentials.header.clone());
            headers
        };
        let mut response = self.ask(url.clone(), with(&credentials)).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(renewed) = client.signer.renewed(&credentials).await?
        {
            drop(held);
            held = turn().await?;
            response = self.ask(url.clone(), with(&renewed)).await?;
        }
        let (status, wait) = (response.status().as_u16(), retry_after(response.headers()));
        if is_throttle(status, wait) || (status == 503 && wait.is_some()) {
            client.budget.throttled(&held, wait);
        }
        // What follows is between the reader and the storage.
        drop(held);
        for _ in 0..REDIRECTS {
            let to = response.headers().get(header::LOCATION).filter(|_| response.status().is_redirection());
            let Some(to) = to.and_then(|to| url.join(to.to_str().ok()?).ok()) else { break };
            url = to;
            response = self.ask(url.clone(), HeaderMap::new()).await?;
        }
        Ok(response)
    }

    /// Holds a (re)opened file against what was read of it before.
    fn same_file(&mut self, status: StatusCode, headers: &HeaderMap, total: Option<u64>) -> Result<()> {
        let etag = headers.get(header::ETAG).cloned();
        let other = matches!((&self.etag, &etag), (Some(before), Some(now)) if before != now)
            || matches!((self.total, total), (Some(before), Some(now)) if before != now)
            || self.version.as_ref().is_some_and(|before| version::is_other(before, headers));
        // To `If-Range` a part says that the version is the same; the whole has to say so itself.
        let whole = matches!(status, StatusCode::OK | StatusCode::CREATED);
        if other || self.version.as_ref().is_some_and(|before| whole && !version::is_same(before, headers)) {
            return Err(self.changed());
        }
        let begins = self.at == self.from;
        self.again = (!begins && self.version.is_none()).then(Sha256::default);
        if begins {
            self.version = self.version.take().or_else(|| version::version(headers));
        }
        self.etag = etag.or(self.etag.take());
        self.digest = digests::declared(status, headers).or(self.digest.take());
        self.total = total.or(self.total);
        if self.total.is_some_and(|total| total < self.at) {
            let message =
                format!("byte {} was asked for, but the file has only {} bytes", self.at, self.total.unwrap_or(0));
            return Err(self.error(ErrorKind::Conflict, message).hint("the file was changed meanwhile: read it again"));
        }
        Ok(())
    }

    fn refusal(&self, host: &str, status: StatusCode, headers: &HeaderMap) -> Error {
        let wait = retry_after(headers);
        let later = wait.map_or(Retry::Backoff, Retry::After);
        let (kind, retry, hint) = match status.as_u16() {
            300..=399 => (ErrorKind::Unexpected, Retry::Never, "redirects are not followed: report it to the vendor"),
            429 => (ErrorKind::RateLimited, later, "wait, or read fewer files at once"),
            403 if wait.is_some() => (ErrorKind::RateLimited, later, "wait, or read fewer files at once"),
            401 if matches!(self.way, Way::Own(_)) => {
                (ErrorKind::Auth, Retry::Never, "check the credentials of the connection, or sign in again")
            }
            403 if matches!(self.way, Way::Own(_)) => {
                (ErrorKind::Permission, Retry::Never, "ask the service's administrator for the right to read it")
            }
            401 | 403 => (ErrorKind::Permission, Retry::Never, "the address has run out, or the file may not be read"),
            400 | 422 if matches!(self.way, Way::Own(_)) => {
                (ErrorKind::InvalidInput, Retry::Never, "compare the path and the query with the service's reference")
            }
            409 | 412 if matches!(self.way, Way::Own(_)) => {
                (ErrorKind::Conflict, Retry::Never, "look at what is there, then decide")
            }
            404 | 410 => (ErrorKind::NotFound, Retry::Never, "the file was removed"),
            416 => (ErrorKind::Conflict, Retry::Never, "the file is shorter than it was: read it again"),
            408 | 425 | 500..=599 => (ErrorKind::Unavailable, later, "try again later"),
            _ => (ErrorKind::Unexpected, Retry::Never, "report it to the vendor"),
        };
        let mut message = format!("{host} answered {status} when a file of {} was to be read", self.client.0.service);
        if status.is_redirection() {
            message += &format!(", {}", url_policy::redirect(headers, host));
        }
        self.error(kind, message).retry(retry).hint(hint).with("status", status.as_u16()).with("host", host)
    }

    fn odd(&self, host: &str) -> Error {
        let message = format!("{host} gave another part of the file than byte {} and what follows", self.at);
        self.error(ErrorKind::Unexpected, message).with("host", host)
    }

    fn changed(&self) -> Error {
        changed().with("service", self.client.0.service)
    }

    fn error(&self, kind: ErrorKind, message: String) -> Error {
        Error::new(kind, message).with("service", self.client.0.service)
    }
}

fn internal(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::new(ErrorKind::Internal, "a header cannot be written").source(source)
}

/// The file name in a `Content-Disposition` (RFC 6266): without a path, whoever wrote it.
fn file_name(disposition: &str) -> Option<String> {
    let parameters = || disposition.split(';').skip(1).filter_map(|part| part.trim().split_once('='));
    let of =
        |wanted: &str| parameters().find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value);
    let wide = of("filename*").and_then(|value| {
        let (charset, rest) = value.trim().split_once('\'')?;
        let text = percent_decode_str(rest.split_once('\'')?.1).decode_utf8().ok()?.into_owned();
        charset.eq_ignore_ascii_case("utf-8").then_some(text)
    });
    let name = wide.or_else(|| Some(of("filename")?.trim().trim_matches('"').to_owned()))?;
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default().trim();
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    (!name.trim_matches('.').is_empty()).then_some(name)
}

/// Of the header: `reqwest` knows none of a body whose end it finds otherwise.
fn content_length(response: &reqwest::Response) -> Option<u64> {
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// First byte and size of the whole file out of `Content-Range: bytes 5-9/10` or `bytes */10`.
fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, Option<u64>)> {
    let (part, total) =
        headers.get(header::CONTENT_RANGE)?.to_str().ok()?.trim().strip_prefix("bytes ")?.split_once('/')?;
    let start = part.split_once('-').and_then(|(start, _)| start.trim().parse().ok());
    Some((start, total.trim().parse().ok()))
}
