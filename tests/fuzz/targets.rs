//! The targets: what each reader promises for every input.

use std::{
    fmt::Write as _,
    sync::{Arc, LazyLock},
    time::Duration,
};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use trunkline_core::{
    Connection, ConnectionHost, Diagnostic, Registry, RepeatedMember, Schema, Secret, Timestamp, read_json,
};
use trunkline_flow::{Flow, Scope, Signature, StepKind, Trigger};
use trunkline_rest::{
    Method, Table,
    fuzz::{HeaderReadings, body_text},
};
use trunkline_server::fuzz::FuzzedDelivery;
use trunkline_store::MemoryStore;

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::discover().unwrap());
static HOST: LazyLock<ConnectionHost> = LazyLock::new(|| ConnectionHost::new(Arc::new(MemoryStore::default())));

/// Findings have a message, and a place in the text.
fn are_located(found: &[Diagnostic], text: &str) {
    let lines = text.split('\n').count() + 1;
    for one in found {
        assert!(!one.message.is_empty(), "{one:?}");
        let place = one.place.as_ref().unwrap_or_else(|| panic!("no place: {one:?}"));
        assert!((1..=lines).contains(&place.line), "{place:?} in a text of {lines} lines");
    }
}

/// A flow, in JSON or YAML: what is read is the same after it was written and read again.
pub(crate) fn flow(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let flow = match Flow::parse("-", &text) {
        Ok(flow) => flow,
        Err(found) => {
            assert!(!found.is_empty());
            return are_located(&found, &text);
        }
    };
    are_located(&Flow::locate("-", &text, flow.check(&REGISTRY)), &text);
    let written = serde_json::to_string_pretty(flow.document()).unwrap();
    let again = Flow::parse("flow.json", &written).unwrap_or_else(|found| panic!("{found:?}\n{written}"));
    assert_eq!((again.document(), again.version()), (flow.document(), flow.version()));
}

/// An expression, evaluated on values of all types: the result is the same each time, of limited size, and JSON.
pub(crate) fn expression(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let document = json!({ "name": "x", "steps": [{ "id": "a", "set": { "value": text } }] });
    let Ok(flow) = Flow::from_value(document) else { return };
    let _ = flow.check(&REGISTRY);
    let StepKind::Set(template) = &flow.steps()[0].kind else { panic!("a step that sets values") };
    let values = json!({
        "text": "Ada's \u{1f4a9} {{ x }}", "number": 7, "float": -0.5, "large": u64::MAX, "none": null, "flag": true,
        "list": [3, "b", null, { "name": "c", "size": 4 }], "date": "2026-03-29T01:30:00Z",
        "nested": { "a": { "b": [[]] } }
    });
    let scope = Scope::new(&values, "run1", &json!({ "table": { "a": "b" } })).with("item", &values["list"][3]);
    scope.set_step(&"found".into(), &json!({ "items": values["list"], "next": null }));
    let (one, two) = (template.render(&scope), template.render(&scope));
    match (one, two) {
        (Ok(one), Ok(two)) => {
            let written = one.to_string();
            assert!(written.len() <= 8 << 20, "a result of {} bytes", written.len());
            assert_eq!(one, two);
            assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), one);
        }
        (one, two) => assert_eq!(one.unwrap_err().message(), two.unwrap_err().message()),
    }
}

/// A table of operations of a connector without code: what is accepted has sound schemas, and is the same when it is
/// read again.
pub(crate) fn row(input: &[u8]) {
    let text = String::from_utf8_lossy(input).into_owned();
    let parse = || Table::parse("fuzz", &[("fuzz.toml".to_owned(), text.clone())]);
    let table = match parse() {
        Ok(table) => table,
        Err(found) => {
            assert!(!found.is_empty());
            return are_located(&found, &text);
        }
    };
    let rows = |table: &Table| -> Vec<Value> {
        table.operations().map(|row| json!([row.spec(), row.route(), row.effect(), row.lists()])).collect()
    };
    assert_eq!(rows(&table), rows(&parse().unwrap()));
    for row in table.operations() {
        for schema in [&row.spec().input, &row.spec().output] {
            assert_eq!(Schema::from(schema.clone()).fault(), None, "{}: {schema}", row.name());
        }
    }
    assert!(table.actions().is_ok());
}

/// The settings of a connection: no finding has a secret in it, and what is accepted is accepted again.
pub(crate) fn connection(input: &[u8]) {
    let Ok(document) = read_json(input, RepeatedMember::Refused) else { return };
    let Ok(connection) = Connection::from_value(document.clone()) else { return };
    let found = REGISTRY.check_settings(&connection, &HOST);
    let registered = REGISTRY.connector(connection.connector_name()).ok();
    let secrets = registered.map(|one| one.secrets(&connection.document())).unwrap_or_default();
    let form = registered.map(|one| one.settings().value().to_string()).unwrap_or_default();
    let (written, mut shown) = (document.to_string(), format!("{connection:?}"));
    found.iter().for_each(|one| write!(shown, "{one} {one:?} {:?}", one.advice()).unwrap());
    for secret in secrets.iter().map(Secret::expose) {
        // A short text, or one that is elsewhere in the document or in the form, proves nothing.
        let is_telling = secret.len() >= 8 && written.matches(secret).count() == 1 && !form.contains(secret);
        assert!(!is_telling || !shown.contains(secret), "a finding has a secret in it: {shown}");
    }
    if found.is_empty() {
        let again = Connection::from_value(connection.document()).unwrap();
        assert_eq!(again.document(), connection.document());
        assert_eq!(REGISTRY.check_settings(&again, &HOST), []);
    }
}

/// A call in the form of HTTP: a first line, headers, an empty line, a body. Headers that HTTP does not allow are left
/// out.
struct Message<'a> {
    first: Vec<&'a str>,
    headers: HeaderMap,
    body: &'a [u8],
}

impl Message<'_> {
    fn read(input: &[u8]) -> Message<'_> {
        let split = input.windows(2).position(|pair| pair == b"\n\n").unwrap_or(input.len());
        let (head, body) = (&input[..split], input.get(split + 2..).unwrap_or_default());
        let mut lines = head.split(|byte| *byte == b'\n');
        let first = str::from_utf8(lines.next().unwrap_or_default()).unwrap_or_default().split(' ').collect();
        let mut headers = HeaderMap::new();
        for line in lines {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), value) {
                // Beyond these limits, a server refuses a request and a client a response.
                if headers.len() < 100 {
                    headers.append(name, value);
                }
            }
        }
        Message { first, headers, body }
    }
}

/// The senders of webhooks whose signatures are known, and settings that use all places of a signature.
pub(crate) static SIGNATURES: LazyLock<Vec<(String, Signature)>> = LazyLock::new(|| {
    let place = "/properties/trigger/properties/webhook/properties/signature/properties/sender/enum";
    let senders = Flow::schema().pointer(place).cloned().unwrap_or_default();
    // Null is among them, since the member is optional.
    let senders: Vec<Option<String>> = serde_json::from_value(senders).unwrap_or_default();
    let senders: Vec<_> = senders.into_iter().flatten().collect();
    let own = json!({ "header": ["X-Signature", "X-Second"], "prefix": "v1=", "encoding": "base64", "separator": ",",
        "signed": "{method} {url} {header:x-a} {delivery}.{timestamp}.{body}{", "timestamp": "t=",
        "algorithm": "sha512" });
    let settings = senders.into_iter().map(|sender| (sender.clone(), json!({ "sender": sender })));
    let settings = settings.chain([("own".to_owned(), own)]);
    let read = |(name, signature): (String, Value)| {
        let trigger = json!({ "webhook": { "delivery": "X-Delivery", "signature": signature } });
        let flow = Flow::from_value(json!({ "name": "x", "trigger": trigger, "steps": [] })).ok()?;
        let Some(Trigger::Webhook(webhook)) = flow.trigger() else { return None };
        Some((name, webhook.signature.clone()?))
    };
    settings.filter_map(read).collect()
});

/// A secret that no input of the corpus was signed with. It is a text, hexadecimal and Base64 at once.
const SECRET: &str = "6b1f0c9de2a84f7310c5d2b9e8a7461f6b1f0c9de2a84f7310c5d2b9e8a7461f";

/// A delivery of a webhook: without the secret, no signature of any sender is valid, and a body is read the same way
/// each time.
pub(crate) fn webhook(input: &[u8]) {
    delivery(input, SECRET);
}

pub(crate) fn delivery(input: &[u8], secret: &str) {
    let message = Message::read(input);
    let method = message.first[0].parse().unwrap_or(Method::POST);
    let url = format!("https://host.example{}", message.first.get(1).unwrap_or(&"/"));
    let call = FuzzedDelivery { method, url, headers: message.headers, body: message.body.to_vec() };
    let sender = message.first.get(2).copied().unwrap_or_default();
    // The sender that the input names, else all of them.
    let named = SIGNATURES.iter().any(|(name, _)| name == sender);
    for (name, signature) in SIGNATURES.iter().filter(|(name, _)| !named || name == sender) {
        let result = call.check(signature, "x-delivery", secret, Timestamp::now());
        assert!(result.is_err(), "a forged signature of {name} is valid");
    }
    let content = || futures::executor::block_on(call.content());
    let values = content();
    assert_eq!(values, content());
    let size = values.iter().map(|value| value.to_string().len()).sum::<usize>();
    assert!(size <= 12 * (input.len() + 1_000), "{size} bytes of JSON for {} bytes", input.len());
}

/// Headers of a response: what is found in them is found again when it is written in the plainest form.
pub(crate) fn headers(input: &[u8]) {
    let Message { headers, body, .. } = Message::read(input);
    let found = HeaderReadings::of(&headers);
    assert_eq!(found, HeaderReadings::of(&headers));
    if let Ok(text) = body_text(&headers, body) {
        assert!(text.len() <= 4 * body.len() + 4, "{} bytes of text for {} bytes", text.len(), body.len());
    }
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut plain: Vec<(&str, String)> = Vec::new();
    let waits = found.retry_after;
    if let Some(wait) = waits {
        let milliseconds = wait.as_millis();
        assert!(milliseconds <= 400 * 86_400_000, "a wait of {wait:?}");
        plain.push(("retry-after-ms", milliseconds.to_string()));
    }
    let next = found.next_page.clone().ok().flatten();
    plain.extend(next.as_ref().map(|url| ("link", format!("<{url}>; rel=\"next\""))));
    if let Some([code, description, scope]) = &found.challenge {
        let members = [("error", code), ("error_description", description), ("scope", scope)];
        let members = members.iter().filter_map(|(name, value)| Some(format!("{name}={}", quoted(value.as_ref()?))));
        plain.push(("www-authenticate", format!("Bearer {}", members.collect::<Vec<_>>().join(", "))));
    }
    if let Some(name) = &found.file_name {
        assert!(!name.is_empty() && !name.contains(['/', '\\', '\0']) && name.len() <= 255, "{name:?}");
        let name = percent_encode(name.as_bytes(), NON_ALPHANUMERIC);
        plain.push(("content-disposition", format!("attachment; filename*=UTF-8''{name}")));
    }
    let (media_type, charset) = &found.content_type;
    let charset_text = charset.as_ref().map(|charset| format!(";charset={}", quoted(charset)));
    plain.push(("content-type", format!("{media_type}{}", charset_text.unwrap_or_default())));
    plain.extend(found.content_range.and_then(|range| match range {
        (Some(first), size) => Some(("content-range", {
            let last = size.map_or(first, |size| size.saturating_sub(1).max(first));
            format!("bytes {first}-{last}/{}", size.map_or("*".to_owned(), |size| size.to_string()))
        })),
        (None, Some(size)) => Some(("content-range", format!("bytes */{size}"))),
        (None, None) => None,
    }));
    let mut again = HeaderMap::new();
    for (name, text) in &plain {
        // A decoded name or text may have characters that a header cannot carry; they are not compared.
        let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) else { return };
        again.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    let again = HeaderReadings::of(&again);
    // The wait is written in whole milliseconds.
    let retry_after = found.retry_after.map(|wait| Duration::from_millis(wait.as_millis() as u64));
    let expected = HeaderReadings { next_page: Ok(next), retry_after, ..found };
    assert_eq!(again, expected, "written as {plain:?}");
}
