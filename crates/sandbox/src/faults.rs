//! All faults, in one place. One middleware stands before every service: it counts and records the request, draws
//! whether it is to fail, and makes the failure happen on the wire.

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

use crate::http::{self, Answer};
use crate::library::mix;
use crate::requests::{self, GrantType, Seen};
use crate::state::Event;
use crate::wire::Wire;
use crate::{App, Service};

/// Which requests fail, and how. All zero by default. As JSON every member is optional and `latency_ms` is a number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Share (0 to 1) of the API, blob and download answers that fail, spread evenly over 429 (with `Retry-After`),
    /// 503, a connection cut in the middle of the answer, and an answer lost after the request was carried out.
    pub rate: f64,
    /// Waiting time before every request is handled, on the login servers too.
    #[serde(rename = "latency_ms", alias = "latency", with = "milliseconds")]
    pub latency: Duration,
    /// Every n-th call of the two APIs is refused with 429 and `Retry-After: 1`.
    pub every_429: Option<u64>,
    /// Every n-th call of the two APIs is refused with 500.
    pub every_500: Option<u64>,
    /// Every n-th API, blob or download answer breaks off in the middle of its body (or of its head, if it has no
    /// body); the request was carried out.
    pub every_cut: Option<u64>,
    /// Every n-th API, blob or download request is carried out, and the connection closed without an answer.
    pub every_lost: Option<u64>,
    /// The first answer to each request that makes a blob or an asset visible (the put of a blob or of its block list, the
    /// finalization) is lost: the request is carried out, and the connection closed.
    pub lost_commits: bool,
    /// A signed address to upload to has run out after so many blocks: it is refused with 403, by the name Azure has for
    /// that (`AuthenticationFailed`) and the one its emulator has (`AuthorizationFailure`) in turn.
    pub address_blocks: Option<u64>,
}

mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Milliseconds(u64),
        Full(Duration),
    }

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        u64::try_from(value.as_millis()).unwrap_or(u64::MAX).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Milliseconds(number) => Duration::from_millis(number),
            Written::Full(duration) => duration,
        })
    }
}

/// The kinds of fault, by the name they have in the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    TooMany,
    Internal,
    Unavailable,
    Cut,
    Lost,
}

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::TooMany => "429",
            Fault::Internal => "500",
            Fault::Unavailable => "503",
            Fault::Cut => "cut",
            Fault::Lost => "lost",
        }
    }
}

/// The faults in force and the counts they are drawn from.
#[derive(Debug)]
pub(crate) struct Dice {
    seed: u64,
    faults: Faults,
    calls: u64,
    api_calls: u64,
    drawn: u64,
    /// Paths of commits whose first answer is lost already.
    committed: HashSet<String>,
    /// Blocks that went to each signed address, by its number.
    blocks: HashMap<u64, u64>,
}

impl Dice {
    pub(crate) fn new(seed: u64, faults: Faults) -> Dice {
        let (committed, blocks) = Default::default();
        Dice { seed, faults, calls: 0, api_calls: 0, drawn: 0, committed, blocks }
    }

    /// Whether this request makes something visible, and is the first to.
    fn commits(&mut self, service: Service, request: &Request) -> bool {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let commits = match service {
            Service::Blob => request.method() == Method::PUT && !query.contains("comp=block&"),
            Service::Mediavalet => request.method() == Method::PATCH && path.contains("/uploads/"),
            _ => false,
        };
        self.faults.lost_commits && commits && self.committed.insert(path.to_owned())
    }

    /// Counts a block that goes to a signed address; what refuses it if the address has run out.
    pub(crate) fn refuse_block(&mut self, address: u64) -> Option<&'static str> {
        let most = self.faults.address_blocks?;
        let so_far = self.blocks.entry(address).or_default();
        *so_far += 1;
        (*so_far > most).then_some(["AuthenticationFailed", "AuthorizationFailure"][(address % 2) as usize])
    }

    fn draw(&mut self, service: Service) -> Option<Fault> {
        let nth = |every: Option<u64>, count: u64| every.is_some_and(|n| n > 0 && count.is_multiple_of(n));
        self.calls += 1;
        if service.is_api() {
            self.api_calls += 1;
        }
        let faults = &self.faults;
        if nth(faults.every_lost, self.calls) {
            return Some(Fault::Lost);
        }
        if nth(faults.every_cut, self.calls) {
            return Some(Fault::Cut);
        }
        if service.is_api() && nth(faults.every_500, self.api_calls) {
            return Some(Fault::Internal);
        }
        if service.is_api() && nth(faults.every_429, self.api_calls) {
            return Some(Fault::TooMany);
        }
        let share = (mix(mix(self.seed) ^ self.calls) >> 11) as f64 / (1u64 << 53) as f64;
        (share < faults.rate).then(|| {
            self.drawn += 1;
            [Fault::TooMany, Fault::Unavailable, Fault::Cut, Fault::Lost][(self.drawn % 4) as usize]
        })
    }
}

/// What the middleware keeps.
#[derive(Debug)]
pub(crate) struct Guard {
    pub dice: Mutex<Dice>,
    pub seen: Mutex<VecDeque<Seen>>,
}

impl Guard {
    pub(crate) fn new(seed: u64, faults: Faults) -> Guard {
        Guard { dice: Mutex::new(Dice::new(seed, faults)), seen: Mutex::default() }
    }

    pub(crate) fn set(&self, faults: Faults) {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        *dice = Dice::new(dice.seed, faults);
    }
}

/// The middleware.
pub(crate) async fn guard(
    State(app): State<Arc<App>>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    request: Request,
    next: Next,
) -> Answer {
    let service = Service::of(request.uri().path());
    if service == Service::Sandbox {
        return next.run(request).await;
    }
    let mut seen = requests::look(service, &request);
    let (latency, fault) = {
        let mut dice = app.guard.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = match service.is_faultable() {
            true if dice.commits(service, &request) => Some(Fault::Lost),
            true => dice.draw(service),
            false => None,
        };
        (dice.faults.latency, fault)
    };
    app.state.with(|world| {
        world.record(Event::Hit);
        if let Some(fault) = fault {
            world.record(Event::Fault(fault.name().to_owned()));
        }
    });
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let head_only = request.method() == Method::HEAD;
    let response = match fault {
        Some(kind @ (Fault::TooMany | Fault::Internal | Fault::Unavailable)) => {
            http::drain(request.into_body()).await;
            refusal(service, kind)
        }
        _ => next.run(request).await,
    };
    seen.status = response.status().as_u16();
    seen.fault = fault.map(Fault::name);
    seen.grant_type = response.extensions().get::<GrantType>().map(|grant| grant.0.clone());
    requests::keep(&app.guard.seen, seen);
    match fault {
        Some(Fault::Lost) => {
            wire.allow(0);
            http::empty(502)
        }
        Some(Fault::Cut) => cut(response, &wire, head_only),
        _ => response,
    }
}

/// The refusal in the form the service gives it.
fn refusal(service: Service, fault: Fault) -> Answer {
    let (status, text) = match fault {
        Fault::TooMany => (429, "Rate limit is exceeded. Try again in 1 seconds."),
        Fault::Unavailable => (503, "The service is unavailable."),
        _ => (500, "Unspecified database error"),
    };
    let mut response = match service {
        Service::Mediaflow => http::json(status, &json!({ "status": status, "error": text })),
        Service::Mediavalet if status == 500 => http::empty(status),
        Service::Mediavalet => http::json(status, &json!({ "statusCode": status, "message": text })),
        Service::Blob => crate::blob::error(status, "ServerBusy", "The server is busy."),
        _ => http::answer(status, "text/plain; charset=utf-8", text),
    };
    if status == 429 {
        http::set(&mut response, "retry-after", "1");
    }
    response
}

/// Lets the head and half of the body out, then breaks the connection. Without a body, the head itself is broken.
fn cut(response: Answer, wire: &Wire, head_only: bool) -> Answer {
    let declared = response.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let length = declared.or(response.body().size_hint().exact()).unwrap_or(0);
    if head_only || length < 2 {
        wire.allow(20);
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.insert("content-length", length.into());
    let half = length / 2;
    let broken = futures::stream::unfold((body.into_data_stream(), half), |(mut body, left)| async move {
        if left == 0 {
            // The pause lets the connection flush what it holds before it learns of the failure.
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
    Answer::from_parts(parts, Body::from_stream(broken))
}
