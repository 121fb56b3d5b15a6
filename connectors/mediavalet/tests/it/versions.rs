//! `asset.upload_version`: one version per item, whatever happens on the way, and no asset stays checked out silently.

use super::*;

async fn versions(bench: &Bench, asset: &str) -> Vec<Value> {
    let all = bench.call("mediavalet", "asset.versions", json!({ "assetId": asset })).await;
    all.as_array().unwrap().clone()
}

async fn asset(bench: &Bench, id: &str) -> Value {
    bench.call("mediavalet", "asset.get", json!({ "assetId": id })).await
}

/// Returns the number of blocks that the storage received.
async fn blocks(bench: &Bench) -> usize {
    let is_block = |call: &&Value| call["query"].as_str().unwrap().contains("comp=block&");
    requests(&bench.sandbox).await.iter().filter(is_block).count()
}

#[tokio::test]
async fn a_new_version_replaces_the_file_byte_for_byte() {
    let bench = Bench::new(2).await;
    let (id, _) = bench.uploaded().await;
    let file = bench.file(1).await;
    let input = json!({ "assetId": id, "file": file, "comment": "Colours corrected" });
    let sent = bench.call("mediavalet", "asset.upload_version", input).await;
    assert_eq!((&sent["assetId"], &sent["fileName"]), (&json!(id), &file["name"]));
    let found = asset(&bench, &id).await;
    assert_eq!((&found["file"]["fileName"], &found["file"]["sizeInBytes"]), (&file["name"], &sent["bytes"]));
    assert_eq!((&found["status"], &found["assetCheckInComment"]), (&json!(0), &json!("Colours corrected")));
    assert_eq!(versions(&bench, &id).await.len(), 2);
    let output = bench.call("mediavalet", "asset.download", json!({ "assetId": id })).await;
    assert!(bench.bytes(&output["file"], 0).await == bench.bytes(&file, 0).await);
    let report = bench.sandbox.report();
    assert_eq!((report.assets, report.digest_mismatches, report.unfinished_uploads), (1, 0, 0));
}

/// Returns the file reference without its size, so that the file is sent in blocks.
fn in_blocks(mut file: Value) -> Value {
    file.as_object_mut().unwrap().remove("size");
    file
}

#[tokio::test]
async fn a_crash_at_any_checkpoint_creates_no_second_version() {
    // Without a size the file is sent in blocks, and it is large enough for several.
    let processing = std::time::Duration::ZERO;
    let options = Options { files: 2, min_size: 9_500_000, max_size: 9_600_000, processing, ..Options::default() };
    let bench = Bench::with(options).await;
    let (id, _) = bench.uploaded().await;
    let input = json!({ "assetId": id, "file": in_blocks(bench.file(1).await) });
    let mut crashes = 0;
    for after in 1.. {
        let step = Arc::new(FakeStep::crashing_after(after));
        let before = versions(&bench, &id).await.len();
        if bench.attempt(&step, "asset.upload_version", &input).await.is_some() {
            break;
        }
        crashes += 1;
        let seen = blocks(&bench).await;
        let sent = bench.resume(&step, "asset.upload_version", &input).await.unwrap();
        assert_eq!(versions(&bench, &id).await.len(), before + 1, "crashed after checkpoint {after}");
        assert_eq!(asset(&bench, &id).await["file"]["sizeInBytes"], sent["bytes"]);
        assert_eq!(bench.sandbox.report().digest_mismatches, 0);
        let again = blocks(&bench).await - seen;
        assert_eq!(again, 4_usize.saturating_sub(after), "a staged block is not sent again");
    }
    assert_eq!(crashes, 5, "started, three blocks, sent");
}

#[tokio::test]
async fn a_crash_right_after_the_check_in_is_detected() {
    let bench = Bench::quick(2).await;
    let (id, _) = bench.uploaded().await;
    let input = json!({ "assetId": id, "file": bench.file(1).await });
    let step = Arc::<FakeStep>::default();
    bench.attempt(&step, "asset.upload_version", &input).await.unwrap().unwrap();
    // The step took effect, and its result was not recorded.
    bench.resume(&step, "asset.upload_version", &input).await.unwrap();
    bench.attempt(&step, "asset.upload_version", &input).await.unwrap().unwrap();
    assert_eq!(versions(&bench, &id).await.len(), 2);
}

#[tokio::test]
async fn an_expired_signed_url_is_requested_again() {
    let bench = Bench::quick(2).await;
    let (id, _) = bench.uploaded().await;
    let input = json!({ "assetId": id, "file": bench.file(1).await });
    let step = Arc::new(FakeStep::crashing_after(1));
    assert!(bench.attempt(&step, "asset.upload_version", &input).await.is_none());
    let mut left = step.checkpoint().unwrap();
    // The storage refuses a wrong signature in the same way as an expired one.
    left["upload_url"] = left["upload_url"].as_str().unwrap().replace("sig=", "sig=0").into();
    step.set_checkpoint(left);
    bench.resume(&step, "asset.upload_version", &input).await.unwrap();
    assert_eq!((versions(&bench, &id).await.len(), bench.sandbox.report().digest_mismatches), (2, 0));
}

#[tokio::test]
async fn lost_responses_create_no_second_version() {
    let bench = Bench::quick(2).await;
    let (id, _) = bench.uploaded().await;
    // In blocks: with a single request, each try would open the source again, and every third response would always be
    // that of the upload.
    let input = json!({ "assetId": id, "file": in_blocks(bench.file(1).await) });
    // From every third on: opening the source takes two calls, so every second response would always be one of them.
    for every in 3..=14 {
        let before = versions(&bench, &id).await.len();
        bench.with_losses(every, "asset.upload_version", &input).await;
        assert_eq!(versions(&bench, &id).await.len(), before + 1, "every {every}. response lost");
        assert_eq!(asset(&bench, &id).await["status"], 0, "it is not checked out any more");
    }
    assert_eq!(bench.sandbox.report().digest_mismatches, 0);
}

#[tokio::test]
async fn a_failure_after_the_check_out_is_reported_and_the_next_attempt_continues() {
    let bench = Bench::new(3).await;
    let (id, _) = bench.upload(0).await;
    let (_, taken) = bench.upload(1).await;
    let name = asset(&bench, taken["assetId"].as_str().unwrap()).await["file"]["fileName"].clone();
    let file = bench.file(2).await;
    let input = |name: &Value| json!({ "assetId": id, "file": file, "fileName": name });
    let error = bench.try_call("mediavalet", "asset.upload_version", input(&name)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    assert!(error.advice().unwrap().contains("still checked out"), "{error:?}");
    assert_eq!(asset(&bench, &id).await["status"], 9);
    bench.call("mediavalet", "asset.upload_version", input(&file["name"])).await;
    assert_eq!(asset(&bench, &id).await["status"], 0);
    assert_eq!(versions(&bench, &id).await.len(), 2);
}

#[tokio::test]
async fn nothing_is_checked_out_for_a_file_that_cannot_be_opened() {
    let bench = Bench::new(1).await;
    let (id, _) = bench.uploaded().await;
    let mut file = bench.file(0).await;
    file["source"]["id"] = json!(1);
    let input = json!({ "assetId": id, "file": file });
    bench.try_call("mediavalet", "asset.upload_version", input).await.unwrap_err();
    assert_eq!(asset(&bench, &id).await["status"], 0);
}

#[tokio::test]
async fn an_asset_that_another_user_has_checked_out_is_not_changed() {
    let bench = Bench::new(2).await;
    let (id, _) = bench.uploaded().await;
    bench.call("other", "asset.check_out", json!({ "assetId": id, "comments": ["mine"] })).await;
    let input = json!({ "assetId": id, "file": bench.file(1).await });
    let error = bench.try_call("mediavalet", "asset.upload_version", input).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    assert!(error.message().contains("another user"), "{error:?}");
    assert_eq!(asset(&bench, &id).await["assetCheckOutComment"], "mine");
}

#[tokio::test]
async fn a_cancelled_version_continues_later() {
    let bench = Bench::new(2).await;
    let (id, _) = bench.uploaded().await;
    let input = json!({ "assetId": id, "file": bench.file(1).await });
    let step = Arc::<FakeStep>::default();
    let cancel = trunkline_core::CancellationToken::new();
    let cx = Context::new("key", "mediavalet", bench.connections.clone())
        .with_cancellation(cancel.clone())
        .with_recorder(step.clone(), None);
    // In the middle of the calls, each of which is slow.
    bench.sandbox.set_faults(Faults { latency: std::time::Duration::from_millis(60), ..Faults::default() });
    let run = bench.connections.get("mediavalet").unwrap().run("asset.upload_version", input.clone(), &cx);
    let stop = async {
        while step.saved() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(run, stop);
    has_known_warnings(&step);
    let error = ended.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error:?}");
    assert_eq!(asset(&bench, &id).await["status"], 9, "it stays checked out, since the step can be resumed");
    bench.sandbox.set_faults(Faults::default());
    bench.resume(&step, "asset.upload_version", &input).await.unwrap();
    assert_eq!((asset(&bench, &id).await["status"].clone(), versions(&bench, &id).await.len()), (json!(0), 2));
}

/// Returns the requests that arrived at the simulator, oldest first.
async fn requests(sandbox: &Sandbox) -> Vec<Value> {
    let url = format!("http://{}/_sandbox/requests", sandbox.address());
    reqwest::Client::builder().build().unwrap().get(url).send().await.unwrap().json().await.unwrap()
}
