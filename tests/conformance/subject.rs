//! The actions under test: all actions of the registry, each with its own connection and service.

use std::{sync::Arc, time::Duration};

use percent_encoding::percent_decode_str;
use serde_json::Value;
use trunkline_core::{ActionSpec, Connected, Connections, Context, Effect, Registered, Registry, Result};
use trunkline_tests::project;

use crate::{
    behaviours::Verdict,
    log::{CANARY, Watch},
    sample::{FILE, FILES, connect, input, sample},
    service::{BASE, RecordedRequest, Reply, Service, answer},
};

/// The timeout for calls with an immediate response.
pub(crate) const SETUP: Duration = Duration::from_secs(30);

/// Returns all connectors: the linked ones, and one that is described in a folder.
pub(crate) fn registry() -> Registry {
    trunkline::registry(Some(&project().join("connectors/http/examples"))).unwrap()
}

/// A call of the vendor's API.
struct Route {
    method: String,
    segments: Vec<String>,
    effect: Effect,
}

fn is_parameter(segment: &str) -> bool {
    segment.starts_with('{')
}

impl Route {
    fn of(spec: &ActionSpec) -> Option<Route> {
        let (method, path) = spec.route.as_deref()?.split_once(' ')?;
        let segments = path.split('/').skip(1).map(str::to_owned).collect();
        Some(Route { method: method.into(), segments, effect: spec.effect })
    }

    fn fits(&self, seen: &RecordedRequest) -> bool {
        let Some(path) = seen.path().strip_prefix(BASE).and_then(|path| path.strip_prefix('/')) else { return false };
        let found: Vec<_> = path.split('/').collect();
        let same = |(meant, found): (&String, &&str)| match is_parameter(meant) {
            true => !found.is_empty(),
            false => percent_decode_str(found).decode_utf8().is_ok_and(|found| found == **meant),
        };
        self.method == seen.method && self.segments.len() == found.len() && self.segments.iter().zip(&found).all(same)
    }
}

/// All actions, and the log of their calls.
pub(crate) struct Suite {
    pub(crate) subjects: Vec<Subject>,
    registry: Registry,
    files: Connected,
    pub(crate) log: Watch,
}

impl Suite {
    pub(crate) async fn new() -> Suite {
        let log = Watch::default();
        tracing::subscriber::set_global_default(log.subscriber()).unwrap();
        let registry = registry();
        let files = Service::start().await;
        let length = FILE.len();
        let file = format!("HTTP/1.1 200 X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{FILE}");
        files.replies(&[Reply::Whole(file.into_bytes())]);
        let files = connect(&registry, FILES, "http", &files.address);
        let mut suite = Suite { subjects: Vec::new(), registry, files, log };
        let mut subjects = Vec::new();
        for connector in suite.registry.connectors() {
            for spec in connector.actions() {
                subjects.push(suite.subject(connector, spec).await);
            }
        }
        suite.subjects = subjects;
        suite
    }

    /// Returns the same action with a new connection and a new service.
    pub(crate) async fn fresh(&self, subject: &Subject) -> Subject {
        self.subject(self.registry.connector(&subject.connector).unwrap(), &subject.spec).await
    }

    async fn subject(&self, connector: &Registered, spec: &ActionSpec) -> Subject {
        let routes = connector.actions().filter_map(Route::of).collect();
        let service = Service::start().await;
        let connected = connect(&self.registry, "sample", &connector.spec().name, &service.address);
        let connections = [connected.clone(), self.files.clone()].into_iter().collect();
        let (connector, spec, input) = (connector.spec().name.clone(), spec.clone(), input(&spec.input));
        let subject = Subject { connector, spec, input, routes, service, connected, connections };
        subject.with_an_input_that_sends().await
    }
}

/// One action, with its own connection and service.
pub(crate) struct Subject {
    pub(crate) connector: String,
    pub(crate) spec: ActionSpec,
    /// The smallest input with which it makes a request.
    input: Value,
    routes: Arc<[Route]>,
    pub(crate) service: Service,
    pub(crate) connected: Connected,
    connections: Connections,
}

impl Subject {
    /// Returns the name of connector and action.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.connector, self.spec.name)
    }

    /// Chooses an input with which the action makes a request: a hand-written action may need more than the required
    /// inputs.
    async fn with_an_input_that_sends(mut self) -> Subject {
        if self.spec.route.is_some() {
            return self;
        }
        let least = self.input.clone();
        let properties = self.spec.input["properties"].as_object().cloned().unwrap_or_default();
        let with = properties.iter().map(|(name, property)| {
            let mut input = least.clone();
            input[name] = sample(property, true);
            input
        });
        for input in std::iter::once(least.clone()).chain(with) {
            self.input = input;
            if !self.meets(&[answer(400, "", "{}")], SETUP).await.seen.is_empty() {
                return self;
            }
        }
        panic!("{} sends no request for any input", self.name());
    }

    /// Returns the input and settings of the action as text.
    pub(crate) fn given(&self) -> String {
        self.input.to_string()
    }

    /// Runs the action with an input.
    pub(crate) async fn run(&self, input: Value, time: Duration) -> Result<Value> {
        let cx = Context::new("key", "sample", self.connections.clone()).with_timeout(time);
        let result = self.connected.run(&self.spec.name, input, &cx).await;
        if self.spec.route.is_none() {
            self.service.drain().await;
        }
        result
    }

    /// Runs the action with its smallest input against a service with these responses.
    pub(crate) async fn meets(&self, replies: &[Reply], time: Duration) -> ActionOutcome<'_> {
        self.service.replies(replies);
        let result = self.run(self.input.clone(), time).await;
        ActionOutcome { subject: self, result, seen: self.service.seen() }
    }

    /// Returns the row of a request. A fixed segment is a better match than a parameter.
    fn route(&self, seen: &RecordedRequest) -> Option<&Route> {
        let fitting = self.routes.iter().filter(|route| route.fits(seen));
        fitting.min_by_key(|route| route.segments.iter().map(|segment| is_parameter(segment)).collect::<Vec<_>>())
    }

    /// Returns whether a request is a call of the connector's API.
    pub(crate) fn knows(&self, seen: &RecordedRequest) -> bool {
        self.route(seen).is_some()
    }

    /// Returns the effect of a request: that of its row, else that of its method (RFC 9110, section 9.2).
    fn effect(&self, seen: &RecordedRequest) -> Effect {
        match (self.route(seen), seen.method.as_str()) {
            (Some(route), _) => route.effect,
            (None, "GET" | "HEAD") => Effect::Read,
            (None, "PUT") => Effect::Idempotent,
            (None, "DELETE") => Effect::Delete,
            (None, _) => Effect::Create,
        }
    }
}

/// The outcome of an action, and its requests.
pub(crate) struct ActionOutcome<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) result: Result<Value>,
    pub(crate) seen: Vec<RecordedRequest>,
}

impl ActionOutcome<'_> {
    /// Returns the effect of the failed call. A row makes one call. For a hand-written action it is the first call,
    /// since all its calls get the same response.
    pub(crate) fn effect(&self) -> Effect {
        match self.seen.first() {
            Some(first) if self.subject.spec.route.is_none() => self.subject.effect(first),
            _ => self.subject.spec.effect,
        }
    }

    /// Requires that the output or the error shows no secret.
    pub(crate) fn shows_no_secret(&self) -> Verdict {
        let text = match &self.result {
            Ok(output) => output.to_string(),
            Err(error) => format!("{error} {error:?} {}", serde_json::to_string(error).unwrap()),
        };
        if text.contains(CANARY) { Err(format!("shows a secret: {text}")) } else { Ok(()) }
    }

    /// Returns how often the first call was made. Other calls may be made at the same time.
    pub(crate) fn requests(&self) -> usize {
        let first = self.seen.first().map(|first| (&first.method, first.path()));
        self.seen.iter().filter(|one| Some((&one.method, one.path())) == first).count()
    }
}
