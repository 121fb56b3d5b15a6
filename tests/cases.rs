//! Checks every row of every operation table against cases that were written from the vendor's reference and not from
//! the row: the request for an input, and the output for a response.
//!
//! A case is an element of a file in `fixtures/<connector>/`: `route`, `about`, `input`; `request` with method, path,
//! query, headers and body as they have to arrive (absent: nothing may be sent); `response` with status, headers and
//! body; then either `output`, where the `next` of a page may be `"*"` for any value but null, or the kind of an
//! `error`.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use trunkline as _;
use trunkline_core::{Connected, Connection, Connections, Context, MemoryVault, Registered, Registry, Schema};
use trunkline_tests::project;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

/// Actions that make one call whose body is not JSON: `tests/mediavalet/unpublished.rs` covers them.
const ELSEWHERE: &[&str] = &[
    "GET /directlinks/export",
    "POST /bulk",
    "POST /organizationalunits/current/logo",
    "POST /organizationalunits/{portal}/logo",
];

const TOKEN_PATH: &str = "/login/token";
const SUBSCRIPTION_KEY: &str = "key-of-the-cases";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    route: String,
    about: String,
    #[serde(default)]
    input: Value,
    request: Option<Sent>,
    response: Reply,
    /// `Some(Null)` is an output as well.
    #[serde(default, deserialize_with = "given")]
    output: Option<Value>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    method: String,
    path: String,
    #[serde(default)]
    query: BTreeMap<String, Value>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "given")]
    body: Option<Value>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "given")]
    body: Option<Value>,
}

fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns the path of the connector's default endpoint, such as `/1`. Vendors write it before their paths, rows do
/// not.
fn base(connector: &Registered) -> String {
    let endpoint = &connector.spec().connection["properties"]["endpointUrl"]["default"];
    let (_, rest) = endpoint.as_str().unwrap().split_once("://").unwrap();
    rest.find('/').map_or("", |at| rest[at..].trim_end_matches('/')).to_owned()
}

/// Returns a path without the path of the endpoint.
fn below<'a>(base: &str, path: &'a str) -> &'a str {
    path.strip_prefix(base).filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

/// Returns a route in the form of the rows, from the form of the vendor.
fn normal(base: &str, route: &str) -> String {
    let (method, path) = route.split_once(' ').unwrap();
    format!("{method} {}", below(base, path))
}

/// Login server and API of one connection: sends the response of the case, and records the requests.
#[derive(Clone, Default)]
struct Stage(Arc<State>);

#[derive(Default)]
struct State {
    reply: Mutex<Option<Reply>>,
    seen: Mutex<Vec<Request>>,
    tokens: AtomicUsize,
}

impl Respond for Stage {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        if request.url.path() == TOKEN_PATH {
            let number = self.0.tokens.fetch_add(1, Ordering::SeqCst);
            return ResponseTemplate::new(200).set_body_json(json!({
                "access_token": format!("access-{number}"), "token_type": "Bearer", "expires_in": 3600,
                "refresh_token": format!("refresh-{number}")
            }));
        }
        self.0.seen.lock().unwrap().push(request.clone());
        let Some(reply) = self.0.reply.lock().unwrap().clone() else { return ResponseTemplate::new(500) };
        let mut answer = ResponseTemplate::new(reply.status);
        let kind = reply.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let kind = kind.map_or("application/json", |(_, kind)| kind);
        if let Some(body) = &reply.body {
            let is_json = kind.contains("json");
            answer = answer.set_body_raw(if is_json { body.to_string() } else { text(body) }, kind);
        }
        for (name, value) in &reply.headers {
            answer = answer.insert_header(name.as_str(), value.as_str());
        }
        answer
    }
}

fn connect(registry: &Registry, connector: &Registered, server: &str) -> Connected {
    let mut settings = json!({
        "name": "cases", "allowPrivateNetwork": true, "connector": connector.spec().id(), "endpointUrl": format!("{server}{}", base(connector)),
        "tokenUrl": format!("{server}{TOKEN_PATH}"), "authentication": "oauth2", "clientId": "client",
        "clientSecret": "secret-of-the-client"
    });
    let own = match &*connector.spec().name {
        "mediavalet" => json!({
            "flows": "password", "username": "ann", "password": "right", "subscriptionKey": SUBSCRIPTION_KEY
        }),
        "mediaflow" => json!({ "flows": "refresh_token", "refreshToken": "refresh-of-the-cases" }),
        other => panic!("this suite has no settings for {other}: add them here"),
    };
    settings.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    let connection = Connection::from_value(settings).unwrap();
    registry
        .connect(&connection, Arc::new(MemoryVault::default()), &|_| unreachable!("secrets are literal"))
        .unwrap_or_else(|error| panic!("{}: {error}", connector.spec().name))
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.get(name).and_then(|value| value.to_str().ok())
}

/// Returns a request in the form of a case.
fn arrived(request: &Request, case: &Sent, base: &str) -> Value {
    let mut query: Vec<(String, String)> = request.url.query_pairs().into_owned().collect();
    query.sort();
    let kind = header(request, "content-type").unwrap_or_default();
    let body = match serde_json::from_slice::<Value>(&request.body) {
        _ if request.body.is_empty() => Value::Null,
        Ok(body) if kind.contains("json") => json!([body]),
        _ => json!([String::from_utf8_lossy(&request.body)]),
    };
    let headers: BTreeMap<_, _> = case.headers.keys().map(|name| (name, header(request, name))).collect();
    json!({
        "method": request.method.as_str(), "path": below(base, request.url.path()), "query": query, "headers": headers,
        "body": body
    })
}

fn expected(case: &Sent, base: &str) -> Value {
    let mut query: Vec<_> = case.query.iter().map(|(name, value)| (name, text(value))).collect();
    query.sort();
    json!({
        "method": case.method, "path": below(base, &case.path), "query": query, "headers": case.headers,
        "body": case.body.as_ref().map(|body| [body])
    })
}

/// Plays one case, and returns everything that is wrong.
async fn play(case: &Case, connected: &Connected, action: &str, stage: &Stage, base: &str) -> Vec<String> {
    *stage.0.reply.lock().unwrap() = Some(case.response.clone());
    stage.0.seen.lock().unwrap().clear();
    let cx = Context::new("case", "cases", Connections::default());
    let result = connected.run(action, case.input.clone(), &cx).await;
    let seen = std::mem::take(&mut *stage.0.seen.lock().unwrap());
    let mut wrong = Vec::new();
    match &case.request {
        None if seen.is_empty() => {}
        None => wrong.push(format!("sent {} although nothing was to be sent", seen[0].url)),
        Some(_) if seen.is_empty() => wrong.push("sent nothing".to_owned()),
        Some(request) => {
            let expected = expected(request, base);
            let other = seen.iter().map(|one| arrived(one, request, base)).find(|one| *one != expected);
            wrong.extend(other.map(|other| format!("sent     {other}\n    expected {expected}")));
        }
    }
    for request in &seen {
        let bearer = header(request, "authorization").unwrap_or_default();
        if !bearer.starts_with("Bearer access-") {
            wrong.push(format!("the bearer token is {bearer:?}"));
        }
        let own = (header(request, "ocp-apim-subscription-key"), header(request, "x-mv-api-version"));
        if connected.connector().spec().name == "mediavalet" && own != (Some(SUBSCRIPTION_KEY), Some("1.2")) {
            wrong.push(format!("subscription key and version are {own:?}"));
        }
    }
    match (result, &case.output, &case.error) {
        (Ok(mut output), Some(expected), None) => {
            // The form of the cursor is the client's own.
            if expected.get("next").is_some_and(|next| next == "*")
                && let Some(next) = output.get_mut("next").filter(|next| !next.is_null())
            {
                *next = "*".into();
            }
            if output != *expected {
                wrong.push(format!("returned {output}\n    expected {expected}"));
            }
            let promised = Schema::from(connected.connector().action_spec(action).unwrap().output.clone());
            let broken = promised.check(&output).into_iter().filter(|_| !output.is_null());
            wrong.extend(broken.map(|one| format!("the output does not fit the schema of the row: {one}")));
        }
        (Err(error), None, Some(expected)) if error.kind().as_str() == expected => {}
        (Ok(output), None, Some(expected)) => wrong.push(format!("returned {output}, not the error {expected}")),
        (Err(error), ..) => wrong.push(format!("failed with {}: {error}", error.kind().as_str())),
        (Ok(_), ..) => wrong.push("a case has either an output or an error".to_owned()),
    }
    wrong
}

/// Plays all cases of one file one after the other, on a server and a connection of their own.
async fn play_file(registry: &Registry, connector: &Registered, file: &str, cases: &[Case]) -> Vec<String> {
    let base = base(connector);
    let rows: BTreeMap<_, _> = connector
        .actions()
        .filter_map(|action| Some((normal(&base, action.route.as_deref()?), action.name.clone())))
        .collect();
    let (stage, server) = (Stage::default(), MockServer::start().await);
    Mock::given(any()).respond_with(stage.clone()).mount(&server).await;
    let connected = connect(registry, connector, &server.uri());
    let mut wrong = Vec::new();
    for case in cases {
        let found = match rows.get(&normal(&base, &case.route)) {
            Some(action) => play(case, &connected, action, &stage, &base).await,
            None => vec!["no row has this route".to_owned()],
        };
        wrong.extend(found.into_iter().map(|what| format!("{file}: {} ({})\n    {what}", case.route, case.about)));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_sends_and_returns_what_the_reference_says() {
    let registry = Registry::discover().unwrap();
    let mut wrong = Vec::new();
    for connector in registry.connectors() {
        let name = &connector.spec().name;
        if !project().join("connectors").join(name).join("operations/upstream.txt").exists() {
            continue;
        }
        let folder = project().join("tests/fixtures").join(name);
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let file = format!("{name}/{}", path.file_name().unwrap().to_string_lossy());
            match serde_json::from_str::<Vec<Case>>(&fs::read_to_string(&path).unwrap()) {
                Ok(cases) => drop(files.insert(file, cases)),
                Err(error) => wrong.push(format!("{file}: {error}")),
            }
        }
        let base = base(connector);
        let tried: BTreeSet<_> = files.values().flatten().map(|case| normal(&base, &case.route)).collect();
        let rows = connector.actions().filter_map(|action| action.route.as_deref());
        let rows: Vec<_> = rows.filter(|route| !ELSEWHERE.contains(route)).collect();
        let untried = rows.iter().filter(|route| !tried.contains(&normal(&base, route)));
        wrong.extend(untried.map(|route| format!("{name}: {route} has no case")));
        println!("{name}: {} cases for {} rows", files.values().map(Vec::len).sum::<usize>(), rows.len());
        let plays = files.iter().map(|(file, cases)| play_file(&registry, connector, file, cases));
        wrong.extend(join_all(plays).await.into_iter().flatten());
    }
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}
