//! `kill -9` in the middle of an upload whose source changes now and then: in the end one complete version is visible.

use std::time::Duration;

use trunkline_sandbox::{Faults, Options};
use trunkline_testkit::{
    kill::{KillPlan, Killed},
    process::TestProcess,
};
use trunkline_tests::{Cli, few};

use super::{BLOCK, Origin, Rig};

const BLOCKS: u64 = 24;

/// A copy that is killed, and whose source changes after every second kill.
struct Copy {
    rig: Rig,
    cli: Cli,
    flow: String,
    input: String,
    changes: usize,
}

impl Killed for Copy {
    async fn start(&mut self, _: usize) -> TestProcess {
        self.cli.run_or_resume(&self.flow, &self.input).await
    }

    async fn progress(&mut self) -> u64 {
        self.rig.blocks().await as u64
    }

    async fn check(&mut self, kills: usize) {
        assert_eq!(self.rig.visible("film.mp4"), [""; 0]);
        if kills.is_multiple_of(2) {
            self.rig.server.change(|origin| origin.version += 1);
            self.changes += 1;
        }
    }
}

async fn killed(kills: usize) {
    let faults = Faults { latency: Duration::from_millis(5), ..Faults::default() };
    let rig = Rig::with(Origin { length: BLOCKS * BLOCK, ..Origin::default() }, Options { faults, ..few(1) }).await;
    let (cli, flow, input) = rig.cli().await;
    let mut copy = Copy { rig, cli, flow, input, changes: 0 };
    KillPlan { kills, progress: 1..6, pause: 0..30 }.play(&mut copy).await.finish().await.expect(0);
    let Copy { rig, changes, .. } = copy;
    let origin = rig.server.origin.lock().unwrap().clone();
    assert_eq!(rig.visible("film.mp4"), [origin.sha256(origin.version)]);
    let report = rig.sandbox.report();
    assert_eq!((report.uploaded, report.duplicates, report.unfinished_uploads), (1, 0, 0), "{report:?}");
    // A kill costs one block, a change costs the staged blocks of the old version.
    let taken = rig.blocks().await;
    let most = BLOCKS as usize + kills + changes * 2 * 7;
    println!("{kills} kills, {changes} changes: {taken} blocks for a file of {BLOCKS}");
    assert!(taken <= most, "{taken} blocks, more than {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_and_a_source_that_changes_mix_no_versions() {
    killed(20).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn two_hundred_kills_and_a_source_that_changes_mix_no_versions() {
    killed(200).await;
}
