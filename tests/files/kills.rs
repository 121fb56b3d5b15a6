//! `kill -9` in the middle of an upload whose source changes now and then: in the end one complete version is visible.

use tokio::time::{Duration, sleep};

use trunkline_sandbox::{Faults, Options};
use trunkline_tests::{Dice, few, finish, until};

use super::{BLOCK, Origin, Rig};

const BLOCKS: u64 = 24;

async fn killed(kills: usize) {
    let faults = Faults { latency: Duration::from_millis(5), ..Faults::default() };
    let rig = Rig::with(Origin { length: BLOCKS * BLOCK, ..Origin::default() }, Options { faults, ..few(1) }).await;
    let (cli, flow, input) = rig.cli().await;
    let (mut dice, mut changes) = (Dice::default(), 0);
    let mut child = cli.start(&["run", &flow, "--input", &input, "--json"]);
    for kill in 0..kills {
        let goal = rig.blocks().await + dice.roll(1, 6) as usize;
        until("progress of the upload", async || {
            assert!(child.try_wait().unwrap().is_none(), "it ended before kill {kill}");
            (rig.blocks().await >= goal).then_some(())
        })
        .await;
        sleep(Duration::from_millis(dice.roll(0, 30))).await;
        // SIGKILL.
        child.kill().await.unwrap();
        assert_eq!(rig.visible("film.mp4"), [""; 0]);
        if kill % 2 == 1 {
            rig.server.change(|origin| origin.version += 1);
            changes += 1;
        }
        let id = cli.runtime().journal().runs().await.unwrap().pop().unwrap().id;
        child = cli.start(&["runs", "resume", id.as_str(), "--json"]);
    }
    finish(child).await.expect(0);
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
