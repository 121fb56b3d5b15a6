//! Checks every row of a connector's operation table against cases that were written from the vendor's reference and
//! not from the row: the request for an input, and the output for a response. Also compares the rows with the vendor's
//! list.
//!
//! A case is an element of a JSON file in the connector's `tests/fixtures`: `route`, `about`, `input`; `request` with
//! method, path, query, headers and body as they have to arrive (absent: nothing may be sent); `response` with status,
//! headers and body; then either `output`, where the `next` of a page may be `"*"` for any value but null, or the kind
//! of an `error`.
//!
//! A test of the connector makes a [`Cases`] and compares [`Cases::faults`] and [`Cases::gaps`] with an empty list.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_core::{Connected, Connection, Connections, Context, MemoryVault, Registered, Registry, Schema};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

const TOKEN_PATH: &str = "/login/token";

/// The cases of one connector.
pub struct Cases<'a> {
    /// The registry that has the connector.
    pub registry: &'a Registry,
    /// The connector's name.
    pub connector: &'a str,
    /// The connector's folder, with `operations` and `tests/fixtures`.
    pub folder: &'a Path,
    /// The settings that the connector needs besides the URLs and the client of an OAuth 2 sign-in.
    pub settings: Value,
    /// Headers that every request of the connector carries.
    pub headers: &'a [(&'a str, &'a str)],
    /// Routes that other tests cover, because their bodies are not JSON.
    pub elsewhere: &'a [&'a str],
}

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
    let endpoint = connector.spec().connection["properties"]["endpointUrl"]["default"].as_str();
    let (_, rest) = endpoint.and_then(|url| url.split_once("://")).expect("the connector has a default endpoint");
    rest.find('/').map_or("", |at| rest[at..].trim_end_matches('/')).to_owned()
}

/// Returns a path without the path of the endpoint.
fn below<'a>(base: &str, path: &'a str) -> &'a str {
    path.strip_prefix(base).filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

/// Returns a route in the form of the rows, from the form of the vendor.
fn normal(base: &str, route: &str) -> String {
    let (method, path) = route.split_once(' ').unwrap_or_else(|| panic!("{route:?} is not `METHOD /path`"));
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
        lock(&self.0.seen).push(request.clone());
        let Some(reply) = lock(&self.0.reply).clone() else { return ResponseTemplate::new(500) };
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

impl Stage {
    /// Sets the response to the next requests, and clears the recorded ones.
    fn prepare(&self, reply: &Reply) {
        *lock(&self.0.reply) = Some(reply.clone());
        lock(&self.0.seen).clear();
    }

    fn seen(&self) -> Vec<Request> {
        std::mem::take(&mut *lock(&self.0.seen))
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Cases<'_> {
    /// Returns what is found wrong with two wrong cases: one of the row at `route` expects another method, path and
    /// output, and one has a route without a row. For the sabotage twin of a test of [`Cases::faults`].
    pub async fn faults_of_wrong_cases(&self, route: &str) -> String {
        let wrong = json!([
            { "route": route, "about": "another method and output", "input": {},
               "request": { "method": "PUT", "path": "/elsewhere" },
               "response": { "status": 200, "body": {} }, "output": { "other": true } },
            { "route": "GET /nowhere", "about": "no row", "response": { "status": 200 }, "output": null }
        ]);
        self.faults_in(&[("wrong.json", &wrong.to_string())]).await.join("\n")
    }

    /// Plays all cases, and returns everything that is wrong: a request or an output that differs, and rows without a
    /// case.
    ///
    /// # Panics
    ///
    /// If the fixtures cannot be read, or if the connector does not accept the settings.
    pub async fn faults(&self) -> Vec<String> {
        let files: Vec<_> = fs::read_dir(self.folder.join("tests/fixtures"))
            .expect("the connector has fixtures")
            .map(|entry| entry.expect("the fixtures can be read").path())
            .map(|path| {
                let text = fs::read_to_string(&path).expect("the fixtures can be read");
                (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), text)
            })
            .collect();
        let files: Vec<_> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
        let mut wrong = self.faults_in(&files).await;
        wrong.extend(self.untried(&files));
        wrong
    }

    /// Plays the cases of these files, and returns everything that is wrong. Each file is its name and its text, and
    /// gets a server and a connection of its own.
    async fn faults_in(&self, files: &[(&str, &str)]) -> Vec<String> {
        join_all(files.iter().map(|(file, text)| self.play_file(file, text))).await.concat()
    }

    fn registered(&self) -> &Registered {
        self.registry.connector(self.connector).expect("the registry has the connector")
    }

    /// Returns the rows that no case tries.
    fn untried(&self, files: &[(&str, &str)]) -> Vec<String> {
        let (registered, base) = (self.registered(), base(self.registered()));
        let cases = files.iter().filter_map(|(_, text)| serde_json::from_str::<Vec<Case>>(text).ok()).flatten();
        let tried: BTreeSet<_> = cases.map(|case| normal(&base, &case.route)).collect();
        let rows = registered.actions().filter_map(|action| action.route.as_deref());
        let rows = rows.filter(|route| !self.elsewhere.contains(route));
        let untried = rows.filter(|route| !tried.contains(&normal(&base, route)));
        untried.map(|route| format!("{route} has no case")).collect()
    }

    fn connect(&self, server: &str) -> Connected {
        let spec = self.registered().spec();
        let mut settings = json!({
            "name": "cases", "allowPrivateNetwork": true, "connector": spec.id(),
            "endpointUrl": format!("{server}{}", base(self.registered())), "tokenUrl": format!("{server}{TOKEN_PATH}"),
            "authentication": "oauth2", "clientId": "client", "clientSecret": "secret-of-the-client"
        });
        for (name, value) in self.settings.as_object().into_iter().flatten() {
            settings[name] = value.clone();
        }
        let connection = Connection::from_value(settings).expect("the settings are a connection");
        let vault = Arc::new(MemoryVault::default());
        let connected = self.registry.connect(&connection, vault, &|_| unreachable!("secrets are literal"));
        connected.unwrap_or_else(|error| panic!("{}: {error}", self.connector))
    }

    /// Plays all cases of one file one after the other.
    async fn play_file(&self, file: &str, text: &str) -> Vec<String> {
        let cases: Vec<Case> = match serde_json::from_str(text) {
            Ok(cases) => cases,
            Err(error) => return vec![format!("{file}: {error}")],
        };
        let base = base(self.registered());
        let rows: BTreeMap<_, _> = self
            .registered()
            .actions()
            .filter_map(|action| Some((normal(&base, action.route.as_deref()?), action.name.clone())))
            .collect();
        let (stage, server) = (Stage::default(), MockServer::start().await);
        Mock::given(any()).respond_with(stage.clone()).mount(&server).await;
        let connected = self.connect(&server.uri());
        let mut wrong = Vec::new();
        for case in &cases {
            let found = match rows.get(&normal(&base, &case.route)) {
                Some(action) => self.play(case, &connected, action, &stage).await,
                None => vec!["no row has this route".to_owned()],
            };
            wrong.extend(found.into_iter().map(|what| format!("{file}: {} ({})\n    {what}", case.route, case.about)));
        }
        wrong
    }

    /// Plays one case, and returns everything that is wrong.
    async fn play(&self, case: &Case, connected: &Connected, action: &str, stage: &Stage) -> Vec<String> {
        stage.prepare(&case.response);
        let cx = Context::new("case", "cases", Connections::default());
        let result = connected.run(action, case.input.clone(), &cx).await;
        let seen = stage.seen();
        let mut wrong = Vec::new();
        let base = base(self.registered());
        let spec = self.registered().action_spec(action).expect("the action of the row");
        match &case.request {
            None if seen.is_empty() => {}
            None => wrong.push(format!("sent {} although nothing was to be sent", seen[0].url)),
            Some(_) if seen.is_empty() => wrong.push("sent nothing".to_owned()),
            Some(request) => {
                let expected = expected(request, &base);
                let other = seen.iter().map(|one| arrived(one, request, &base)).find(|one| *one != expected);
                wrong.extend(other.map(|other| format!("sent     {other}\n    expected {expected}")));
            }
        }
        for request in &seen {
            let bearer = header(request, "authorization").unwrap_or_default();
            if !bearer.starts_with("Bearer access-") {
                wrong.push(format!("the bearer token is {bearer:?}"));
            }
            for (name, value) in self.headers.iter().filter(|(name, value)| header(request, name) != Some(value)) {
                wrong.push(format!("the header {name} is {:?}, not {value}", header(request, name)));
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
                let promised = Schema::from(spec.output.clone());
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

    /// Compares the rows with the vendor's list of operations, `operations/upstream.txt`: each operation has a row, or
    /// a reason in `operations/waivers.txt`. `most` is the number of waivers, which may only decrease. Returns
    /// everything that is wrong.
    ///
    /// # Panics
    ///
    /// If there is no list, or if a line of it is not `METHOD /path`.
    pub fn gaps(&self, most: usize) -> Vec<String> {
        let base = base(self.registered());
        let upstream = lines(&self.folder.join("operations/upstream.txt")).expect("the connector has a vendor's list");
        let waivers = lines(&self.folder.join("operations/waivers.txt")).unwrap_or_default();
        let waivers: BTreeMap<_, _> = waivers
            .iter()
            .map(|line| {
                let waiver = line.split_once(": ");
                let (route, reason) = waiver.unwrap_or_else(|| panic!("{line:?} is not `METHOD /path: reason`"));
                (normal(&base, route), reason.to_owned())
            })
            .collect();
        let rows = self.registered().actions().filter_map(|one| Some(normal(&base, one.route.as_deref()?)));
        let mut found = Vec::new();
        if !upstream.is_sorted() || upstream.windows(2).any(|two| two[0] == two[1]) {
            found.push("upstream.txt is not sorted, or has a line twice".to_owned());
        }
        let upstream: Vec<_> = upstream.iter().map(|route| normal(&base, route)).collect();
        found.extend(contradictions(&upstream, &rows.collect(), &waivers));
        if waivers.len() != most {
            let advice = if waivers.len() > most { "write a row instead" } else { "lower the number in the test" };
            found.push(format!("{} waivers, not {most}: {advice}", waivers.len()));
        }
        found
    }
}

/// Returns the lines of a file without comments, or `None` if there is no such file.
fn lines(path: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

/// Returns the contradictions between a vendor's list, the rows and the waivers.
fn contradictions(upstream: &[String], rows: &BTreeSet<String>, waivers: &BTreeMap<String, String>) -> Vec<String> {
    let known: BTreeSet<_> = upstream.iter().collect();
    let mut found = Vec::new();
    for route in &known {
        match (rows.contains(*route), waivers.contains_key(*route)) {
            (false, false) => found.push(format!("{route} has neither a row nor a waiver")),
            (true, true) => found.push(format!("{route} has a row: remove its waiver")),
            _ => {}
        }
    }
    let strange = rows.iter().filter(|route| !known.contains(route));
    found.extend(strange.map(|route| format!("{route} has a row but is not an operation of the vendor")));
    for (route, reason) in waivers {
        if !known.contains(route) {
            found.push(format!("{route} is waived but is not an operation of the vendor"));
        }
        if reason.len() < 10 {
            found.push(format!("{route} is waived without a reason"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_found() {
        let set = |routes: &[&str]| routes.iter().map(|&route| route.to_owned()).collect::<BTreeSet<_>>();
        let upstream: Vec<_> = set(&["GET /a", "GET /b", "GET /c"]).into_iter().collect();
        let waived = |reason: &str| BTreeMap::from([("GET /b".to_owned(), reason.to_owned())]);
        assert_eq!(contradictions(&upstream, &set(&["GET /a", "GET /c"]), &waived("answers a zip file")), [""; 0]);
        let count = |rows: &[&str], reason| contradictions(&upstream, &set(rows), &waived(reason)).len();
        assert_eq!(count(&["GET /a"], "answers a zip file"), 1, "neither row nor waiver");
        assert_eq!(count(&["GET /a", "GET /b", "GET /c"], "answers a zip file"), 1, "row and waiver");
        assert_eq!(count(&["GET /a", "GET /c", "GET /d"], "answers a zip file"), 1, "a row without an operation");
        assert_eq!(count(&["GET /a", "GET /c"], ""), 1, "no reason");
        assert_eq!(
            contradictions(&[], &set(&[]), &waived("answers a zip file")).len(),
            1,
            "a waiver without an operation"
        );
        assert_eq!(normal("/1", "GET /1/files/{id}"), "GET /files/{id}");
        assert_eq!(normal("/1", "GET /10/files"), "GET /10/files");
        assert_eq!(normal("", "GET /files"), "GET /files");
    }
}
