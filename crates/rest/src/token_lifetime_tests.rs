//! How often tokens of all lifetimes are renewed: time is made up, so hours pass at once.
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
use trunkline_core::{MemoryVault, Result, Secret, VaultSlot};

use crate::{
    ClientAuth, ClientLimits, Grant, OAuth,
    login_server::LoginServer,
    oauth::{Ask, Endpoint},
    ssrf::SsrfPolicy,
    token_response::GrantedTokens,
    tokens::Tokens,
    transport,
};

thread_local! {
    static BEGUN: Instant = Instant::now();
}

fn clock() -> u64 {
    1_700_000_000_000 + BEGUN.with(|begun| begun.elapsed().as_millis() as u64)
}

/// Gives tokens of this lifetime, each after a while.
struct Login {
    lifetime: u64,
    takes: Duration,
    asked: Arc<AtomicU64>,
}

impl LoginServer for Login {
    fn ask(&self, _: Ask) -> BoxFuture<'static, Result<GrantedTokens>> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = json!({ "access_token": format!("access-{number}"), "refresh_token": format!("refresh-{number}"),
            "token_type": "bearer", "expires_in": self.lifetime });
        let takes = self.takes;
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            Ok(serde_json::from_value(answer).unwrap())
        })
    }

    fn revoke(&self, _: Secret, _: &'static str) -> BoxFuture<'static, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// How often the login server is asked by a thousand calls over two lifetimes, by two processes in turns, and how many of
/// the calls get a token that has run out.
async fn asked(lifetime: u64, takes: Duration) -> (u64, usize) {
    let (vault, asked) = (Arc::<MemoryVault>::default(), Arc::<AtomicU64>::default());
    let http = transport::api(&SsrfPolicy::new(true, Vec::new())).unwrap();
    let process = || {
        let oauth = OAuth {
            client_id: "client".into(),
            client_secret: None,
            client_auth: ClientAuth::Form,
            token_url: "https://login.example.com/token".parse().unwrap(),
            authorization_url: None,
            revocation_url: None,
            redirect_uri: None,
            scopes: Vec::new(),
            grant: Grant::RefreshToken { refresh_token: "refresh".into() },
        };
        let limits = ClientLimits::default();
        let endpoint = Endpoint { oauth, http: http.clone(), service: "DAM", limits, issuer: None };
        let login = Login { lifetime, takes, asked: asked.clone() };
        Tokens::with(endpoint, Box::new(login), VaultSlot::new("dam", vault.clone()), clock)
    };
    let processes = [process(), process()];
    let pause = Duration::from_secs(2 * lifetime) / 1_000;
    let begun = Instant::now();
    let calls = (0..1_000).map(async |number: u32| {
        tokio::time::sleep_until(begun + pause * number).await;
        let token = processes[number as usize % 2].access().await.unwrap();
        token.is_good(clock())
    });
    let stale = join_all(calls).await.into_iter().filter(|good| !good).count();
    (asked.load(Ordering::SeqCst), stale)
}

#[tokio::test(start_paused = true)]
async fn tokens_of_all_lifetimes_are_renewed_about_once_a_lifetime() {
    for lifetime in [1, 5, 60, 299, 300, 3_600] {
        for takes in [20, 150] {
            let (asked, stale) = asked(lifetime, Duration::from_millis(takes)).await;
            println!("{lifetime} s, answers after {takes} ms: asked {asked} times in two lifetimes");
            assert!((2..=4).contains(&asked), "{lifetime} s, {takes} ms: asked {asked} times");
            assert_eq!(stale, 0, "{lifetime} s, {takes} ms: tokens that had run out");
        }
    }
}

/// No renewing ahead helps here: each caller who waited gets the token all the same, and the login server is asked by one at
/// a time.
#[tokio::test(start_paused = true)]
async fn tokens_that_run_out_on_their_way_make_no_busy_loop() {
    let takes = Duration::from_millis(1_200);
    let begun = Instant::now();
    let (asked, _) = asked(1, takes).await;
    let most = begun.elapsed().div_duration_f64(takes).ceil() as u64;
    assert!(asked <= most, "asked {asked} times, and {most} one after the other are the most");
}
