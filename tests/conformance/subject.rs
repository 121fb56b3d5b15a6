//! The actions that are looked at: all that the registry has, each with a connection and a service of its own.

use std::{sync::Arc, time::Duration};

use percent_encoding::percent_decode_str;
use serde_json::Value;
use trunkline_core::{ActionSpec, Connected, Connections, Context, Effect, Registered, Registry, Result};
use trunkline_tests::project;

use crate::{
    behaviours::Verdict,
    log::{CANARY, Watch},
    sample::{FILE, FILES, connect, input, sample},
    service::{BASE, Reply, Seen, Service, answer},
};

/// For calls that are answered at once.
pub(crate) const SETUP: Duration = Duration::from_secs(30);

/// All connectors: those that are linked, and those that are made of a folder.
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

    fn fits(&self, seen: &Seen) -> bool {
        let Some(path) = seen.path().strip_prefix(BASE).and_then(|path| path.strip_prefix('/')) else { return false };
        let found: Vec<_> = path.split('/').collect();
        let same = |(meant, found): (&String, &&str)| match is_parameter(meant) {
            true => !found.is_empty(),
            false => percent_decode_str(found).decode_utf8().is_ok_and(|found| found == **meant),
        };
        self.method == seen.method && self.segments.len() == found.len() && self.segments.iter().zip(&found).all(same)
    }
}

/// All actions, and what was logged while they ran.
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

    /// The same action with another connection and another service: nothing is known of it yet.
    pub(crate) async fn afresh(&self, subject: &Subject) -> Subject {
        self.subject(self.registry.connector(&subject.connector).unwrap(), &subject.spec).await
    }

    async fn subject(&self, connector: &Registered, spec: &ActionSpec) -> Subject {
        let routes = connector.actions().filter_map(Route::of).collect();
        let service = Service::start().await;
        let connected = connect(&self.registry, "sample", &connector.spec().name, &service.address);
        let connections = [connected.clone(), self.files.clone()].into_iter().collect();
        let (connector, spec, input) = (connector.spec().name.clone(), spec.clone(), input(&spec.input));
        let subject = Subject { connector, spec, input, routes, service, connected, connections };
        subject.with_an_input_that_asks().await
    }
}

/// One action, with a connection and a service of its own.
pub(crate) struct Subject {
    pub(crate) connector: String,
    pub(crate) spec: ActionSpec,
    /// As little as makes it ask something.
    input: Value,
    routes: Arc<[Route]>,
    pub(crate) service: Service,
    pub(crate) connected: Connected,
    connections: Connections,
}

impl Subject {
    /// Of the action, with its connector.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.connector, self.spec.name)
    }

    /// A hand-written action may have nothing to do if nothing is said of what to do.
    async fn with_an_input_that_asks(mut self) -> Subject {
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
        panic!("{} asks nothing, whatever its input", self.name());
    }

    /// What the action was given.
    pub(crate) fn said(&self) -> String {
        self.input.to_string()
    }

    /// Runs the action on this input.
    pub(crate) async fn run(&self, input: Value, time: Duration) -> Result<Value> {
        let cx = Context::new("key", "sample", self.connections.clone()).with_timeout(time);
        let result = self.connected.run(&self.spec.name, input, &cx).await;
        if self.spec.route.is_none() {
            self.service.settle().await;
        }
        result
    }

    /// Runs the action on as little as it needs, against a service that answers like this.
    pub(crate) async fn meets(&self, replies: &[Reply], time: Duration) -> Ended<'_> {
        self.service.replies(replies);
        let result = self.run(self.input.clone(), time).await;
        Ended { subject: self, result, seen: self.service.seen() }
    }

    /// The row that a request is a call of; a fixed segment says more than a parameter.
    fn route(&self, seen: &Seen) -> Option<&Route> {
        let fitting = self.routes.iter().filter(|route| route.fits(seen));
        fitting.min_by_key(|route| route.segments.iter().map(|segment| is_parameter(segment)).collect::<Vec<_>>())
    }

    /// Whether a request is a call of the connector's own API.
    pub(crate) fn knows(&self, seen: &Seen) -> bool {
        self.route(seen).is_some()
    }

    /// What a request does: what the row says whose call it is, else what its method says (RFC 9110 section 9.2).
    fn effect(&self, seen: &Seen) -> Effect {
        match (self.route(seen), seen.method.as_str()) {
            (Some(route), _) => route.effect,
            (None, "GET" | "HEAD") => Effect::Read,
            (None, "PUT") => Effect::Idempotent,
            (None, "DELETE") => Effect::Delete,
            (None, _) => Effect::Create,
        }
    }
}

/// How an action ended, and what it asked.
pub(crate) struct Ended<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) result: Result<Value>,
    pub(crate) seen: Vec<Seen>,
}

impl Ended<'_> {
    /// The effect of the call that failed. A row is one call. Of a hand-written action it is the first one, for all its
    /// calls are answered alike.
    pub(crate) fn effect(&self) -> Effect {
        match self.seen.first() {
            Some(first) if self.subject.spec.route.is_none() => self.subject.effect(first),
            _ => self.subject.spec.effect,
        }
    }

    /// What is handed on, an output or an error, shows no secret.
    pub(crate) fn shows_no_secret(&self) -> Verdict {
        let told = match &self.result {
            Ok(output) => output.to_string(),
            Err(error) => format!("{error} {error:?} {}", serde_json::to_string(error).unwrap()),
        };
        if told.contains(CANARY) { Err(format!("shows a secret: {told}")) } else { Ok(()) }
    }

    /// How often the first call was made; others may be made at the same time.
    pub(crate) fn requests(&self) -> usize {
        let first = self.seen.first().map(|first| (&first.method, first.path()));
        self.seen.iter().filter(|one| Some((&one.method, one.path())) == first).count()
    }
}
