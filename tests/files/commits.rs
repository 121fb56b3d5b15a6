//! Lost responses to the calls that make a file visible.

use std::sync::Arc;

use futures::{StreamExt, stream};
use trunkline_sandbox::{Faults, Options};
use trunkline_testkit::fake::FakeStep;
use trunkline_tests::few;

use super::{BLOCK, Origin, Rig};

const FILES: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_lost_responses_to_commits_create_no_second_asset() {
    let faults = Faults { lost_commits: true, ..Faults::default() };
    let rig = &Rig::with(Origin { length: 3_000, ..Origin::default() }, Options { faults, ..few(1) }).await;
    let upload = async |number: usize| {
        let (name, step) = (format!("file-{number}.mp4"), Arc::<FakeStep>::default());
        let file = rig.reference(&name).await;
        // As the engine does after an attempt with an unknown outcome.
        let made = match rig.attempt(&step, &file).await.unwrap() {
            Err(error) if error.kind() == trunkline_core::ErrorKind::UnknownOutcome => {
                rig.attempt(&step, &file).await.unwrap()
            }
            made => made,
        };
        (name, made.unwrap_or_else(|error| panic!("file {number}: {error:?}")))
    };
    let all: Vec<_> = stream::iter(0..FILES).map(upload).buffer_unordered(16).collect().await;
    let sha256 = rig.server.origin.lock().unwrap().sha256(1);
    for (name, made) in all {
        assert_eq!((made["sha256"].as_str(), rig.visible(&name)), (Some(sha256.as_str()), vec![sha256.clone()]));
    }
    let report = rig.sandbox.report();
    assert_eq!((report.uploaded, report.duplicates, report.unfinished_uploads), (FILES as u64, 0, 0), "{report:?}");
    // The upload of the bytes and the finalization of each file.
    assert_eq!(report.faults["lost"], 2 * FILES as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_response_to_a_block_list_creates_no_second_asset() {
    let faults = Faults { lost_commits: true, ..Faults::default() };
    let rig = Rig::with(Origin { length: BLOCK + 1, ..Origin::default() }, Options { faults, ..few(1) }).await;
    rig.upload(&rig.unknown()).await.unwrap();
    let report = rig.sandbox.report();
    assert_eq!((report.uploaded, report.duplicates, report.unfinished_uploads), (1, 0, 0), "{report:?}");
    assert_eq!((report.faults["lost"], rig.blocks().await), (2, 2));
}
