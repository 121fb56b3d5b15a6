//! Kills the real process at named points: the witness holds its response, or the journal shows the progress of the
//! run. While the process lives, no other process can claim the run. The engine's own tests cover the points in between
//! (`points.rs`).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trunkline_engine::RunStatus;
use trunkline_tests::{Cli, serve, serve::Serve, until};

use crate::{
    account::{Account, unsafe_repeats},
    witness::{Effect, Witness, call, held},
};

/// The number of runs when the process is killed: each point is hit this often.
const TIMES: usize = 5;
const FOREVER: u64 = 600_000;

/// A call, a timer, another call.
fn timed() -> Value {
    let mut flow = crate::witness::witnessed();
    flow["name"] = "timed".into();
    flow["steps"][0]["concurrency"] = 5.into();
    flow["steps"][0]["steps"] = json!([
        call("read", "GET", "{{ run.id }}"),
        { "id": "rest", "wait": { "for": "3s" } },
        call("create", "POST", "{{ run.id }}")
    ]);
    flow
}

/// Starts five runs of a flow on one server.
async fn five(cli: &Cli, flow: &str, input: &Value) -> (Serve, Vec<String>) {
    let serve = Serve::start(cli).await;
    let mut runs = Vec::new();
    for _ in 0..TIMES {
        runs.push(serve.run(flow, input).await);
    }
    (serve, runs)
}

/// Asserts that another process is refused, and kills the server.
async fn killed(cli: &Cli, serve: Serve, run: &str) -> Account {
    let error = cli.run(&["runs", "resume", run, "--json"]).await.expect(1).error();
    assert_eq!(error["kind"], "conflict", "{error}");
    assert!(error["message"].as_str().unwrap().contains("another process"), "{error}");
    serve.kill().await;
    Account::of(cli).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_at_any_named_point_continues_where_it_was() {
    let mut witness = Witness::start();
    let cli = witness.home().await;
    serve::save(&cli, &timed()).await;
    let mut hit = BTreeMap::<&str, usize>::new();
    let mut all = Vec::new();

    // Right after the acknowledgement.
    let (serve, runs) = five(&cli, "witnessed", &held(1, "read", FOREVER)).await;
    serve.kill().await;
    let account = Account::of(&cli).await;
    let there = runs.iter().filter(|run| account.runs.get(*run) == Some(&RunStatus::Running)).count();
    hit.insert("after accept", there);
    all.extend(runs);

    // Each kind of call is sent and not recorded; the calls before it are recorded.
    let steps = ["read", "put", "create"];
    for (number, name) in ["a read in flight", "a put in flight", "a create in flight"].into_iter().enumerate() {
        let at = steps[number];
        let (serve, runs) = five(&cli, "witnessed", &held(1, at, FOREVER)).await;
        let place = |run: &String, step: &str| format!("{run}/i0/{step}");
        let sent = |seen: &[Effect], run: &String| seen.iter().any(|effect| effect.place == place(run, at));
        until("all calls are held", async || runs.iter().all(|run| sent(witness.seen(), run)).then_some(())).await;
        let account = killed(&cli, serve, &runs[0]).await;
        let in_flight = |run: &&String| {
            let recorded = |step: &&str| account.steps.contains_key(&place(run, step));
            // Only creates record that they start.
            let begun = at != "create" || account.started.contains_key(&place(run, at));
            !recorded(&at) && begun && steps[..number].iter().all(recorded)
        };
        hit.insert(name, runs.iter().filter(in_flight).count());
        all.extend(runs);
    }

    // At a timer.
    let (serve, runs) = five(&cli, "timed", &held(1, "", 0)).await;
    until("the timers", async || {
        for run in &runs {
            let (_, reply) = serve.get(&format!("/rest/v1/runs/{run}")).await;
            reply["waiting"].get("all/i0/rest")?;
        }
        Some(())
    })
    .await;
    let account = killed(&cli, serve, &runs[0]).await;
    let at_timer = |run: &&String| {
        account.steps.contains_key(&format!("{run}/i0/read"))
            && !account.started.contains_key(&format!("{run}/i0/create"))
    };
    hit.insert("at a timer", runs.iter().filter(at_timer).count());
    all.extend(runs);

    assert!(hit.len() == 5 && hit.values().all(|times| *times == TIMES), "void: {hit:?}");
    // The last process finds all of them.
    let before = Account::of(&cli).await;
    let seen = witness.seen().len();
    let serve = Serve::start(&cli).await;
    for run in &all {
        serve.ended(run).await;
    }
    serve.stop().await.expect(0);
    let now = Account::of(&cli).await;
    let effects = witness.seen();
    assert_eq!((before.called_again(&effects[seen..]), now.doubles()), (vec![], vec![]));
    assert_eq!(unsafe_repeats(effects), [""; 0]);
    // The creates that were in flight have an unknown outcome and were not sent again; everything else is done.
    assert_eq!((now.count("unknown"), now.count("done"), now.through()), (TIMES, 4 * TIMES, 5 * TIMES), "{now:#?}");
    println!("hit: {hit:?}");
}
