//! The ports of a runtime: each can be replaced, and two runtimes share nothing but what their ports share.
#![allow(clippy::unwrap_used)]

mod forecast;
#[cfg(all(feature = "mediaflow", feature = "mediavalet"))]
mod options;
mod ports;
mod preconditions;
mod removal;
mod settings;
mod tenants;
mod units;
mod watching;

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use trunkline::{
    Ports, Runtime,
    core::{Result, async_trait},
    rest::{
        HttpBody, HttpEnvironment, HttpRequest, HttpResponse, HttpTransport, NetworkPolicy, TransportFailure,
        TransportOptions,
    },
};

/// A request as the service got it.
#[derive(Clone, Debug)]
struct Received {
    host: String,
    path: String,
    authorization: String,
    body: String,
}

/// A transport without a network: a function answers.
struct FakeTransport<F> {
    answer: F,
    received: Mutex<Vec<Received>>,
}

impl<F: Fn(&Received) -> HttpResponse + Send + Sync> FakeTransport<F> {
    fn new(answer: F) -> Arc<Self> {
        Arc::new(FakeTransport { answer, received: Mutex::default() })
    }

    /// Returns the requests whose path is this.
    fn received(&self, path: &str) -> Vec<Received> {
        self.received.lock().unwrap().iter().filter(|one| one.path == path).cloned().collect()
    }
}

#[async_trait]
impl<F: Fn(&Received) -> HttpResponse + Send + Sync> HttpTransport for FakeTransport<F> {
    async fn send(&self, request: HttpRequest, _: TransportOptions) -> Result<HttpResponse, TransportFailure> {
        let received = Received {
            host: request.url.host_str().unwrap_or_default().to_owned(),
            path: request.url.path().to_owned(),
            authorization: request
                .headers
                .get("authorization")
                .map(|value| value.to_str().unwrap().to_owned())
                .unwrap_or_default(),
            body: match &request.body {
                Some(HttpBody::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
                Some(HttpBody::Stream(_)) | None => String::new(),
            },
        };
        let response = (self.answer)(&received);
        self.received.lock().unwrap().push(received);
        Ok(response)
    }
}

/// Returns ports in memory with this transport.
fn ports(transport: Arc<dyn HttpTransport>) -> Ports {
    let http = HttpEnvironment::new(transport).with_network(NetworkPolicy::default().with_private_network(true));
    Ports { http, ..Ports::in_memory() }
}

fn runtime(ports: &Ports) -> Runtime {
    Runtime::new(trunkline::registry(None).unwrap(), ports.clone())
}

/// Returns a connection to the service with a token.
fn shop(token: impl Into<Value>) -> Value {
    json!({ "name": "shop", "connector": "http-v1.0", "endpointUrl": "https://api.shop.test/v1",
        "authentication": "bearer", "token": token.into() })
}

/// Reads a path of the service.
async fn read(runtime: &Runtime, path: &str) -> Result<Value> {
    runtime.call("http.request", "shop", json!({ "method": "GET", "path": path })).await.map(|called| called.output)
}
