//! Hostile peers against `trunkline serve`: services that are slow, huge, deep, compressed, lying, endless or repeat
//! secrets, and callers that are no better. Beside each attack, healthy callers call.
//!
//! Required: at most 512 MB of memory, the same process all the time, every healthy call answered, and no secret in the
//! log or in any response. Printed: the peak of memory, and rate and times of healthy calls as ratios to those without
//! an attack. The attacker runs on the same processors, so the ratios are a lower bound.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod callers;
mod healthy;
mod peer;
mod secrets;
mod server;
mod services;

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;
use trunkline_tests::Cli;

use healthy::{Measured, Target, measure};
use peer::Peer;
use server::Attacked;

/// The most memory of the server, in KiB.
const MOST_MEMORY: u64 = 512_000_000 / 1024;

/// Held by a test that measures: the others would disturb it.
static ALONE: Mutex<()> = Mutex::const_new(());

/// An attack.
#[derive(Clone, Copy)]
enum Attack {
    /// By the services behind connections: flows, each with the path that it calls.
    Service(&'static str, &'static [(&'static str, &'static str)]),
    /// By callers.
    Caller(&'static str),
}

const REPEATED: &str = "errors that repeat secrets";

const ATTACKS: &[Attack] = &[
    Attack::Service(
        "compressed responses of many small values",
        &[("call", "values"), ("call", "objects"), ("call", "inflated"), ("call", "deep")],
    ),
    Attack::Service("large and endless responses", &[("call", "huge"), ("call", "endless"), ("call", "head")]),
    Attack::Service(
        "slow and lying responses",
        &[("call", "slow"), ("call", "long"), ("call", "short"), ("call", "type"), ("call", "junk")],
    ),
    Attack::Service("lists", &[("list", "values"), ("list", "objects"), ("list", "pages"), ("list", "endless")]),
    Attack::Service("files", &[("copy", "file"), ("copy", "slow-file"), ("copy", "huge"), ("send", "unread")]),
    Attack::Service(
        "token endpoints",
        &[("token-values", ""), ("token-huge", ""), ("token-slow", ""), ("token-echo", "")],
    ),
    Attack::Service(REPEATED, &[("call", "echo"), ("call", "echo401"), ("token-echo", ""), ("token-echo401", "")]),
    Attack::Caller("webhook bodies"),
    Attack::Caller("webhook objects"),
    Attack::Caller("half bodies"),
    Attack::Caller("large inputs"),
    Attack::Caller("deep inputs"),
    Attack::Caller("slow heads"),
    Attack::Caller("long heads"),
    Attack::Caller("deaf watchers"),
];

impl Attack {
    fn name(self) -> &'static str {
        match self {
            Attack::Service(name, _) | Attack::Caller(name) => name,
        }
    }
}

/// What one attack did.
struct Outcome {
    name: &'static str,
    peak: u64,
    measured: Measured,
    /// What is wrong.
    faults: Vec<String>,
}

impl Outcome {
    /// The most memory, in MB.
    fn megabytes(&self) -> u64 {
        self.peak * 1024 / 1_000_000
    }

    /// Lists what is wrong: a process that is gone, too much memory, lost calls, secrets.
    fn new(name: &'static str, server: &server::Seen, measured: Measured, secrets: Vec<String>) -> Outcome {
        let mut faults = Vec::new();
        if let Some(why) = &server.ended {
            faults.push(format!("the server has ended: {why}"));
        }
        if server.peak > MOST_MEMORY {
            faults.push(format!("{} KiB of memory, more than {MOST_MEMORY}", server.peak));
        }
        faults.extend(
            measured.lost.iter().map(|(why, times)| format!("{times} healthy calls without a response: {why}")),
        );
        faults.extend(secrets.into_iter().map(|place| format!("a secret in {place}")));
        Outcome { name, peak: server.peak, measured, faults }
    }
}

/// Starts a server, attacks it for this time, and measures beside the attack.
async fn attack(attack: Attack, peer: &Peer, time: Duration) -> Outcome {
    let mut server = Attacked::start(peer, matches!(attack, Attack::Service(..))).await;
    let target = server.target();
    let tasks = match attack {
        Attack::Service(_, calls) => services::start(calls, &target),
        Attack::Caller(kind) => callers::start(kind, &target, &server.watched),
    };
    // Callers that have a connection before the attack would not have to get one.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let measured = measure(&target, time).await;
    let secrets = match attack {
        Attack::Service(..) if server.is_alive() => server.secrets(attack.name() == REPEATED).await,
        _ => Vec::new(),
    };
    drop(tasks);
    Outcome::new(attack.name(), &server.stop().await, measured, secrets)
}

/// Attacks in turn, prints a table, and fails with all that is wrong.
async fn withstands(time: Duration) {
    let (_alone, peer) = (ALONE.lock().await, Peer::start().await);
    let mut alone = {
        let server = Attacked::start(&peer, false).await;
        let measured = measure(&server.target(), time).await;
        let seen = server.stop().await;
        Outcome::new("none", &seen, measured, Vec::new())
    };
    let (rate, p99) = (alone.measured.rate(), alone.measured.p99());
    println!("| attack | peak memory | healthy calls a second, ratio | their p99, ratio |\n| --- | --- | --- | --- |");
    println!("| none: {rate:.0} a second, p99 {:.0} ms | {} MB | 1 | 1 |", p99 * 1000.0, alone.megabytes());
    let mut faults = alone.faults;
    let begun = Instant::now();
    for one in ATTACKS {
        let mut outcome = attack(*one, &peer, time).await;
        let (name, peak) = (outcome.name, outcome.megabytes());
        let (rate, p99) = (outcome.measured.rate() / rate, outcome.measured.p99() / p99);
        println!("| {name} | {peak} MB | {rate:.2} | {p99:.1} |");
        faults.extend(outcome.faults.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    println!("{} attacks in {:.0?}", ATTACKS.len(), begun.elapsed());
    assert_eq!(faults, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_withstands_hostile_peers() {
    withstands(Duration::from_millis(1200)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes"]
async fn a_server_withstands_hostile_peers_for_longer() {
    withstands(Duration::from_secs(30)).await;
}

/// Discovery documents are read by the command line.
#[tokio::test(flavor = "multi_thread")]
async fn discovery_withstands_hostile_login_servers() {
    let (_alone, peer) = (ALONE.lock().await, Peer::start().await);
    let (cli, mut faults) = (Cli::default(), Vec::new());
    for kind in ["values", "deep", "huge", "endless", "head", "long", "short", "type", "junk"] {
        let issuer = format!("{}/{kind}", peer.url());
        let (seen, output) =
            server::command(&cli, &["connection", "discover", "--allow-private-network", &issuer, "--json"]).await;
        println!("| discovery: {kind} | {} MB |", seen.peak * 1024 / 1_000_000);
        let error: Result<serde_json::Value, _> = serde_json::from_str(&output.stderr);
        let is_error = output.code == 1 && error.is_ok_and(|error| error["error"]["kind"].is_string());
        if !is_error || seen.peak > MOST_MEMORY {
            faults.push(format!("{kind}: {} KiB, exit {:?}, {}", seen.peak, output.code, output.stderr));
        }
    }
    assert_eq!(faults, [""; 0]);
}

/// The sabotage twin: a process that needs too much memory, a server that refuses calls, and a log with a secret are
/// found.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_withstand_is_found() {
    let (_alone, peer) = (ALONE.lock().await, Peer::start().await);
    // `dd` reads a block into memory before it writes it.
    let mut greedy = tokio::process::Command::new("dd");
    greedy.args(["if=/dev/zero", "of=/dev/null", "bs=650000000", "count=1"]).kill_on_drop(true);
    greedy.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let greedy = greedy.spawn().unwrap();
    let (seen, _) = server::watch(greedy, Duration::from_secs(20)).await;
    let target = Target { server: peer.url(), hook: "/pages".into(), token: String::new() };
    let measured = measure(&target, Duration::from_millis(200)).await;
    let secret =
        secrets::places([("log".to_owned(), "authorization: Bearer%20caf%C3%A9".to_owned())], &["Bearer café"]);
    let faults = Outcome::new("planted", &seen, measured, secret).faults;
    let has = |part: &str| assert!(faults.iter().any(|fault| fault.contains(part)), "no {part}: {faults:?}");
    ["KiB of memory", "healthy calls without a response: webhook", "a secret in log"].into_iter().for_each(has);
}
