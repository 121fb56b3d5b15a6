//! Named points at which the real process is killed from outside: the witness holds its answer, or the journal shows
//! how far the run is. While it works, no other process gets the run. The points in between are the engine's tests'
//! (`points.rs`).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trunkline_engine::RunStatus;
use trunkline_tests::{Cli, serve, serve::Serve, until};

use crate::{
    account::{Account, unsafe_repeats},
    witness::{Effect, Witness, call, held},
};

/// How often each point is hit: so many runs are there when the process is killed.
const TIMES: usize = 5;
const FOR_EVER: u64 = 600_000;

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

/// Another process is refused, then the server is killed.
async fn killed(cli: &Cli, serve: Serve, run: &str) -> Account {
    let error = cli.run(&["runs", "resume", run, "--json"]).await.expect(1).error();
    assert_eq!(error["kind"], "conflict", "{error}");
    assert!(error["message"].as_str().unwrap().contains("another process"), "{error}");
    serve.kill().await;
    Account::of(cli).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_named_point_a_run_goes_on_where_it_was() {
    let mut witness = Witness::start();
    let cli = witness.home().await;
    serve::save(&cli, &timed()).await;
    let mut hit = BTreeMap::<&str, usize>::new();
    let mut all = Vec::new();

    // Right after the acknowledgement.
    let (serve, runs) = five(&cli, "witnessed", &held(1, "read", FOR_EVER)).await;
    serve.kill().await;
    let account = Account::of(&cli).await;
    let there = runs.iter().filter(|run| account.runs.get(*run) == Some(&RunStatus::Running)).count();
    hit.insert("after accept", there);
    all.extend(runs);

    // Each kind of call is sent and not recorded; what was before it is recorded.
    let steps = ["read", "put", "create"];
    for (number, name) in ["a read in flight", "a put in flight", "a create in flight"].into_iter().enumerate() {
        let at = steps[number];
        let (serve, runs) = five(&cli, "witnessed", &held(1, at, FOR_EVER)).await;
        let place = |run: &String, step: &str| format!("{run}/i0/{step}");
        let sent = |seen: &[Effect], run: &String| seen.iter().any(|effect| effect.place == place(run, at));
        until("all calls are held", async || runs.iter().all(|run| sent(witness.seen(), run)).then_some(())).await;
        let account = killed(&cli, serve, &runs[0]).await;
        let in_flight = |run: &&String| {
            let recorded = |step: &&str| account.steps.contains_key(&place(run, step));
            // Only of a create is written down that it begins.
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
            let (_, told) = serve.get(&format!("/rest/v1/runs/{run}")).await;
            told["waiting"].get("all/i0/rest")?;
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
    // Nobody knows of the creates that were in flight, and they were not sent again; all else is done.
    assert_eq!((now.count("unknown"), now.count("done"), now.through()), (TIMES, 4 * TIMES, 5 * TIMES), "{now:#?}");
    println!("hit: {hit:?}");
}
