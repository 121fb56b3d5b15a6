//! Two processes claim the same run: one works on it, the other gets a conflict, also while the owner is stopped.

use std::{process::Command, time::Duration};

use trunkline::Runtime;
use trunkline_core::{ErrorKind, Result, RunId};
use trunkline_engine::{RunHandle, RunStatus};
use trunkline_tests::{Cli, Dice, finish, until};

use crate::{
    account::{Account, unsafe_repeats},
    witness::{Effect, Witness, held, input},
};

const PROCESSES: usize = 3;
const STARTS: usize = 20;

/// Returns a run that is accepted and has no owner: the runtime that accepted it is draining, so it stops before the
/// first step.
pub(crate) async fn left(draining: &Runtime, flow: &str) -> RunId {
    let running = draining.start_saved(flow, input(1), Default::default()).await.unwrap();
    let run = running.wait().await.unwrap();
    assert_eq!(run.status, RunStatus::Running);
    run.id
}

/// Waits for the run of the winner, and asserts that the other claim failed with a conflict.
async fn one_works(results: [Result<RunHandle>; 2]) {
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 1), "exactly one claim succeeds");
    for lost in lost {
        assert_eq!(lost.err().unwrap().kind(), ErrorKind::Conflict);
    }
    for won in won {
        assert_eq!(won.unwrap().wait().await.unwrap().status, RunStatus::Succeeded);
    }
}

async fn soon(runtime: Runtime, run: RunId, after: Duration) -> Result<RunHandle> {
    tokio::time::sleep(after).await;
    runtime.resume(&run).await
}

/// Asserts that each run has its three effects once, and one end.
fn once_each(account: &Account, effects: &[Effect], runs: usize) {
    assert_eq!((account.doubles(), unsafe_repeats(effects)), (vec![], vec![]));
    assert_eq!((account.runs.len(), account.through(), account.count("done")), (runs, runs, runs), "{account:#?}");
    assert_eq!(effects.len(), 3 * runs, "nothing was called twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_that_resume_a_run_one_works_and_one_is_refused() {
    races(100).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: a thousand races"]
async fn of_two_processes_that_resume_a_run_one_works_in_a_thousand_races() {
    races(1000).await;
}

async fn races(races: usize) {
    let mut witness = Witness::start();
    let cli = witness.home().await;
    // Separate stores, as in two processes: the locks belong to open files.
    let (one, two, draining) = (cli.runtime(), cli.runtime(), cli.runtime());
    draining.engine().drain();
    let mut dice = Dice::default();
    for _ in 0..races {
        let run = left(&draining, "witnessed").await;
        // Mostly at the same moment; sometimes the second claim comes while the first run is active or has just ended.
        let late = Duration::from_micros(dice.roll(0, 4) * dice.roll(0, 4_000));
        let first = tokio::spawn(soon(one.clone(), run.clone(), Duration::ZERO));
        let second = tokio::spawn(soon(two.clone(), run, late));
        one_works([first.await.unwrap(), second.await.unwrap()]).await;
    }
    // A run that is being started cannot be claimed either.
    for _ in 0..STARTS {
        let known = two.journal().runs().await.unwrap().len();
        let starting = {
            let one = one.clone();
            tokio::spawn(async move { one.start_saved("witnessed", input(1), Default::default()).await })
        };
        let run = until("the new run", async || {
            let mut runs = two.journal().runs().await.unwrap();
            (runs.len() > known).then(|| runs.swap_remove(0).id)
        })
        .await;
        let refused = two.resume(&run).await;
        one_works([starting.await.unwrap(), refused]).await;
    }
    // The same race with real processes.
    for _ in 0..PROCESSES {
        let run = left(&draining, "witnessed").await.to_string();
        let resume = ["runs", "resume", &run, "--json"];
        let (first, second) = (cli.start(&resume), cli.start(&resume));
        let (first, second) = tokio::join!(finish(first), finish(second));
        let (won, lost) = if first.code == 0 { (first, second) } else { (second, first) };
        assert_eq!(won.expect(0).json()["status"], "succeeded");
        assert_eq!(lost.expect(1).error()["kind"], "conflict");
    }
    once_each(&Account::of(&cli).await, witness.seen(), races + STARTS + PROCESSES);
    println!("{races} races, {STARTS} of starts, {PROCESSES} of processes: one worked, one had a conflict");
}

fn signal(process: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
}

/// Returns whether a process is stopped, by its state in `/proc`.
fn is_stopped(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_owner_stays_the_owner() {
    let mut witness = Witness::start();
    let cli: Cli = witness.home().await;
    let input = held(1, "put", 3000).to_string();
    let owner = cli.start(&["run", "witnessed", "--input", &input, "--json"]);
    let process = owner.id().unwrap();
    let run = until("a call in flight", async || {
        let put = witness.seen().iter().find(|effect| effect.method == "PUT")?;
        put.place.split('/').next().map(str::to_owned)
    })
    .await;
    // Not in the middle of a write: a stopped process that holds the lock of the store blocks all others.
    tokio::time::sleep(Duration::from_millis(500)).await;
    signal(process, "-STOP");
    until("the stop of the process", async || is_stopped(process).then_some(())).await;
    // Longer than the response is held: it has arrived, and the owner does not read it.
    for _ in 0..3 {
        let error = cli.run(&["runs", "resume", &run, "--json"]).await.expect(1).error();
        assert_eq!(error["kind"], "conflict", "{error}");
        assert!(is_stopped(process));
    }
    signal(process, "-CONT");
    let ended = finish(owner).await.expect(0).json();
    assert_eq!((&ended["status"], &ended["ledger"]["all"]["done"]), (&"succeeded".into(), &1.into()), "{ended}");
    let account = Account::of(&cli).await;
    assert_eq!((account.doubles(), unsafe_repeats(witness.seen())), (vec![], vec![]));
    assert_eq!((account.count("done"), witness.seen().len()), (1, 3));
}
