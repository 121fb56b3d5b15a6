//! The same behaviours over every action of every connector, found through the registry: a new connector is in by being
//! linked. The service is a socket that answers whatever the behaviour calls for; what an action does about it follows from
//! its effect alone.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use trunkline as _;
use trunkline_core::{
    ActionSpec, Connected, Connection, Connections, Context, Effect, Error, ErrorKind, MemoryVault, Registry, Result,
};

/// What the service answers to everything but a request for a token.
type Reply = Arc<Mutex<Vec<u8>>>;

/// Secrets of the connections below; none of them may ever be seen.
const CANARIES: [&str; 4] =
    ["canary-client-secret", "canary-refresh-token", "canary-password", "canary-subscription-key"];
const TOKEN: &str = "canary-access-token";

/// A service that gives tokens, and one answer to all else.
struct Service {
    address: String,
    reply: Reply,
    requests: Arc<AtomicUsize>,
}

impl Service {
    async fn start(reply: Vec<u8>) -> Service {
        let reply = Arc::new(Mutex::new(reply));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let (answers, counted) = (reply.clone(), requests.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, answers.clone(), counted.clone()));
            }
        });
        Service { address, reply, requests }
    }
}

async fn serve(mut socket: TcpStream, reply: Reply, requests: Arc<AtomicUsize>) -> std::io::Result<()> {
    let mut seen = Vec::new();
    let head = loop {
        let mut part = [0; 4096];
        match socket.read(&mut part).await? {
            0 => return Ok(()),
            read => seen.extend_from_slice(&part[..read]),
        }
        if let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            break String::from_utf8_lossy(&seen[..end + 4]).to_lowercase();
        }
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let mut missing = length.unwrap_or_default().saturating_sub(seen.len() - head.len());
    while missing > 0 {
        let mut part = vec![0; missing.min(65_536)];
        match socket.read(&mut part).await? {
            0 => return Ok(()),
            read => missing -= read,
        }
    }
    let answer = if head.starts_with("post /token") {
        answer(200, "", &json!({ "access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600 }).to_string())
    } else {
        requests.fetch_add(1, Ordering::SeqCst);
        reply.lock().unwrap().clone()
    };
    socket.write_all(&answer).await?;
    socket.shutdown().await
}

fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
        .into_bytes()
}

/// A connection whose settings satisfy the connector's own schema, with the service in place of all addresses.
fn connect(registry: &Registry, connector: &str, address: &str) -> Connected {
    let spec = registry.connector(connector).unwrap().spec();
    let mut document =
        Map::from_iter([("name".to_owned(), json!("canary")), ("connector".to_owned(), json!(spec.id()))]);
    let flow = spec.connection["oneOf"].as_array().into_iter().flatten().find(|branch| {
        branch.pointer("/properties/refreshToken").is_some() || branch.pointer("/properties/flows").is_none()
    });
    for schema in [Some(&spec.connection), flow].into_iter().flatten() {
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (name, property) in
            properties.filter(|(name, _)| !["name", "connector", "redirectUri"].contains(&name.as_str()))
        {
            let value = match name.as_str() {
                "allowPrivateNetwork" => json!(true),
                "tokenUrl" => json!(format!("{address}/token")),
                url if url.ends_with("Url") => json!(address),
                _ if property.get("writeOnly").is_some() => json!(format!("canary-{}", kebab(name))),
                _ => property
                    .get("const")
                    .or(property.pointer("/oneOf/0/const"))
                    .cloned()
                    .unwrap_or_else(|| sample(property)),
            };
            document.insert(name.clone(), value);
        }
    }
    let connection = Connection::from_value(document.into()).unwrap();
    let faults = registry.check(&connection);
    assert!(faults.is_empty(), "{faults:#?}");
    registry
        .connect(&connection, Arc::new(MemoryVault::default()), &|_| unreachable!("all secrets are literal"))
        .unwrap()
}

fn kebab(name: &str) -> String {
    name.chars().map(|c| if c.is_uppercase() { format!("-{}", c.to_lowercase()) } else { c.to_string() }).collect()
}

/// A value the schema allows.
fn sample(schema: &Value) -> Value {
    for key in ["const", "default"] {
        if let Some(value) = schema.get(key).filter(|value| !value.is_null()) {
            return value.clone();
        }
    }
    for key in ["enum", "examples"] {
        if let Some(value) = schema.get(key).and_then(|all| all.get(0)) {
            return value.clone();
        }
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(branch) = schema.get(key).and_then(|all| all.get(0)) {
            return sample(branch);
        }
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"].get(0)?.as_str());
    match (kind, schema["format"].as_str()) {
        (Some("string"), Some("uuid")) => json!("6f9619ff-8b86-4011-b42d-00cf4fc964ff"),
        (Some("string"), Some("date-time")) => json!("2026-01-31T12:00:00Z"),
        (Some("string"), Some("date")) => json!("2026-01-31"),
        (Some("string"), Some("uri")) => json!("https://example.com/x"),
        (Some("string"), Some("email")) => json!("someone@example.com"),
        (Some("string"), _) if schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("0-9a-f")) => {
            json!("6f9619ff-8b86-4011-b42d-00cf4fc964ff")
        }
        (Some("string"), _) => json!("sample"),
        (Some("integer" | "number"), _) => schema.get("minimum").cloned().unwrap_or(json!(1)),
        (Some("boolean"), _) => json!(true),
        (Some("array"), _) => match schema["minItems"].as_u64() {
            Some(least) if least > 0 => json!([sample(&schema["items"])]),
            _ => json!([]),
        },
        (Some("object"), _) => input(schema),
        (Some("null"), _) => Value::Null,
        _ => json!("sample"),
    }
}

/// An input with what is required and nothing else.
fn input(schema: &Value) -> Value {
    let required: BTreeSet<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let needed = properties.filter(|(name, _)| required.contains(name.as_str()));
    needed.map(|(name, property)| (name.clone(), sample(property))).collect::<Map<_, _>>().into()
}

fn registry() -> Registry {
    Registry::discover().unwrap()
}

fn every_action(registry: &Registry) -> Vec<(String, ActionSpec)> {
    let of = |one: &trunkline_core::Registered| {
        let name = one.spec().name.clone();
        one.actions().map(move |spec| (name.clone(), spec.clone())).collect::<Vec<_>>()
    };
    registry.connectors().flat_map(of).collect()
}

/// How an action ended when the service always gave the same answer, and how often it was asked.
struct Ended<'a> {
    action: &'a str,
    spec: &'a ActionSpec,
    result: Result<Value>,
    requests: usize,
}

impl Ended<'_> {
    /// The failure has one of these kinds.
    #[track_caller]
    fn failed(&self, allowed: &[ErrorKind]) {
        match &self.result {
            Err(error) if allowed.contains(&error.kind()) => assert!(!error.message().is_empty(), "{}", self.action),
            other => {
                panic!("{} ({:?}) ended with {other:?}, not with one of {allowed:?}", self.action, self.spec.effect)
            }
        }
    }

    /// The service was asked this often.
    #[track_caller]
    fn asked(&self, times: std::ops::RangeInclusive<usize>, why: &str) {
        assert!(times.contains(&self.requests), "{} asked {} times: {why}", self.action, self.requests);
    }
}

/// An answer that a service may give, and what an action has to make of it.
struct Behaviour {
    name: &'static str,
    reply: Vec<u8>,
    judge: fn(&Ended<'_>),
}

fn refusal(status: u16, judge: fn(&Ended<'_>)) -> Behaviour {
    Behaviour { name: "a refusal", reply: answer(status, "", "{\"message\":\"no\"}"), judge }
}

/// Whether the call took effect cannot be told from the answer.
fn unclear(name: &'static str, reply: Vec<u8>) -> Behaviour {
    let judge = |ended: &Ended<'_>| {
        if ended.spec.effect == Effect::Create {
            ended.failed(&[ErrorKind::UnknownOutcome]);
            ended.asked(1..=1, "it must never be repeated blindly");
        } else {
            ended.failed(&[ErrorKind::Unavailable]);
            ended.asked(2..=9, "it can be repeated");
        }
    };
    Behaviour { name, reply, judge }
}

/// What comes back is not what a service of this kind says.
fn no_answer(name: &'static str, reply: Vec<u8>) -> Behaviour {
    let judge = |ended: &Ended<'_>| {
        let kinds = [ErrorKind::Unexpected, ErrorKind::UnknownOutcome, ErrorKind::Config, ErrorKind::Unavailable];
        ended.failed(&kinds);
    };
    Behaviour { name, reply, judge }
}

fn behaviours() -> Vec<Behaviour> {
    let page = "<html><body>Sign in to the hotel's network</body></html>";
    let html = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
        page.len()
    );
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{\"a\":";
    vec![
        refusal(400, |ended| {
            ended.failed(&[ErrorKind::InvalidInput]);
            ended.asked(1..=1, "a refusal is final");
        }),
        refusal(403, |ended| {
            ended.failed(&[ErrorKind::Permission]);
            ended.asked(1..=1, "a refusal is final");
        }),
        refusal(404, |ended| {
            ended.failed(&[ErrorKind::NotFound]);
            ended.asked(1..=1, "a refusal is final");
        }),
        refusal(409, |ended| {
            ended.failed(&[ErrorKind::Conflict]);
            ended.asked(1..=1, "a refusal is final");
        }),
        unclear("a lost answer", Vec::new()),
        unclear("a failure of the service", answer(500, "", "{\"message\":\"boom\"}")),
        unclear("an answer cut short", cut.into()),
        no_answer("another page", html.into()),
        no_answer("broken JSON", answer(200, "", "{\"payload\": [1, 2,")),
        no_answer("a redirect", answer(302, "location: http://127.0.0.1:9/elsewhere\r\n", "")),
        Behaviour {
            name: "a throttle",
            reply: answer(429, "retry-after: 0\r\n", "{}"),
            judge: |ended| {
                ended.failed(&[ErrorKind::RateLimited]);
                ended.asked(2..=9, "a refused call was not carried out and is tried again");
            },
        },
        // Last: it may cost the connection its token.
        refusal(401, |ended| {
            ended.failed(&[ErrorKind::Auth]);
            ended.asked(1..=2, "one other token is worth a try, no more");
        }),
    ]
}

fn shows_no_secret(error: &Error) {
    let told = format!("{error} {error:?} {}", serde_json::to_string(error).unwrap());
    for canary in CANARIES.iter().chain([&TOKEN]) {
        assert!(!told.contains(canary), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_copes_with_every_answer_as_its_effect_demands() {
    let registry = registry();
    let (registry, behaviours) = (&registry, &behaviours());
    let one = |(connector, spec): (String, ActionSpec)| async move {
        let service = Service::start(Vec::new()).await;
        let connected = connect(registry, &connector, &service.address);
        let connections: Connections = [connected.clone()].into_iter().collect();
        let cx = Context::new("key", "canary", connections).with_timeout(Duration::from_secs(120));
        let action = format!("{connector}.{}", spec.name);
        for Behaviour { name, reply, judge } in behaviours {
            *service.reply.lock().unwrap() = reply.clone();
            service.requests.store(0, Ordering::SeqCst);
            let result = connected.run(&spec.name, input(&spec.input), &cx).await;
            let requests = service.requests.load(Ordering::SeqCst);
            if let Err(error) = &result {
                shows_no_secret(error);
            }
            // A hand-written action may make several calls of different effects, or none: what is in common is that no
            // answer of these is a success.
            match &result {
                Ok(_) if requests == 0 => {}
                Ok(other) => panic!("{action} took {name} for a success: {other}"),
                Err(_) if spec.route.is_none() => {}
                Err(_) => judge(&Ended { action: &format!("{name}: {action}"), spec: &spec, result, requests }),
            }
        }
    };
    let all = every_action(registry);
    let count = all.len();
    stream::iter(all).map(one).buffer_unordered(512).collect::<Vec<_>>().await;
    println!("{count} actions x {} behaviours", behaviours.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_cut_off() {
    // One action of each connector and effect: what bounds a body knows no more of an action than that.
    let registry = registry();
    let mut kinds = BTreeSet::new();
    for (connector, spec) in every_action(&registry) {
        if spec.route.is_none() || !kinds.insert((connector.clone(), format!("{:?}", spec.effect))) {
            continue;
        }
        let service = Service::start(answer(200, "", &format!("\"{}\"", "x".repeat(40 * 1024 * 1024)))).await;
        let connected = connect(&registry, &connector, &service.address);
        let result = connected.run(&spec.name, input(&spec.input), &Context::default()).await;
        let ended = Ended { action: &spec.name, spec: &spec, result, requests: 1 };
        ended.failed(&[ErrorKind::Limit, ErrorKind::Unexpected, ErrorKind::UnknownOutcome]);
    }
    assert!(kinds.len() >= 4, "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_repeats_its_page_ends() {
    let registry = registry();
    let thing = |n: usize| json!({ "id": n, "name": format!("thing {n}") });
    let things: Vec<_> = (0..1000).map(thing).collect();
    let bodies = [
        json!(things),
        json!({ "payload": things }),
        json!({ "payload": { "assets": things } }),
        json!({ "tasks": things }),
    ];
    let mut checked = 0;
    for (connector, spec) in every_action(&registry).into_iter().filter(|(_, spec)| spec.lists) {
        let mut seen = false;
        for body in &bodies {
            let service = Service::start(answer(200, "", &body.to_string())).await;
            let connected = connect(&registry, &connector, &service.address);
            let (mut next, mut pages) = (None, 0);
            let end = loop {
                match connected.page(&spec.name, input(&spec.input), next, &Context::default()).await {
                    Err(error) => break Some(error),
                    // Not the place where this list has its items.
                    Ok(page) if page.items.len() < things.len() || page.next.is_none() => break None,
                    Ok(page) => next = page.next,
                }
                pages += 1;
                assert!(pages < 5, "{connector}.{} goes on for ever", spec.name);
            };
            if pages > 0 {
                let kind = end.map(|error| error.kind());
                assert_eq!(kind, Some(ErrorKind::Unexpected), "{connector}.{} after {pages} pages", spec.name);
                seen = true;
            }
        }
        checked += usize::from(seen);
    }
    assert!(checked > 0);
    println!("{checked} lists");
}

#[test]
fn every_action_is_described_and_its_schemas_are_valid() {
    let registry = registry();
    let mut checked = 0;
    for connector in registry.connectors() {
        jsonschema::meta::validate(&connector.spec().connection).unwrap();
        for spec in connector.actions() {
            let name = format!("{}.{}", connector.spec().name, spec.name);
            let parts: Vec<_> = spec.name.split('.').collect();
            let word = |part: &&str| {
                !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            };
            assert!(parts.len() >= 2 && parts.iter().all(word), "{name} is not named resource.verb");
            assert!(!spec.title.is_empty() && !spec.group.is_empty(), "{name} has no title or no group");
            for schema in [&spec.input, &spec.output] {
                jsonschema::meta::validate(schema).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            assert_eq!(spec.input["additionalProperties"], json!(false), "{name} takes inputs it does not know");
            let sample = input(&spec.input);
            let faults = connector.action_input(&spec.name).unwrap().check(&sample);
            assert!(
                faults.is_empty(),
                "{name}: the sample {sample} does not fit, give the schema examples: {faults:#?}"
            );
            for (input, property) in spec.input["properties"].as_object().into_iter().flatten() {
                assert!(property["title"].is_string(), "{name}: the input {input} has no title");
            }
            checked += 1;
        }
    }
    println!("{checked} actions");
}
