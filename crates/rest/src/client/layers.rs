//! The layers of the client.
//!
//! Every call goes through one stack of layers, which `Client::execute` builds and documents: span, deadline, retries,
//! budget, credentials, transport.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{Instrument, debug, info_span, warn};
use trunkline_core::{
    Context, Effect, Error, ErrorDetail, ErrorKind, Result, Retry, Timestamp, VALUE_MEMORY, memory_of_json,
};

use super::{
    auth::Credentials,
    handle::Client,
    response::{self, AcceptedResponse, RequestInfo, Response},
};
use crate::{
    budget::Permit,
    table::{Call, Request},
    transport::{self, Failure, HttpRequest, RawResponse, ResponseLimit, SMALL_RESPONSE, Waits, url_policy},
};

/// A call of [`Client::execute`] as its layers share it.
struct RunningCall<'a> {
    info: RequestInfo<'a>,
    request: &'a Request,
    cx: &'a Context,
    deadline: Instant,
    stage: Stage,
}

impl RunningCall<'_> {
    /// Returns whether the call removes something. What is not there then needs no removal.
    fn removes(&self) -> bool {
        match self.info.call.effect {
            Effect::Delete => true,
            Effect::Idempotent => self.request.method == Method::DELETE,
            Effect::Read | Effect::Create => false,
        }
    }

    /// Returns the error of a call that was cancelled or did not end in time.
    fn stopped(&self, kind: ErrorKind, why: &str) -> Error {
        let RequestInfo { call, service, .. } = &self.info;
        let error = self.info.annotate(Error::new(kind, format!("{} at {service} {why}", call.name)));
        match call.effect == Effect::Create && self.stage.in_flight.load(Ordering::Relaxed) {
            true => unknown(error),
            false if kind == ErrorKind::Cancelled => error,
            false => error.retry(Retry::Backoff).hint("try again later, or give it more time"),
        }
    }
}

/// The stage of a call, for the error if it is stopped there.
#[derive(Default)]
struct Stage {
    /// The request was sent and its outcome is not known.
    in_flight: AtomicBool,
    /// The call waits for a token.
    waits_for_token: AtomicBool,
}

/// The wait for a permit ends this long before the deadline of the call, so that the error names the wait and not only
/// the deadline.
const QUEUE_MARGIN: Duration = Duration::from_millis(5);

/// How often a call that waits for a permit looks whether the service has asked for a pause meanwhile.
const LOOK: Duration = Duration::from_secs(5);

/// A pause from here on is reported as a warning.
const LONG: Duration = Duration::from_secs(60);

impl Client {
    /// The stack that every call of the API goes through, outermost layer first:
    ///
    /// 1. span: log lines of the layers below name action, method and route, never bodies and never secrets
    /// 2. cancellation and overall deadline: the context's, else [`ClientLimits::call`]; no layer below outlives them
    /// 3. retries (`retry`): waits between attempts; a `Create` whose outcome is unclear is never repeated
    /// 4. permit (`permit`): the connection's limits of requests in flight and per second, and the pause that the
    ///    service asked for
    /// 5. credentials (`attempt`): a valid token; after a 401 that could mean expiry, once, a new one
    /// 6. timeout of the attempt and size limit of the response, then the transport itself (`transport::exchange`)
    ///
    /// Responses are interpreted inside layer 3, so that a failure that the service reports with status 200 is retried
    /// like any other.
    pub(crate) async fn execute(
        &self,
        call: &Call<'_>,
        mut request: Request,
        cx: &Context,
    ) -> Result<AcceptedResponse> {
        if let (Some(name), Ok(key)) = (&self.0.idempotency_header, HeaderValue::from_str(cx.idempotency_key()))
            && call.effect != Effect::Read
            && !key.is_empty()
        {
            // A key that the caller has set is kept.
            request.headers.entry(name).or_insert(key);
        }
        let host = url_policy::host(&request.url);
        let span = info_span!(
            "call", action = call.name, service = &*self.0.service, connection = %self.0.connection,
            host = %host, method = %request.method, route = call.route
        );
        let info = RequestInfo { call: *call, service: &self.0.service, host: &host };
        let started = Instant::now();
        let usual = if request.body.is_file() { self.0.limits.file_call } else { self.0.limits.call };
        let deadline = cx.deadline().map_or_else(|| started + usual, Instant::from_std);
        let call = RunningCall { info, request: &request, cx, deadline, stage: Stage::default() };
        let layers = async {
            let work = timeout_at(deadline, self.retry(&call));
            tokio::select! {
                biased;
                () = cx.cancellation().cancelled() => Err(call.stopped(ErrorKind::Cancelled, "was cancelled")),
                done = work => done.unwrap_or_else(|_| {
                    let time = deadline.saturating_duration_since(started);
                    let waited = match call.stage.waits_for_token.load(Ordering::Relaxed) {
                        true => ": it waited for a token from the login server",
                        false => "",
                    };
                    let why = format!("did not end within {time:.1?}{waited}");
                    Err(call.stopped(ErrorKind::Unavailable, &why))
                }),
            }
        };
        let accepted = layers.instrument(span).await;
        let accepted = accepted.map_err(|error| self.at_request(error, call.info.call.route, call.request))?;
        self.record_warnings(&accepted.body, &call.info, cx);
        Ok(accepted)
    }

    /// Adds the method and path of a request to its error: as the row has them, and filled in, without secrets.
    pub(super) fn at_request(&self, error: Error, route: &str, request: &Request) -> Error {
        error.with("route", route).with("path", self.excerpt(request.url.path().as_bytes()))
    }

    fn record_warnings(&self, body: &Value, info: &RequestInfo<'_>, cx: &Context) {
        let list = self.0.warnings.and_then(|pointer| body.pointer(pointer)?.as_array());
        for warning in list.into_iter().flatten() {
            let text = warning.as_str().map_or_else(|| warning.to_string(), str::to_owned);
            let text = self.excerpt(text.as_bytes());
            cx.warn(&format!("{} at {}: {text}", info.call.name, info.service));
        }
    }

    /// Layer 3, the retries: makes attempts until one succeeds, one fails for good, or there were enough.
    async fn retry(&self, call: &RunningCall<'_>) -> Result<AcceptedResponse> {
        let budget = &self.0.budget;
        let effect = call.info.call.effect;
        let mut waits = Waits::new(&self.0.limits, Some(call.deadline));
        let (mut maybe_done, mut confirms) = (false, false);
        let mut attempt = 1;
        loop {
            let permit = self.permit(call.cx, call.deadline).await;
            let permit = permit.map_err(|error| call.info.annotate(error))?;
            let started = Instant::now();
            let outcome = self.attempt(call, permit).await;
            call.stage.in_flight.store(false, Ordering::Relaxed);
            if outcome.as_ref().err().is_none_or(Failure::is_answer) {
                budget.answered();
            }
            let failure = match outcome {
                Ok(accepted) => {
                    self.0.refusals.accepted();
                    debug!(attempt, elapsed = ?started.elapsed(), "done");
                    return Ok(accepted);
                }
                Err(failure) => failure,
            };
            debug!(attempt, elapsed = ?started.elapsed(), kind = failure.error.kind().as_str(), "failed");
            if let Some(status) = failure.status.filter(|status| call.removes() && is_gone(*status, &failure.error)) {
                if !maybe_done {
                    // Otherwise an earlier attempt of this call removed it, and its response was lost.
                    call.cx.warn(&format!("{}: already gone ({})", call.info.call.name, status.as_u16()));
                }
                return Ok(AcceptedResponse { status, headers: HeaderMap::new(), body: Value::Null, _held: None });
            }
            if effect == Effect::Create && !failure.refused {
                return Err(unknown(failure.error));
            }
            maybe_done |= !failure.refused;
            let pause = self.0.limits.confirm;
            let in_time = Instant::now() + pause < call.deadline;
            if in_time && self.0.refusals.is_unconfirmed(call.info.call.name, &failure, &mut confirms) {
                debug!(?pause, "a refusal on a connection that worked: it is checked once more");
                sleep(pause).await;
                attempt += 1;
                continue;
            }
            match waits.after(&failure.error) {
                // No wait here: the next attempt waits for its permit, and the budget holds the pause for all calls.
                Some(_) if failure.is_throttle() => {}
                Some(wait) if budget.may_repeat() => sleep(wait).await,
                Some(_) => {
                    let why = "used up: too many recent calls of this connection have failed";
                    return Err(failure
                        .error
                        .with_detail(ErrorDetail::Repeated { tries: attempt })
                        .with("repetitions", why));
                }
                None if attempt > 1 => return Err(failure.error.with_detail(ErrorDetail::Repeated { tries: attempt })),
                None => return Err(failure.error),
            }
            attempt += 1;
        }
    }

    /// Layers 4 to 6: one attempt with a permit; a second request with new credentials after a 401 that means expiry.
    async fn attempt(&self, call: &RunningCall<'_>, mut permit: Permit) -> Result<AcceptedResponse, Failure> {
        let not_sent = |error: Error| Failure::refused(call.info.annotate(error));
        let next_permit = || async { self.permit(call.cx, call.deadline).await.map_err(not_sent) };
        let credentials = loop {
            call.stage.waits_for_token.store(true, Ordering::Relaxed);
            let credentials = self.0.signer.credentials().await;
            call.stage.waits_for_token.store(false, Ordering::Relaxed);
            let credentials = credentials.map_err(not_sent)?;
            if self.0.budget.is_open() {
                break credentials;
            }
            // A pause began while a token was fetched.
            drop(permit);
            permit = next_permit().await?;
        };
        call.stage.in_flight.store(true, Ordering::Relaxed);
        let (raw, response) = self.send(call, &credentials).await?;
        // A 401 that the connector's hook knows does not mean expiry: a missing key gives a 401, too.
        let expired = raw.status == StatusCode::UNAUTHORIZED
            && self.0.classify.is_none_or(|classify| classify(&response).is_none());
        if expired && let Some(renewed) = self.0.signer.renewed(&credentials, &raw.headers).await.map_err(not_sent)? {
            drop(permit);
            permit = next_permit().await?;
            let (raw, response) = self.send(call, &renewed).await?;
            return self.obey_throttle(&permit, response::interpret(&call.info, response, raw, self.0.classify));
        }
        self.obey_throttle(&permit, response::interpret(&call.info, response, raw, self.0.classify))
    }

    /// Pauses the connection until the time that a throttle names. The permit is still held, so no other call gets it
    /// before the pause begins.
    fn obey_throttle(
        &self,
        permit: &Permit,
        outcome: Result<AcceptedResponse, Failure>,
    ) -> Result<AcceptedResponse, Failure> {
        if let Err(failure) = &outcome
            && failure.is_throttle()
        {
            let retry_after = match failure.error.retryable() {
                Retry::After(wait) => Some(wait),
                _ => None,
            };
            self.0.budget.throttled(permit, retry_after);
            let (service, connection) = (&*self.0.service, &*self.0.connection);
            let until = Timestamp::now() + retry_after.unwrap_or_default();
            match retry_after.filter(|wait| *wait >= LONG) {
                Some(wait) => {
                    warn!(service, connection, ?wait, throttled_until = %until, "the service asks for a pause")
                }
                None => debug!(service, connection, ?retry_after, "the service asks for a pause"),
            }
        }
        outcome
    }

    /// Waits for a permit to send one request to the API. A pause that the service has asked for is reported to the
    /// context.
    pub(crate) async fn permit(&self, cx: &Context, deadline: Instant) -> Result<Permit> {
        let budget = &self.0.budget;
        let deadline = deadline.checked_sub(QUEUE_MARGIN).unwrap_or(deadline);
        let mut permit = pin!(budget.permit(cx.cancellation(), deadline));
        loop {
            let left = budget.pause_left();
            if !left.is_zero() {
                cx.paused(left);
            }
            if let Ok(permit) = timeout(LOOK, &mut permit).await {
                return permit;
            }
        }
    }

    /// Sends the request once, with these credentials.
    async fn send(
        &self,
        call: &RunningCall<'_>,
        credentials: &Credentials,
    ) -> Result<(RawResponse, Response), Failure> {
        let request = call.request;
        let mut http = HttpRequest::new(request.method.clone(), request.url.clone());
        // The outcome of a create would be unknown if a connection from earlier calls were closed at this moment.
        http.fresh = call.info.call.effect == Effect::Create;
        let headers = &mut http.headers;
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.extend(self.0.headers.clone());
        headers.extend(request.headers.clone());
        headers.extend(credentials.headers.clone());
        // If a file cannot be opened, nothing was sent.
        let payload = request.body.payload(&credentials.headers).await.map_err(Failure::refused)?;
        let time = self.0.limits.attempt.min(call.deadline.saturating_duration_since(Instant::now()));
        let account = call.cx.memory();
        let limit = ResponseLimit { most: self.0.limits.answer, memory: Some(&account) };
        let sent = transport::exchange(&self.0.http, http, payload, time, limit).await;
        let raw = sent.map_err(|failure| {
            let error = call.info.annotate(failure.error);
            // No connection, or not to a server that can be trusted: the endpoint URL is the setting to look at.
            Failure {
                error: if failure.refused { transport::at_setting(error, "/endpointUrl") } else { error },
                ..failure
            }
        })?;
        if raw.status != StatusCode::TOO_MANY_REQUESTS
            && let Some(quota) = transport::stated_quota(&raw.headers)
        {
            call.cx.quota(quota);
        }
        // While a list is read, it and what it grows into are in memory.
        let memory = memory_of_json(&raw.body);
        let mut held = None;
        if (SMALL_RESPONSE..=VALUE_MEMORY).contains(&memory) {
            let reserved = account.reserve(&format!("the response of {}", call.info.host), 2 * memory).await;
            held = Some(reserved.map_err(|error| Failure::unclear(call.info.annotate(error)))?);
        }
        let mut response = Response::new(&call.info, &raw, self.secrets(), &self.0.redactor);
        held.iter_mut().for_each(|held| held.shrink(memory));
        response.held = held.map(Arc::new);
        Ok((raw, response))
    }
}

/// Returns whether a response means that the object does not exist (any more). A connector may know that its service
/// means something else.
fn is_gone(status: StatusCode, error: &Error) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) && error.kind() == ErrorKind::NotFound
}

/// Turns an error into the one of a `Create` that may have taken effect. Neither client nor engine repeats it.
pub(crate) fn unknown(error: Error) -> Error {
    error
        .into_kind(ErrorKind::UnknownOutcome)
        .retry(Retry::Never)
        .with("outcome", "unknown")
        .hint("it may have taken effect: look in the service before you repeat it")
}
