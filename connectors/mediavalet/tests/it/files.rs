//! Opening a file in the context of the step that reads it.

use std::time::{Duration, Instant};

use trunkline_core::CancellationToken;
use trunkline_testkit::proxy::ProxyAction;

use super::*;

/// Returns a bench behind a proxy, and a reference to an asset's file.
async fn one_file() -> (Bench, Proxy, FileRef) {
    let (bench, proxy) = Bench::behind_a_proxy(Options { files: 1, max_size: 2_000, ..Options::default() }).await;
    let (asset, _) = bench.uploaded().await;
    bench.call("mediavalet", "asset.wait_until_processed", json!({ "assetId": asset })).await;
    let output = bench.call("mediavalet", "asset.download", json!({ "assetId": asset })).await;
    let file = serde_json::from_value(output["file"].clone()).unwrap();
    proxy.decide(|_| ProxyAction::Forward);
    (bench, proxy, file)
}

#[tokio::test]
async fn a_cancelled_step_does_not_look_up_the_link_of_a_file() {
    let (bench, proxy, file) = one_file().await;
    let token = CancellationToken::new();
    token.cancel();
    let cx = Context::default().with_cancellation(token);
    assert_eq!(bench.connections.open(&file, 0, &cx).await.err().unwrap().kind(), ErrorKind::Cancelled);
    assert_eq!(proxy.seen().len(), 0);
    // The twin: a context that is not cancelled.
    bench.connections.open(&file, 0, &Context::default()).await.unwrap();
    assert_eq!(proxy.seen().len(), 1, "the look-up of the URL");
}

#[tokio::test]
async fn the_look_up_of_a_link_ends_with_the_deadline_of_the_step() {
    let (bench, proxy, file) = one_file().await;
    // A service that is not available: the look-up is repeated until there is no time left.
    proxy.decide(|_| ProxyAction::Respond(503, json!({})));
    let begun = Instant::now();
    let cx = Context::default().with_timeout(Duration::from_millis(300));
    assert_eq!(bench.connections.open(&file, 0, &cx).await.err().unwrap().kind(), ErrorKind::Unavailable);
    let limited = begun.elapsed();
    assert!(limited < Duration::from_secs(2), "{limited:?}");
    // The twin: without a deadline, more tries are made.
    let tries = proxy.seen().len();
    bench.connections.open(&file, 0, &Context::default()).await.err().unwrap();
    assert!(proxy.seen().len() - tries > tries, "{tries}, then {}", proxy.seen().len() - tries);
}
