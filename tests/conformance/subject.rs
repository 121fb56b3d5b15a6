//! The actions that are looked at: all that the registry has, each with a service of its own.

use std::{collections::BTreeMap, time::Duration};

use futures::{Stream, StreamExt, stream};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use trunkline_core::{ActionSpec, Connected, Connections, Context, Effect, Registry, Result};
use trunkline_tests::project;

use crate::{
    sample::{FILE, FILES, connect, input},
    service::{BASE, Reply, Seen, Service},
};

/// All connectors: those that are linked, and those that are made of a folder.
pub(crate) fn registry() -> Registry {
    trunkline::registry(Some(&project().join("connectors/http/examples"))).unwrap()
}

pub(crate) fn every_action(registry: &Registry) -> Vec<(String, ActionSpec)> {
    let of = |one: &trunkline_core::Registered| {
        let name = one.spec().name.clone();
        one.actions().map(move |spec| (name.clone(), spec.clone())).collect::<Vec<_>>()
    };
    registry.connectors().flat_map(of).collect()
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

/// The registry, what its rows call, and a service that has files.
pub(crate) struct Suite {
    pub(crate) registry: Registry,
    pub(crate) actions: Vec<(String, ActionSpec)>,
    routes: BTreeMap<String, Vec<Route>>,
    files: Service,
}

impl Suite {
    pub(crate) async fn new() -> Suite {
        let registry = registry();
        let actions = every_action(&registry);
        let mut routes = BTreeMap::<_, Vec<_>>::new();
        for (connector, spec) in &actions {
            routes.entry(connector.clone()).or_default().extend(Route::of(spec));
        }
        let files = Service::start().await;
        let length = FILE.len();
        let file = format!("HTTP/1.1 200 X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{FILE}");
        files.replies(&[Reply::Whole(file.into_bytes())]);
        Suite { registry, actions, routes, files }
    }

    /// An action with a connection and a service of its own.
    pub(crate) async fn subject<'a>(&'a self, connector: &'a str, spec: &'a ActionSpec) -> Subject<'a> {
        let service = Service::start().await;
        let connected = connect(&self.registry, "sample", connector, &service.address);
        let files = connect(&self.registry, FILES, "http", &self.files.address);
        let connections = [connected.clone(), files].into_iter().collect();
        Subject {
            name: format!("{connector}.{}", spec.name),
            suite: self,
            connector,
            spec,
            service,
            connected,
            connections,
        }
    }

    /// All actions, so many at a time.
    pub(crate) fn subjects(&self) -> impl Stream<Item = impl Future<Output = Subject<'_>>> {
        stream::iter(&self.actions).map(|(connector, spec)| self.subject(connector, spec))
    }

    /// The row that a request of this connector is a call of; a fixed segment says more than a parameter.
    fn route(&self, connector: &str, seen: &Seen) -> Option<&Route> {
        let fitting = self.routes[connector].iter().filter(|route| route.fits(seen));
        fitting.min_by_key(|route| route.segments.iter().map(|segment| is_parameter(segment)).collect::<Vec<_>>())
    }
}

/// One action.
pub(crate) struct Subject<'a> {
    /// With its connector.
    pub(crate) name: String,
    suite: &'a Suite,
    pub(crate) connector: &'a str,
    pub(crate) spec: &'a ActionSpec,
    pub(crate) service: Service,
    connected: Connected,
    connections: Connections,
}

impl Subject<'_> {
    /// Runs the action on this input.
    pub(crate) async fn run(&self, input: Value, time: Duration) -> Result<Value> {
        let cx = Context::new("key", "sample", self.connections.clone()).with_timeout(time);
        self.connected.run(&self.spec.name, input, &cx).await
    }

    /// Runs the action on as little as it needs, against a service that answers like this.
    pub(crate) async fn meets(&self, replies: &[Reply], time: Duration) -> Ended<'_> {
        self.service.replies(replies);
        let result = self.run(input(&self.spec.input), time).await;
        Ended { subject: self, result, seen: self.service.seen() }
    }

    /// Whether a request is a call of the connector's own API.
    pub(crate) fn knows(&self, seen: &Seen) -> bool {
        self.suite.route(self.connector, seen).is_some()
    }

    /// What a request does: what the row says whose call it is, else what its method says (RFC 9110 section 9.2).
    fn effect(&self, seen: &Seen) -> Effect {
        match (self.suite.route(self.connector, seen), seen.method.as_str()) {
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
    pub(crate) subject: &'a Subject<'a>,
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

    /// How often the first call was made; others may be made at the same time.
    pub(crate) fn requests(&self) -> usize {
        let first = self.seen.first().map(|first| (&first.method, first.path()));
        self.seen.iter().filter(|one| Some((&one.method, one.path())) == first).count()
    }
}
