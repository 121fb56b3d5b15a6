//! The lowest layer of the client: sends one request and reads its response, with a limit on time and size.
//!
//! The idea: a [`Failure`] records whether the service certainly did nothing, because only then may a call that creates
//! something be repeated.

use std::{error::Error as StdError, io, iter::successors, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use reqwest::redirect::Policy;
use trunkline_core::{ConnectStage, Error, ErrorDetail, ErrorKind, Result, Retry};

use super::{
    payload::Payload,
    ssrf::{PrivateAddress, SsrfPolicy, UnresolvedName},
    tls::set_crypto,
    url_policy,
};

/// The time limit for a connection, including the TLS handshake.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);

/// Connections that were idle for longer are not reused: the server may be about to close them, and the outcome of a
/// `Create` would then be unknown.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// A response that was read completely.
#[derive(Debug)]
pub(crate) struct RawResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
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

/// Returns an HTTP client for calls with credentials. It follows no redirects, because a custom header with a key would
/// be sent along, and it accepts gzip.
///
/// # Errors
///
/// `internal` if the HTTP client cannot be set up.
pub(crate) fn api(ssrf: &SsrfPolicy) -> Result<reqwest::Client> {
    build(reqwest::Client::builder().gzip(true), ssrf)
}

/// Returns an HTTP client for signed URLs. It follows no redirects and does not decompress.
///
/// # Errors
///
/// As [`api`].
pub(crate) fn storage(ssrf: &SsrfPolicy) -> Result<reqwest::Client> {
    build(reqwest::Client::builder().no_gzip(), ssrf)
}

fn build(builder: reqwest::ClientBuilder, ssrf: &SsrfPolicy) -> Result<reqwest::Client> {
    set_crypto();
    let built = builder
        .redirect(Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .dns_resolver(ssrf.resolver())
        .connect_timeout(CONNECT)
        .pool_idle_timeout(POOL_IDLE)
        .tcp_keepalive(Duration::from_secs(30))
        .user_agent(concat!("trunkline/", env!("CARGO_PKG_VERSION")))
        .build();
    built.map_err(|error| Error::new(ErrorKind::Internal, "the HTTP client cannot be set up").source(error))
}

/// Sends a request and reads the whole response.
///
/// The response must be complete within `time` after the last piece of the body was sent, and it must not be longer
/// than `most` bytes after decompression.
///
/// # Errors
///
/// A [`Failure`] if there is no connection, no complete response in time, or a response that is too long, or if the
/// source of the body failed. Any status is a success here.
pub(crate) async fn exchange(
    client: &reqwest::Client,
    mut request: reqwest::Request,
    payload: Payload,
    time: Duration,
    most: usize,
) -> Result<RawResponse, Failure> {
    let host = url_policy::host(request.url());
    let Payload { body, headers, progress, read_error } = payload;
    // Some servers respond with 411 to a call without a length, even if the length is zero. A reading call has no body.
    if body.is_some() || !request.method().is_safe() {
        // The headers of the caller take precedence over those of the body.
        for (name, value) in &headers {
            request.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
    }
    *request.body_mut() = body;
    let whole = async {
        let mut response = client.execute(request).await.map_err(|error| failed(&host, error))?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        // A response whose length is known to be too long is not read.
        if response.content_length().is_some_and(|length| length > most as u64) {
            return Err(Failure::unclear(too_long(&host, most)));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| cut(&host, error))? {
            if body.len() + chunk.len() > most {
                return Err(Failure::unclear(too_long(&host, most)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(RawResponse { status, headers, body: body.freeze() })
    };
    let done =
        progress.with_idle_timeout(time, whole).await.unwrap_or_else(|| Err(Failure::unclear(timed_out(&host, time))));
    done.map_err(|failure| match read_error.get() {
        // The request broke off because the source of its body failed.
        Some(source) => Failure { error: source.clone(), ..failure },
        None => failure,
    })
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

/// Returns the failure of a response that was cut off.
pub(crate) fn cut(host: &str, error: reqwest::Error) -> Failure {
    Failure::unclear(
        Error::new(ErrorKind::Unavailable, format!("the response of {host} was cut off"))
            .retry(Retry::Backoff)
            .with("host", host)
            .source(error.without_url()),
    )
}

/// Returns the failure of a request. If it failed before it was sent, the error says at which stage, see
/// [`ErrorDetail::NoConnection`].
pub(crate) fn failed(host: &str, error: reqwest::Error) -> Failure {
    let error = error.without_url();
    if let Some(private) = causes(&error).find_map(|cause| cause.downcast_ref::<PrivateAddress>()) {
        return Failure::refused(private.to_error("URL"));
    }
    if error.is_connect() || error.is_builder() {
        return Failure::refused(connect_error(host, &error).source(error));
    }
    let cause = causes(&error).last().map(ToString::to_string).unwrap_or_default();
    Failure::unclear(
        Error::new(ErrorKind::Unavailable, format!("the connection to {host} broke: {cause}"))
            .retry(Retry::Backoff)
            .with("host", host)
            .source(error),
    )
}

/// Returns the error of a failed connection, with its reason and advice.
fn connect_error(host: &str, error: &reqwest::Error) -> Error {
    use rustls::{CertificateError as Bad, Error as Tls, InvalidMessage::InvalidContentType};
    let failed = |stage: ConnectStage, why: String, hint: &str| {
        let error = Error::new(ErrorKind::Unavailable, format!("no connection to {host}: {why}"));
        error.retry(Retry::Backoff).with("host", host).with_detail(ErrorDetail::NoConnection { stage }).hint(hint)
    };
    // Another try does not make a certificate valid.
    let tls = |why: String, hint: &str| failed(ConnectStage::Tls, why, hint).retry(Retry::Never);
    for cause in causes(error) {
        if cause.downcast_ref::<io::Error>().is_some_and(is_out_of_files) {
            // The fault is on this machine: the kind `store` suspends the run instead of failing its items.
            let message = format!("no connection to {host}: {cause}");
            return Error::new(ErrorKind::Store, message)
                .retry(Retry::Backoff)
                .with("host", host)
                .hint("raise the limit of open files (`ulimit -n`) or run less at once, then resume the run");
        }
        if let Some(unresolved) = cause.downcast_ref::<UnresolvedName>() {
            let hint = "check the spelling of the URL, and whether this machine can resolve names";
            return failed(ConnectStage::Name, format!("this machine cannot resolve its name ({unresolved})"), hint);
        }
        match cause.downcast_ref::<Tls>() {
            None => {}
            Some(Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. })) => {
                let hint =
                    "write the URL with the host name that the vendor documents, not with an alias or an IP address";
                return tls(format!("its certificate is for another name ({cause})"), hint);
            }
            Some(Tls::InvalidCertificate(_)) => {
                let hint =
                    "check the URL; if it is right, this machine must trust the authority that signed the certificate";
                return tls(format!("its certificate is not trusted here ({cause})"), hint);
            }
            Some(Tls::InvalidMessage(InvalidContentType)) => {
                let hint = "check the port: the https URL of the vendor most likely has none";
                return tls("it responds in plain text, such as http, instead of TLS".to_owned(), hint);
            }
            Some(_) => return tls(format!("the TLS handshake failed ({cause})"), "check the URL and its port"),
        }
        match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => {
                let hint = "check host and port; no server is listening there now";
                return failed(ConnectStage::Tcp, format!("it refuses connections ({cause})"), hint);
            }
            Some(io::ErrorKind::UnexpectedEof) => {
                let why = format!("it closed the connection during the TLS handshake ({cause})");
                return failed(ConnectStage::Tls, why, "check the URL and its port");
            }
            _ => {}
        }
    }
    if error.is_timeout() {
        let hint = "check host and port; a firewall may drop the packets to it";
        return failed(ConnectStage::Tcp, format!("it did not accept one within {CONNECT:.0?}"), hint);
    }
    let cause = causes(error).last().map(ToString::to_string).unwrap_or_default();
    failed(ConnectStage::Tcp, cause, "check the URL and the network")
}

/// Returns whether the error is `ENFILE` or `EMFILE`.
fn is_out_of_files(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

/// Returns an error and all its causes, including the inner error of an I/O error, which its `source` skips.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    successors(Some(error), |&error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner as &(dyn StdError + 'static)),
        None => error.source(),
    })
}
