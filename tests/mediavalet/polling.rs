//! What MediaValet does in the background: it may not show at first what it made, take its time, never come to an end,
//! or lose what it was at. Waiting for it is bounded, and nothing is made twice.

use std::{sync::atomic::AtomicBool, time::Duration};

use futures::{StreamExt, stream};
use trunkline_core::Retry;
use trunkline_tests::{
    Dice,
    proxy::{ProxiedRequest, ProxyAction},
};

use super::*;

/// An asset as it is before it is processed, a package as it is before it is made.
fn not_yet(body: &mut Value) {
    body["payload"]["media"] = json!({});
    body["payload"]["filePath"] = Value::Null;
    body["payload"]["processedCount"] = json!(0);
}

fn no_such_thing() -> ProxyAction {
    ProxyAction::Answer(404, json!({ "statusCode": 404, "message": "Resource not found" }))
}

/// The call after which the background begins, and how to ask for what it does.
fn background(action: &str) -> (&'static str, &'static str, &'static str) {
    match action {
        "asset.upload" => ("PATCH", "/uploads/", "/assets/"),
        "asset.upload_version" => ("PUT", "/assetCheckIn/", "/assets/"),
        "asset.package" => ("POST", "/downloads", "/downloads/"),
        _ => ("", "", "/assets/"),
    }
}

/// After the creating call, so many answers say that there is nothing, or nothing yet.
fn late(action: &str, answers: usize, absent: bool) -> impl Fn(&ProxiedRequest) -> ProxyAction + Send + Sync + 'static {
    let (method, made, looked) = background(action);
    let (begun, given) = (AtomicBool::new(method.is_empty()), AtomicUsize::new(0));
    move |asked| {
        if asked.method == method && asked.path().contains(made) {
            begun.store(true, Ordering::SeqCst);
            return ProxyAction::Forward;
        }
        let looks = asked.method == "GET" && asked.path().contains(looked) && begun.load(Ordering::SeqCst);
        match looks && given.fetch_add(1, Ordering::SeqCst) < answers {
            true if absent => no_such_thing(),
            true => ProxyAction::Change(Arc::new(not_yet)),
            false => ProxyAction::Forward,
        }
    }
}

fn creates(proxy: &Proxy, action: &str) -> usize {
    let (method, made, _) = background(action);
    proxy.seen().iter().filter(|asked| asked.method == method && asked.path().contains(made)).count()
}

struct Case {
    action: &'static str,
    answers: usize,
    absent: bool,
}

/// How a case ended: whether what was waited for came in time.
async fn play(case: &Case) -> bool {
    let Case { action, answers, absent } = *case;
    let told = format!("{action}, {answers} answers, absent: {absent}");
    let options = Options { files: 2, max_size: 3000, processing: Duration::ZERO, ..Options::default() };
    let (bench, proxy) = Bench::behind_a_proxy(options).await;
    let (asset, _) = match action {
        "asset.upload" => (String::new(), Value::Null),
        _ => bench.uploaded().await,
    };
    // Few late answers have to be within the bound on the slowest machine, many beyond it on the fastest.
    let seconds = if answers <= 2 { 30 } else { 1 };
    let file = bench.file(1).await;
    let input = match action {
        "asset.upload" => json!({ "file": file, "categories": [bench.sandbox.category()], "seconds": seconds }),
        "asset.upload_version" => json!({ "assetId": asset, "file": file, "seconds": seconds }),
        "asset.package" => json!({ "assetIds": [asset], "seconds": seconds }),
        _ => json!({ "assetId": asset, "seconds": seconds }),
    };
    proxy.decide(late(action, answers, absent));
    let step = Arc::<Step>::default();
    let ended = bench.attempt(&step, action, &input).await.unwrap();
    if !action.contains("wait") {
        assert_eq!(creates(&proxy, action), 1, "{told}");
    }
    match action {
        "asset.upload" | "asset.upload_version" => {
            let output = ended.unwrap_or_else(|error| panic!("{told}: what was handed over is done: {error:?}"));
            assert_eq!(bench.sandbox.report().unfinished_uploads, 0, "{told}");
            output["processed"].as_bool().unwrap()
        }
        _ => match ended {
            Ok(_) => true,
            Err(error) => {
                assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, Retry::Backoff), "{told}");
                assert!(error.message().contains("within 1 s"), "{told}: {error:?}");
                assert!(error.advice().unwrap().contains("run the step again"), "{told}: {error:?}");
                // The next attempt waits for the same thing.
                proxy.decide(|_| ProxyAction::Forward);
                bench.attempt(&step, action, &input).await.unwrap().unwrap();
                assert_eq!(creates(&proxy, action), 0, "{told}");
                false
            }
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_and_is_not_shown_yet_is_waited_for_and_not_made_again() {
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
        let told = format!("{action}, {answers} answers, absent: {absent}");
        match answers {
            0..=2 => assert!(in_time, "{told}"),
            9.. => assert!(!in_time, "{told}"),
            _ => {}
        }
    }
    let in_time = ended.iter().filter(|(_, in_time)| *in_time).count();
    println!("100 cases, {in_time} in time, 0 made twice");
}

#[tokio::test]
async fn a_package_that_vanishes_is_told_and_another_one_is_made_only_by_another_run() {
    let options = Options { files: 1, max_size: 2000, processing: Duration::from_secs(60), ..Options::default() };
    let (bench, proxy) = Bench::behind_a_proxy(options).await;
    let (asset, _) = bench.upload_and_go_on().await;
    let looks = AtomicUsize::new(0);
    proxy.decide(move |asked| match asked.method == "GET" && asked.path().contains("/downloads/") {
        true if looks.fetch_add(1, Ordering::SeqCst) >= 2 => no_such_thing(),
        _ => ProxyAction::Forward,
    });
    let (step, input) = (Arc::<Step>::default(), json!({ "assetIds": [asset] }));
    let error = bench.attempt(&step, "asset.package", &input).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::NotFound, Retry::Never), "{error:?}");
    assert!(error.context("download").is_some() && error.advice().unwrap().contains("another one is made"));
    assert_eq!(creates(&proxy, "asset.package"), 1);
    // The step itself goes on asking for the one it has.
    let briefly = json!({ "assetIds": [asset], "seconds": 1 });
    bench.attempt(&step, "asset.package", &briefly).await.unwrap().unwrap_err();
    assert_eq!(creates(&proxy, "asset.package"), 1);
}

#[tokio::test]
async fn an_asset_that_vanishes_while_it_is_waited_for_is_told() {
    let options = Options { files: 1, max_size: 2000, processing: Duration::from_secs(60), ..Options::default() };
    let bench = Bench::with(options).await;
    let (asset, uploaded) = bench.upload_and_go_on().await;
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
async fn a_package_whose_id_was_not_told_is_found_by_its_name() {
    let (bench, proxy) = Bench::behind_a_proxy(Options { files: 1, max_size: 2000, ..Options::default() }).await;
    let (asset, _) = bench.uploaded().await;
    proxy.decide(|asked| match asked.method == "POST" && asked.path().ends_with("/downloads") {
        true => ProxyAction::Change(Arc::new(|body| body["payload"] = json!({}))),
        false => ProxyAction::Forward,
    });
    let (step, input) = (Arc::<Step>::default(), json!({ "assetIds": [asset], "zipFileName": "One" }));
    let error = bench.attempt(&step, "asset.package", &input).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownOutcome, "{error:?}");
    bench.resume(&step, "asset.package", &input).await.unwrap();
    assert_eq!(creates(&proxy, "asset.package"), 1);
}

/// The answer to the finalization is lost, and when it is asked for again the upload is not open any more.
fn closed(asked: &ProxiedRequest) -> ProxyAction {
    match (asked.method.as_str(), asked.path().contains("/uploads/"), asked.index) {
        ("PATCH", true, index) if index < FIRST_TRY => ProxyAction::Lose,
        ("PATCH", true, _) => no_such_thing(),
        _ => ProxyAction::Forward,
    }
}

/// Begin, describe, categorize, finalize.
const FIRST_TRY: usize = 4;

#[tokio::test]
async fn an_upload_that_may_be_finalized_is_looked_for_and_never_begun_anew() {
    for (processing, becomes) in [(0, "done"), (3, "unknown")] {
        let processing = Duration::from_secs(processing);
        let options = Options { files: 1, max_size: 2000, processing, ..Options::default() };
        let (bench, proxy) = Bench::behind_a_proxy(options).await;
        proxy.decide(closed);
        let file = bench.file(0).await;
        let input = json!({ "file": file, "categories": [bench.sandbox.category()], "seconds": 1 });
        let step = Arc::<Step>::default();
        let ended = bench.attempt(&step, "asset.upload", &input).await.unwrap();
        assert_eq!(ended.is_ok(), becomes == "done", "{ended:?}");
        if let Err(error) = ended {
            assert_eq!((error.kind(), error.retryable()), (ErrorKind::UnknownOutcome, Retry::Never), "{error:?}");
            assert!(error.context("asset").is_some(), "{error:?}");
            // As soon as it is shown, it is the one.
            tokio::time::sleep(processing).await;
            assert_eq!(bench.resume(&step, "asset.upload", &input).await.unwrap()["processed"], true);
        }
        let seen = proxy.seen();
        let begun = seen.iter().filter(|asked| asked.method == "POST" && asked.path().ends_with("/uploads")).count();
        assert_eq!((begun, bench.sandbox.report().assets), (1, 1), "{becomes}");
    }
}

#[tokio::test]
async fn a_finalization_that_nobody_heard_of_leaves_the_upload_unknown() {
    let (bench, proxy) = Bench::behind_a_proxy(Options { files: 1, max_size: 2000, ..Options::default() }).await;
    proxy.decide(|asked| match asked.method == "PATCH" {
        true => ProxyAction::Answer(503, json!({ "message": "down" })),
        false => ProxyAction::Forward,
    });
    let input = json!({ "file": bench.file(0).await, "categories": [bench.sandbox.category()] });
    let step = Arc::<Step>::default();
    let error = bench.attempt(&step, "asset.upload", &input).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownOutcome, "{error:?}");
    proxy.decide(|_| ProxyAction::Forward);
    bench.resume(&step, "asset.upload", &input).await.unwrap();
    assert_eq!((bench.sandbox.report().assets, bench.sandbox.report().unfinished_uploads), (1, 0));
}

#[tokio::test]
async fn a_category_that_is_not_there_is_told_at_once() {
    let bench = Bench::quick(1).await;
    let input = json!({ "file": bench.file(0).await, "categories": ["6f9619ff-8b86-4011-b42d-00cf4fc964ff"] });
    let error = bench.try_call("mediavalet", "asset.upload", input).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert!(error.message().contains("upload.add_categories"), "{error:?}");
}
