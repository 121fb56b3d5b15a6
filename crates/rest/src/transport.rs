//! The bottom of the stack: one request, one answer, bounded in time and size, and whether anything was sent at all.

use std::{error::Error as StdError, io, iter::successors, sync::Once, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use reqwest::redirect::Policy;
use trunkline_core::{Error, ErrorKind, Result, Retry};

use crate::{
    address,
    guard::{Guard, Private, Unresolved},
    payload::Payload,
};

/// Time to connect, TLS included.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);

/// Connections that were idle longer are not used again: a server may be about to close them, and a lost `Create` is dear.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What went wrong, and whether the service surely did nothing.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// The service surely did not do what was asked: it refused, or never heard of it.
    pub(crate) refused: bool,
    pub(crate) status: Option<StatusCode>,
}

impl Failure {
    /// Nothing was sent, or nothing was done.
    pub(crate) fn refused(error: Error) -> Failure {
        Failure { error, refused: true, status: None }
    }

    /// The service wants to be left alone for a while, by everybody.
    pub(crate) fn is_throttle(&self) -> bool {
        let busy =
            self.status == Some(StatusCode::SERVICE_UNAVAILABLE) && matches!(self.error.retryable(), Retry::After(_));
        busy || self.status.is_some() && self.error.kind() == ErrorKind::RateLimited
    }

    /// The service works, though it did not do what was asked.
    pub(crate) fn is_answer(&self) -> bool {
        self.status.is_some() && !matches!(self.error.kind(), ErrorKind::Unavailable | ErrorKind::RateLimited)
    }

    /// It may have been done.
    pub(crate) fn unclear(error: Error) -> Failure {
        Failure { error, refused: false, status: None }
    }
}

/// A client for calls with credentials: no redirects, for a custom key header would travel along; gzip.
pub(crate) fn api(guard: &Guard) -> Result<reqwest::Client> {
    build(reqwest::Client::builder().gzip(true), guard)
}

/// A client for signed addresses: no credentials, no redirects, bytes as they are.
pub(crate) fn storage(guard: &Guard) -> Result<reqwest::Client> {
    build(reqwest::Client::builder().no_gzip(), guard)
}

fn build(builder: reqwest::ClientBuilder, guard: &Guard) -> Result<reqwest::Client> {
    set_crypto();
    let built = builder
        .redirect(Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .dns_resolver(guard.resolver())
        .connect_timeout(CONNECT)
        .pool_idle_timeout(POOL_IDLE)
        .tcp_keepalive(Duration::from_secs(30))
        .user_agent(concat!("trunkline/", env!("CARGO_PKG_VERSION")))
        .build();
    built.map_err(|error| Error::new(ErrorKind::Internal, "the HTTP client cannot be set up").source(error))
}

/// Sends a request and reads the whole answer, at most `time` after the last piece of the body went out, and at most `most`
/// bytes after decompression.
pub(crate) async fn exchange(
    client: &reqwest::Client,
    mut request: reqwest::Request,
    payload: Payload,
    time: Duration,
    most: usize,
) -> Result<Reply, Failure> {
    let host = address::host(request.url());
    let Payload { body, headers, pulse, fault } = payload;
    // Some servers answer 411 to a call without a length, also where it is zero; a reading call has no body at all.
    if body.is_some() || !request.method().is_safe() {
        // What the caller has set goes before what the body says of itself.
        for (name, value) in &headers {
            request.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
    }
    *request.body_mut() = body;
    let whole = async {
        let mut response = client.execute(request).await.map_err(|error| failed(&host, error))?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        // What says that it is too long need not be read to know it.
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
        Ok(Reply { status, headers, body: body.freeze() })
    };
    let done = pulse.within(time, whole).await.unwrap_or_else(|| Err(Failure::unclear(slow(&host, time))));
    done.map_err(|failure| match fault.get() {
        // It broke because there was nothing more to send.
        Some(source) => Failure { error: source.clone(), ..failure },
        None => failure,
    })
}

/// No answer in time.
pub(crate) fn slow(host: &str, time: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{host} gave no answer within {time:.1?}"))
        .retry(Retry::Backoff)
        .with("host", host)
        .hint("try again later, or look at the service's status page")
}

fn too_long(host: &str, most: usize) -> Error {
    Error::new(ErrorKind::Limit, format!("the answer of {host} is longer than {most} bytes"))
        .with("host", host)
        .hint("ask for fewer items a page, or for fewer fields")
}

/// The answer ended before its end.
pub(crate) fn cut(host: &str, error: reqwest::Error) -> Failure {
    Failure::unclear(
        Error::new(ErrorKind::Unavailable, format!("the answer of {host} was cut off"))
            .retry(Retry::Backoff)
            .with("host", host)
            .source(error.without_url()),
    )
}

/// The request failed: before it was sent, if the error says so. Then `stage` says how far it came: name, tcp or tls.
pub(crate) fn failed(host: &str, error: reqwest::Error) -> Failure {
    let error = error.without_url();
    if let Some(private) = causes(&error).find_map(|cause| cause.downcast_ref::<Private>()) {
        return Failure::refused(private.explain("address"));
    }
    if error.is_connect() || error.is_builder() {
        return Failure::refused(obstacle(host, &error).source(error));
    }
    let cause = causes(&error).last().map(ToString::to_string).unwrap_or_default();
    Failure::unclear(
        Error::new(ErrorKind::Unavailable, format!("the connection to {host} broke: {cause}"))
            .retry(Retry::Backoff)
            .with("host", host)
            .source(error),
    )
}

/// Why no connection came about, and what to do.
fn obstacle(host: &str, error: &reqwest::Error) -> Error {
    use rustls::{CertificateError as Bad, Error as Tls, InvalidMessage::InvalidContentType};
    let say = |stage: &str, why: String, hint: &str| {
        let error = Error::new(ErrorKind::Unavailable, format!("no connection to {host}: {why}"));
        error.retry(Retry::Backoff).with("host", host).with("stage", stage).hint(hint)
    };
    // A certificate does not get better by trying again.
    let tls = |why: String, hint: &str| say("tls", why, hint).retry(Retry::Never);
    for cause in causes(error) {
        if cause.downcast_ref::<io::Error>().is_some_and(is_out_of_files) {
            // Nothing is wrong over there: whoever works on a run leaves it for later instead of failing its items.
            let message = format!("no connection to {host}: {cause}");
            return Error::new(ErrorKind::Store, message).retry(Retry::Backoff).with("host", host).hint(
                "raise the limit of open files (`ulimit -n`), or do less at once; what was begun can then go on",
            );
        }
        if let Some(unresolved) = cause.downcast_ref::<Unresolved>() {
            let hint = "check how the address is spelled, and whether this machine can look up names";
            return say("name", format!("its name is not known here ({unresolved})"), hint);
        }
        match cause.downcast_ref::<Tls>() {
            None => {}
            Some(Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. })) => {
                let hint = "write the address with the name that the vendor gives, not with an alias or a number";
                return tls(format!("its certificate is for another name ({cause})"), hint);
            }
            Some(Tls::InvalidCertificate(_)) => {
                let hint = "check the address; if it is right, this machine has to trust the authority that signed it";
                return tls(format!("its certificate is not trusted here ({cause})"), hint);
            }
            Some(Tls::InvalidMessage(InvalidContentType)) => {
                let hint = "check the port: the vendor's address with https most likely has none";
                return tls("it answers in plain text, such as http, where TLS is expected".to_owned(), hint);
            }
            Some(_) => return tls(format!("TLS cannot be agreed on ({cause})"), "check the address and its port"),
        }
        match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => {
                let hint = "check host and port; nobody listens there now";
                return say("tcp", format!("it refuses connections ({cause})"), hint);
            }
            Some(io::ErrorKind::UnexpectedEof) => {
                return say("tls", format!("it hung up ({cause})"), "check the address and its port");
            }
            _ => {}
        }
    }
    if error.is_timeout() {
        let hint = "check host and port; a firewall on the way may swallow what is sent there";
        return say("tcp", format!("none came about within {CONNECT:.0?}"), hint);
    }
    let cause = causes(error).last().map(ToString::to_string).unwrap_or_default();
    say("tcp", cause, "check the address and the network")
}

/// Sets the cryptography of TLS for this process, unless the host has set another one. Each client needs it.
pub(crate) fn set_crypto() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        // An error says that the host was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// `ENFILE` or `EMFILE`.
fn is_out_of_files(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

/// An error and all underneath, also those that an I/O error only holds and does not tell of.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    successors(Some(error), |&error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner as &(dyn StdError + 'static)),
        None => error.source(),
    })
}
