//! Signed URLs that expire: the upload gets another one, and no staged block is sent again.

use std::sync::Arc;

use serde_json::{Value, json};
use trunkline_sandbox::{Faults, Options};
use trunkline_testkit::fake::FakeStep;
use trunkline_tests::{fact, few, requests};

use super::{BLOCK, Origin, Rig};

const BLOCKS: u64 = 64;

/// Every URL is valid for one block, so that it expires at each block, with both error codes for an expired URL.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_url_that_expires_at_every_block_is_renewed_and_no_block_is_sent_again() {
    let faults = Faults { address_blocks: Some(1), ..Faults::default() };
    let rig = Rig::with(Origin { length: BLOCKS * BLOCK, ..Origin::default() }, Options { faults, ..few(1) }).await;
    let (step, file) = (Arc::<FakeStep>::default(), rig.unknown());
    let made = rig.attempt(&step, &file).await.unwrap().unwrap();
    let sha256 = rig.server.origin.lock().unwrap().sha256(1);
    assert_eq!(made["sha256"], sha256);
    assert_eq!(rig.visible("film.mp4"), [sha256]);
    assert_eq!(rig.blocks().await as u64, BLOCKS, "each block was accepted once");
    let calls = requests(&rig.sandbox).await;
    let count = |fits: &dyn Fn(&Value) -> bool| calls.iter().filter(|call| fits(call)).count() as u64;
    assert_eq!(
        count(&|call| call["path"].as_str().unwrap().starts_with("/blob/") && call["status"] == 403),
        BLOCKS - 1
    );
    assert_eq!(count(&|call| call["method"] == "POST" && call["path"] == "/mediavalet/uploads"), 1, "begun once");
    let report = rig.sandbox.report();
    assert_eq!((report.uploaded, report.unfinished_uploads), (1, 0));
}

/// A signed URL that never works is not requested without limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_url_that_never_works_is_an_error() {
    let faults = Faults { address_blocks: Some(0), ..Faults::default() };
    let rig = Rig::with(Origin { length: BLOCK + 1, ..Origin::default() }, Options { faults, ..few(1) }).await;
    let error = rig.upload(&rig.unknown()).await.unwrap_err();
    assert_eq!(fact(&error, "status"), Some("403"), "{error:?}");
    assert_eq!(rig.visible("film.mp4"), [""; 0]);
    let renewed = requests(&rig.sandbox)
        .await
        .iter()
        .filter(|call| call["method"] == json!("PUT") && call["status"] == 200)
        .count();
    assert_eq!(renewed, 1);
}
