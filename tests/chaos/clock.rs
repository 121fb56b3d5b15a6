//! Moves the system clock while a run waits and retries, and while no process works on it. The engine's tests do the
//! same to the clock of an engine; here it is the real process.

use std::time::UNIX_EPOCH;

use futures::future::join_all;
use serde_json::{Value, json};
use trunkline_core::Timestamp;
use trunkline_engine::TriggerEvent;
use trunkline_testkit::{clock::ProcessClock, process::TestProcess};
use trunkline_tests::{
    Cli, few, sandbox,
    serve::{self, Serve},
    until,
};

use crate::{
    account::{Account, unsafe_repeats},
    owners::left,
    tools::faketime,
    witness::{Witness, call},
};

const MOVES: [&str; 4] = ["+10800", "-10800", "+31536000", "-31536000"];
/// A run may last 90 days, so a year later it has timed out.
const TOO_FAR: &str = "+31536000";

/// A year in milliseconds.
const YEAR: u64 = 365 * 24 * 60 * 60 * 1000;

/// A wait, then a call that is refused until its step is retried.
fn flow() -> Value {
    let mut busy = call("read", "GET", "{{ run.id }}");
    busy["input"]["query"] = json!({ "busy": "5" });
    busy["retry"] = json!({ "tries": 4, "wait": "3s" });
    let mut flow = crate::witness::witnessed();
    flow["name"] = "clock".into();
    flow["steps"][0]["steps"] =
        json!([{ "id": "rest", "wait": { "for": "3s" } }, busy, call("create", "POST", "{{ run.id }}")]);
    flow
}

/// Starts a command with a clock that can be set.
fn start(cli: &Cli, clock: &ProcessClock, arguments: &[&str]) -> TestProcess {
    let mut command = cli.command(arguments);
    clock.apply(&mut command);
    TestProcess::spawn(&mut command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_moved_loses_no_timer_and_makes_none_longer() {
    let Some(library) = faketime() else { return };
    let mut witness = Witness::start();
    let cli = witness.home().await;
    serve::save(&cli, &flow()).await;
    let (draining, runtime) = (cli.runtime(), cli.runtime());
    draining.engine().drain();
    let one = async |by: &str, down: bool| {
        let run = left(&draining, "clock").await;
        let clock = ProcessClock::new(&library, cli.home().join(run.as_str()));
        let resume = ["runs", "resume", run.as_str(), "--json"];
        let mut child = start(&cli, &clock, &resume);
        until("the wait", async || {
            let state = runtime.engine().run(&run).await.unwrap();
            (!state.waiting.is_empty()).then_some(())
        })
        .await;
        if down {
            child.kill().await;
            clock.set(by);
            child = start(&cli, &clock, &resume);
        } else {
            clock.set(by);
        }
        // A timer that had become hours longer would exceed the timeout of the test.
        let ended = child.finish().await;
        let expected = if by == TOO_FAR { 5 } else { 0 };
        assert_eq!(ended.code, expected, "{by} {down}: {ended:?}");
        (run.to_string(), usize::from(by != TOO_FAR))
    };
    // In parallel, since most of the time is waiting.
    let runs = join_all(MOVES.iter().flat_map(|by| [one(by, false), one(by, true)])).await;
    let (account, effects) = (Account::of(&cli).await, witness.seen());
    assert_eq!((account.doubles(), unsafe_repeats(effects)), (vec![], vec![]));
    for (run, creates) in runs {
        let place = format!("{run}/i0/create");
        assert_eq!(effects.iter().filter(|effect| effect.place == place).count(), creates, "{run}");
    }
}

/// The clock was a year ahead when a trigger polled, and has been corrected since.
#[tokio::test]
async fn a_trigger_that_polled_while_the_clock_was_ahead_polls_again_after_the_correction() {
    let cli = Cli::default();
    let sandbox = sandbox(few(1)).await;
    cli.connect(&sandbox).await;
    let flows = json!([
        { "name": "minutely", "trigger": { "schedule": { "cron": "* * * * *" } } },
        { "name": "watching", "connections": { "dam": "mediavalet" }, "trigger": { "poll": { "action": "category.list",
            "connection": "dam", "every": "1s", "key": "{{ item.id }}", "existing": "take" } } }
    ]);
    for mut flow in flows.as_array().unwrap().clone() {
        flow["steps"] = json!([]);
        serve::save(&cli, &flow).await;
    }
    let runtime = cli.runtime();
    let now = || u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let ahead = now() + YEAR;
    for flow in ["minutely", "watching"] {
        runtime
            .journal()
            .remember_trigger(TriggerEvent {
                flow: flow.into(),
                keys: Vec::new(),
                through: Some(Timestamp::from_millis(ahead)),
                ..TriggerEvent::default()
            })
            .await
            .unwrap();
    }
    let serve = Serve::start(&cli).await;
    for flow in ["minutely", "watching"] {
        until("a poll with the corrected clock", async || {
            let through = runtime.flows().saved_flow(flow).await.unwrap().through.unwrap();
            (through.as_millis() <= now()).then_some(())
        })
        .await;
    }
    let runs = serve.runs().await;
    assert!(runs.iter().any(|run| run["flow"] == "watching"), "the items of the list start a run: {runs:?}");
    sandbox.stop().await;
}
