//! The client of a connection: one stack of layers that every call goes through.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{Instrument, debug, info_span};
use trunkline_core::{Authorization, Context, Effect, Error, ErrorKind, Page, Result, Retry, Secret, VaultSlot};
use url::Url;

use crate::{
    ClientLimits, Table,
    auth::{Credentials, Signer},
    budget::{Budget, FairnessKey, Permit},
    builder::ClientBuilder,
    operation::Operation,
    request::{self, Request},
    response::{self, AcceptedResponse, Asked, Call, Classify},
    retry::Waits,
    sign_in,
    ssrf::SsrfPolicy,
    transport::{self, Failure, Reply},
    url_policy,
};

/// Calls the operations of a table on one connection. Clones are cheap and share everything: tokens, rate, sockets.
///
/// ```
/// use trunkline_core::{Context, MemoryVault, VaultSlot};
/// use trunkline_rest::{Auth, Client, Table};
/// # use std::sync::Arc;
/// static OPERATIONS: Table = Table::new("shop", &[("order.toml", r#"
///     [[operation]]
///     name  = "order.get"
///     title = "Get an order"
///     route = "GET /orders/{orderId}"
///     input.orderId = { type = "integer" }
/// "#)]);
/// # fn main() -> trunkline_core::Result<()> {
/// let slot = VaultSlot::new("my shop", Arc::new(MemoryVault::default()));
/// let base = "https://shop.example.com/v1".parse().expect("an address");
/// let client = Client::builder("Shop", base, &OPERATIONS)
///     .auth(Auth::Bearer("token".into()), slot)
///     .rate(10)
///     .build()?;
/// // client.call("order.get", json!({ "orderId": 7 }), &cx).await?
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) service: &'static str,
    pub(crate) base: Url,
    pub(crate) table: &'static Table,
    pub(crate) http: reqwest::Client,
    pub(crate) storage: reqwest::Client,
    pub(crate) guard: SsrfPolicy,
    pub(crate) headers: HeaderMap,
    /// Takes the idempotency key, see [`ClientBuilder::idempotency_header`].
    pub(crate) idempotency_header: Option<HeaderName>,
    pub(crate) signer: Signer,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) budget: Arc<Budget>,
    /// For what is no part of a run.
    pub(crate) lane: FairnessKey,
    pub(crate) classify: Option<Classify>,
    pub(crate) limits: ClientLimits,
    pub(crate) connection: String,
    /// A path that can be read without harm.
    pub(crate) check_path: String,
    /// Texts that the service adds to a result, see [`ClientBuilder::warnings`].
    pub(crate) warnings: Option<&'static str>,
}

/// How far a call has come, for the words about its end.
#[derive(Default)]
struct Stage {
    /// It was sent, and nothing is known of its outcome.
    under_way: AtomicBool,
    /// It waits for a token.
    signing: AtomicBool,
}

/// A call that waits for its turn says so this long before its time is over, and not only that it took too long.
const TO_SAY_SO: Duration = Duration::from_millis(5);

impl Client {
    /// A client in the making. `service` is the product's name as messages say it; `base` is what routes are appended to.
    pub fn builder(service: &'static str, base: Url, table: &'static Table) -> ClientBuilder {
        ClientBuilder::new(service, base, table)
    }

    /// Calls an operation: its result, or one page as `{"items": [..], "next": ..}` if it lists.
    ///
    /// Inputs are checked for what is missing and what is unknown, not against their schemas: that is the registry's part.
    pub async fn call(&self, operation: &str, input: Value, cx: &Context) -> Result<Value> {
        self.run(self.0.table.operation(operation)?, input, cx).await
    }

    pub(crate) async fn run(&self, operation: &Operation, input: Value, cx: &Context) -> Result<Value> {
        if operation.page.is_some() {
            let page = self.page_of(operation, input, None, cx).await?;
            return Ok(json!({ "items": page.items, "next": page.next }));
        }
        let request = operation.request(&self.0.base, &operation.accept(input)?)?;
        let mut accepted = self.execute(&operation.call(), request, cx).await?;
        Ok(accepted.body.pointer_mut(&operation.result).map(Value::take).unwrap_or_default())
    }

    /// One page of a list, from its beginning or from where a page said that the next one begins.
    pub async fn page(&self, operation: &str, input: Value, from: Option<Value>, cx: &Context) -> Result<Page> {
        self.page_of(self.0.table.operation(operation)?, input, from, cx).await
    }

    pub(crate) async fn page_of(
        &self,
        operation: &Operation,
        input: Value,
        from: Option<Value>,
        cx: &Context,
    ) -> Result<Page> {
        let Some(page) = &operation.page else {
            // What the service gives whole is its own only page.
            return match Box::pin(self.run(operation, input, cx)).await? {
                Value::Array(items) => Ok(Page { items, ..Page::default() }),
                _ => {
                    let message = format!("{} does not list anything", operation.name());
                    Err(Error::new(ErrorKind::Config, message).with("action", operation.name()))
                }
            };
        };
        let named = |error: Error| error.with("action", operation.name()).with("service", self.0.service);
        let mut input: Map<String, Value> = operation.accept(input)?;
        let ask = page.ask(&mut input, &operation.inputs, from).map_err(named)?;
        let mut request = operation.request(&self.0.base, &input)?;
        if let Some(link) = &ask.link {
            let headers = request.headers;
            request = Request { headers, ..request::follow(&self.0.base, &request.url, link).map_err(named)? };
        }
        let current = request.url.clone();
        let accepted = self.execute(&operation.call(), request, cx).await?;
        // Relative to the page it stands on, so that it can be followed from anywhere.
        let link = accepted.link().map(|link| current.join(&link).map(String::from).unwrap_or(link));
        let before = match page.ask_before(&ask, &mut input) {
            true => Some(self.execute(&operation.call(), operation.request(&self.0.base, &input)?, cx).await?.body),
            false => None,
        };
        page.split(&ask, &accepted.body, link, before.as_ref()).map_err(named)
    }

    /// All pages of a list, one at a time as they are asked for.
    pub fn pages<'a>(&'a self, operation: &'a str, input: Value, cx: &'a Context) -> BoxStream<'a, Result<Page>> {
        // The outer option: whether there is a page to come. The inner one: where it begins.
        let first = Some(None);
        futures::stream::try_unfold((input, first), move |(input, from)| async move {
            let Some(from) = from else { return Ok(None) };
            cx.check_cancelled()?;
            let page = self.page(operation, input.clone(), from, cx).await?;
            let next = page.next.clone().map(Some);
            Ok(Some((page, (input, next))))
        })
        .into_stream()
        .boxed()
    }

    /// Begins a sign-in in the browser that ends at `redirect_uri` ([`Grant::AuthorizationCode`](crate::Grant)).
    pub fn begin_authorization(&self, redirect_uri: &str) -> Result<Authorization> {
        sign_in::begin(&self.0.signer, self.0.service, redirect_uri)
    }

    /// Ends a sign-in in the browser; the tokens are in the vault when this returns. Each begun sign-in ends once: that
    /// nobody ends it twice is the host's part.
    pub async fn finish_authorization(&self, begun: &Authorization, callback: &str) -> Result<()> {
        sign_in::finish(&self.0.signer, self.0.service, begun, callback).await
    }

    /// Takes back at the login server what the vault held (RFC 7009), where the settings say how.
    pub async fn sign_out(&self, held: &Secret) -> Result<()> {
        match &self.0.signer {
            Signer::Tokens(tokens) => tokens.sign_out(held).await,
            Signer::Fixed { .. } => Ok(()),
        }
    }

    /// How many tokens the login server has given to this client and its clones.
    pub fn token_refreshes(&self) -> u64 {
        match &self.0.signer {
            Signer::Tokens(tokens) => tokens.refreshes(),
            Signer::Fixed { .. } => 0,
        }
    }

    /// The stack that every call of the API goes through, outermost layer first:
    ///
    /// 1. span: whatever is logged below names the action; method and route, never bodies, never secrets
    /// 2. cancellation and overall deadline: the context's, else [`ClientLimits::call`]; nothing below outlives them
    /// 3. retry (`tries`): waits between tries; a `Create` whose outcome is unclear is never repeated
    /// 4. turn (`turn`): the connection's budget of requests at once and a second, and the pause that the service asked for
    /// 5. credentials (`attempt`): a token that is good for now; after a 401 that could mean expiry, once, another one
    /// 6. time of one try and size of its answer, then the transport itself (`transport::exchange`)
    ///
    /// What comes back is judged inside of 3, so that a failure told in a 200 can be tried again like any other.
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
            // One that the caller chose stays.
            request.headers.entry(name).or_insert(key);
        }
        let host = url_policy::host(&request.url);
        let span = info_span!(
            "call", action = call.name, service = self.0.service, connection = %self.0.connection,
            host = %host, method = %request.method, route = call.route
        );
        let asked = Asked { call: *call, service: self.0.service, host: &host };
        let begun = Instant::now();
        let usual = if request.body.is_file() { self.0.limits.file_call } else { self.0.limits.call };
        let deadline = cx.deadline().map_or_else(|| begun + usual, Instant::from_std);
        let stage = Stage::default();
        let stopped = |kind: ErrorKind, why: String| {
            let error = Error::new(kind, format!("{} at {} {why}", call.name, asked.service));
            match call.effect == Effect::Create && stage.under_way.load(Ordering::Relaxed) {
                true => unknown(asked.name(error)),
                false if kind == ErrorKind::Cancelled => asked.name(error),
                false => asked.name(error.retry(Retry::Backoff).hint("try again later, or give it more time")),
            }
        };
        let layers = async {
            let work = timeout_at(deadline, self.tries(&asked, &request, cx, deadline, &stage));
            tokio::select! {
                biased;
                () = cx.cancellation().cancelled() => Err(stopped(ErrorKind::Cancelled, "was cancelled".into())),
                done = work => done.unwrap_or_else(|_| {
                    let time = deadline.saturating_duration_since(begun);
                    let waited = match stage.signing.load(Ordering::Relaxed) {
                        true => ": it waited for a token from the login server",
                        false => "",
                    };
                    Err(stopped(ErrorKind::Unavailable, format!("did not end within {time:.1?}{waited}")))
                }),
            }
        };
        let accepted = layers.instrument(span).await?;
        self.pass_on_warnings(&accepted.body, &asked, cx);
        Ok(accepted)
    }

    fn pass_on_warnings(&self, body: &Value, asked: &Asked<'_>, cx: &Context) {
        let list = self.0.warnings.and_then(|pointer| body.pointer(pointer)?.as_array());
        for warning in list.into_iter().flatten() {
            let text = warning.as_str().map_or_else(|| warning.to_string(), str::to_owned);
            let text = response::excerpt(text.as_bytes(), &self.secrets());
            cx.warn(&format!("{} at {}: {text}", asked.call.name, asked.service));
        }
    }

    async fn tries(
        &self,
        asked: &Asked<'_>,
        request: &Request,
        cx: &Context,
        deadline: Instant,
        stage: &Stage,
    ) -> Result<AcceptedResponse> {
        let budget = &self.0.budget;
        let effect = asked.call.effect;
        let mut waits = Waits::new(&self.0.limits, Some(deadline));
        let mut maybe_done = false;
        let mut attempt = 1;
        loop {
            let turn = self.turn(cx.cancellation(), deadline).await.map_err(|error| asked.name(error))?;
            let begun = Instant::now();
            let outcome = self.attempt(asked, request, turn, cx, deadline, stage).await;
            stage.under_way.store(false, Ordering::Relaxed);
            if outcome.as_ref().err().is_none_or(Failure::is_answer) {
                budget.answered();
            }
            let failure = match outcome {
                Ok(accepted) => {
                    debug!(attempt, elapsed = ?begun.elapsed(), "done");
                    return Ok(accepted);
                }
                Err(failure) => failure,
            };
            debug!(attempt, elapsed = ?begun.elapsed(), kind = failure.error.kind().as_str(), "failed");
            if maybe_done && effect == Effect::Delete && failure.status == Some(StatusCode::NOT_FOUND) {
                // The try before took it away; only its answer was lost.
                return Ok(AcceptedResponse {
                    status: StatusCode::NO_CONTENT,
                    headers: HeaderMap::new(),
                    body: Value::Null,
                });
            }
            if effect == Effect::Create && !failure.refused {
                return Err(unknown(failure.error));
            }
            maybe_done |= !failure.refused;
            match waits.after(&failure.error) {
                // It stands in line again, where the pause is kept for everybody.
                Some(_) if failure.is_throttle() => {}
                Some(wait) if budget.may_repeat() => sleep(wait).await,
                Some(_) => {
                    let why = "used up: too many calls of this connection have failed of late";
                    return Err(failure.error.with("tries", attempt).with("repetitions", why));
                }
                None if attempt > 1 => return Err(failure.error.with("tries", attempt)),
                None => return Err(failure.error),
            }
            attempt += 1;
        }
    }

    async fn attempt(
        &self,
        asked: &Asked<'_>,
        request: &Request,
        mut turn: Permit,
        cx: &Context,
        deadline: Instant,
        stage: &Stage,
    ) -> Result<AcceptedResponse, Failure> {
        let named = |error: Error| Failure::refused(asked.name(error));
        let again = || async { self.turn(cx.cancellation(), deadline).await.map_err(named) };
        let credentials = loop {
            stage.signing.store(true, Ordering::Relaxed);
            let credentials = self.0.signer.credentials().await;
            stage.signing.store(false, Ordering::Relaxed);
            let credentials = credentials.map_err(named)?;
            if self.0.budget.is_open() {
                break credentials;
            }
            // A pause began while a token was fetched.
            drop(turn);
            turn = again().await?;
        };
        stage.under_way.store(true, Ordering::Relaxed);
        let (reply, answer) = self.send(asked, request, &credentials, deadline).await?;
        // What the connector has a word for is no matter of tokens: a missing key gives a 401, too.
        let expiry = reply.status.as_u16() == 401 && self.0.classify.is_none_or(|classify| classify(&answer).is_none());
        if expiry && let Some(renewed) = self.0.signer.renewed(&credentials).await.map_err(named)? {
            drop(turn);
            turn = again().await?;
            let (reply, answer) = self.send(asked, request, &renewed, deadline).await?;
            return self.heed(&turn, response::judge(asked, answer, reply, self.0.classify));
        }
        self.heed(&turn, response::judge(asked, answer, reply, self.0.classify))
    }

    /// Lets nobody go on before the time that a throttle names: the turn is still held.
    fn heed(&self, turn: &Permit, judged: Result<AcceptedResponse, Failure>) -> Result<AcceptedResponse, Failure> {
        if let Err(failure) = &judged
            && failure.is_throttle()
        {
            let asked = match failure.error.retryable() {
                Retry::After(asked) => Some(asked),
                _ => None,
            };
            self.0.budget.throttled(turn, asked);
        }
        judged
    }

    /// A turn to send one request to the API.
    pub(crate) async fn turn(&self, lane: &FairnessKey, deadline: Instant) -> Result<Permit> {
        self.0.budget.permit(lane, deadline.checked_sub(TO_SAY_SO).unwrap_or(deadline)).await
    }

    /// One request with these credentials, and what came back.
    async fn send(
        &self,
        asked: &Asked<'_>,
        request: &Request,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<(Reply, response::Response), Failure> {
        let mut http = reqwest::Request::new(request.method.clone(), request.url.clone());
        let headers = http.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.extend(self.0.headers.clone());
        headers.extend(request.headers.clone());
        if let Some((name, value)) = &credentials.header {
            headers.insert(name, value.clone());
        }
        // A file that cannot be opened: nothing was sent.
        let payload = request.body.payload(credentials).await.map_err(Failure::refused)?;
        let time = self.0.limits.attempt.min(deadline.saturating_duration_since(Instant::now()));
        let sent = transport::exchange(&self.0.http, http, payload, time, self.0.limits.answer).await;
        let reply = sent.map_err(|failure| {
            let error = asked.name(failure.error);
            // Nobody there, or nobody to be trusted: the address is what to look at.
            Failure { error: if failure.refused { error.setting("/endpointUrl") } else { error }, ..failure }
        })?;
        let answer = response::answer(asked, &reply, self.secrets());
        Ok((reply, answer))
    }

    /// What must not be quoted.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let mut secrets = self.0.secrets.clone();
        if let Signer::Tokens(tokens) = &self.0.signer {
            secrets.extend(tokens.secrets());
        }
        secrets
    }
}

/// A `Create` that may have taken effect: nobody repeats it on their own.
pub(crate) fn unknown(error: Error) -> Error {
    error
        .into_kind(ErrorKind::UnknownOutcome)
        .retry(Retry::Never)
        .with("outcome", "unknown")
        .hint("it may have been done: look in the service before doing it again")
}

/// What connectors use for the slot of a connection that has no vault: nothing is kept.
pub(crate) fn no_slot() -> VaultSlot {
    VaultSlot::new("", Arc::new(trunkline_core::MemoryVault::default()))
}
