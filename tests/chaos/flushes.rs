//! A server whose disk fails to flush: it acknowledges nothing more, does not retry, and exits; the next server
//! continues.
#![cfg(target_os = "linux")]

use std::{collections::BTreeSet, fs, fs::File};

use serde_json::json;
use trunkline_tests::{finish, serve::Serve, until};

use crate::{
    account::{Account, unsafe_repeats},
    tools::{Injected, strace},
    witness::{Witness, input},
};

const FLUSHES: &str = "fdatasync,fsync";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_flush_fails_acknowledges_nothing_more_and_ends() {
    if !strace() {
        return;
    }
    let mut witness = Witness::start();
    let cli = witness.home().await;
    let (log, calls) = (cli.home().join("log"), cli.home().join("calls"));
    let serve = Serve::logging(&cli, &["--listen", "127.0.0.1:0"], File::create(&log).unwrap()).await;
    let mut accepted = BTreeSet::new();
    for _ in 0..3 {
        accepted.insert(serve.run("witnessed", &input(40)).await);
    }
    until("some effects", async || (witness.seen().len() > 20).then_some(())).await;
    let trace = format!("{FLUSHES},write,writev,sendto");
    let inject = format!("{FLUSHES}:error=EIO");
    let injected = Injected::into(serve.process.id().unwrap(), &trace, &inject, &[], &calls);
    // A client that sends requests until the server is gone.
    let (url, body) = (serve.url("/rest/v1/flows/witnessed/runs"), json!({ "input": input(1) }));
    until("the exit of the server", async || {
        let answer = serve.http.post(&url).bearer_auth(&serve.token).json(&body).send().await;
        let Ok(answer) = answer else { return Some(()) };
        let (status, reply) = (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap_or_default());
        match status {
            202 => drop(accepted.insert(reply["run"].as_str().unwrap().to_owned())),
            _ => assert!(status == 503 && reply["kind"] != "internal", "{status} {reply}"),
        }
        None
    })
    .await;
    let ended = finish(serve.process).await;
    drop(injected);
    let (log, calls) = (fs::read_to_string(&log).unwrap(), fs::read_to_string(&calls).unwrap());
    assert_eq!(ended.code, 1, "{log}");
    let reply = log.lines().last().unwrap();
    assert!(reply.contains("\"kind\":\"store\"") && reply.contains("start Trunkline again"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    let failed = calls.find("(INJECTED)").expect("a flush failed");
    assert!(!calls[failed..].contains("202 Accepted"), "acknowledged after a flush had failed");
    assert_eq!(calls[failed..].matches("(INJECTED)").count(), 1, "the flush was retried:\n{calls}");
    goes_on(&cli, &mut witness, &accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_detects_a_failing_disk() {
    if !strace() {
        return;
    }
    let witness = Witness::start();
    let cli = witness.home().await;
    let (log, calls) = (cli.home().join("log"), cli.home().join("calls"));
    let serve = Serve::logging(&cli, &["--listen", "127.0.0.1:0"], File::create(&log).unwrap()).await;
    let inject = format!("{FLUSHES}:error=EIO");
    let _injected = Injected::into(serve.process.id().unwrap(), FLUSHES, &inject, &[], &calls);
    assert_eq!(finish(serve.process).await.code, 1);
}

/// Asserts that the next server completes every run exactly once.
async fn goes_on(cli: &trunkline_tests::Cli, witness: &mut Witness, accepted: &BTreeSet<String>) {
    let before = Account::of(cli).await;
    assert_eq!((before.lost(accepted), before.doubles()), (vec![], vec![]));
    assert!(before.through() < before.runs.len(), "void: {:?}", before.runs);
    let seen = witness.seen().len();
    let serve = Serve::start(cli).await;
    for run in before.runs.keys() {
        serve.ended(run).await;
    }
    serve.stop().await.expect(0);
    let (now, effects) = (Account::of(cli).await, witness.seen());
    assert_eq!((before.called_again(&effects[seen..]), now.doubles()), (vec![], vec![]));
    assert_eq!((unsafe_repeats(effects), now.not_done(effects)), (vec![], vec![]));
    assert_eq!(now.through(), now.runs.len(), "{:?}", now.runs);
}
