//! Sign-ins at a login server that takes its time, and accepts each code once.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde::Deserialize;
use serde_json::json;
use trunkline_core::{CheckReport, ConnectionContext, Connector, Registry, Secret, SignInClient, async_trait};

use super::*;
use crate::Ports;

/// How long the login server takes.
const DELAY: Duration = Duration::from_millis(100);

struct SlowLogin;

#[derive(Deserialize, JsonSchema)]
struct Settings {}

/// The numbers of requests and of sign-ins.
#[derive(Clone, Default)]
struct LoginClient {
    requests: Arc<AtomicUsize>,
    signed_in: Arc<AtomicUsize>,
}

/// The clients of the connections that were made last.
static CLIENTS: Mutex<Vec<LoginClient>> = Mutex::new(Vec::new());

#[async_trait]
impl Connector for SlowLogin {
    const NAME: &'static str = "slow";
    const VERSION: &'static str = "1.0";
    const TITLE: &'static str = "Slow login";
    type Settings = Settings;
    type Client = LoginClient;
    fn connect(_: Settings, _: ConnectionContext) -> Result<LoginClient> {
        let client = LoginClient::default();
        CLIENTS.lock().unwrap().push(client.clone());
        Ok(client)
    }
    async fn check(_: &LoginClient) -> CheckReport {
        CheckReport::default()
    }
    fn sign_in(client: &LoginClient) -> Option<&dyn SignInClient> {
        Some(client)
    }
}

#[async_trait]
impl SignInClient for LoginClient {
    fn begin_authorization(&self, redirect_uri: &str) -> Result<Authorization> {
        let secret = || Secret::from("s");
        Ok(Authorization::new(String::new(), redirect_uri.to_owned(), secret(), secret(), Timestamp::now()))
    }
    async fn finish_authorization(&self, _: &Authorization, _: &str) -> Result<()> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(DELAY).await;
        if number > 0 {
            return Err(Error::new(ErrorKind::Auth, "the code was used before"));
        }
        self.signed_in.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    async fn sign_out(&self, _: &Secret) -> Result<()> {
        Ok(())
    }
}

struct Room {
    runtime: Runtime,
    client: LoginClient,
    clock: Arc<Mutex<Timestamp>>,
}

/// The tests use [`CLIENTS`] one after the other while they connect.
static CONNECTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Begins a sign-in whose `state` is `s`.
async fn begun(is_detached: bool) -> Room {
    let _guard = CONNECTING.lock().await;
    let clock = Arc::new(Mutex::new(Timestamp::now()));
    let time = clock.clone();
    let ports = Ports { clock: Arc::new(move || *time.lock().unwrap()), ..Ports::in_memory() };
    let registry = Registry::empty().with_connector::<SlowLogin>().checked().unwrap();
    let mut runtime = Runtime::new(registry, ports);
    runtime.sign_ins = Arc::new(SignIns { open: Mutex::default(), is_detached });
    runtime.add_connection(json!({ "name": "dam", "connector": "slow-v1.0" })).await.unwrap();
    runtime.begin_sign_in("dam", "http://127.0.0.1/callback").await.unwrap();
    let client = CLIENTS.lock().unwrap().pop().unwrap();
    Room { runtime, client, clock }
}

/// The first caller waits for a moment and goes away. Returns how often the connection was signed in a moment later.
async fn signed_in_after_the_caller_has_gone(is_detached: bool) -> usize {
    let Room { runtime, client, .. } = begun(is_detached).await;
    tokio::time::timeout(DELAY / 4, runtime.finish_sign_in("?code=c&state=s")).await.unwrap_err();
    assert_eq!(client.requests.load(Ordering::SeqCst), 1);
    tokio::time::sleep(2 * DELAY).await;
    client.signed_in.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_sign_in_ends_even_if_its_caller_goes_away() {
    assert_eq!(signed_in_after_the_caller_has_gone(true).await, 1);
    // The sabotage twin.
    assert_eq!(signed_in_after_the_caller_has_gone(false).await, 0);
}

#[tokio::test]
async fn the_next_caller_gets_the_outcome_of_the_one_that_went_away() {
    for _ in 0..20 {
        let Room { runtime, client, .. } = begun(true).await;
        tokio::time::timeout(DELAY / 4, runtime.finish_sign_in("?code=c&state=s")).await.unwrap_err();
        let next = || async { runtime.finish_sign_in("?code=c&state=s").await.unwrap().unwrap().authorized };
        assert_eq!(tokio::join!(next(), next()), ("dam".to_owned(), "dam".to_owned()));
        assert_eq!(next().await, "dam", "a reload");
        assert_eq!(client.requests.load(Ordering::SeqCst), 1, "the code is sent once");
    }
}

#[tokio::test]
async fn an_outcome_is_kept_for_ten_minutes_under_an_id_that_is_not_the_state() {
    let Room { runtime, clock, .. } = begun(true).await;
    assert_eq!(runtime.receive_callback("?code=c&state=other"), None);
    let waiting = outcome_id("s");
    assert!(runtime.sign_in_outcome(&waiting).await.unwrap().is_none(), "no callback was received");
    // Nine minutes after the start, and eighteen minutes after it.
    let later = |minutes: u64| {
        let mut now = clock.lock().unwrap();
        *now = *now + Duration::from_secs(60 * minutes);
    };
    later(9);
    let id = runtime.receive_callback("?code=c&state=s").unwrap();
    assert!(id == waiting && id.len() == 64 && !id.contains("state"), "{id}");
    assert_eq!(runtime.sign_in_outcome(&id).await.unwrap().unwrap().authorized, "dam");
    later(9);
    assert_eq!(runtime.sign_in_outcome(&id).await.unwrap().unwrap().authorized, "dam");
    later(2);
    assert!(runtime.sign_in_outcome(&id).await.unwrap().is_none());
    assert_eq!(runtime.receive_callback("?code=c&state=s"), None);
}
