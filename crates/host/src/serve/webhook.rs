//! Calls from outside: who may make them, which delivery they are, and what their senders are told.
//!
//! The address holds a token of which only the hash is kept. Where the flow wants signatures, they are looked at before
//! anything else is, over the bytes as they came; without a secret to hold them against, every call is refused. A delivery
//! with a name starts one run, however often it comes: name and run are on disk together. Whoever hears of a run can rely on
//! it; who waits for the result of a delivery without a name hears of it at the end.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::IntoResponse,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use trunkline_core::{Error, ErrorKind, Result, Retry};
use trunkline_engine::{
    Encoding, Flow, Flush, Run, RunId, RunStatus, Signature, Trigger, TriggerEvent, Webhook, WebhookResponseMode,
};
use trunkline_store::SavedFlow;

use super::{
    App,
    api::{Body, whole},
    auth::hash,
    dispatcher::Started,
    response::{Answer, Refusal, answer},
};
use crate::flows::Cause;

/// How far the time of sending may be off, in seconds.
const WINDOW: u64 = 300;
/// The longest name of a delivery, in bytes.
const MOST_NAME: usize = 512;
/// How often is looked for the end of a run that nobody here works on.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) async fn call(
    State(app): State<Arc<App>>,
    Path((name, token)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (kept, flow) = found(&app, &name, &token).await?;
    let Some(Trigger::Webhook(webhook)) = flow.trigger() else { return Err(nothing()) };
    let body = whole(body)?;
    let name_header = webhook.delivery.as_deref().map(|name| header(&headers, name)).transpose()?.flatten();
    if let Some(signature) = &webhook.signature {
        let secret = app.runtime.store().webhook_secret(&name).await.map_err(|error| of_callers(&name, error))?;
        let now = jiff::Timestamp::now().as_second().unsigned_abs();
        let signed = Signed { headers: &headers, delivery: name_header, body: &body, now };
        signed.check(signature, secret.as_ref().map(|secret| secret.expose().as_bytes())).map_err(unsigned)?;
    }
    let content = content(&headers, &body)?;
    let delivery = match (&webhook.delivery, name_header) {
        (Some(header), None) => {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("the header {header}, which names a delivery, is missing"),
            )
            .into());
        }
        (Some(_), Some(name)) => Some(name.to_owned()),
        (None, _) => cloud_event(&headers, &content)?,
    };
    if delivery.as_ref().is_some_and(|name| name.is_empty() || name.len() > MOST_NAME) {
        let message = format!("a delivery's name is empty, or has more than {MOST_NAME} bytes");
        return Err(Error::new(ErrorKind::InvalidInput, message).into());
    }
    let input = json!({ "headers": chosen(&headers, webhook), "body": content, "delivery": delivery });
    let fired = TriggerEvent { flow: name.clone(), keys: delivery.into_iter().collect(), through: None };
    let cause = match (&fired.keys[..], webhook.answer) {
        ([], WebhookResponseMode::Result) => Cause::Caller(Flush::Later),
        ([], _) => Cause::Caller(Flush::Now),
        _ => Cause::Trigger(&fired),
    };
    let started = app.dispatcher.start(kept, &flow, input, cause).await;
    let (run, again) = match started.map_err(|error| of_callers(&name, error))? {
        Started::Run(run) => (run, false),
        Started::Duplicate(run) => (run, true),
        Started::Skipped => {
            let told = json!({ "skipped": "a run of this flow is at work" });
            return Ok(answer(StatusCode::ACCEPTED, &told));
        }
    };
    if webhook.answer == WebhookResponseMode::Result {
        tokio::select! {
            ended = ended(&app, &run) => {
                let ended = ended.map_err(|error| of_callers(&name, error))?;
                return Ok(answer(StatusCode::OK, &result(&ended)));
            }
            () = app.closing.cancelled() => {}
            () = tokio::time::sleep(webhook.patience()) => {}
        }
        // Now the caller hears of a run that goes on.
        app.runtime.store().wait_stored(&run).await.map_err(|error| of_callers(&name, error))?;
    }
    let told = if again { json!({ "run": run, "again": true }) } else { json!({ "run": run }) };
    Ok(answer(StatusCode::ACCEPTED, &told))
}

/// What callers are told when no run can be started: what they can do something about, and else to come again.
fn of_callers(flow: &str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::RateLimited | ErrorKind::Unavailable => error,
        ErrorKind::Store if error.retryable() != Retry::Never => {
            tracing::warn!(flow, "a call of its webhook starts no run: {error:?}");
            let told = Error::new(ErrorKind::Store, "no run can be started now: the store here fails");
            told.retry(Retry::Backoff).hint("send it again when /health says ok")
        }
        _ => {
            tracing::error!(flow, "a call of its webhook starts no run: {error:?}");
            Error::new(ErrorKind::Unavailable, "no run can be started now").hint("send it again later")
        }
    }
}

/// Tells senders of CloudEvents who ask before they send that they may ("HTTP 1.1 Web Hooks for Event Delivery", section 4).
pub(crate) async fn asked(
    State(app): State<Arc<App>>,
    Path((name, token)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    found(&app, &name, &token).await?;
    let mut told = StatusCode::OK.into_response();
    let origin = headers.get("webhook-request-origin").cloned();
    told.headers_mut().extend(origin.map(|origin| (HeaderName::from_static("webhook-allowed-origin"), origin)));
    told.headers_mut().insert("webhook-allowed-rate", HeaderValue::from_static("*"));
    Ok(told)
}

/// The active flow whose webhook has this address.
async fn found(app: &App, name: &str, token: &str) -> Result<(SavedFlow, Flow), Refusal> {
    let (kept, flow) = match app.runtime.saved_flow(name).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(nothing()),
        found => found.map_err(|error| of_callers(name, error))?,
    };
    let known = kept.token_hash.as_deref().is_some_and(|known| known == hash(token));
    let open = known && kept.active && matches!(flow.trigger(), Some(Trigger::Webhook(_)));
    if open { Ok((kept, flow)) } else { Err(nothing()) }
}

/// Whatever is wrong with the address, the answer is the same: which flows there are is nobody's business.
fn nothing() -> Refusal {
    Error::new(ErrorKind::NotFound, "there is nothing at this address").into()
}

/// A run when it has ended.
async fn ended(app: &App, run: &RunId) -> Result<Arc<Run>> {
    loop {
        if let Some(end) = app.dispatcher.end_of(run)
            && let Ok(ended) = end.await
        {
            return Ok(ended);
        }
        // It had ended before, has come to a stop, or is another process's.
        let now = app.runtime.engine().run(run).await?;
        if now.status != RunStatus::Running {
            return Ok(Arc::new(now));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What the caller may know of a run that has ended. Why it failed is for who has the API's token.
fn result(run: &Run) -> Value {
    match &run.output {
        Some(output) => json!({ "run": run.id, "status": run.status, "output": output }),
        None => json!({ "run": run.id, "status": run.status }),
    }
}

fn unsigned(why: &'static str) -> Refusal {
    let error = Error::new(ErrorKind::Auth, format!("the call is refused: {why}"))
        .hint("sender and flow have to agree on the secret, on what is signed, and on the time");
    Refusal::new(StatusCode::FORBIDDEN, error)
}

/// The one value of a header.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>> {
    let odd = || Error::new(ErrorKind::InvalidInput, format!("the header {name} comes twice, or is no text"));
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| odd()),
        _ => Err(odd()),
    }
}

/// What a signature is held against.
struct Signed<'a> {
    headers: &'a HeaderMap,
    delivery: Option<&'a str>,
    body: &'a [u8],
    now: u64,
}

impl Signed<'_> {
    fn check(&self, signature: &Signature, secret: Option<&[u8]>) -> Result<(), &'static str> {
        let secret = secret.filter(|secret| !secret.is_empty()).ok_or("no secret is kept for this flow")?;
        let one = |name: &str| header(self.headers, name).ok().flatten();
        let timestamp = match &signature.timestamp {
            None => "",
            Some(name) => {
                let sent = one(name).ok_or("the time of sending is missing")?;
                let seconds: u64 = sent.parse().map_err(|_| "the time of sending is not in seconds since 1970")?;
                if seconds.abs_diff(self.now) > WINDOW {
                    return Err("it was sent more than five minutes ago, or ahead");
                }
                sent
            }
        };
        let given = one(&signature.header).ok_or("the signature is missing")?;
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| "the secret cannot be used")?;
        self.message(&signature.signed, timestamp, &mut |part| mac.update(part));
        let fits = |text: &str| {
            let bytes = match signature.encoding {
                Encoding::Hex => unhex(text),
                Encoding::Base64 => BASE64_STANDARD.decode(text).ok(),
            };
            // Compares in a time that says nothing about where the two differ.
            bytes.is_some_and(|bytes| mac.clone().verify_slice(&bytes).is_ok())
        };
        let signatures = given.split_ascii_whitespace().filter_map(|one| one.strip_prefix(&*signature.prefix));
        // A sender whose secret is being changed signs with both.
        if signatures.take(4).any(fits) { Ok(()) } else { Err("the signature does not fit") }
    }

    /// The bytes that are signed, part by part.
    fn message(&self, signed: &str, timestamp: &str, take: &mut dyn FnMut(&[u8])) {
        let mut rest = signed;
        while let Some((before, after)) = rest.split_once('{') {
            take(before.as_bytes());
            rest = match after.split_once('}') {
                Some(("body", after)) => {
                    take(self.body);
                    after
                }
                Some(("timestamp", after)) => {
                    take(timestamp.as_bytes());
                    after
                }
                Some(("delivery", after)) => {
                    take(self.delivery.unwrap_or_default().as_bytes());
                    after
                }
                _ => {
                    take(b"{");
                    after
                }
            };
        }
        take(rest.as_bytes());
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// The body as the flow gets it: JSON where it says so, or where it does not say and is; else text.
fn content(headers: &HeaderMap, body: &[u8]) -> Result<Value> {
    let kind = header(headers, "content-type")?.unwrap_or_default().to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_json = kind == "application/json" || kind.ends_with("+json");
    match (serde_json::from_slice(body), is_json || kind.is_empty()) {
        (Ok(value), true) => return Ok(value),
        (Err(error), true) if is_json => {
            return Err(Error::new(ErrorKind::InvalidInput, "the body says it is JSON, and is not").source(error));
        }
        _ => {}
    }
    let text = std::str::from_utf8(body);
    text.map(Value::from).map_err(|_| Error::new(ErrorKind::InvalidInput, "the body is neither JSON nor text in UTF-8"))
}

/// What names a CloudEvent (1.0): its source and id, which together are never given twice. In its body, or in headers.
fn cloud_event(headers: &HeaderMap, content: &Value) -> Result<Option<String>> {
    let member = |name: &str| content.get(name).and_then(Value::as_str);
    let known = |version: &str| version == "1.0" || version.starts_with("1.0.");
    let (source, id) =
        match (member("specversion").is_some_and(known), header(headers, "ce-specversion")?.is_some_and(known)) {
            (true, _) => (member("source"), member("id")),
            (false, true) => (header(headers, "ce-source")?, header(headers, "ce-id")?),
            _ => return Ok(None),
        };
    match (source, id) {
        (Some(source), Some(id)) if !source.is_empty() && !id.is_empty() => Ok(Some(format!("{source} {id}"))),
        _ => Err(Error::new(ErrorKind::InvalidInput, "a CloudEvent has to have a source and an id")),
    }
}

/// The headers that the flow wants to see, by their names in lower case.
fn chosen(headers: &HeaderMap, webhook: &Webhook) -> Value {
    let mut chosen = Map::new();
    for name in &webhook.headers {
        let found = name.parse::<HeaderName>().ok().and_then(|name| headers.get(name));
        if let Some(value) = found {
            chosen.insert(name.to_lowercase(), String::from_utf8_lossy(value.as_bytes()).into());
        }
    }
    chosen.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(value: Value) -> Signature {
        serde_json::from_value(value).unwrap()
    }

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn check(
        signature: &Signature,
        headers: &HeaderMap,
        body: &str,
        now: u64,
        secret: &str,
    ) -> Result<(), &'static str> {
        let delivery = header(headers, "webhook-id").unwrap();
        Signed { headers, delivery, body: body.as_bytes(), now }.check(signature, Some(secret.as_bytes()))
    }

    /// Examples that others have published.
    #[test]
    fn signatures_are_those_of_the_vendors() {
        // docs.github.com, "Validating webhook deliveries".
        let github = signature(json!({ "header": "X-Hub-Signature-256", "prefix": "sha256=" }));
        let sent = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let sent = headers(&[("x-hub-signature-256", sent)]);
        let secret = "It's a Secret to Everybody";
        assert_eq!(check(&github, &sent, "Hello, World!", 0, secret), Ok(()));
        assert!(check(&github, &sent, "Hello, World?", 0, secret).is_err());
        assert!(check(&github, &sent, "Hello, World!", 0, "it's a secret to everybody").is_err());
        // api.slack.com, "Verifying requests from Slack".
        let slack = signature(json!({
            "header": "X-Slack-Signature", "prefix": "v0=", "timestamp": "X-Slack-Request-Timestamp",
            "signed": "v0:{timestamp}:{body}"
        }));
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=\
                    foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F\
                    hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.\
                    47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let sent = [
            ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
            ("x-slack-request-timestamp", "1531420618"),
        ];
        let secret = "8f742231b10e8888abcd99yyyzzz85a5";
        for (now, good) in
            [(1531420618, true), (1531420918, true), (1531420318, true), (1531420919, false), (1531420317, false)]
        {
            assert_eq!(check(&slack, &headers(&sent), body, now, secret).is_ok(), good, "{now}");
        }
        // A later time of sending does not help: it is signed.
        let again = headers(&[sent[0], ("x-slack-request-timestamp", "1531430618")]);
        assert_eq!(check(&slack, &again, body, 1531430618, secret), Err("the signature does not fit"));
    }

    #[test]
    fn nothing_is_good_without_a_secret_or_a_signature() {
        let plain = signature(json!({ "header": "X-Signature" }));
        let body = "{}";
        let of = |secret: &[u8]| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
            mac.update(body.as_bytes());
            mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let with = |value: &str, secret: Option<&[u8]>| {
            let headers = headers(&[("x-signature", value)]);
            Signed { headers: &headers, delivery: None, body: body.as_bytes(), now: 0 }.check(&plain, secret)
        };
        assert_eq!(with(&of(b"s"), Some(b"s")), Ok(()));
        assert_eq!(with(&format!("{} {}", of(b"old"), of(b"s")), Some(b"s")), Ok(()), "one of several");
        assert!(with(&of(b""), Some(b"")).is_err(), "an empty secret is none");
        assert!(with(&of(b""), None).is_err());
        let good = of(b"s");
        for wrong in ["", "00", "zz", &good[2..], &good[..62], &format!("{good}00"), &good.replace(&good[..1], "g")] {
            assert!(with(wrong, Some(b"s")).is_err(), "{wrong}");
        }
        let none = HeaderMap::new();
        let unsigned = Signed { headers: &none, delivery: None, body: body.as_bytes(), now: 0 };
        assert_eq!(unsigned.check(&plain, Some(b"s")), Err("the signature is missing"));
        let mut twice = headers(&[("x-signature", &good)]);
        twice.append("x-signature", good.parse().unwrap());
        let twice = Signed { headers: &twice, delivery: None, body: body.as_bytes(), now: 0 };
        assert!(twice.check(&plain, Some(b"s")).is_err(), "two headers of that name");
    }

    #[test]
    fn a_cloud_event_names_itself() {
        let event = json!({ "specversion": "1.0", "id": "7", "source": "lib", "type": "Asset.StatusUpdated" });
        let none = HeaderMap::new();
        assert_eq!(cloud_event(&none, &event).unwrap().as_deref(), Some("lib 7"));
        let binary = headers(&[("ce-specversion", "1.0"), ("ce-id", "7"), ("ce-source", "lib")]);
        assert_eq!(cloud_event(&binary, &json!("data")).unwrap().as_deref(), Some("lib 7"));
        for other in [
            json!({ "id": "7", "source": "lib" }),
            json!([event]),
            json!("x"),
            json!({ "specversion": "0.3", "id": "7" }),
        ] {
            assert_eq!(cloud_event(&none, &other).unwrap(), None, "{other}");
        }
        assert!(cloud_event(&none, &json!({ "specversion": "1.0", "id": "7" })).is_err());
        let mediavalet = json!({
            "specversion": "1.0", "id": "e1", "source": "5b1c", "subject": "/library/5b1c/assets/9/Asset.StatusUpdated",
            "type": "Asset.StatusUpdated", "dataschema": "#", "data": { "LibraryId": "5b1c", "AssetId": "9" }
        });
        assert_eq!(cloud_event(&none, &mediavalet).unwrap().as_deref(), Some("5b1c e1"));
    }

    #[test]
    fn a_body_is_json_or_text() {
        let of = |kind: &str, body: &[u8]| {
            let headers = if kind.is_empty() { HeaderMap::new() } else { headers(&[("content-type", kind)]) };
            content(&headers, body)
        };
        let parsed = [
            ("application/json; charset=utf-8", "{\"a\":1}"),
            ("application/cloudevents+json", "{\"a\":1}"),
            ("", "{\"a\":1}"),
        ];
        for (kind, body) in parsed {
            assert_eq!(of(kind, body.as_bytes()).unwrap(), json!({ "a": 1 }), "{kind}");
        }
        assert_eq!(of("text/plain", b"{\"a\":1}").unwrap(), json!("{\"a\":1}"));
        assert_eq!(of("", b"a=1").unwrap(), json!("a=1"));
        assert_eq!(of("", b"").unwrap(), json!(""));
        assert!(of("application/json", b"a=1").is_err() && of("text/plain", &[0xff]).is_err());
    }
}
