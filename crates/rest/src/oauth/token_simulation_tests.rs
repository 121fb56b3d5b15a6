//! Simulations of three processes that share a vault and a login server. Time is simulated, processes die at any
//! moment, and a simulation of two minutes takes little time. Only the environment is simulated; the code under test is
//! the real one.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;
use trunkline_core::{
    ConnectionContext, ConnectionHost, Error, ErrorDetail, ErrorKind, MemoryVault, OAuthErrorCode, ReauthCause, Result,
    Retry, Secret, SignIn, SignInState, Timestamp, Vault, VaultEntry, async_trait,
};

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

const CONNECTION: &str = "dam";
/// The time limit of a token request; a lease lasts twice as long.
const TIMEOUT: Duration = Duration::from_secs(4);
/// The time that a late response is awaited.
const PATIENCE: Duration = Duration::from_secs(16);
/// The lifetime of access tokens in seconds.
const LIFETIME: u64 = 20;

fn clock() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000) + turmoil::sim_elapsed().unwrap_or_default()
}

/// What a login server does when a refresh token is used twice.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ReusePolicy {
    /// It ends the whole sign-in.
    Revoke,
    /// It issues tokens as for the first use.
    Accept,
}

/// The way to the login server.
#[derive(Clone, Copy, Debug)]
struct Network {
    /// The longest way of a request, and of a response, in milliseconds.
    slowest: u64,
    /// The time that a response is awaited.
    patience: Duration,
    /// Whether connections break before the response arrives.
    cuts: bool,
}

const FAST: Network = Network { slowest: 1_500, patience: TIMEOUT, cuts: false };

/// The state of the login server, and the counters of the simulation.
struct World {
    policy: ReusePolicy,
    /// The number of the valid refresh token.
    current: u64,
    revoked: bool,
    /// The number of the next request, and the requests in flight with the time at which the login server has finished
    /// with them at the latest.
    next: u64,
    in_flight: HashMap<u64, Timestamp>,
    network: Network,
    /// The number of requests that were granted.
    granted: u64,
    /// The number of requests that were refused.
    refused: u64,
    random: StdRng,
    /// The number of stored records whose two tokens are not from the same response.
    mismatched: u64,
    /// The number of requests that began during another one.
    overlaps: u64,
    /// The status after each change of the vault.
    statuses: Vec<SignIn>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<World>>);

impl Shared {
    fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    async fn pause(&self, longest: u64) {
        let time = self.with(|world| world.random.random_range(0..=longest));
        tokio::time::sleep(Duration::from_millis(time)).await;
    }
}

/// The login server as one process sees it.
struct SimulatedLogin(Shared);

impl LoginServer for SimulatedLogin {
    fn request_tokens(&self, request: TokenRequest) -> BoxFuture<'static, Result<GrantedTokens>> {
        let shared = self.0.clone();
        Box::pin(async move {
            let TokenRequest::Refresh(refresh_token) = request else {
                unreachable!("the simulation uses refresh tokens only")
            };
            let network = shared.with(|world| world.network);
            let (number, is_cut) = shared.with(|world| world.begin());
            let lost = || {
                let error = Error::new(ErrorKind::Unavailable, "no response");
                error.retry(Retry::Backoff).with_detail(ErrorDetail::MaybeSent)
            };
            if is_cut {
                // The login server works on the request for some time all the same, and drops it.
                shared.pause(500).await;
                return Err(lost());
            }
            let responded = tokio::time::timeout(network.patience, async {
                shared.pause(network.slowest).await;
                let response = shared.with(|world| world.respond(refresh_token.expose()));
                shared.pause(network.slowest).await;
                response
            });
            let response = responded.await.map_err(|_| lost()).flatten();
            shared.with(|world| world.in_flight.remove(&number));
            response
        })
    }

    fn revoke(&self, _: Secret, _: &'static str) -> BoxFuture<'static, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

impl World {
    /// Begins a request. Returns its number, and whether its connection breaks.
    fn begin(&mut self) -> (u64, bool) {
        let now = clock();
        // The owners of older requests have timed out or are dead.
        self.in_flight.retain(|_, until| now < *until);
        self.overlaps += u64::from(!self.in_flight.is_empty());
        self.next += 1;
        let is_cut = self.network.cuts && self.random.random_range(0..3) == 0;
        self.in_flight.insert(self.next, now + if is_cut { TIMEOUT } else { self.network.patience });
        (self.next, is_cut)
    }

    fn respond(&mut self, refresh_token: &str) -> Result<GrantedTokens> {
        let number: u64 = refresh_token.strip_prefix("refresh-").unwrap().parse().unwrap();
        let accepted =
            !self.revoked && (number == self.current || (self.policy == ReusePolicy::Accept && number <= self.current));
        if !accepted {
            self.revoked = true;
            self.refused += 1;
            return Err(Error::new(ErrorKind::Auth, "refused: invalid_grant")
                .with_detail(ErrorDetail::TokenRefused { code: OAuthErrorCode::InvalidGrant }));
        }
        if self.random.random_range(0..20) == 0 {
            // The response comes from a proxy of the login server: the refresh token was not used.
            return Err(Error::new(ErrorKind::Unavailable, "503").retry(Retry::Backoff));
        }
        self.current += 1;
        self.granted += 1;
        let number = self.current;
        let response = json!({ "access_token": format!("access-{number}"), "refresh_token": format!("refresh-{number}"),
            "token_type": "bearer", "expires_in": LIFETIME });
        Ok(serde_json::from_value(response).unwrap())
    }
}

/// The vault that all processes share. Each load and each change takes some time.
struct SlowVault {
    inner: MemoryVault,
    shared: Shared,
    /// Sabotage: the member of the record, such as the lease, that processes do not see.
    hides: Option<&'static str>,
}

#[async_trait]
impl Vault for SlowVault {
    async fn load(&self, connection: &str) -> Result<Option<VaultEntry>> {
        self.shared.pause(3).await;
        let mut found = self.inner.load(connection).await?;
        if let (Some(hidden), Some(entry)) = (self.hides, &mut found) {
            let mut record: Value = serde_json::from_str(entry.content.expose()).unwrap();
            record.as_object_mut().unwrap().remove(hidden);
            entry.content = Secret::from(record.to_string());
        }
        Ok(found)
    }

    async fn replace(&self, connection: &str, expected: u64, content: &Secret, sign_in: &SignIn) -> Result<bool> {
        self.shared.pause(3).await;
        let done = self.inner.replace(connection, expected, content, sign_in).await?;
        let record: HashMap<String, Value> = serde_json::from_str(content.expose()).unwrap();
        let number = |name: &str, prefix: &str| {
            record.get(name).and_then(Value::as_str).and_then(|text| text.strip_prefix(prefix).map(str::to_owned))
        };
        let pair = number("accessToken", "access-") == number("refreshToken", "refresh-");
        self.shared.with(|world| {
            world.mismatched += u64::from(done && !pair);
            if done {
                world.statuses.push(sign_in.clone());
            }
        });
        Ok(done)
    }
}

static HTTP: LazyLock<HttpChannel> = LazyLock::new(|| {
    HttpChannel::api(HttpEnvironment::default().transport(), &SsrfPolicy::new(true, Vec::new(), NetworkPolicy::any()))
});

fn tokens(shared: &Shared, vault: &Arc<SlowVault>) -> Tokens {
    let limits = ClientLimits { attempt: TIMEOUT, ..ClientLimits::default() };
    let endpoint = Endpoint::simulated(HTTP.clone(), "refresh-0", limits);
    let host = ConnectionHost::from(vault.clone()).with_clock(Arc::new(clock));
    let context = ConnectionContext::new(CONNECTION, host);
    Tokens::with(endpoint, Box::new(SimulatedLogin(shared.clone())), context, TaskTracker::new())
}

/// The outcome of one simulation.
#[derive(Debug)]
struct Outcome {
    mismatched: u64,
    overlaps: u64,
    granted: u64,
    refused: u64,
    revoked: bool,
    /// The last status that was stored.
    last: SignInState,
}

/// Simulates two minutes of three processes that use tokens with a lifetime of 20 seconds. Some processes die and are
/// started again.
fn simulate(seed: u64, policy: ReusePolicy, crashes: u32, hides: Option<&'static str>) -> Outcome {
    simulate_on(FAST, seed, policy, crashes, hides)
}

fn simulate_on(network: Network, seed: u64, policy: ReusePolicy, crashes: u32, hides: Option<&'static str>) -> Outcome {
    let mut random = StdRng::seed_from_u64(seed);
    let world = World {
        policy,
        current: 0,
        revoked: false,
        next: 0,
        in_flight: HashMap::new(),
        network,
        granted: 0,
        refused: 0,
        random: StdRng::seed_from_u64(!seed),
        mismatched: 0,
        overlaps: 0,
        statuses: Vec::new(),
    };
    let shared = Shared(Arc::new(Mutex::new(world)));
    let vault = Arc::new(SlowVault { inner: MemoryVault::default(), shared: shared.clone(), hides });
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(Duration::from_millis(5))
        .simulation_duration(Duration::from_secs(600))
        .build();
    let names = ["one", "two", "three"];
    for name in names {
        let (shared, vault) = (shared.clone(), vault.clone());
        sim.host(name, move || {
            let (shared, tokens) = (shared.clone(), tokens(&shared, &vault));
            async move {
                loop {
                    tokens.access().await.ok();
                    shared.pause(900).await;
                }
            }
        });
    }
    // No process dies in the last 20 seconds, so that the others can recover.
    let mut deaths: Vec<u64> = (0..crashes).map(|_| random.random_range(0..16_000)).collect();
    deaths.sort();
    for step in 0..24_000 {
        // Most processes die during a token request: at other times little can go wrong.
        let requesting = shared.with(|world| !world.in_flight.is_empty() && world.random.random_range(0..100) == 0);
        while deaths.first().is_some_and(|death| *death + 4_000 == step || (*death <= step && requesting)) {
            deaths.remove(0);
            let name = names[random.random_range(0..3)];
            sim.crash(name);
            sim.bounce(name);
        }
        sim.step().unwrap();
    }
    shared.with(|world| Outcome {
        mismatched: world.mismatched,
        overlaps: world.overlaps,
        granted: world.granted,
        refused: world.refused,
        revoked: world.revoked,
        last: world.statuses.last().unwrap().state.clone(),
    })
}

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|seed| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn without_crashes(count: u64) {
    for seed in seeds(count) {
        let outcome = simulate(seed, ReusePolicy::Revoke, 0, None);
        assert_eq!((outcome.mismatched, outcome.overlaps, outcome.refused), (0, 0, 0), "{seed}: {outcome:?}");
        assert!(outcome.granted >= 6, "{seed}: the tokens are renewed all the time: {outcome:?}");
    }
}

#[test]
fn live_processes_never_request_tokens_at_the_same_time() {
    without_crashes(6);
}

#[test]
#[ignore = "half an hour, or four minutes with --release: 1,000 simulations"]
fn live_processes_never_request_tokens_at_the_same_time_in_1000_simulations() {
    without_crashes(1_000);
}

fn with_crashes(count: u64) {
    let mut lost = 0;
    // If no process died at the critical moment, more simulations follow; otherwise the test would prove nothing.
    for (number, seed) in (0..).zip(seeds(count * 6)) {
        if number >= count && lost > 0 {
            break;
        }
        let outcome = simulate(seed, ReusePolicy::Accept, 5, None);
        assert_eq!((outcome.mismatched, outcome.refused), (0, 0), "{seed}: {outcome:?}");
        assert!(outcome.granted >= 3, "{seed}: refreshes continue after every death: {outcome:?}");
        let strict = simulate(seed, ReusePolicy::Revoke, 5, None);
        assert_eq!(strict.mismatched, 0, "{seed}: {strict:?}");
        if strict.revoked {
            lost += 1;
            // Only a response that died with its process loses the sign-in, and the status says so.
            let interrupted =
                matches!(&strict.last, SignInState::ReauthRequired { cause: ReauthCause::Interrupted, .. });
            assert!(interrupted, "{seed}: {strict:?}");
            // At most one request per minute, except by processes that died before they could store the refusal.
            assert!(strict.refused <= 2 + 5, "{seed}: {strict:?}");
        }
    }
    println!("{lost} sign-ins were lost to a death between the login server and the vault");
    assert!(lost > 0, "no process died at the critical moment");
}

#[test]
fn a_death_at_any_moment_keeps_tokens_paired_and_is_reported() {
    with_crashes(8);
}

#[test]
#[ignore = "half an hour, or four minutes with --release: 1,000 simulations"]
fn a_death_at_any_moment_keeps_tokens_paired_and_is_reported_in_1000_simulations() {
    with_crashes(1_000);
}

/// The sabotage twin: processes that do not see the leases of others request tokens at the same time, and the sign-in
/// is lost.
#[test]
fn without_leases_the_sign_in_is_lost() {
    assert!(seeds(5).any(|seed| simulate(seed, ReusePolicy::Revoke, 0, Some("lease")).revoked));
}

/// Responses after at most twelve seconds, while a call takes four.
const SLOW: Network = Network { slowest: 6_000, patience: PATIENCE, cuts: false };

#[test]
fn late_responses_are_used_and_no_sign_in_is_lost() {
    for seed in seeds(4) {
        let outcome = simulate_on(SLOW, seed, ReusePolicy::Revoke, 0, None);
        assert_eq!((outcome.mismatched, outcome.overlaps, outcome.refused), (0, 0, 0), "{seed}: {outcome:?}");
        assert!(outcome.granted >= 3, "{seed}: {outcome:?}");
    }
}

/// The sabotage twin: a response that is given up after the time of a call loses the sign-in.
#[test]
fn late_responses_that_are_given_up_lose_the_sign_in() {
    let impatient = Network { patience: TIMEOUT, ..SLOW };
    assert!(seeds(4).any(|seed| simulate_on(impatient, seed, ReusePolicy::Revoke, 0, None).revoked));
}

/// Connections that break although the login server works on the request.
const BROKEN: Network = Network { cuts: true, ..FAST };

#[test]
fn a_request_with_a_lost_response_is_not_sent_again_while_it_may_be_in_progress() {
    for seed in seeds(4) {
        let outcome = simulate_on(BROKEN, seed, ReusePolicy::Revoke, 0, None);
        assert_eq!((outcome.overlaps, outcome.refused), (0, 0), "{seed}: {outcome:?}");
        assert!(outcome.granted >= 2, "{seed}: {outcome:?}");
    }
}

/// The sabotage twin: processes that do not see the failures of others repeat their requests at once.
#[test]
fn without_the_pause_requests_overlap() {
    assert!(seeds(4).any(|seed| simulate_on(BROKEN, seed, ReusePolicy::Revoke, 0, Some("failed")).overlaps > 0));
}
