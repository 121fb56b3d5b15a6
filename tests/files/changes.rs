//! A source that changes during a copy: the change is detected whatever the server reports, and no mix of two versions
//! becomes visible.

use std::{path::PathBuf, sync::Arc};

use trunkline_core::ErrorKind;
use trunkline_testkit::fake::FakeStep;
use trunkline_tests::Cli;

use super::{BLOCK, Origin, Rig, copies, origin::VersionHeader};

const LENGTH: u64 = 3 * BLOCK + 77;

/// After a crash in the middle: the checkpoint has the version of the staged blocks.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_continues_after_a_crash_only_if_the_source_did_not_change() {
    for (version_header, staged) in [
        (VersionHeader::Etag, true),
        (VersionHeader::Modified, true),
        (VersionHeader::Nothing, true),
        (VersionHeader::Nothing, false),
    ] {
        for (ranges, conditions) in [(true, true), (true, false), (false, true)] {
            for changes in [false, true] {
                let case = format!(
                    "{version_header:?}, staged {staged}, ranges {ranges}, conditions {conditions}, changes {changes}"
                );
                let cli = Cli::default();
                let mut rig =
                    Rig::new(Origin { length: LENGTH, version_header, ranges, conditions, ..Origin::default() }).await;
                rig.staging = cli.runtime().ports().staging.clone().filter(|_| staged);
                let copied = staged && version_header == VersionHeader::Nothing;
                // The upload is started, perhaps from a staged copy, and two blocks are sent.
                let step = Arc::new(FakeStep::crashing_after(3 + usize::from(copied)));
                assert!(rig.attempt(&step, &rig.unknown()).await.is_none(), "{case}");
                rig.server.change(|origin| origin.version += u64::from(changes));
                let made = rig.attempt(&step, &rig.unknown()).await.unwrap().unwrap();
                let origin = rig.server.origin.lock().unwrap().clone();
                // A staged copy does not change; a source without versions may have changed.
                let sent_again = !copied && (changes || version_header == VersionHeader::Nothing);
                let sha256 = origin.sha256(if copied { 1 } else { origin.version });
                assert_eq!(made["sha256"], sha256, "{case}");
                assert_eq!(rig.visible("film.mp4"), [sha256], "{case}");
                assert_eq!(rig.blocks().await, if sent_again { 2 + 4 } else { 4 }, "{case}");
                assert_eq!(step.warnings().len(), usize::from(sent_again), "{case}");
                assert_eq!(cli.data().join("staging").exists(), copied, "{case}");
                assert_eq!(copies(&cli.data()), [""; 0].map(PathBuf::from), "{case}");
                let heads = rig.server.heads.lock().unwrap().clone();
                let conditional =
                    heads.iter().filter(|head| head.to_ascii_lowercase().contains("\r\nif-range: ")).count();
                assert_eq!(conditional > 0, version_header != VersionHeader::Nothing, "{case}");
            }
        }
    }
}

/// The connection is cut, and the source is another file when the read continues.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changes_while_it_is_read_is_sent_again() {
    for (version_header, staged) in [
        (VersionHeader::Etag, true),
        (VersionHeader::Modified, true),
        (VersionHeader::Nothing, true),
        (VersionHeader::Nothing, false),
    ] {
        let cli = Cli::default();
        let later = Origin { length: LENGTH, version: 2, version_header, ..Origin::default() };
        let sha256 = later.sha256(2);
        let first = Origin { version: 1, cut: Some(2 * BLOCK), then: Some(later.clone().into()), ..later };
        let (mut rig, step) = (Rig::new(first).await, Arc::<FakeStep>::default());
        rig.staging = cli.runtime().ports().staging.clone().filter(|_| staged);
        let made = rig.attempt(&step, &rig.unknown()).await.unwrap().unwrap();
        assert_eq!(made["sha256"], sha256, "{version_header:?}, staged {staged}");
        assert_eq!(rig.visible("film.mp4"), [sha256], "{version_header:?}, staged {staged}");
        // If a copy is staged first, nothing was sent yet.
        let expected = if staged && version_header == VersionHeader::Nothing { (4, 0) } else { (6, 1) };
        assert_eq!((rig.blocks().await, step.warnings().len()), expected, "{version_header:?}, staged {staged}");
    }
}

/// The other facts about the file, such as its size, belong to the old version: the item has to be run again.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_differs_from_its_reference_is_refused() {
    for length in [50_000, LENGTH] {
        let rig = Rig::new(Origin { length, declares: Some(1), ..Origin::default() }).await;
        let file = rig.reference("film.mp4").await;
        for changes in 0..2 {
            rig.server.change(|origin| match changes {
                0 => (origin.version, origin.declares) = (2, Some(2)),
                _ => origin.length += 1,
            });
            let error = rig.upload(&file).await.unwrap_err();
            assert_eq!((error.kind(), rig.sandbox.report().uploaded), (ErrorKind::Conflict, 0), "{error:?}");
            assert!(error.advice().unwrap().contains("run the item again"), "{error:?}");
        }
    }
}
