//! The lowest layer of the client: sends one request and reads its response, with a limit on time and size.
//!
//! The idea: a [`Failure`] records whether the service certainly did nothing, because only then may a call that creates
//! something be repeated.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use trunkline_core::{ConnectStage, Error, ErrorDetail, ErrorKind, HeldMemory, MemoryAccount, Result, Retry};

use super::{
    coding,
    http_transport::{HttpRequest, HttpResponse, HttpTransport, TransportFailure, TransportOptions},
    network_policy::NetworkPolicy,
    payload::Payload,
    ssrf::SsrfPolicy,
    url_policy,
};

/// The time limit for a connection, including the TLS handshake.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);

/// A response that was read completely.
#[derive(Debug)]
pub(crate) struct RawResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The memory of a long body.
    pub(crate) _held: Option<HeldMemory>,
}

/// The bytes of a response for which no memory is reserved: most responses are shorter. What is read of them at the same
/// time is limited by the number of requests in flight.
pub(crate) const SMALL_RESPONSE: u64 = 256 << 10;

/// The limits of a response.
#[derive(Clone, Copy)]
pub(crate) struct ResponseLimit<'a> {
    /// The most bytes after decompression.
    pub(crate) most: usize,
    /// Where the memory of a long response is reserved before it is read on.
    pub(crate) memory: Option<&'a MemoryAccount>,
}

impl From<usize> for ResponseLimit<'_> {
    fn from(most: usize) -> Self {
        ResponseLimit { most, memory: None }
    }
}

impl ResponseLimit<'_> {
    /// Reserves as much memory again as is held, before a body grows to `length` bytes.
    async fn grow(&self, host: &str, length: usize, held: &mut Option<HeldMemory>) -> Result<()> {
        let Some(memory) = self.memory else { return Ok(()) };
        let has = SMALL_RESPONSE + held.as_ref().map_or(0, HeldMemory::bytes);
        if length as u64 > has {
            let more = memory.reserve(&format!("the response of {host}"), has.max(length as u64 - has)).await?;
            match held {
                Some(held) => held.merge(more),
                none => *none = Some(more),
            }
        }
        Ok(())
    }
}

/// A failed request.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Whether the service certainly did nothing: it refused the request, or the request did not arrive.
    pub(crate) refused: bool,
    /// The status of the response, if there was one.
    pub(crate) status: Option<StatusCode>,
}

impl Failure {
    /// Returns a failure after which the service certainly did nothing.
    pub(crate) fn refused(error: Error) -> Failure {
        Failure { error, refused: true, status: None }
    }

    /// Returns whether the service asked for a pause of the whole connection.
    pub(crate) fn is_throttle(&self) -> bool {
        let busy =
            self.status == Some(StatusCode::SERVICE_UNAVAILABLE) && matches!(self.error.retryable(), Retry::After(_));
        busy || self.status.is_some() && self.error.kind() == ErrorKind::RateLimited
    }

    /// Returns whether this is the response of a working service.
    pub(crate) fn is_answer(&self) -> bool {
        self.status.is_some() && !matches!(self.error.kind(), ErrorKind::Unavailable | ErrorKind::RateLimited)
    }

    /// Returns a failure after which the service may have done what was asked.
    pub(crate) fn unclear(error: Error) -> Failure {
        Failure { error, refused: false, status: None }
    }
}

/// Names the setting with the URL of a request that failed. If the request did not get past a proxy, no setting is named.
pub(crate) fn at_setting(error: Error, setting: &'static str) -> Error {
    match error.has(&ErrorDetail::NoConnection { stage: ConnectStage::Proxy }) {
        true => error,
        false => error.setting(setting),
    }
}

/// A transport with the options of one connection.
#[derive(Clone)]
pub(crate) struct HttpChannel {
    transport: Arc<dyn HttpTransport>,
    options: TransportOptions,
    /// What the operator allows all connections.
    network: NetworkPolicy,
    /// The content coding that responses may have.
    accept_encoding: HeaderValue,
}

impl HttpChannel {
    /// Returns a channel for calls with credentials, which accepts compressed responses.
    pub(crate) fn api(transport: Arc<dyn HttpTransport>, ssrf: &SsrfPolicy) -> HttpChannel {
        HttpChannel::new(transport, ssrf, "gzip")
    }

    /// Returns a channel for files. They are not compressed on their way, so that their ranges are those of the file.
    pub(crate) fn storage(transport: Arc<dyn HttpTransport>, ssrf: &SsrfPolicy) -> HttpChannel {
        HttpChannel::new(transport, ssrf, "identity")
    }

    fn new(transport: Arc<dyn HttpTransport>, ssrf: &SsrfPolicy, accept_encoding: &'static str) -> HttpChannel {
        let options = TransportOptions { private_network: ssrf.allows_private() };
        let network = ssrf.network().clone();
        HttpChannel { transport, options, network, accept_encoding: HeaderValue::from_static(accept_encoding) }
    }

    /// Sends a request and returns the head of its response. The body may have a content coding, see `coding`. Every
    /// request passes here, so that nothing leads to a host that the operator does not allow.
    pub(crate) async fn send(&self, mut request: HttpRequest) -> Result<HttpResponse, Failure> {
        self.network.check("URL", &request.url).map_err(Failure::refused)?;
        request.headers.insert(header::ACCEPT_ENCODING, self.accept_encoding.clone());
        let sent = self.transport.send(request, self.options).await;
        sent.map_err(|TransportFailure { error, maybe_received }| Failure {
            error,
            refused: !maybe_received,
            status: None,
        })
    }
}

/// Sends a request and reads the whole response.
///
/// The response must be complete within `time` after the last piece of the body was sent, and it must not be longer
/// than `limit` allows.
///
/// # Errors
///
/// A [`Failure`] if there is no connection, no complete response in time, or a response that is too long, or if the
/// source of the body failed. Any status is a success here.
pub(crate) async fn exchange(
    channel: &HttpChannel,
    mut request: HttpRequest,
    payload: Payload,
    time: Duration,
    limit: impl Into<ResponseLimit<'_>>,
) -> Result<RawResponse, Failure> {
    let limit = limit.into();
    let most = limit.most;
    let host = url_policy::host(&request.url);
    let Payload { body, headers, progress, read_error } = payload;
    // Some servers respond with 411 to a call without a length, even if the length is zero. A reading call has no body.
    if body.is_some() || !request.method.is_safe() {
        // The headers of the caller take precedence over those of the body.
        for (name, value) in &headers {
            request.headers.entry(name).or_insert_with(|| value.clone());
        }
    }
    request.body = body;
    let whole = async {
        let response = channel.send(request).await?;
        let status = response.status;
        let HttpResponse { headers, mut body, .. } = match coding::decoded(&host, response) {
            Ok(response) => response,
            // The status says what is wrong. The words of such a response are lost.
            Err(_) if !status.is_success() => HttpResponse::without_body(status),
            Err(error) => return Err(Failure { error, refused: false, status: Some(status) }),
        };
        // A response whose length is known to be too long is not read.
        if content_length(&headers).is_some_and(|length| length > most as u64) {
            return Err(Failure::unclear(too_long(&host, most)));
        }
        let (mut bytes, mut held) = (BytesMut::new(), None);
        while let Some(chunk) = body.try_next().await.map_err(Failure::unclear)? {
            if bytes.len() + chunk.len() > most {
                return Err(Failure::unclear(too_long(&host, most)));
            }
            limit.grow(&host, bytes.len() + chunk.len(), &mut held).await.map_err(Failure::unclear)?;
            bytes.extend_from_slice(&chunk);
        }
        Ok(RawResponse { status, headers, body: bytes.freeze(), _held: held })
    };
    let done =
        progress.with_idle_timeout(time, whole).await.unwrap_or_else(|| Err(Failure::unclear(timed_out(&host, time))));
    done.map_err(|failure| match read_error.get() {
        // The request broke off because the source of its body failed.
        Some(source) => Failure { error: source.clone(), ..failure },
        None => failure,
    })
}

/// Returns the length in the header. Not every transport reports the length of a body whose end it finds in another way.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Returns the error of a request without a response in time.
pub(crate) fn timed_out(host: &str, time: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{host} did not respond within {time:.1?}"))
        .retry(Retry::Backoff)
        .with("host", host)
        .hint("try again later, or look at the service's status page")
}

fn too_long(host: &str, most: usize) -> Error {
    Error::new(ErrorKind::Limit, format!("the response of {host} is longer than {most} bytes"))
        .with("host", host)
        .hint("request fewer items per page, or fewer fields")
}
