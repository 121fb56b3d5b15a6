//! A server without a listener, for tests of its routes.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{Method, header},
    response::Response,
};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use trunkline::{
    Ports, Runtime,
    operations::{
        Caller,
        flows::{FlowAdded, FlowDraft, SaveFlow},
    },
};
use trunkline_core::{CancellationToken, Registry, Secret};
use trunkline_store::KeySource;

use crate::{
    app::App,
    brake::Brake,
    connections::{Connections, Limits},
    dispatcher::Dispatcher,
    guard::Guard,
    health::Health,
    routes,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn key() -> KeySource {
    KeySource::Value(Secret::from("c2FtcGxlLWtleS1vZi12ZXJzaW9uLTMtMzItYnl0ZXM="))
}

pub(crate) struct TestApp {
    home: tempfile::TempDir,
    pub(crate) app: Arc<App>,
    router: TowerToHyperService<Router>,
}

impl TestApp {
    pub(crate) fn new(brake: Brake) -> TestApp {
        TestApp::with(brake, Registry::empty())
    }

    /// Returns a server with these connectors.
    pub(crate) fn with(brake: Brake, connectors: Registry) -> TestApp {
        let home = tempfile::tempdir().unwrap();
        let runtime = Runtime::new(connectors.checked().unwrap(), Ports::sqlite(home.path(), key()).unwrap());
        let closing = CancellationToken::new();
        let health = Health::of(runtime.ports().health.clone());
        let dispatcher = Dispatcher::new(runtime.clone(), health.clone(), 64, closing.clone());
        let app = Arc::new(App {
            runtime: runtime.with_launcher(dispatcher.clone()),
            dispatcher,
            health,
            connections: Connections::new(Limits::default()),
            closing,
            guard: Guard::new(([127, 0, 0, 1], 8700).into(), None, &Secret::from(TOKEN)),
            brake,
            streams: Arc::new(Semaphore::new(1)),
            base_url: "http://127.0.0.1:8700".to_owned(),
        });
        let router = TowerToHyperService::new(routes::router(app.clone()));
        TestApp { home, app, router }
    }

    /// Opens the data directory again, as another process would.
    pub(crate) fn opened_again(&self) -> Runtime {
        Runtime::new(Registry::empty().checked().unwrap(), Ports::sqlite(self.home.path(), key()).unwrap())
    }

    /// Saves a flow.
    pub(crate) async fn save(&self, flow: &Value) -> FlowAdded {
        let draft = json!({ "flow": { "document": flow }, "replace": true, "active": true });
        let draft: FlowDraft = serde_json::from_value(draft).unwrap();
        self.app.runtime.execute::<SaveFlow>(&Caller::owner(), draft).await.unwrap()
    }

    /// Saves a flow with a signed webhook, activates it, and returns the path of the webhook.
    pub(crate) async fn add(&self, flow: &Value, secret: &str) -> String {
        let draft: FlowDraft =
            serde_json::from_value(json!({ "flow": { "document": flow }, "active": false })).unwrap();
        let added = self.app.runtime.execute::<SaveFlow>(&Caller::owner(), draft).await.unwrap();
        let name = added.added.name;
        self.app.runtime.flows().set_webhook_secret(&name, Some(&Secret::from(secret))).await.unwrap();
        self.app.runtime.activate_flow(&name, true).await.unwrap();
        added.webhook.unwrap()
    }

    /// Returns a request with this body, or without one if it is null, and with the API token.
    pub(crate) fn request(method: Method, path: &str, body: &Value) -> Request {
        TestApp::request_with(method, path, body, TOKEN)
    }

    /// Returns a request with this body and token.
    pub(crate) fn request_with(method: Method, path: &str, body: &Value, token: &str) -> Request {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "127.0.0.1:8700");
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        request.header(header::CONTENT_TYPE, "application/json").body(body).unwrap()
    }

    pub(crate) async fn call(&self, request: Request) -> Response {
        self.router.call(request).await.unwrap_or_else(|error: Infallible| match error {})
    }
}
