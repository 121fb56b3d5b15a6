//! The ground floor: one request and its response, and the rules that hold for each of them. It knows neither
//! operations nor tokens.

mod challenge;
mod charset;
mod coding;
mod deadline;
mod digests;
mod excerpt;
mod exchange;
mod headers;
mod http_transport;
mod limits;
mod multipart;
mod network_policy;
mod parameters;
mod payload;
#[cfg(feature = "reqwest")]
mod reqwest;
mod retry;
mod retry_after;
mod ssrf;
pub(crate) mod url_policy;

#[cfg(not(feature = "reqwest"))]
pub(crate) use self::http_transport::NoTransport;
pub use self::http_transport::{
    HttpBody, HttpRequest, HttpResponse, HttpTransport, TransportFailure, TransportOptions,
};
#[cfg(feature = "reqwest")]
pub use self::reqwest::ReqwestTransport;
pub(crate) use challenge::TokenProblem;
pub use charset::text_of_body;
pub(crate) use charset::{encoded, text};
pub(crate) use coding::{decoded, is_coded};
pub use deadline::with_deadline;
pub(crate) use digests::{DigestState, Digests, declared, declared_digests};
pub(crate) use excerpt::excerpt;
pub(crate) use exchange::{
    CONNECT, Failure, HttpChannel, RawResponse, ResponseLimit, SMALL_RESPONSE, at_setting, content_length, exchange,
    timed_out,
};
pub use headers::plain_header;
pub(crate) use headers::{ContentType, header_carries_keys, header_is_free, header_text, secret_header, single};
pub use limits::ClientLimits;
pub(crate) use multipart::FormFile;
pub use network_policy::NetworkPolicy;
pub(crate) use parameters::{parameter, split_unquoted};
pub(crate) use payload::{Body, Payload, lock, size_mismatch};
pub(crate) use retry::Waits;
pub(crate) use retry_after::{names_wait, retry_after, stated_quota};
pub(crate) use ssrf::SsrfPolicy;
