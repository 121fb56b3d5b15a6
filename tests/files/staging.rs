//! Sources that can be read only from their beginning, or only once: exports that are generated for each request, URLs
//! that work one time. They are staged on disk and sent from there. The staged copy is removed when it is not needed
//! any more.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use trunkline_core::{ErrorKind, RunId};
use trunkline_engine::RunStatus;
use trunkline_sandbox::{Faults, Options};
use trunkline_testkit::{
    fake::FakeStep,
    kill::{KillPlan, Killed},
    process::TestProcess,
};
use trunkline_tests::{Cli, CommandOutput, few, finish, until};

use super::{BLOCK, Origin, Rig, copies, origin::VersionHeader};

const BLOCKS: u64 = 12;
const NONE: [PathBuf; 0] = [];

/// Returns a file that is generated for each request, with other bytes each time and of unknown size.
fn export(blocks: u64) -> Origin {
    Origin {
        length: blocks * BLOCK,
        version_header: VersionHeader::Nothing,
        ranges: false,
        sized: false,
        each: true,
        ..Origin::default()
    }
}

fn slow() -> Options {
    Options { faults: Faults { latency: Duration::from_millis(10), ..Faults::default() }, ..few(1) }
}

/// Returns the id of the only run.
async fn run_of(cli: &Cli) -> RunId {
    cli.runtime().journal().runs().await.unwrap().pop().unwrap().id
}

/// Waits until `blocks` blocks have arrived.
async fn arrived(rig: &Rig, blocks: usize) {
    until("progress of the upload", async || (rig.blocks().await >= blocks).then_some(())).await;
}

/// The cost of a completed upload that was killed now and then.
#[derive(Debug)]
struct Cost {
    reads: usize,
    blocks: usize,
}

impl Cost {
    /// Returns whether the cost is minimal: one read by the download step and one to stage the copy; each kill costs
    /// one block.
    fn is_least(&self, kills: usize) -> bool {
        self.reads == 2 && self.blocks <= BLOCKS as usize + kills
    }
}

/// The copy of an export that is killed. Without `keeps`, the staged copy is deleted at each kill.
struct Export {
    rig: Rig,
    cli: Cli,
    flow: String,
    input: String,
    keeps: bool,
}

impl Killed for Export {
    async fn start(&mut self, _: usize) -> TestProcess {
        self.cli.run_or_resume(&self.flow, &self.input).await
    }

    async fn progress(&mut self) -> u64 {
        self.rig.blocks().await as u64
    }

    async fn check(&mut self, _: usize) {
        let staged = copies(&self.cli.data());
        assert_eq!(staged.len(), 1, "{staged:?}");
        assert_eq!(fs::metadata(&staged[0]).unwrap().len(), BLOCKS * BLOCK);
        is_private(&self.cli, &staged[0]);
        if !self.keeps {
            fs::remove_dir_all(self.cli.data().join("staging")).unwrap();
        }
    }
}

/// Copies an export with the real binary and `kill -9` now and then.
async fn killed(kills: usize, keeps: bool) -> Cost {
    let rig = Rig::with(export(BLOCKS), slow()).await;
    let (cli, flow, input) = rig.cli().await;
    let mut export = Export { rig, cli, flow, input, keeps };
    KillPlan { kills, progress: 1..3, pause: 0..15 }.play(&mut export).await.finish().await.expect(0);
    let Export { rig, cli, .. } = export;
    assert_eq!(copies(&cli.data()), NONE);
    let cost = Cost { blocks: rig.blocks().await, reads: rig.server.heads.lock().unwrap().len() };
    println!("{kills} kills: {cost:?} for a file of {BLOCKS}");
    // The asset equals the version of the last request.
    let origin = rig.server.origin.lock().unwrap().clone();
    let served: Vec<_> = (1..=cost.reads as u64).map(|version| origin.sha256(version)).collect();
    assert_eq!(rig.visible("film.mp4"), served[served.len() - 1..]);
    let report = rig.sandbox.report();
    assert_eq!((report.uploaded, report.duplicates, report.unfinished_uploads), (1, 0, 0), "{report:?}");
    cost
}

/// Asserts that only the owner can read a staged copy.
fn is_private(cli: &Cli, copy: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (run, all) = (copy.parent().unwrap(), cli.data().join("staging"));
    assert_eq!((mode(copy), mode(run), mode(&all)), (0o600, 0o700, 0o700));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_read_once_however_often_its_upload_is_killed_and_a_kill_costs_one_block() {
    let cost = killed(4, true).await;
    assert!(cost.is_least(4), "{cost:?}");
}

/// Without staged copies the upload is also safe, but costs more: so the copies make the difference.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_whose_staged_copy_is_gone_is_read_and_sent_again() {
    let cost = killed(2, false).await;
    assert!(!cost.is_least(2) && cost.reads == 2 + 2, "{cost:?}");
}

/// Each signed URL of the storage is valid for one block, and the process stops at each checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_url_that_works_once_is_enough_wherever_the_upload_stops() {
    // The copy is staged, four blocks are sent, the upload is complete.
    for stop in 2..=7 {
        let faults = Faults { address_blocks: Some(1), ..Faults::default() };
        let mut rig = Rig::with(once(), Options { faults, ..few(1) }).await;
        let cli = Cli::default();
        rig.staging = cli.runtime().ports().staging.clone();
        let step = Arc::new(FakeStep::crashing_after(stop));
        assert!(rig.attempt(&step, &rig.unknown()).await.is_none(), "stop {stop}");
        let made = rig.attempt(&step, &rig.unknown()).await.unwrap().unwrap();
        assert_eq!(made["sha256"], once().sha256(1), "stop {stop}");
        assert_eq!(rig.visible("film.mp4"), [once().sha256(1)], "stop {stop}");
        assert_eq!((rig.blocks().await, rig.server.heads.lock().unwrap().len()), (4, 1), "stop {stop}");
        // Staging does not count as progress.
        assert_eq!(step.progress_bytes(), once().length, "stop {stop}");
    }
    // Without a staging directory, one URL is not enough.
    let rig = Rig::new(once()).await;
    let step = Arc::new(FakeStep::crashing_after(3));
    assert!(rig.attempt(&step, &rig.unknown()).await.is_none());
    let error = rig.attempt(&step, &rig.unknown()).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), rig.visible("film.mp4").len()), (ErrorKind::NotFound, 0), "{error:?}");
}

/// Returns a file that is available for one request.
fn once() -> Origin {
    let once = Origin { length: 3 * BLOCK + 77, version_header: VersionHeader::Nothing, ..Origin::default() };
    Origin { then: Some(Origin { gone: true, ..once.clone() }.into()), ..once }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_and_versioned_sources_are_not_staged() {
    let small = Origin { length: 50_000, version_header: VersionHeader::Nothing, ..Origin::default() };
    let versions = [VersionHeader::Etag, VersionHeader::Modified].map(|version_header| Origin {
        length: BLOCK + 1,
        version_header,
        ..Origin::default()
    });
    for (origin, copied) in [(small, false), (export(1), true)].into_iter().chain(versions.map(|one| (one, false))) {
        let mut rig = Rig::new(origin.clone()).await;
        let cli = Cli::default();
        rig.staging = cli.runtime().ports().staging.clone();
        let mut file = rig.unknown();
        if origin.length < BLOCK {
            file["size"] = origin.length.into();
        }
        rig.upload(&file).await.unwrap();
        assert_eq!(cli.data().join("staging").exists(), copied, "{origin:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_staged_copy_is_replaced_and_never_made_visible() {
    for harm in ["other bytes", "shorter", "empty"] {
        let mut rig = Rig::new(export(3)).await;
        let cli = Cli::default();
        rig.staging = cli.runtime().ports().staging.clone();
        let step = Arc::new(FakeStep::crashing_after(3));
        assert!(rig.attempt(&step, &rig.unknown()).await.is_none());
        let copy = copies(&cli.data()).remove(0);
        let mut bytes = fs::read(&copy).unwrap();
        match harm {
            "other bytes" => *bytes.last_mut().unwrap() ^= 1,
            "shorter" => bytes.truncate(2 * BLOCK as usize + 1),
            _ => bytes.clear(),
        }
        fs::write(&copy, bytes).unwrap();
        let made = rig.attempt(&step, &rig.unknown()).await.unwrap().unwrap();
        let sha256 = rig.server.origin.lock().unwrap().sha256(2);
        assert_eq!((&made["sha256"], rig.visible("film.mp4")), (&json!(sha256), vec![sha256.clone()]), "{harm}");
        assert_eq!((step.warnings().len(), rig.server.heads.lock().unwrap().len()), (1, 2), "{harm}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staged_copy_is_kept_while_its_run_can_resume_and_removed_after_a_failure_or_cancellation() {
    let cancelled = async |cli: &Cli, id: &RunId| cli.run(&["runs", "cancel", id.as_str()]).await.expect(0);

    // The storage refuses all blocks: the step fails with an error that an operator can fix, so the run can be resumed.
    let faults = Faults { address_blocks: Some(0), ..Faults::default() };
    let rig = Rig::with(export(2), Options { faults, ..few(1) }).await;
    let (cli, flow, input) = rig.cli().await;
    let run = cli.run(&["run", &flow, "--input", &input, "--json"]).await.json();
    assert_eq!((&run["status"], &run["error"]["kind"]), (&json!("failed"), &json!("auth")), "{run}");
    assert_eq!(copies(&cli.data()).len(), 1);
    cancelled(&cli, &run_of(&cli).await).await;
    assert_eq!(copies(&cli.data()), NONE);

    // The file has another digest than stated: the failure is permanent.
    let rig = Rig::new(export(2)).await;
    let (cli, flow, input) = rig.cli().await;
    let mut document: Value = serde_json::from_slice(&fs::read(&flow).unwrap()).unwrap();
    document["steps"][1]["input"]["file"] = rig.unknown();
    document["steps"][1]["input"]["file"]["digest"] = format!("md5:{}", "0".repeat(32)).into();
    let flow = cli.write("flow.json", &document.to_string());
    let run = cli.run(&["run", &flow, "--input", &input, "--json"]).await.json();
    assert_eq!((&run["status"], &run["error"]["kind"]), (&json!("failed"), &json!("conflict")), "{run}");
    assert!(cli.data().join("staging").exists());
    assert_eq!(copies(&cli.data()), NONE);

    // Cancelled in the process that works on it.
    let rig = Rig::with(export(BLOCKS), slow()).await;
    let (cli, flow, input) = rig.cli().await;
    let child = cli.start(&["run", &flow, "--input", &input, "--json"]);
    arrived(&rig, 1).await;
    assert_eq!(copies(&cli.data()).len(), 1);
    cancelled(&cli, &run_of(&cli).await).await;
    finish(child).await;
    assert_eq!(copies(&cli.data()), NONE);

    // Killed: the copy is kept until the run is cancelled.
    let mut child = cli.start(&["run", &flow, "--input", &input, "--json"]);
    let goal = rig.blocks().await + 1;
    arrived(&rig, goal).await;
    child.kill().await.unwrap();
    let id = cli.runtime().journal().runs().await.unwrap().remove(0).id;
    let left = copies(&cli.data());
    cli.run(&["runs"]).await.expect(0);
    assert_eq!((copies(&cli.data()), left.len()), (left.clone(), 1));
    let bytes = fs::read(&left[0]).unwrap();
    cancelled(&cli, &id).await;
    assert_eq!(copies(&cli.data()), NONE);

    // As after a kill between the end of the run and the removal of the copy: the next process removes it.
    fs::create_dir_all(left[0].parent().unwrap()).unwrap();
    fs::write(&left[0], bytes).unwrap();
    fs::write(left[0].with_extension("part"), "half").unwrap();
    cli.run(&["runs"]).await.expect(0);
    assert_eq!(fs::read_dir(cli.data().join("staging")).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_memory_for_staging_does_not_grow_with_the_file() {
    let mut peaks = Vec::new();
    for blocks in [6, 36] {
        let rig = Rig::new(export(blocks)).await;
        let (cli, flow, input) = rig.cli().await;
        let child = cli.start(&["run", &flow, "--input", &input, "--json"]);
        let watch = trunkline_tests::memory::peak(child.id().unwrap());
        finish(child).await.expect(0);
        peaks.push(watch.await.unwrap());
    }
    println!("peak memory for 24 and 144 MiB: {peaks:?} KiB");
    assert!(peaks[0] > 1_000 && peaks[1] < peaks[0] + 64 * 1024, "{peaks:?} KiB");
}

/// The disk of 8 MiB is mounted in a namespace of the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_staging_disk_fails_the_run_with_a_hint_and_leaves_no_partial_copy() {
    const SMALL: &str = "mkdir -p $STAGING && mount -t tmpfs -o size=8m tmpfs $STAGING || exit 77
        \"$@\"; code=$?; find $STAGING -type f; exit $code";
    // More than fits into one request.
    let rig = Rig::new(Origin { sized: true, ..export(17) }).await;
    let (cli, flow, input) = rig.cli().await;
    let command = cli.command(&["run", &flow, "--input", &input, "--json"]);
    let command = command.as_std();
    let mut small = Command::new("unshare");
    small.args(["--user", "--map-root-user", "--mount", "sh", "-c", SMALL, "sh"]).arg(command.get_program());
    small.args(command.get_args()).env("STAGING", cli.data().join("staging")).env("HOME", cli.home());
    small.env("TRUNKLINE_ALLOW_PRIVATE_NETWORK", "true");
    let Some(answer) = small.output().ok().filter(|answer| answer.status.code() != Some(77)) else {
        trunkline_tests::peers::missing(
            "this machine cannot mount a disk in a namespace (`unshare` with user namespaces)",
        );
        return;
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let answer =
        CommandOutput { code: answer.status.code().unwrap(), stdout: text(answer.stdout), stderr: text(answer.stderr) };
    assert!(!answer.stdout.is_empty(), "{answer:?}");
    let run = answer.json();
    assert_eq!(run["status"], "failed", "{answer:?}");
    let error = &run["error"];
    assert_eq!(error["kind"], "store", "{run}");
    let message = error["message"].as_str().unwrap();
    let staging = cli.data().join("staging").display().to_string();
    for part in ["film.mp4", &(17 * BLOCK).to_string(), &staging, "No space left"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert!(error["hint"].as_str().unwrap().contains("runs resume"), "{run}");

    // With enough space, the same run succeeds.
    let id = run_of(&cli).await;
    let resumed: Value = cli.run(&["runs", "resume", id.as_str(), "--json"]).await.expect(0).json();
    assert_eq!(resumed["status"], json!(RunStatus::Succeeded), "{resumed}");
    assert_eq!((rig.sandbox.report().uploaded, copies(&cli.data())), (1, NONE.to_vec()));
}
