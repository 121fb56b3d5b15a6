//! Downloads that break off, lie about their length or digest, or are given whole where a part was asked for.

use futures::{StreamExt, stream};
use trunkline_core::ErrorKind;
use trunkline_tests::{Dice, few};

use crate::{Origin, Rig, origin::Tells};

const FILES: usize = 500;
const LENGTH: u64 = 40_000;

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_broken_downloads_leave_no_bad_file() {
    let mut dice = Dice::default();
    let mut faults = Vec::new();
    for number in 0..FILES {
        let tells = [Tells::Etag, Tells::Modified, Tells::Nothing][dice.roll(0, 3) as usize];
        let sound = Origin { length: LENGTH, tells, ..Origin::default() };
        // Once cut, the next answer is whole.
        let mut cut = |sound: Origin| Origin { cut: Some(dice.roll(0, LENGTH)), then: Some(sound.clone().into()), ..sound };
        faults.push(match number % 5 {
            0 | 1 => (cut(sound), true),
            2 => (cut(Origin { ranges: false, ..sound }), true),
            3 => (Origin { short: LENGTH / 2, ..sound }, false),
            _ => (Origin { declares: Some(2), ..sound }, false),
        });
    }
    let sandbox = &Rig::with(Origin { length: LENGTH, ..Origin::default() }, few(1)).await;
    let one = async |(number, (fault, mends)): (usize, (Origin, bool))| {
        let name = format!("file-{number}.mp4");
        let case = format!("{number}: {fault:?}");
        let right = fault.sha256(1);
        let rig = Rig::beside(fault, sandbox.sandbox.clone()).await;
        let mut file = rig.unknown();
        (file["name"], file["size"]) = (name.as_str().into(), LENGTH.into());
        match rig.upload(&file).await {
            Ok(made) => {
                assert!(mends && made["sha256"] == right, "{case}");
                assert_eq!(sandbox.visible(&name), [right], "{case}");
            }
            Err(error) => {
                assert!(!mends && error.kind() == ErrorKind::Conflict, "{case}: {error:?}");
                assert_eq!(sandbox.visible(&name), [""; 0], "{case}");
            }
        }
        mends
    };
    let all: Vec<_> = stream::iter(faults.into_iter().enumerate()).map(one).buffer_unordered(16).collect().await;
    let mended = all.iter().filter(|mended| **mended).count();
    assert_eq!((all.len(), mended), (FILES, FILES * 3 / 5));
    assert_eq!(sandbox.sandbox.report().uploaded, mended as u64);
}
