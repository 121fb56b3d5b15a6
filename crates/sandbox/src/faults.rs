//! The fault injector.
//!
//! One middleware in front of all services counts and logs each request, decides whether it fails, and makes the
//! failure happen on the connection. The services do not know about faults; only the blob storage asks whether an
//! upload URL has expired.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::http::{self, HttpResponse};
use crate::library::mix;
use crate::request_log::{self, GrantType, RecordedRequest};
use crate::state::Event;
use crate::throttled_stream::ByteLimit;
use crate::{App, Service};

/// Which requests fail, and how. By default none does.
///
/// As JSON, every member is optional and `latency_ms` is a number of milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The share (0 to 1) of the API, blob and download requests that fail. The failures alternate between status 429
    /// (with `Retry-After`), status 503, a connection that breaks in the middle of the response, and a response that is
    /// lost after the request was carried out.
    pub rate: f64,
    /// The delay before each request is handled, also on the login servers.
    #[serde(rename = "latency_ms", alias = "latency", with = "milliseconds")]
    pub latency: Duration,
    /// Every n-th request to the two APIs is rejected with status 429 and `Retry-After: 1`.
    pub every_429: Option<u64>,
    /// Every n-th request to the two APIs is rejected with status 500.
    pub every_500: Option<u64>,
    /// Every n-th API, blob or download response breaks off in the middle of its body, or of its head if it has no
    /// body. The request was carried out.
    pub every_cut: Option<u64>,
    /// Every n-th API, blob or download request is carried out, and the connection is closed without a response.
    pub every_lost: Option<u64>,
    /// The first response to each request that makes a blob or an asset visible (the put of a blob or of its block
    /// list, the finalisation) is lost: the request is carried out, and the connection is closed without a response.
    pub lost_commits: bool,
    /// How many blocks a signed upload URL accepts before it expires. Later blocks get status 403, half of the URLs
    /// with the error code that Azure has for this (`AuthenticationFailed`), half with the one that its emulator has
    /// (`AuthorizationFailure`).
    pub address_blocks: Option<u64>,
}

/// The JSON form of a duration: a number of milliseconds. The form that serde derives for a duration is read too.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum LatencyForm {
        Milliseconds(u64),
        Duration(Duration),
    }

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        u64::try_from(value.as_millis()).unwrap_or(u64::MAX).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Ok(match LatencyForm::deserialize(deserializer)? {
            LatencyForm::Milliseconds(number) => Duration::from_millis(number),
            LatencyForm::Duration(duration) => duration,
        })
    }
}

/// The kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Status 429; the request is not carried out.
    TooManyRequests,
    /// Status 500; the request is not carried out.
    Internal,
    /// Status 503; the request is not carried out.
    Unavailable,
    /// The connection breaks in the middle of the response.
    Truncated,
    /// The connection closes without a response.
    Lost,
}

impl FaultKind {
    /// Returns the name of the kind in the report and the request log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FaultKind::TooManyRequests => "429",
            FaultKind::Internal => "500",
            FaultKind::Unavailable => "503",
            FaultKind::Truncated => "cut",
            FaultKind::Lost => "lost",
        }
    }
}

/// Decides which requests fail: the faults in force, the seed of the random generator, and the counts so far.
#[derive(Debug)]
pub(crate) struct FaultGenerator {
    seed: u64,
    faults: Faults,
    requests: u64,
    api_requests: u64,
    /// The number of faults that `rate` has caused.
    random_faults: u64,
    /// Paths of the requests whose first response was lost because of `lost_commits`.
    committed: HashSet<String>,
    /// The number of blocks sent to each signed URL, by the URL's number.
    blocks: HashMap<u64, u64>,
}

impl FaultGenerator {
    pub(crate) fn new(seed: u64, faults: Faults) -> FaultGenerator {
        let (committed, blocks) = Default::default();
        FaultGenerator { seed, faults, requests: 0, api_requests: 0, random_faults: 0, committed, blocks }
    }

    /// Returns whether `lost_commits` is on and this is the first request that makes the blob or asset of its path
    /// visible.
    fn is_first_commit(&mut self, service: Service, request: &Request) -> bool {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let commits = match service {
            Service::Blob => request.method() == Method::PUT && !query.contains("comp=block&"),
            Service::Mediavalet => request.method() == Method::PATCH && path.contains("/uploads/"),
            _ => false,
        };
        self.faults.lost_commits && commits && self.committed.insert(path.to_owned())
    }

    /// Counts a block sent to the signed URL with this number. Returns an Azure error code if the URL has expired.
    pub(crate) fn reject_block(&mut self, url_number: u64) -> Option<&'static str> {
        let limit = self.faults.address_blocks?;
        let count = self.blocks.entry(url_number).or_default();
        *count += 1;
        (*count > limit).then_some(["AuthenticationFailed", "AuthorizationFailure"][(url_number % 2) as usize])
    }

    /// Counts a request to a faultable service and returns the fault that hits it, if any.
    fn next_fault(&mut self, service: Service) -> Option<FaultKind> {
        let nth = |every: Option<u64>, count: u64| every.is_some_and(|n| n > 0 && count.is_multiple_of(n));
        self.requests += 1;
        if service.is_api() {
            self.api_requests += 1;
        }
        let faults = &self.faults;
        if nth(faults.every_lost, self.requests) {
            return Some(FaultKind::Lost);
        }
        if nth(faults.every_cut, self.requests) {
            return Some(FaultKind::Truncated);
        }
        if service.is_api() && nth(faults.every_500, self.api_requests) {
            return Some(FaultKind::Internal);
        }
        if service.is_api() && nth(faults.every_429, self.api_requests) {
            return Some(FaultKind::TooManyRequests);
        }
        let share = (mix(mix(self.seed) ^ self.requests) >> 11) as f64 / (1u64 << 53) as f64;
        (share < faults.rate).then(|| {
            self.random_faults += 1;
            [FaultKind::TooManyRequests, FaultKind::Unavailable, FaultKind::Truncated, FaultKind::Lost]
                [(self.random_faults % 4) as usize]
        })
    }
}

/// The state of the middleware: the fault generator and the request log.
#[derive(Debug)]
pub(crate) struct FaultInjector {
    pub generator: Mutex<FaultGenerator>,
    pub requests: Mutex<VecDeque<RecordedRequest>>,
}

impl FaultInjector {
    pub(crate) fn new(seed: u64, faults: Faults) -> FaultInjector {
        FaultInjector { generator: Mutex::new(FaultGenerator::new(seed, faults)), requests: Mutex::default() }
    }

    /// Replaces the faults in force and starts all counts from zero.
    pub(crate) fn set(&self, faults: Faults) {
        let mut generator = self.generator.lock().unwrap_or_else(PoisonError::into_inner);
        *generator = FaultGenerator::new(generator.seed, faults);
    }
}

/// The middleware: logs the request and injects the fault that hits it.
pub(crate) async fn inject(
    State(app): State<Arc<App>>,
    ConnectInfo(limit): ConnectInfo<ByteLimit>,
    request: Request,
    next: Next,
) -> HttpResponse {
    let service = Service::of(request.uri().path());
    if service == Service::Sandbox {
        return next.run(request).await;
    }
    let mut entry = request_log::describe(service, &request);
    let (latency, fault) = {
        let mut generator = app.fault_injector.generator.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = match service.is_faultable() {
            true if generator.is_first_commit(service, &request) => Some(FaultKind::Lost),
            true => generator.next_fault(service),
            false => None,
        };
        (generator.faults.latency, fault)
    };
    app.state.with(|state| {
        state.record(Event::Request);
        if let Some(fault) = fault {
            state.record(Event::Fault(fault.name().to_owned()));
        }
    });
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let head_only = request.method() == Method::HEAD;
    let response = match fault {
        Some(kind @ (FaultKind::TooManyRequests | FaultKind::Internal | FaultKind::Unavailable)) => {
            http::drain(request.into_body()).await;
            error_response(service, kind)
        }
        _ => next.run(request).await,
    };
    entry.status = response.status().as_u16();
    entry.fault = fault.map(FaultKind::name);
    entry.grant_type = response.extensions().get::<GrantType>().map(|grant| grant.0.clone());
    request_log::append(&app.fault_injector.requests, entry);
    match fault {
        Some(FaultKind::Lost) => {
            limit.allow(0);
            http::empty(502)
        }
        Some(FaultKind::Truncated) => truncate(response, &limit, head_only),
        _ => response,
    }
}

/// Returns the error response in the form of the service.
fn error_response(service: Service, fault: FaultKind) -> HttpResponse {
    let (status, text) = match fault {
        FaultKind::TooManyRequests => (429, "Rate limit is exceeded. Try again in 1 seconds."),
        FaultKind::Unavailable => (503, "The service is unavailable."),
        _ => (500, "Unspecified database error"),
    };
    let mut response = match service {
        Service::Mediaflow => http::json(status, &json!({ "status": status, "error": text })),
        Service::Mediavalet if status == 500 => http::empty(status),
        Service::Mediavalet => http::json(status, &json!({ "statusCode": status, "message": text })),
        Service::Blob => crate::blob::error(status, "ServerBusy", "The server is busy."),
        _ => http::response(status, "text/plain; charset=utf-8", text),
    };
    if status == 429 {
        http::set(&mut response, "retry-after", "1");
    }
    response
}

/// Sends the head and half of the body, then breaks the connection. Without a body, it breaks in the head.
fn truncate(response: HttpResponse, limit: &ByteLimit, head_only: bool) -> HttpResponse {
    let declared = response.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let length = declared.or(response.body().size_hint().exact()).unwrap_or(0);
    if head_only || length < 2 {
        limit.allow(20);
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.insert("content-length", length.into());
    let half = length / 2;
    let broken = futures::stream::unfold((body.into_data_stream(), half), |(mut body, left)| async move {
        if left == 0 {
            // Without the pause, the error would discard bytes that the connection has not flushed yet.
            tokio::time::sleep(Duration::from_millis(5)).await;
            return Some((Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)), (body, 0)));
        }
        let mut chunk = match body.next().await {
            Some(Ok(chunk)) => chunk,
            _ => return Some((Err(std::io::ErrorKind::ConnectionReset.into()), (body, 0))),
        };
        chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let rest = left - chunk.len() as u64;
        Some((Ok(chunk), (body, rest)))
    });
    HttpResponse::from_parts(parts, Body::from_stream(broken))
}
