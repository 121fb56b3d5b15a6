//! Staged copies of files beside the store: a copy is complete or absent, is found only by its version, and is deleted
//! when no run needs it.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use crate::support::{Home, accepted, fact};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use trunkline_core::{Error, ErrorKind, FileRef, FileStream, Position, Result, Staging, Timestamp};
use trunkline_engine::{EventLog, Flush, RunEvent, RunStatus};

fn file() -> FileRef {
    serde_json::from_value(serde_json::json!({ "name": "film.mp4", "size": 10, "connection": "c", "source": null }))
        .unwrap()
}

/// Returns a stream of these chunks. An error ends it.
fn pieces(pieces: &'static [Result<&'static str, &'static str>]) -> FileStream {
    let piece = |piece: &Result<&'static str, &'static str>| match *piece {
        Ok(text) => Ok(Bytes::from(text)),
        Err(why) => Err(Error::new(ErrorKind::Unavailable, why)),
    };
    FileStream::new(None, stream::iter(pieces.iter().map(piece)).boxed())
}

async fn text(stream: FileStream) -> String {
    let pieces: Vec<Bytes> = stream.bytes.try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_staged_copy_is_opened_at_any_byte_and_only_by_its_version() {
    let home = Home::new();
    let store = home.open().unwrap();
    let copy = store.staging("r1", "a", &file(), pieces(&[Ok("01234"), Ok("56789")])).await.unwrap();
    let (size, version) = (copy.size, copy.version.clone());
    assert_eq!((size, text(copy).await), (Some(10), "0123456789".into()));
    let at = |byte| Position { byte, version: version.clone() };
    assert!(at(0).is_staged());
    for byte in [0, 4, 10, 11] {
        let rest = store.staged("r1", "a", &at(byte)).await.unwrap().unwrap();
        assert_eq!(text(rest).await, "0123456789".get(byte as usize..).unwrap_or_default());
    }
    // Opening the store in another process deletes the copy, because the store has no run r1.
    assert!(home.open().unwrap().staged("r1", "a", &at(0)).await.unwrap().is_none(), "the store has no run r1");
    let others = ["", "\"etag\"", "spilled:", "spilled:../../../trunkline.db", &format!("spilled:{}", "0".repeat(64))];
    for other in others {
        let position = Position { byte: 0, version: Some(other.to_owned()) };
        assert!(store.staged("r1", "a", &position).await.unwrap().is_none(), "{other}");
    }
    for run in ["../r1", "", "R1"] {
        assert!(store.staging(run, "a", &file(), pieces(&[])).await.is_err(), "{run}");
    }
    assert!(store.staging("r1", "../a", &file(), pieces(&[])).await.is_err());
}

#[tokio::test]
async fn a_step_has_one_staged_copy_and_an_interrupted_one_leaves_no_file() {
    let home = Home::new();
    let store = home.open().unwrap();
    let run = home.data().join("staging/r1");
    for step in ["a", "a-b"] {
        store.staging("r1", step, &file(), pieces(&[Ok("one")])).await.unwrap();
    }
    store.staging("r1", "a", &file(), pieces(&[Ok("two")])).await.unwrap();
    assert_eq!(names(&run).len(), 2);
    let error = store.staging("r1", "a", &file(), pieces(&[Ok("thr"), Err("cut")])).await.unwrap_err();
    assert_eq!((error.kind(), names(&run).len()), (ErrorKind::Unavailable, 1), "{error:?}");
    store.unstage("r1", Some("a")).await;
    assert_eq!(names(&run).len(), 1);
    store.unstage("r1", Some("a-b")).await;
    assert_eq!(names(&run), [""; 0]);
    store.unstage("r1", None).await;
    store.unstage("r2", None).await;
    assert_eq!(names(&home.data().join("staging")), [""; 0]);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named_in_the_error() {
    let home = Home::new();
    let store = home.open().unwrap();
    fs::write(home.data().join("staging"), "a file in place of the folder").unwrap();
    let error = store.staging("r1", "a", &file(), pieces(&[Ok("one")])).await.unwrap_err();
    let place = home.data().join("staging/r1").display().to_string();
    assert_eq!((error.kind(), fact(&error, "directory")), (ErrorKind::Store, Some(&*place)), "{error:?}");
    assert!(error.message().contains("film.mp4 (10 bytes)") && error.advice().is_some(), "{error:?}");
}

#[tokio::test]
async fn staged_copies_are_kept_for_runs_that_can_be_resumed() {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let home = Home::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let (failed, partial) = (RunStatus::Failed, RunStatus::Partial);
    let store = home.open().unwrap();
    for (name, ended) in [
        ("at-work", None),
        ("failed", Some((failed, now - 6 * DAY))),
        ("long-failed", Some((failed, now - 8 * DAY))),
        ("partial", Some((partial, now))),
        ("succeeded", Some((RunStatus::Succeeded, now))),
        ("cancelled", Some((RunStatus::Cancelled, now))),
    ] {
        let run = accepted(&store, name).await;
        store.staging(name, "a", &file(), pieces(&[Ok("one")])).await.unwrap();
        if let Some((status, at)) = ended {
            let finished = RunEvent::Finished { status, error: None, at: Timestamp::from_millis(at) };
            store.append(&run, vec![finished], Flush::Now).await.unwrap();
        }
    }
    // A long-running process deletes old copies when a run stages its first file, before that file is staged.
    accepted(&store, "another").await;
    store.staging("another", "a", &file(), pieces(&[Ok("one")])).await.unwrap();
    let all = home.data().join("staging");
    assert_eq!(names(&all), ["another", "at-work", "failed"]);
    fs::create_dir(all.join("unknown")).unwrap();
    drop(home.open().unwrap());
    assert_eq!(names(&all), ["another", "at-work", "failed"]);
}
