//! Disks that fail: failing flushes, processes that die in a flush, a full disk. Acknowledged runs are kept, the error
//! names the disk, and the runs continue when the disk works again.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    path::Path,
};

use serde_json::json;
use tokio::process::Command;
use trunkline_tests::{Cli, CommandOutput, finish, serve::Serve, until};

use crate::{
    account::{Account, unsafe_repeats},
    tools::{Disk, strace},
    witness::{Witness, input},
};

/// The output of a traced command, and its system calls.
struct Traced {
    answer: CommandOutput,
    calls: String,
}

impl Traced {
    /// Returns the position of a text in the system calls.
    fn at(&self, what: &str) -> Option<usize> {
        self.calls.find(what)
    }
}

/// Runs a command whose flushes have an injected result.
async fn traced(cli: &Cli, arguments: &[&str], injected: &str) -> Traced {
    let log = cli.home().join("calls");
    let inner = cli.command(arguments);
    let inner = inner.as_std();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-s", "400", "-e", "trace=fdatasync,fsync,write", "-o"]).arg(&log);
    command.args(["-e", &format!("inject=fdatasync,fsync:{injected}")]);
    command.arg(inner.get_program()).args(inner.get_args()).kill_on_drop(true);
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let answer = finish(command.spawn().unwrap()).await;
    Traced { answer, calls: fs::read_to_string(log).unwrap() }
}

/// A run is acknowledged when its id is printed.
const ACKNOWLEDGED: &str = "if it is interrupted";

/// Returns the id of the run that a command acknowledged.
fn acknowledged(answer: &CommandOutput) -> Option<String> {
    let reply = answer.stderr.lines().chain(answer.stdout.lines()).find(|line| line.contains(ACKNOWLEDGED))?;
    Some(reply.split("resume ").nth(1)?.split('`').next()?.to_owned())
}

/// Resumes all unfinished runs, and asserts that each ends and nothing is doubled.
async fn all_end(cli: &Cli, witness: &mut Witness, accepted: &BTreeSet<String>) {
    let before = Account::of(cli).await;
    assert_eq!((before.lost(accepted), before.doubles()), (vec![], vec![]));
    let seen = witness.seen().len();
    for run in before.runs.iter().filter(|(_, status)| status.as_str() == "running").map(|(run, _)| run) {
        let ended = cli.run(&["runs", "resume", run, "--json"]).await;
        assert!([0, 4].contains(&ended.code), "{ended:?}");
    }
    let now = Account::of(cli).await;
    let effects = witness.seen();
    assert_eq!((before.called_again(&effects[seen..]), now.doubles()), (vec![], vec![]));
    assert_eq!((unsafe_repeats(effects), now.not_done(effects)), (vec![], vec![]));
    assert_eq!(now.through(), now.runs.len(), "{:?}", now.runs);
}

#[tokio::test]
async fn a_flush_that_fails_acknowledges_nothing_and_ends_the_process_with_an_error() {
    if !strace() {
        return;
    }
    let mut witness = Witness::start();
    let cli = witness.home().await;
    let input = input(5).to_string();
    let mut accepted = BTreeSet::new();
    // Flushes fail from the first one of each thread on, or from a later one. The first ones belong to the acceptance.
    let flushes = [1, 3, 6, 12];
    for from in flushes {
        let traced = traced(&cli, &["run", "witnessed", "--input", &input], &format!("error=EIO:when={from}+")).await;
        let answer = &traced.answer;
        assert_eq!(answer.code, 1, "flush {from}: {answer:?}");
        assert!(answer.stderr.contains("the disk did not keep what was written"), "flush {from}: {}", answer.stderr);
        assert!(!answer.stderr.contains("panicked"), "{}", answer.stderr);
        let failed = traced.at("(INJECTED)").expect("a flush failed");
        let reply = traced.at(ACKNOWLEDGED);
        assert!(reply.is_none_or(|reply| reply < failed), "flush {from}: acknowledged after a flush had failed");
        let run = acknowledged(answer);
        assert_eq!(run.is_some(), reply.is_some());
        accepted.extend(run);
    }
    assert!((1..flushes.len()).contains(&accepted.len()), "void: {accepted:?}");
    println!("{} of {} runs were acknowledged before the disk failed", accepted.len(), flushes.len());
    all_end(&cli, &mut witness, &accepted).await;
}

#[tokio::test]
async fn a_process_may_die_in_any_flush() {
    if !strace() {
        return;
    }
    let mut witness = Witness::start();
    let cli = witness.home().await;
    let input = input(5).to_string();
    let mut accepted = BTreeSet::new();
    for at in [1, 2, 4, 7, 12] {
        let run = ["run", "witnessed", "--input", &input];
        let traced = traced(&cli, &run, &format!("signal=KILL:when={at}")).await;
        assert_eq!(traced.answer.code, -1, "flush {at}: {:?}", traced.answer);
        accepted.extend(acknowledged(&traced.answer));
    }
    assert!((2..5).contains(&accepted.len()), "void: {accepted:?}");
    all_end(&cli, &mut witness, &accepted).await;
}

/// Fills the disk.
pub(crate) fn fill(ballast: &Path) {
    let mut file = File::create(ballast).unwrap();
    for size in [65_536, 4_096, 512, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_acknowledges_nothing_and_with_space_again_all_runs_continue() {
    let mut witness = Witness::start();
    let cli = Cli::default();
    let data = cli.data();
    let Some(_disk) = Disk::mount(&data, 16 << 20) else { return };
    witness.connect(&cli).await;
    let (ballast, body) = (data.join("ballast"), json!({ "input": input(60) }));
    let serve = Serve::start(&cli).await;
    let mut accepted = BTreeSet::new();
    for _ in 0..4 {
        accepted.insert(serve.run("witnessed", &input(60)).await);
    }
    until("some effects", async || (witness.seen().len() > 40).then_some(())).await;
    fill(&ballast);
    // A little may still fit into the file of the store; after that, the store reports an error.
    let reply = until("an error", async || {
        let (status, reply) = serve.post("/rest/v1/flows/witnessed/runs", &body).await;
        if status == 202 {
            accepted.insert(reply["run"].as_str().unwrap().to_owned());
            return None;
        }
        assert!(status >= 500, "{reply}");
        Some(reply)
    })
    .await;
    let text = reply.to_string();
    assert!(reply["kind"] == "store" && (text.contains("space") || text.contains("full")), "{reply}");
    // The command line reports it as well, before it calls anything.
    let seen = witness.seen().len();
    let alone = cli.run(&["run", "witnessed", "--input", &input(1).to_string(), "--json"]).await.expect(1);
    assert_eq!(alone.error()["kind"], "store", "{alone:?}");
    assert!(witness.seen().len() - seen <= 8, "at most the calls in flight");
    serve.kill().await;
    fs::remove_file(&ballast).unwrap();
    let runs = Account::of(&cli).await;
    assert!(runs.lost(&accepted).is_empty() && runs.through() == 0, "void: {:?}", runs.runs);
    all_end(&cli, &mut witness, &accepted).await;
}
