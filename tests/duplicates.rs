//! A proxy that delivers each request twice. With an idempotency key, a service that supports keys carries out the
//! request once. Without a key, there is no guarantee against such a proxy; Trunkline itself sends a create once.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use serde_json::json;
use trunkline::Runtime;
use trunkline_engine::{Run, RunStatus};
use trunkline_flow::Flow;
use trunkline_testkit::proxy::{ProxiedRequest, Proxy, ProxyAction};
use trunkline_tests::Cli;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

const ORDERS: usize = 40;

/// A service that accepts one order per key.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Booked>>);

#[derive(Default)]
struct Booked {
    orders: usize,
    /// Order and number of deliveries by key.
    keys: BTreeMap<String, (usize, usize)>,
    without: usize,
}

impl wiremock::Respond for Ledger {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut booked = self.0.lock().unwrap();
        let Booked { orders, keys, without } = &mut *booked;
        let order = match request.headers.get("idempotency-key").and_then(|key| key.to_str().ok()) {
            Some(key) => {
                let (order, times) = keys.entry(key.to_owned()).or_insert_with(|| {
                    *orders += 1;
                    (*orders, 0)
                });
                *times += 1;
                *order
            }
            None => {
                (*orders, *without) = (*orders + 1, *without + 1);
                *orders
            }
        };
        ResponseTemplate::new(201).set_body_json(json!({ "order": order }))
    }
}

struct Rig {
    ledger: Ledger,
    proxy: Proxy,
    cli: Cli,
    runtime: Runtime,
    _server: MockServer,
}

impl Rig {
    async fn new(keys: bool) -> Rig {
        let (ledger, server, cli) = (Ledger::default(), MockServer::start().await, Cli::default());
        Mock::given(any()).respond_with(ledger.clone()).mount(&server).await;
        let proxy = Proxy::start(&server.uri()).await;
        let mut document = json!({ "name": "shop", "connector": "http-v1.0", "allowPrivateNetwork": true,
            "endpointUrl": proxy.through(&server.uri()), "authentication": "bearer", "token": "canary-token" });
        if keys {
            document["idempotencyHeader"] = json!("Idempotency-Key");
        }
        let runtime = cli.runtime();
        runtime.add_connection(document).await.unwrap();
        Rig { ledger, proxy, cli, runtime, _server: server }
    }

    /// Runs a flow that orders each thing in a step of its own.
    async fn order(&self, effect: Option<&str>) -> Run {
        let mut call = json!({ "method": "POST", "path": "/orders", "body": { "thing": "{{ item }}" } });
        if let Some(effect) = effect {
            call["effect"] = json!(effect);
        }
        let step = json!({ "id": "order", "action": "request", "connection": "shop", "input": call });
        let things: Vec<_> = (0..ORDERS).collect();
        let flow = json!({ "name": "orders", "connections": { "shop": "http" }, "steps": [
            { "id": "all", "each": things, "key": "{{ item }}", "concurrency": 8, "steps": [step] }] });
        let slots = BTreeMap::from([("shop".to_owned(), "shop".to_owned())]);
        let running = self.runtime.start(&Flow::from_value(flow).unwrap(), json!({}), slots).await.unwrap();
        running.wait().await.unwrap()
    }

    /// Returns the number of orders, the numbers of deliveries per key, and the deliveries without a key.
    fn booked(&self) -> (usize, BTreeSet<usize>, usize) {
        let booked = self.ledger.0.lock().unwrap();
        (booked.orders, booked.keys.values().map(|(_, times)| *times).collect(), booked.without)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_a_proxy_delivers_twice_is_carried_out_once_with_a_key() {
    for way in [ProxyAction::Twice, ProxyAction::TwiceAtOnce] {
        let rig = Rig::new(true).await;
        rig.proxy.decide(move |_| way.clone());
        assert_eq!(rig.order(None).await.status, RunStatus::Succeeded);
        assert_eq!(rig.booked(), (ORDERS, BTreeSet::from([2]), 0), "each key arrived twice and has one order");
        // Another run makes new orders.
        rig.order(None).await;
        assert_eq!(rig.booked(), (2 * ORDERS, BTreeSet::from([2]), 0));
    }
}

/// The sabotage twin: without the setting there is no key, and each delivery is an order.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_each_delivery_counts() {
    let rig = Rig::new(false).await;
    rig.proxy.decide(|_| ProxyAction::Twice);
    rig.order(None).await;
    assert_eq!(rig.booked(), (2 * ORDERS, BTreeSet::new(), 2 * ORDERS));
}

/// Loses the response to the first delivery of each order.
fn lose_the_first() -> impl Fn(&ProxiedRequest) -> ProxyAction + Send + Sync + 'static {
    let seen = Mutex::new(BTreeSet::new());
    move |request| {
        if seen.lock().unwrap().insert(request.body.clone()) { ProxyAction::Lose } else { ProxyAction::Forward }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_with_a_lost_response_is_repeated_only_if_the_flow_declares_its_key_effective() {
    // A key alone does not make a create repeatable: the flow has to declare it.
    for keys in [false, true] {
        let rig = Rig::new(keys).await;
        rig.proxy.decide(lose_the_first());
        let run = rig.order(None).await;
        let unknown = run.ledger[&"all".into()].unknown.values().sum::<u64>();
        assert_eq!((unknown, rig.proxy.seen().len(), rig.booked().0), (ORDERS as u64, ORDERS, ORDERS));
        // A rerun does not repeat it either.
        let id = run.id.to_string();
        rig.cli.run(&["runs", "rerun", "--failed", &id, "--unknown"]).await;
        assert_eq!((rig.proxy.seen().len(), rig.booked().0), (ORDERS, ORDERS));
    }
    let rig = Rig::new(true).await;
    rig.proxy.decide(lose_the_first());
    assert_eq!(rig.order(Some("idempotent")).await.status, RunStatus::Succeeded);
    assert_eq!((rig.proxy.seen().len(), rig.booked()), (2 * ORDERS, (ORDERS, BTreeSet::from([2]), 0)));
}
