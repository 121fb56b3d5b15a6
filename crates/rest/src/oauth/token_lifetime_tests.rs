//! Counts how often tokens of all lifetimes are renewed, in simulated time, in which hours take no time.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::{BoxFuture, join_all};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use trunkline_core::{ConnectionContext, ConnectionHost, MemoryVault, Result, Secret, Timestamp};

use super::{
    login_server::LoginServer,
    token_endpoint::{Endpoint, TokenRequest},
    token_response::GrantedTokens,
    tokens::Tokens,
};
use crate::{
    environment::HttpEnvironment,
    transport::{ClientLimits, HttpChannel, NetworkPolicy, SsrfPolicy},
};

thread_local! {
    static STARTED: Instant = Instant::now();
}

fn clock() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000) + STARTED.with(|started| started.elapsed())
}

/// A login server that issues tokens.
struct SimulatedLogin {
    /// The lifetime of its tokens in seconds.
    lifetime: u64,
    /// The time of each response.
    latency: Duration,
    requests: Arc<AtomicU64>,
}

impl LoginServer for SimulatedLogin {
    fn request_tokens(&self, _: TokenRequest) -> BoxFuture<'static, Result<GrantedTokens>> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let response = json!({ "access_token": format!("access-{number}"), "refresh_token": format!("refresh-{number}"),
            "token_type": "bearer", "expires_in": self.lifetime });
        let latency = self.latency;
        Box::pin(async move {
            tokio::time::sleep(latency).await;
            Ok(serde_json::from_value(response).unwrap())
        })
    }

    fn revoke(&self, _: Secret, _: &'static str) -> BoxFuture<'static, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// Simulates a thousand calls over two lifetimes, alternately by two processes. Returns the number of requests to the
/// login server and the number of calls that got an expired token.
async fn simulate(lifetime: u64, latency: Duration) -> (u64, usize) {
    let (vault, requests) = (Arc::<MemoryVault>::default(), Arc::<AtomicU64>::default());
    let http = HttpChannel::api(
        HttpEnvironment::default().transport(),
        &SsrfPolicy::new(true, Vec::new(), NetworkPolicy::any()),
    );
    let process = || {
        let endpoint = Endpoint::simulated(http.clone(), "refresh", ClientLimits::default());
        let login = SimulatedLogin { lifetime, latency, requests: requests.clone() };
        let host = ConnectionHost::from(vault.clone()).with_clock(Arc::new(clock));
        Tokens::with(endpoint, Box::new(login), ConnectionContext::new("dam", host), TaskTracker::new())
    };
    let processes = [process(), process()];
    let pause = Duration::from_secs(2 * lifetime) / 1_000;
    let started = Instant::now();
    let calls = (0..1_000).map(async |number: u32| {
        tokio::time::sleep_until(started + pause * number).await;
        let token = processes[number as usize % 2].access().await.unwrap();
        token.is_valid(clock())
    });
    let expired = join_all(calls).await.into_iter().filter(|valid| !valid).count();
    (requests.load(Ordering::SeqCst), expired)
}

#[tokio::test(start_paused = true)]
async fn tokens_of_all_lifetimes_are_renewed_about_once_a_lifetime() {
    for lifetime in [1, 5, 60, 299, 300, 3_600] {
        for latency in [20, 150] {
            let (requests, expired) = simulate(lifetime, Duration::from_millis(latency)).await;
            println!("{lifetime} s, responses after {latency} ms: {requests} requests in two lifetimes");
            assert!((2..=4).contains(&requests), "{lifetime} s, {latency} ms: {requests} requests");
            assert_eq!(expired, 0, "{lifetime} s, {latency} ms: expired tokens");
        }
    }
}

/// The tokens expire before the response arrives, so an early renewal does not help. Each caller still gets the token
/// that it waited for, and there is one request at a time.
#[tokio::test(start_paused = true)]
async fn tokens_that_expire_before_they_arrive_cause_no_busy_loop() {
    let latency = Duration::from_millis(1_200);
    let started = Instant::now();
    let (requests, _) = simulate(1, latency).await;
    let most = started.elapsed().div_duration_f64(latency).ceil() as u64;
    assert!(requests <= most, "{requests} requests, but at most {most} fit one after the other");
}
