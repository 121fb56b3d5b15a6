//! Connections that a server closes while they are idle: no call is lost, and the outcome of no create is unknown.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::*;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use trunkline_core::*;
use trunkline_rest::*;

/// A server that keeps a connection open and closes it this long after the response, without a word about it before. With
/// [`Duration::MAX`], it closes the connection when the next request arrives.
struct Closing {
    base: String,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Closing {
    async fn after(idle: Duration) -> Closing {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (requests, connections) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counters = (requests.clone(), connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counters.1.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, idle, counters.0.clone()));
            }
        });
        Closing { base, requests, connections }
    }
}

async fn serve(mut stream: TcpStream, idle: Duration, requests: Arc<AtomicUsize>) {
    let mut buffer = vec![0; 8192];
    let mut wait = Duration::from_secs(10);
    while let Ok(Ok(1..)) = tokio::time::timeout(wait, stream.read(&mut buffer)).await {
        requests.fetch_add(1, Ordering::SeqCst);
        let body = "{\"id\":1}";
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all((head + body).as_bytes()).await.is_err() || idle.is_zero() {
            return;
        }
        if idle == Duration::MAX {
            // The worst moment: the next request is on its way.
            let _ = stream.read(&mut [0; 1]).await;
            return;
        }
        wait = idle;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_closes_while_idle_makes_no_create_unknown() {
    for (idle, calls) in [(0, 300), (1, 200), (3, 60), (10, 30)] {
        let idle = Duration::from_millis(idle);
        let server = Closing::after(idle).await;
        let client = client(&server.base);
        for number in 0..calls {
            let created = client.call("thing.create", json!({ "name": "n" }), &cx()).await;
            assert_eq!(created.unwrap_or_else(|error| panic!("{idle:?}, {number}: {error:?}")), json!({ "id": 1 }));
            // Reading calls leave connections behind, and are repeated if one is closed.
            client.call("thing.get", json!({ "id": "7" }), &cx()).await.unwrap();
            // The next call comes at the moment at which the server closes.
            tokio::time::sleep(idle.mul_f64(0.9 + 0.02 * f64::from(number % 10))).await;
        }
    }
}

#[tokio::test]
async fn only_creates_open_a_connection_of_their_own() {
    let server = Closing::after(Duration::from_secs(5)).await;
    let client = client(&server.base);
    for _ in 0..5 {
        client.call("thing.get", json!({ "id": "7" }), &cx()).await.unwrap();
    }
    assert_eq!((server.requests.load(Ordering::SeqCst), server.connections.load(Ordering::SeqCst)), (5, 1));
    for _ in 0..5 {
        client.call("thing.create", json!({ "name": "n" }), &cx()).await.unwrap();
    }
    assert_eq!((server.requests.load(Ordering::SeqCst), server.connections.load(Ordering::SeqCst)), (10, 6));
}

/// The sabotage twin: a transport that reuses connections for all requests loses responses on this server.
#[tokio::test(flavor = "multi_thread")]
async fn with_reused_connections_creates_become_unknown() {
    struct Reusing(ReqwestTransport);

    #[async_trait]
    impl HttpTransport for Reusing {
        async fn send(
            &self,
            request: HttpRequest,
            options: TransportOptions,
        ) -> Result<HttpResponse, TransportFailure> {
            self.0.send(HttpRequest { fresh: false, ..request }, options).await
        }
    }

    let server = Closing::after(Duration::MAX).await;
    let environment =
        HttpEnvironment::new(Arc::new(Reusing(ReqwestTransport::default()))).with_network(NetworkPolicy::any());
    let host = ConnectionHost::from(Arc::new(MemoryVault::default())).with_extension(environment);
    let client = builder(&server.base).auth(Auth::None, ConnectionContext::new("conn", host)).build().unwrap();
    for _ in 0..10 {
        match client.call("thing.create", json!({ "name": "n" }), &cx()).await {
            Ok(_) => {}
            Err(error) => return assert_eq!(error.kind(), ErrorKind::UnknownOutcome),
        }
    }
    panic!("no create became unknown: the test does not show what it is to show");
}
