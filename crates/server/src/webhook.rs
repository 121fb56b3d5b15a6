//! Webhooks: authentication of calls, deduplication of deliveries, and responses to senders.
//!
//! The URL contains a token, of which only the hash is stored. If the flow requires signatures, the signature is
//! checked over the bytes of the body before the body is parsed; without a saved secret, every call is rejected. A
//! delivery with an id starts one run, however often it is sent: the id and the run are stored in one transaction. So does
//! a delivery whose signature covers a time, also if an attacker sends it again under another id. A run whose id is in a
//! response is on disk. With `"answer": "result"` or `"response"` and no delivery id, the response is
//! sent when the run ends, and only then is the run sure to be on disk.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use trunkline::{Cause, NewRun, StartOutcome, token::hash};
use trunkline_core::{Error, ErrorKind, HeldMemory, Result, Retry, RunId};
use trunkline_engine::{Flush, Run, RunStatus, TriggerEvent};
use trunkline_flow::{DeliveryPlace, EventTrigger, Flow, Signature, Trigger, Webhook, WebhookResponseMode};
use trunkline_store::{DeliveryOutcome, SavedFlow};

use crate::{
    app::App,
    brake::caller_address,
    delivery,
    detached::detached,
    dispatcher::Dispatcher,
    request::{self, complete},
    response::{ApiResult, ErrorResponse, response_json},
    signature::SignedCall,
    webhook_response,
};

/// The maximum length of a delivery id, in bytes.
const MAX_DELIVERY_ID: usize = 512;
/// The time between two looks at a run that this process does not work on.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A call of a webhook.
pub(crate) struct Call {
    /// The address of the caller.
    address: IpAddr,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    /// The request with its body, which is read only if the URL is that of a webhook.
    request: Request,
}

impl<S: Send + Sync> FromRequest<S> for Call {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Call, Infallible> {
        let address = caller_address(&request);
        let (method, uri, headers) = (request.method().clone(), request.uri().clone(), request.headers().clone());
        Ok(Call { address, method, uri, headers, request })
    }
}

/// Handles a call of a webhook, and records what it has led to. Calls that are no deliveries are not recorded.
pub(crate) async fn call(
    State(app): State<Arc<App>>,
    Path((name, token)): Path<(String, String)>,
    call: Call,
) -> ApiResult {
    let mut delivery = None;
    let answer = answer(&app, &name, &token, call, &mut delivery).await;
    if let Some((trigger, outcome)) = delivery {
        let outcome = match &answer {
            Err(refused) if outcome == DeliveryOutcome::Skipped => {
                let (status, reason) = refused.said();
                DeliveryOutcome::Refused { status, reason: app.runtime.redactor().redact(reason).into_owned() }
            }
            _ => outcome,
        };
        app.dispatcher.delivered(&name, trigger, outcome);
    }
    answer
}

/// Answers a call. Once it is known to be a delivery, `delivery` is the kind of the trigger and what has happened so far.
async fn answer(
    app: &Arc<App>,
    name: &str,
    token: &str,
    call: Call,
    delivery: &mut Option<(&'static str, DeliveryOutcome)>,
) -> ApiResult {
    let (saved, flow) = flow_at(app, name, token, call.address).await?;
    let Some(webhook) = webhook_of(&flow) else { return Err(no_webhook()) };
    let method = call.method.clone();
    match &method {
        &Method::OPTIONS => return Ok(preflight(&call.headers)),
        // Some senders look for the URL with a request that means nothing else.
        &Method::HEAD => return Ok(StatusCode::OK.into_response()),
        method if !webhook.methods.iter().any(|one| one.as_str() == method.as_str()) => {
            return Ok(other_method(webhook));
        }
        _ => {}
    }
    let trigger = flow.trigger().map_or("webhook", Trigger::kind);
    *delivery = Some((trigger, DeliveryOutcome::Skipped));
    let Delivery { mut input, keys, memory } = receive(app, name, webhook, call).await?;
    if let Some(Trigger::Event(event)) = flow.trigger() {
        match event_input(app, (&saved, &flow), event, input).await? {
            Some(of_event) => input = of_event,
            None => {
                let body = json!({ "skipped": "the filter of the flow leaves this event out" });
                return Ok(response_json(StatusCode::ACCEPTED, &body));
            }
        }
    }
    if let (Some(members), Some(trigger)) = (input.as_object_mut(), flow.trigger()) {
        members.retain(|name, _| !trigger.may_omit(name) || flow.input_may_have(name));
    }
    let (answer, patience, keep) = (webhook.answer, webhook.patience, webhook.remembers_all());
    let event = TriggerEvent { flow: name.to_owned(), keys, keep, ..TriggerEvent::default() };
    let started = detached(start(app.dispatcher.clone(), (saved, flow), (event, answer), input)).await;
    // The run has an account of its own.
    drop(memory);
    let (run, is_repeated) = match started.map_err(|error| for_sender(name, error))? {
        StartOutcome::Run(run) => (run, false),
        StartOutcome::Duplicate(run) => (run, true),
        StartOutcome::Skipped => {
            let body = json!({ "skipped": "a run of this flow is active" });
            return Ok(response_json(StatusCode::ACCEPTED, &body));
        }
    };
    let outcome = match is_repeated {
        true => DeliveryOutcome::Duplicate { run: run.clone() },
        false => DeliveryOutcome::Started { run: run.clone() },
    };
    *delivery = Some((trigger, outcome));
    // The run of an earlier delivery may have been removed since.
    let is_gone = is_repeated
        && app.runtime.journal().wait_stored(&run).await.is_err_and(|error| error.kind() == ErrorKind::NotFound);
    if answer != WebhookResponseMode::Run && !is_gone {
        tokio::select! {
            result = wait_for_end(app, &run) => {
                let ended = result.map_err(|error| for_sender(name, error))?;
                return match answer {
                    WebhookResponseMode::Response => response_of(app, name, &ended),
                    _ => Ok(response_json(StatusCode::OK, &app.runtime.redactor().redact_json(&result_body(&ended)))),
                };
            }
            () = app.closing.cancelled() => {}
            () = tokio::time::sleep(patience) => {}
        }
        // The run continues, and its id is returned: from now on it has to be on disk.
        app.runtime.journal().wait_stored(&run).await.map_err(|error| for_sender(name, error))?;
    }
    let body = if is_repeated { json!({ "run": run, "again": true }) } else { json!({ "run": run }) };
    Ok(response_json(StatusCode::ACCEPTED, &body))
}

/// Starts a run for a delivery, and records that it was started, or that it failed.
async fn start(
    dispatcher: Arc<Dispatcher>,
    (saved, flow): (SavedFlow, Flow),
    (event, answer): (TriggerEvent, WebhookResponseMode),
    input: Value,
) -> Result<StartOutcome> {
    // Only a failure handler needs the input once more.
    let known = if flow.on_failure().is_empty() { json!({}) } else { input.clone() };
    let new = NewRun::of_saved(saved.clone(), flow.clone(), input);
    let cause = match (&event.keys[..], answer) {
        ([], WebhookResponseMode::Run) => Cause::Caller(Flush::Now),
        ([], _) => Cause::Caller(Flush::Later),
        _ => Cause::Trigger(&event),
    };
    let started = dispatcher.dispatch(new, cause).await;
    match &started {
        Ok(StartOutcome::Run(_)) => dispatcher.starts.succeeded(&saved.name, Some(dispatcher.runtime().now())),
        Ok(_) => {}
        Err(error) => dispatcher.start_failed(saved, flow, (known, None), error).await,
    }
    started
}

/// Returns the webhook of a flow: its own, or that which a service calls with the events of its trigger.
fn webhook_of(flow: &Flow) -> Option<&Webhook> {
    match flow.trigger()? {
        Trigger::Webhook(webhook) => Some(webhook),
        Trigger::Event(event) => Some(event.webhook()),
        _ => None,
    }
}

/// Returns the input of a run for an event; nothing if the filter leaves it out. What is not the event that the flow is
/// subscribed to is a failed start.
async fn event_input(
    app: &App,
    (saved, flow): (&SavedFlow, &Flow),
    event: &EventTrigger,
    mut sent: Value,
) -> Result<Option<Value>, ErrorResponse> {
    match app.runtime.event_input(flow, event, sent["body"].take(), sent["delivery"].take()) {
        Ok(input) => Ok(input),
        Err(error) => {
            app.dispatcher.start_failed(saved.clone(), flow.clone(), (json!({}), None), &error).await;
            Err(for_sender(&saved.name, error).into())
        }
    }
}

/// A call whose signature is valid, where one is required.
struct Delivery {
    /// The input of the run.
    input: Value,
    /// The deduplication keys.
    keys: Vec<String>,
    /// The memory of the input.
    memory: HeldMemory,
}

/// Reads a call, checks its signature, and returns its delivery.
async fn receive(app: &App, name: &str, webhook: &Webhook, call: Call) -> Result<Delivery, ErrorResponse> {
    let Call { method, uri, headers, request, .. } = call;
    let body = complete(Bytes::from_request(request, &()).await)?;
    let delivery_header = match &webhook.delivery {
        Some(DeliveryPlace::Header(name)) => request::header(&headers, name)?,
        _ => None,
    };
    let is_signed = |one: &&Signature| !one.unsigned.iter().any(|one| one.as_str() == method.as_str());
    let mut signed_content = None;
    if let Some(signature) = webhook.signature.as_ref().filter(is_signed) {
        let secret = app.runtime.flows().webhook_secret(name).await.map_err(|error| for_sender(name, error))?;
        secret.iter().for_each(|secret| app.runtime.redactor().add(secret));
        let url = format!("{}{}", app.base_url, uri.path_and_query().map_or("", |path| path.as_str()));
        let now = app.runtime.now();
        let signed =
            SignedCall { method: &method, url: &url, headers: &headers, delivery: delivery_header, body: &body, now };
        let secret = secret.as_ref().map(|secret| secret.expose());
        signed_content = Some(signed.check(signature, secret).map_err(signature_error)?);
    }
    let memory = app.memory(delivery::memory(&headers, &body)).await?;
    let content = delivery::content(&headers, &body).await?;
    // A challenge is not a delivery.
    let is_challenge = webhook.signature.is_some() && signed_content.is_none();
    let id = match &webhook.delivery {
        Some(_) if is_challenge && delivery_header.is_none() => None,
        Some(DeliveryPlace::Header(header)) => {
            let missing = || format!("the header {header}, which has the id of the delivery, is missing");
            Some(delivery_header.map(str::to_owned).ok_or_else(|| Error::new(ErrorKind::InvalidInput, missing()))?)
        }
        Some(DeliveryPlace::Member(pointer)) => Some(member_id(&content, pointer)?),
        Some(DeliveryPlace::Body) => Some(HEXLOWER.encode(&Sha256::digest(&body))),
        None => cloud_event(&headers, &content)?,
    };
    if id.as_ref().is_some_and(|id| id.is_empty() || id.len() > MAX_DELIVERY_ID) {
        let message = format!("the id of the delivery is empty, or longer than {MAX_DELIVERY_ID} bytes");
        return Err(Error::new(ErrorKind::InvalidInput, message).into());
    }
    let mut input = json!({
        "method": method.as_str(),
        "query": delivery::query(uri.query().unwrap_or_default())?,
        "headers": delivery::headers(&headers, &webhook.headers),
        "body": null,
        "delivery": id,
    });
    // Not in the macro, which would copy it.
    input["body"] = content;
    // The id of a call that is not signed could be that of a delivery to come.
    let keys = if is_challenge { Vec::new() } else { keys(webhook, id, signed_content.as_deref()) };
    Ok(Delivery { input, keys, memory })
}

/// Returns the deduplication keys of a delivery: its id, and what its signature covers, if that is different in each
/// delivery. An id that is not signed could be replaced by an attacker that repeats a call.
fn keys(webhook: &Webhook, id: Option<String>, signed_content: Option<&[u8]>) -> Vec<String> {
    let signed = signed_content.filter(|_| webhook.signs_identity());
    let signed = signed.map(|signed| format!("signed {}", HEXLOWER.encode(&Sha256::digest(signed))));
    id.into_iter().chain(signed).collect()
}

/// Returns the id of a delivery in its body.
fn member_id(content: &Value, pointer: &str) -> Result<String> {
    match content.pointer(pointer) {
        Some(Value::String(id)) => Ok(id.clone()),
        Some(Value::Number(id)) => Ok(id.to_string()),
        _ => {
            let message =
                format!("the body has no text or number at {pointer}, where the id of the delivery has to be");
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

/// Returns the response for a method that the webhook does not accept.
fn other_method(webhook: &Webhook) -> Response {
    let mut allowed: Vec<_> = webhook.methods.iter().map(|method| method.as_str()).collect();
    allowed.extend(["HEAD", "OPTIONS"]);
    let mut response = StatusCode::METHOD_NOT_ALLOWED.into_response();
    response.headers_mut().extend(allowed.join(", ").parse().ok().map(|allowed| (header::ALLOW, allowed)));
    response
}

/// Returns what a run that has ended responds to the sender. The error of a failed run is shown only by the API, but for a
/// limit: the same call would reach it again.
fn response_of(app: &App, flow: &str, ended: &Run) -> ApiResult {
    let output = match (&ended.output, ended.status) {
        (Some(output), RunStatus::Succeeded | RunStatus::Partial) => output,
        _ => return Err(no_response(ended.error.as_ref()).into()),
    };
    // A service that the run called may have returned what it was sent.
    webhook_response::of_output(&app.runtime.redactor().redact_json(output)).map_err(|error| {
        tracing::error!(flow, run = %ended.id, "a webhook call has no response: {error}");
        error.into()
    })
}

/// Returns the error that the sender gets when a run has ended without a response. What is said of a limit in a step may
/// name what a sender does not know.
fn no_response(error: Option<&Error>) -> Error {
    match error.filter(|error| error.kind() == ErrorKind::Limit) {
        Some(limit) => {
            let reason = if limit.step().is_none() { limit.message() } else { "a step has reached a limit" };
            Error::new(ErrorKind::Limit, format!("the run has no response: {reason}"))
                .hint("send a smaller call; the operator of this server sees the error of the run")
        }
        None => Error::new(ErrorKind::Internal, "the run has no response").hint("send the call again later"),
    }
}

/// Returns the error that the sender gets when no run is started. Errors that the sender can act on stay; others are
/// logged and become the advice to send the call again.
fn for_sender(flow: &str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::Limit | ErrorKind::RateLimited | ErrorKind::Unavailable => error,
        ErrorKind::Store if error.retryable() != Retry::Never => {
            tracing::warn!(flow, "a webhook call starts no run: {error:?}");
            let error = Error::new(ErrorKind::Store, "no run can be started now: the store of this server fails");
            error.retry(Retry::Backoff).hint("send the call again when /health reports ok")
        }
        _ => {
            tracing::error!(flow, "a webhook call starts no run: {error:?}");
            Error::new(ErrorKind::Unavailable, "no run can be started now").hint("send the call again later")
        }
    }
}

/// Answers the validation request that a sender of CloudEvents makes before it delivers events ("HTTP 1.1 Web Hooks for
/// Event Delivery", section 4).
fn preflight(headers: &HeaderMap) -> Response {
    let mut response = StatusCode::OK.into_response();
    let origin = headers.get("webhook-request-origin").cloned();
    response.headers_mut().extend(origin.map(|origin| (HeaderName::from_static("webhook-allowed-origin"), origin)));
    response.headers_mut().insert("webhook-allowed-rate", HeaderValue::from_static("*"));
    response
}

/// Returns the active flow whose webhook has this URL.
async fn flow_at(app: &App, name: &str, token: &str, caller: IpAddr) -> Result<(SavedFlow, Flow), ErrorResponse> {
    let found = match app.runtime.saved_flow(name).await {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        found => Some(found.map_err(|error| for_sender(name, error))?),
    };
    let has_token = |one: &SavedFlow| one.token_hash.as_deref().is_some_and(|known| known.ct_eq(&hash(token)).into());
    let Some((saved, flow)) = found.filter(|(saved, _)| has_token(saved)) else {
        app.brake.count(caller)?;
        return Err(no_webhook());
    };
    let is_open = saved.active && webhook_of(&flow).is_some();
    if is_open { Ok((saved, flow)) } else { Err(no_webhook()) }
}

/// Returns the same error for a wrong flow, a wrong token and an inactive flow, so that a caller cannot find out which
/// flows exist.
fn no_webhook() -> ErrorResponse {
    Error::new(ErrorKind::NotFound, "there is nothing at this URL").into()
}

/// Waits until a run has ended, and returns it.
async fn wait_for_end(app: &App, run: &RunId) -> Result<Arc<Run>> {
    loop {
        if let Some(end) = app.dispatcher.end_of(run)
            && let Ok(ended) = end.await
        {
            return Ok(ended);
        }
        // The run has ended already, was stopped, or belongs to another process.
        let current = app.runtime.engine().run(run).await?;
        if current.status != RunStatus::Running {
            return Ok(Arc::new(current));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Returns what the sender gets of a run that has ended. The error of a failed run is shown only by the API.
fn result_body(run: &Run) -> Value {
    match &run.output {
        Some(output) => json!({ "run": run.id, "status": run.status, "output": output }),
        None => json!({ "run": run.id, "status": run.status }),
    }
}

fn signature_error(reason: &'static str) -> ErrorResponse {
    let error = Error::new(ErrorKind::Auth, format!("the call is rejected: {reason}")).hint(
        "sender and flow have to use the same secret and the same signed content, and their clocks have to agree",
    );
    ErrorResponse::unauthenticated("Signature", error)
}

/// Returns the delivery id of a CloudEvent (version 1.0), or `None` if the call is not one: its source and id, which
/// are unique together. They are members of the body, or headers.
fn cloud_event(headers: &HeaderMap, content: &Value) -> Result<Option<String>> {
    let member = |name: &str| content.get(name).and_then(Value::as_str);
    let known = |version: &str| version == "1.0" || version.starts_with("1.0.");
    let (source, id) = match (
        member("specversion").is_some_and(known),
        request::header(headers, "ce-specversion")?.is_some_and(known),
    ) {
        (true, _) => (member("source"), member("id")),
        (false, true) => (request::header(headers, "ce-source")?, request::header(headers, "ce-id")?),
        _ => return Ok(None),
    };
    match (source, id) {
        (Some(source), Some(id)) if !source.is_empty() && !id.is_empty() => Ok(Some(format!("{source} {id}"))),
        _ => Err(Error::new(ErrorKind::InvalidInput, "a CloudEvent has to have a source and an id")),
    }
}

#[cfg(test)]
mod tests;
