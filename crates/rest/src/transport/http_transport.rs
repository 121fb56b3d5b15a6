//! The transport as a port: it sends one HTTP request. A host replaces it to use its own HTTP stack, and a test to answer
//! without a network.

use bytes::Bytes;
use futures::stream::BoxStream;
use http::{HeaderMap, Method, StatusCode};
#[cfg(not(feature = "reqwest"))]
use trunkline_core::ErrorKind;
use trunkline_core::{Error, Result, async_trait};
use url::Url;

/// Sends HTTP requests.
///
/// A transport sends one request and returns its response. Everything else is done above it: retries, pace, credentials,
/// limits of time and size. It must
///
/// - follow no redirects, and repeat nothing on its own;
/// - limit the time for a connection (10 seconds are usual). The time for the response is limited by the caller, who
///   drops the future;
/// - connect to no private address, also not through a name in DNS, unless
///   [`TransportOptions::private_network`] is set. URLs with an address instead of a name have been checked before;
/// - send the URL as it is, and no headers that identify the user;
/// - open a connection for a request that is [`HttpRequest::fresh`];
/// - return the body as it was sent, or decode it and remove `Content-Encoding` and `Content-Length`.
///
/// ```
/// use bytes::Bytes;
/// use futures::StreamExt;
/// use trunkline_core::async_trait;
/// use trunkline_rest::{HttpRequest, HttpResponse, HttpTransport, TransportFailure, TransportOptions};
///
/// /// Answers every request with the same JSON.
/// struct FakeTransport;
///
/// #[async_trait]
/// impl HttpTransport for FakeTransport {
///     async fn send(&self, _: HttpRequest, _: TransportOptions) -> Result<HttpResponse, TransportFailure> {
///         Ok(HttpResponse::of(200, r#"{ "id": 7 }"#))
///     }
/// }
/// ```
#[async_trait]
pub trait HttpTransport: Send + Sync {
    /// Sends a request. Returns as soon as the head of the response is there; its body is read as a stream. Any status is
    /// a success here.
    ///
    /// # Errors
    ///
    /// A [`TransportFailure`] if there is no response.
    async fn send(&self, request: HttpRequest, options: TransportOptions) -> Result<HttpResponse, TransportFailure>;
}

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransportOptions {
    /// Whether private networks and this machine may be reached.
    pub private_network: bool,
}

/// A request that is ready to be sent.
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// The URL.
    pub url: Url,
    /// The headers. `Content-Length` is among them if the length of the body is known.
    pub headers: HeaderMap,
    /// The body, if there is one.
    pub body: Option<HttpBody>,
    /// Whether the request needs a connection of its own, since a second request would do harm. A server may close a
    /// connection that was used before in the moment in which the request is written to it. It is then not known
    /// whether the server has read the request.
    pub fresh: bool,
}

impl HttpRequest {
    /// Returns a request without headers and body, for any connection.
    pub fn new(method: Method, url: Url) -> HttpRequest {
        HttpRequest { method, url, headers: HeaderMap::new(), body: None, fresh: false }
    }
}

/// The body of a request.
pub enum HttpBody {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A stream. If it yields an error, the request must end without a complete body.
    Stream(BoxStream<'static, Result<Bytes>>),
}

/// A response whose body is read as a stream.
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body. An error means that it was cut off.
    pub body: BoxStream<'static, Result<Bytes>>,
}

impl HttpResponse {
    /// Returns a JSON response, for tests. A `status` that HTTP does not allow becomes 500.
    pub fn of(status: u16, json: impl Into<Bytes>) -> HttpResponse {
        let (body, mut headers) = (json.into(), HeaderMap::new());
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        headers.insert(http::header::CONTENT_LENGTH, body.len().into());
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        HttpResponse { status, headers, body: Box::pin(futures::stream::once(async { Ok(body) })) }
    }

    /// Returns a response without headers and body.
    pub(crate) fn without_body(status: StatusCode) -> HttpResponse {
        HttpResponse { status, headers: HeaderMap::new(), body: Box::pin(futures::stream::empty()) }
    }
}

/// A request without a response.
#[derive(Debug)]
pub struct TransportFailure {
    /// The error, without secrets of the URL. It says with [`Retry`](trunkline_core::Retry) whether another try may help.
    pub error: Error,
    /// Whether the service may have received the request. Only a call that certainly was not received is repeated if it
    /// creates something.
    pub maybe_received: bool,
}

/// The transport of a build without one: it refuses every request.
#[cfg(not(feature = "reqwest"))]
pub(crate) struct NoTransport;

#[cfg(not(feature = "reqwest"))]
#[async_trait]
impl HttpTransport for NoTransport {
    async fn send(&self, _: HttpRequest, _: TransportOptions) -> Result<HttpResponse, TransportFailure> {
        let error = Error::new(ErrorKind::Config, "this program has no HTTP transport")
            .hint("build it with the feature `reqwest`, or give the runtime a transport");
        Err(TransportFailure { error, maybe_received: false })
    }
}
