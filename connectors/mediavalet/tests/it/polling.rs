//! Background work of MediaValet: a new object may not be visible at first, the work may be slow, may never end, or its
//! object may disappear. Polling has a limit, and nothing is created twice.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use futures::{StreamExt, stream};
use trunkline_core::Retry;
use trunkline_testkit::{
    dice::Dice,
    fact,
    proxy::{ProxiedRequest, ProxyAction},
};

use super::*;

/// Changes a response to that of an asset before it is processed, or of a package before it is ready.
fn not_yet(body: &mut Value) {
    body["payload"]["media"] = json!({});
    body["payload"]["filePath"] = Value::Null;
    body["payload"]["processedCount"] = json!(0);
}

fn no_such_thing() -> ProxyAction {
    ProxyAction::Respond(404, json!({ "statusCode": 404, "message": "Resource not found" }))
}

/// Returns the call that starts the background work, and the method and path that poll it.
fn background(action: &str) -> (&'static str, &'static str, &'static str) {
    match action {
        "asset.upload" => ("PATCH", "/uploads/", "/assets/"),
        "asset.upload_version" => ("PUT", "/assetCheckIn/", "/assets/"),
        "asset.package" => ("POST", "/downloads", "/downloads/"),
        _ => ("", "", "/assets/"),
    }
}

/// After the creating call, the first `answers` polls get a 404, or a state that is not ready.
fn late(action: &str, answers: usize, absent: bool) -> impl Fn(&ProxiedRequest) -> ProxyAction + Send + Sync + 'static {
    let (method, made, looked) = background(action);
    let (begun, given) = (AtomicBool::new(method.is_empty()), AtomicUsize::new(0));
    move |request| {
        if request.method == method && request.path().contains(made) {
            begun.store(true, Ordering::SeqCst);
            return ProxyAction::Forward;
        }
        let looks = request.method == "GET" && request.path().contains(looked) && begun.load(Ordering::SeqCst);
        match looks && given.fetch_add(1, Ordering::SeqCst) < answers {
            true if absent => no_such_thing(),
            true => ProxyAction::Change(Arc::new(not_yet)),
            false => ProxyAction::Forward,
        }
    }
}

fn creates(proxy: &Proxy, action: &str) -> usize {
    let (method, made, _) = background(action);
    proxy.seen().iter().filter(|request| request.method == method && request.path().contains(made)).count()
}

struct Case {
    action: &'static str,
    answers: usize,
    absent: bool,
}

/// Plays a case. Returns whether the object was ready in time.
async fn play(case: &Case) -> bool {
    let Case { action, answers, absent } = *case;
    let case_name = format!("{action}, {answers} answers, absent: {absent}");
    let options = Options { files: 2, max_size: 3000, processing: Duration::ZERO, ..Options::default() };
    let (bench, proxy) = Bench::behind_a_proxy(options).await;
    let (asset, _) = match action {
        "asset.upload" => (String::new(), Value::Null),
        _ => bench.uploaded().await,
    };
    // Few late responses have to be within the limit on the slowest machine, many have to exceed it on the fastest.
    let seconds = if answers <= 2 { 30 } else { 1 };
    let file = bench.file(1).await;
    let input = match action {
        "asset.upload" => json!({ "file": file, "categories": [bench.sandbox.category()], "seconds": seconds }),
        "asset.upload_version" => json!({ "assetId": asset, "file": file, "seconds": seconds }),
        "asset.package" => json!({ "assetIds": [asset], "seconds": seconds }),
        _ => json!({ "assetId": asset, "seconds": seconds }),
    };
    proxy.decide(late(action, answers, absent));
    let step = Arc::<FakeStep>::default();
    let ended = bench.attempt(&step, action, &input).await.unwrap();
    if !action.contains("wait") {
        assert_eq!(creates(&proxy, action), 1, "{case_name}");
    }
    match action {
        "asset.upload" | "asset.upload_version" => {
            let output = ended.unwrap_or_else(|error| {
                panic!("{case_name}: an object that became ready in time is a success: {error:?}")
            });
            assert_eq!(bench.sandbox.report().unfinished_uploads, 0, "{case_name}");
            output["processed"].as_bool().unwrap()
        }
        _ => match ended {
            Ok(_) => true,
            Err(error) => {
                assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, Retry::Backoff), "{case_name}");
                assert!(error.message().contains("within 1 s"), "{case_name}: {error:?}");
                assert!(error.advice().unwrap().contains("run the step again"), "{case_name}: {error:?}");
                // The next attempt polls the same object.
                proxy.decide(|_| ProxyAction::Forward);
                bench.attempt(&step, action, &input).await.unwrap().unwrap();
                assert_eq!(creates(&proxy, action), 0, "{case_name}");
                false
            }
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_object_that_is_not_visible_yet_is_polled_and_not_created_again() {
    let mut dice = Dice::default();
    let actions = ["asset.upload", "asset.upload_version", "asset.package", "asset.wait_until_processed"];
    let case = |number: usize| Case {
        action: actions[number % actions.len()],
        answers: [0, 1, 2, 6, 9, 1000][dice.roll(0, 6) as usize],
        absent: dice.roll(0, 2) == 0,
    };
    let cases: Vec<_> = (0..100).map(case).collect();
    let played = |case| async move { (case, play(case).await) };
    let ended: Vec<_> = stream::iter(&cases).map(played).buffer_unordered(12).collect().await;
    for (Case { action, answers, absent }, in_time) in &ended {
        let case_name = format!("{action}, {answers} answers, absent: {absent}");
        match answers {
            0..=2 => assert!(in_time, "{case_name}"),
            9.. => assert!(!in_time, "{case_name}"),
            _ => {}
        }
    }
    let in_time = ended.iter().filter(|(_, in_time)| *in_time).count();
    println!("100 cases, {in_time} in time, 0 created twice");
}

#[tokio::test]
async fn a_package_that_disappears_is_an_error_and_only_another_run_creates_a_new_one() {
    let options = Options { files: 1, max_size: 2000, processing: Duration::from_secs(60), ..Options::default() };
    let (bench, proxy) = Bench::behind_a_proxy(options).await;
    let (asset, _) = bench.upload_without_waiting().await;
    let looks = AtomicUsize::new(0);
    proxy.decide(move |request| match request.method == "GET" && request.path().contains("/downloads/") {
        true if looks.fetch_add(1, Ordering::SeqCst) >= 2 => no_such_thing(),
        _ => ProxyAction::Forward,
    });
    let (step, input) = (Arc::<FakeStep>::default(), json!({ "assetIds": [asset] }));
    let error = bench.attempt(&step, "asset.package", &input).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::NotFound, Retry::Never), "{error:?}");
    assert!(fact(&error, "download").is_some() && error.advice().unwrap().contains("to create another package"));
    assert_eq!(creates(&proxy, "asset.package"), 1);
    // The step itself continues to poll its own package.
    let briefly = json!({ "assetIds": [asset], "seconds": 1 });
    bench.attempt(&step, "asset.package", &briefly).await.unwrap().unwrap_err();
    assert_eq!(creates(&proxy, "asset.package"), 1);
}

#[tokio::test]
async fn an_asset_that_disappears_while_it_is_polled_is_an_error() {
    let options = Options { files: 1, max_size: 2000, processing: Duration::from_secs(60), ..Options::default() };
    let bench = Bench::with(options).await;
    let (asset, uploaded) = bench.upload_without_waiting().await;
    assert_eq!(uploaded["processed"], false);
    let input = json!({ "assetId": asset });
    let waiting = bench.try_call("mediavalet", "asset.wait_until_processed", input);
    let deleting = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        bench.call("mediavalet", "asset.delete", json!({ "assetId": asset })).await;
    };
    let (ended, ()) = tokio::join!(waiting, deleting);
    let error = ended.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert!(error.advice().unwrap().contains("was removed"), "{error:?}");
}

#[tokio::test]
async fn a_package_without_an_id_in_the_response_is_found_by_its_name() {
    let (bench, proxy) = Bench::behind_a_proxy(Options { files: 1, max_size: 2000, ..Options::default() }).await;
    let (asset, _) = bench.uploaded().await;
    proxy.decide(|request| match request.method == "POST" && request.path().ends_with("/downloads") {
        true => ProxyAction::Change(Arc::new(|body| body["payload"] = json!({}))),
        false => ProxyAction::Forward,
    });
    let (step, input) = (Arc::<FakeStep>::default(), json!({ "assetIds": [asset], "zipFileName": "One" }));
    let error = bench.attempt(&step, "asset.package", &input).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownOutcome, "{error:?}");
    bench.resume(&step, "asset.package", &input).await.unwrap();
    assert_eq!(creates(&proxy, "asset.package"), 1);
}

/// Loses the response to the finalization; a second finalization finds the upload closed.
fn closed(request: &ProxiedRequest) -> ProxyAction {
    match (request.method.as_str(), request.path().contains("/uploads/"), request.index) {
        ("PATCH", true, index) if index < FIRST_TRY => ProxyAction::Lose,
        ("PATCH", true, _) => no_such_thing(),
        _ => ProxyAction::Forward,
    }
}

/// The calls of the first try: begin, describe, categorize, finalize.
const FIRST_TRY: usize = 4;

#[tokio::test]
async fn an_upload_that_may_be_finalized_is_looked_up_and_never_started_again() {
    for (processing, becomes) in [(0, "done"), (3, "unknown")] {
        let processing = Duration::from_secs(processing);
        let options = Options { files: 1, max_size: 2000, processing, ..Options::default() };
        let (bench, proxy) = Bench::behind_a_proxy(options).await;
        proxy.decide(closed);
        let file = bench.file(0).await;
        let input = json!({ "file": file, "categories": [bench.sandbox.category()], "seconds": 1 });
        let step = Arc::<FakeStep>::default();
        let ended = bench.attempt(&step, "asset.upload", &input).await.unwrap();
        assert_eq!(ended.is_ok(), becomes == "done", "{ended:?}");
        if let Err(error) = ended {
            assert_eq!((error.kind(), error.retryable()), (ErrorKind::UnknownOutcome, Retry::Never), "{error:?}");
            assert!(fact(&error, "asset").is_some(), "{error:?}");
            // It is found as soon as it is visible.
            tokio::time::sleep(processing).await;
            assert_eq!(bench.resume(&step, "asset.upload", &input).await.unwrap()["processed"], true);
        }
        let seen = proxy.seen();
        let begun =
            seen.iter().filter(|request| request.method == "POST" && request.path().ends_with("/uploads")).count();
        assert_eq!((begun, bench.sandbox.report().assets), (1, 1), "{becomes}");
    }
}

#[tokio::test]
async fn a_finalization_with_a_lost_response_leaves_an_unknown_outcome() {
    let (bench, proxy) = Bench::behind_a_proxy(Options { files: 1, max_size: 2000, ..Options::default() }).await;
    proxy.decide(|request| match request.method == "PATCH" {
        true => ProxyAction::Respond(503, json!({ "message": "down" })),
        false => ProxyAction::Forward,
    });
    let input = json!({ "file": bench.file(0).await, "categories": [bench.sandbox.category()] });
    let step = Arc::<FakeStep>::default();
    let error = bench.attempt(&step, "asset.upload", &input).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownOutcome, "{error:?}");
    proxy.decide(|_| ProxyAction::Forward);
    bench.resume(&step, "asset.upload", &input).await.unwrap();
    assert_eq!((bench.sandbox.report().assets, bench.sandbox.report().unfinished_uploads), (1, 0));
}

#[tokio::test]
async fn a_missing_category_is_an_error_at_once() {
    let bench = Bench::quick(1).await;
    let input = json!({ "file": bench.file(0).await, "categories": ["6f9619ff-8b86-4011-b42d-00cf4fc964ff"] });
    let error = bench.try_call("mediavalet", "asset.upload", input).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert!(error.message().contains("upload.add_categories"), "{error:?}");
}
