//! The ground floor: one request and its response, and the rules that hold for each of them. It knows neither
//! operations nor tokens.

mod deadline;
mod digests;
mod excerpt;
mod exchange;
mod headers;
mod limits;
mod parameters;
mod payload;
mod retry;
mod ssrf;
mod tls;
pub(crate) mod url_policy;

pub use deadline::with_deadline;
pub(crate) use digests::{DigestState, Digests, declared, declared_digests};
pub(crate) use excerpt::excerpt;
pub(crate) use exchange::{CONNECT, Failure, RawResponse, api, cut, exchange, failed, storage, timed_out};
pub(crate) use headers::{header_is_free, secret_header};
pub use limits::ClientLimits;
pub(crate) use parameters::{parameter, split_unquoted};
pub(crate) use payload::{Body, FormFile, Payload, lock, size_mismatch};
pub(crate) use retry::{Waits, retry_after};
pub(crate) use ssrf::SsrfPolicy;
