//! Machines that run out of a resource under a running server: disk space, inodes, a file system that becomes
//! read-only, open files. Its health reports it, it starts nothing, it does not spin, and when the machine recovers,
//! everything continues in the same process.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use futures::future::join_all;
use serde_json::{Value, json};
use trunkline_tests::{
    Cli, Dice,
    serve::{Serve, save},
    until,
};

use crate::{
    account::{Account, unsafe_repeats},
    disk::fill,
    tools::{Disk, Injected, busy, strace, succeeds},
    witness::{Witness, input},
};

/// A fault of the machine.
struct Fault {
    /// The public reason in the health of the server.
    because: &'static str,
    /// The most items with an unknown outcome afterwards: creates in flight whose result could not be recorded.
    unknown: usize,
    begin: fn(&SourceLocation) -> Cause,
}

/// The place of the fault.
struct SourceLocation {
    data: PathBuf,
    home: PathBuf,
    process: u32,
    address: String,
}

/// Keeps the fault active until dropped.
struct Cause(#[expect(dead_code, reason = "dropped")] Vec<Box<dyn Send>>);

/// Calls a function when dropped.
struct Finally<F: FnMut()>(F);

impl<F: FnMut()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

const FULL: Fault = Fault {
    because: "store: disk full",
    unknown: 2,
    begin: |place| {
        let ballast = place.data.join("ballast");
        fill(&ballast);
        Cause(vec![Box::new(Finally(move || fs::remove_file(&ballast).unwrap()))])
    },
};

const NO_INODES: Fault = Fault {
    because: "store: disk full",
    unknown: 0,
    begin: |place| {
        let folder = place.data.join("many");
        fs::create_dir(&folder).unwrap();
        let (files, over) = (folder.clone(), Arc::new(AtomicBool::new(false)));
        let ended = over.clone();
        // Inodes that ended runs free count as well.
        let mut taking = Some(thread::spawn(move || {
            let mut count = 0;
            while !ended.load(SeqCst) {
                match File::create(files.join(count.to_string())) {
                    Ok(_) => count += 1,
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            }
            assert!(count > 10, "void");
        }));
        Cause(vec![Box::new(Finally(move || {
            over.store(true, SeqCst);
            taking.take().unwrap().join().unwrap();
            fs::remove_dir_all(&folder).unwrap();
        }))])
    },
};

/// The error of a file system that becomes read-only under a writing process. It is injected, since a remount fails
/// while files are open for writing.
const READ_ONLY: Fault = Fault {
    because: "store: read-only",
    unknown: 2,
    begin: |place| {
        let calls = "write,pwrite64,openat,ftruncate";
        let files = ["trunkline.db", "trunkline.db-wal", "runs/probe.lock"].map(|file| place.data.join(file));
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let log = place.home.join("calls");
        Cause(vec![Box::new(Injected::into(place.process, calls, &format!("{calls}:error=EROFS"), &files, &log))])
    },
};

/// Callers that keep all file descriptors open, until there are none even for them.
const NO_FILES: Fault = Fault {
    because: "store: too many open files",
    unknown: 0,
    begin: |place| {
        let limit = |most: usize| {
            let limit = format!("--nofile={most}:4096");
            assert!(succeeds("prlimit", &["--pid", &place.process.to_string(), &limit]));
        };
        limit(fs::read_dir(format!("/proc/{}/fd", place.process)).unwrap().count() + 10);
        let address = place.address.strip_prefix("http://").unwrap();
        let callers: Vec<_> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
        limit(8);
        let process = place.process.to_string();
        let recover = move || assert!(succeeds("prlimit", &["--pid", &process, "--nofile=1024:4096"]));
        Cause(vec![Box::new(callers), Box::new(Finally(recover))])
    },
};

/// Sends a request until it is answered. A client may open a connection for it although another one is about to be free
/// again, and a server without file descriptors does not accept the new one.
async fn answered<T>(request: impl AsyncFn() -> T) -> T {
    loop {
        if let Ok(answer) = tokio::time::timeout(Duration::from_secs(20), request()).await {
            return answer;
        }
    }
}

/// A server with one active run and others in its queue recovers from a fault.
async fn gets_over(options: &str, fault: Fault) {
    let mut witness = Witness::with(true);
    let cli = Cli::default();
    let Some(_disk) = Disk::with(&cli.data(), options) else { return };
    witness.connect(&cli).await;
    let hook = json!({ "name": "hook", "trigger": { "webhook": {} }, "steps": [] });
    let hook = save(&cli, &hook).await["webhook"].as_str().unwrap().to_owned();
    let serve = Serve::with(&cli, &["--listen", "127.0.0.1:0", "--at-once", "1"]).await;
    let process = serve.process.id().unwrap();
    assert_eq!(serve.health().await, (200, json!({ "status": "ok" })));
    let mut accepted = BTreeSet::new();
    for _ in 0..3 {
        accepted.insert(serve.run("witnessed", &input(30)).await);
    }
    until("some effects", async || (witness.seen().len() > 10).then_some(())).await;
    let place =
        SourceLocation { data: cli.data(), home: cli.home().to_owned(), process, address: serve.address.clone() };
    let cause = (fault.begin)(&place);
    // Only its health is requested.
    let health = async || answered(async || serve.health().await).await;
    let reply = until("a bad health", async || Some(health().await).filter(|(status, _)| *status == 503)).await.1;
    assert_eq!((&reply["status"], &reply["because"]), (&json!("failing"), &json!(fault.because)), "{reply}");
    assert!(reply["since"].is_string() && reply["hint"].is_string(), "{reply}");
    assert!(!reply.to_string().contains(cli.home().to_str().unwrap()), "no paths: {reply}");
    let start = json!({ "input": input(30) });
    let (status, refused) = answered(async || serve.post("/rest/v1/flows/witnessed/runs", &start).await).await;
    assert_eq!((status, &refused["kind"]), (503, &json!("store")), "{refused}");
    assert!(refused["detail"].is_string() && refused["hint"].as_str().unwrap().contains("/health"), "{refused}");
    let (status, refused) = answered(async || serve.post(&hook, &json!({})).await).await;
    assert_eq!((status, &refused["kind"]), (503, &json!("store")), "{refused}");
    assert!(!refused.to_string().contains(cli.home().to_str().unwrap()), "no paths: {refused}");
    // Calls in flight end.
    let mut last = usize::MAX;
    until("rest", async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = witness.seen().len();
        (std::mem::replace(&mut last, now) == now).then_some(())
    })
    .await;
    let took = busy(process).await;
    assert!(took <= 0.1, "{took} of a processor while idle");
    assert_eq!(witness.seen().len(), last, "no call is made whose result cannot be recorded");
    assert_eq!(health().await.0, 503);
    drop(cause);
    until("a good health", async || (serve.health().await.0 == 200).then_some(())).await;
    accepted.insert(serve.run("witnessed", &input(3)).await);
    let (status, reply) = serve.post(&hook, &json!({})).await;
    assert_eq!(status, 202, "{reply}");
    accepted.insert(reply["run"].as_str().unwrap().to_owned());
    for run in &accepted {
        serve.ended(run).await;
    }
    serve.stop().await.expect(0);
    let unknown = balanced(&cli, &mut witness, &accepted).await;
    assert!(unknown <= fault.unknown, "{unknown} items");
    let (because, runs) = (fault.because, accepted.len());
    println!("{because}: {:.1} % of a processor, {runs} runs ended once, {unknown} items unknown", took * 100.0);
}

/// Asserts that each accepted run has ended once, with each of its effects and without failed items, and that there is
/// no other run. Returns the number of items with an unknown outcome.
async fn balanced(cli: &Cli, witness: &mut Witness, accepted: &BTreeSet<String>) -> usize {
    let (account, effects) = (Account::of(cli).await, witness.seen());
    assert_eq!((account.lost(accepted), account.doubles()), (vec![], vec![]));
    assert_eq!((unsafe_repeats(effects), account.not_done(effects)), (vec![], vec![]));
    assert_eq!((account.runs.len(), account.through()), (accepted.len(), accepted.len()), "{:?}", account.runs);
    assert_eq!(account.count("done") + account.count("unknown"), account.items.len());
    account.count("unknown")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_recovers_from_a_full_disk_and_from_one_without_inodes() {
    tokio::join!(gets_over("size=16m", FULL), gets_over("size=16m,nr_inodes=80", NO_INODES));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_recovers_from_too_few_open_files_and_from_a_read_only_file_system() {
    let read_only = async || {
        if strace() {
            gets_over("size=16m", READ_ONLY).await;
        }
    };
    tokio::join!(gets_over("size=16m", NO_FILES), read_only());
}

/// A small disk becomes full, and later has space again. Returns the number of runs that it stopped.
async fn filled(number: usize, size: u64, from: usize) -> Option<usize> {
    let mut witness = Witness::start();
    let cli = Cli::default();
    let _disk = Disk::mount(&cli.data(), size)?;
    witness.connect(&cli).await;
    let serve = Serve::start(&cli).await;
    let mut accepted = BTreeSet::new();
    for _ in 0..4 {
        accepted.insert(serve.run("witnessed", &input(20)).await);
    }
    until("some effects", async || (witness.seen().len() > from).then_some(())).await;
    let ballast = cli.data().join("ballast");
    fill(&ballast);
    let bad = until("a bad health", async || Some(serve.health().await).filter(|(status, _)| *status == 503)).await;
    assert_eq!(bad.1["because"], "store: disk full", "disk {number}");
    let stopped = serve.runs().await.iter().filter(|run: &&Value| run["status"] == "running").count();
    fs::remove_file(&ballast).unwrap();
    for run in &accepted {
        serve.ended(run).await;
    }
    serve.stop().await.expect(0);
    let unknown = balanced(&cli, &mut witness, &accepted).await;
    assert!(unknown <= accepted.len() * 2, "disk {number}: {unknown} items");
    Some(stopped)
}

async fn disks(count: usize) {
    let mut dice = Dice::default();
    let mut stopped = Vec::new();
    let numbers: Vec<_> = (1..=count).collect();
    for some in numbers.chunks(4) {
        let rolled = some.iter().map(|number| (*number, dice.roll(8 << 20, 16 << 20), dice.roll(1, 100) as usize));
        let rolled: Vec<_> = rolled.collect();
        stopped.extend(join_all(rolled.into_iter().map(|(number, size, from)| filled(number, size, from))).await);
    }
    let Some(stopped) = stopped.into_iter().collect::<Option<Vec<_>>>() else { return };
    let under = stopped.iter().filter(|runs| **runs > 0).count();
    assert!(under * 2 >= count, "void: only {under} of {count} disks stopped a run");
    let runs: usize = stopped.iter().sum();
    println!("{count} disks became full, {under} of them under runs, {runs} in all; none was lost, no store damaged");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_disks_become_full_and_nothing_is_lost_or_doubled() {
    disks(2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: fills 64 disks"]
async fn sixty_four_small_disks_become_full_and_nothing_is_lost_or_doubled() {
    disks(64).await;
}
