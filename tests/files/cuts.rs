//! Downloads that are cut, have a wrong length or digest, or are complete although a range was requested.

use std::sync::Mutex;

use futures::{StreamExt, stream};
use trunkline_core::ErrorKind;
use trunkline_tests::{Dice, few};

use super::{Origin, Rig, origin::VersionHeader};

const FILES: usize = 500;
const LENGTH: u64 = 40_000;

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_broken_downloads_leave_no_bad_file() {
    let mut dice = Dice::default();
    let mut faults = Vec::new();
    for number in 0..FILES {
        let version_header =
            [VersionHeader::Etag, VersionHeader::Modified, VersionHeader::Nothing][dice.roll(0, 3) as usize];
        let sound = Origin { length: LENGTH, version_header, ..Origin::default() };
        // After a cut, the next response is complete.
        let mut cut =
            |sound: Origin| Origin { cut: Some(dice.roll(0, LENGTH)), then: Some(sound.clone().into()), ..sound };
        faults.push(match number % 5 {
            0 | 1 => (cut(sound), true),
            2 => (cut(Origin { ranges: false, ..sound }), true),
            3 => (Origin { short: LENGTH / 2, ..sound }, false),
            _ => (Origin { declares: Some(2), ..sound }, false),
        });
    }
    let all = &Rig::with(Origin { length: LENGTH, ..Origin::default() }, few(1)).await;
    let faults = &Mutex::new(faults.into_iter().enumerate());
    let next = || faults.lock().unwrap().next();
    let some = async |_| {
        let rig = Rig::beside(Origin::default(), all.sandbox.clone()).await;
        let mut mended = 0;
        while let Some((number, (fault, recovers))) = next() {
            mended += usize::from(one(&rig, &format!("file-{number}.mp4"), fault, recovers).await);
        }
        mended
    };
    let mended: usize = stream::iter(0..16).map(some).buffer_unordered(16).collect::<Vec<_>>().await.into_iter().sum();
    assert_eq!(mended, FILES * 3 / 5);
    assert_eq!(all.sandbox.report().uploaded, mended as u64);
}

/// Copies one file, and returns whether it is visible.
async fn one(rig: &Rig, name: &str, fault: Origin, recovers: bool) -> bool {
    let (case, right) = (format!("{name}: {fault:?}"), fault.sha256(1));
    rig.server.change(|origin| *origin = fault);
    let mut file = rig.unknown();
    (file["name"], file["size"]) = (name.into(), LENGTH.into());
    match rig.upload(&file).await {
        Ok(made) => {
            assert!(recovers && made["sha256"] == right, "{case}");
            assert_eq!(rig.visible(name), [right], "{case}");
        }
        Err(error) => {
            assert!(!recovers && error.kind() == ErrorKind::Conflict, "{case}: {error:?}");
            assert_eq!(rig.visible(name), [""; 0], "{case}");
        }
    }
    recovers
}
