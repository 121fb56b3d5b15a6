//! Each call of each hand-written action loses its response once: no creating call is sent twice, and an unknown
//! outcome is looked up.

use std::collections::BTreeMap;

use trunkline_core::Effect;
use trunkline_testkit::proxy::{ProxiedRequest, ProxyAction};

use super::*;

/// Returns the effects of MediaValet's API calls, by method and segments of the path.
fn effects(registry: &Registry) -> Vec<(String, Vec<String>, Effect)> {
    let actions = registry.connector("mediavalet").unwrap().actions();
    let row = |spec: &trunkline_core::ActionSpec| {
        let (method, path) = spec.route.as_deref()?.split_once(' ')?;
        Some((method.to_owned(), path.split('/').map(str::to_owned).collect(), spec.effect))
    };
    actions.filter_map(row).collect()
}

fn creates(rows: &[(String, Vec<String>, Effect)], request: &ProxiedRequest) -> bool {
    let path: Vec<_> = request.path().trim_start_matches("/mediavalet").split('/').collect();
    let fits = |segments: &[String]| {
        let same = |(own, other): (&String, &&str)| own.starts_with('{') || own.eq_ignore_ascii_case(other);
        segments.len() == path.len() && segments.iter().zip(&path).all(same)
    };
    let rows = rows.iter().filter(|(method, segments, _)| *method == request.method && fits(segments));
    // A fixed segment is a better match than a parameter.
    let row = rows.min_by_key(|(_, segments, _)| segments.iter().filter(|one| one.starts_with('{')).count());
    row.unwrap_or_else(|| panic!("{} {} has no row", request.method, request.target)).2 == Effect::Create
}

/// Prepares the objects that an action works on, and returns its input.
async fn input(bench: &Bench, action: &str) -> Value {
    let file = bench.file(1).await;
    if action == "asset.upload" {
        return json!({ "file": file, "categories": [bench.sandbox.category()], "keywords": ["a"] });
    }
    let (asset, _) = bench.uploaded().await;
    let address = "https://example.com/hook";
    match action {
        "asset.upload_version" => json!({ "assetId": asset, "file": file }),
        "asset.package" => json!({ "assetIds": [asset], "zipFileName": "One" }),
        "asset.set_keywords" => json!({ "assetId": asset, "keywords": ["kept", "new"] }),
        "asset.set_categories" => {
            json!({ "assetId": asset, "categories": ["Campaigns\\2026\\Spring"], "createMissing": true })
        }
        "asset.update" => json!({ "assetId": asset, "title": "New" }),
        "asset.rendition" => json!({ "assetId": asset, "kind": "large" }),
        "webhook.subscribe" => json!({ "address": address, "events": ["Asset.StatusUpdated"] }),
        "webhook.unsubscribe" => {
            let subscribed = json!({ "address": address, "events": ["Asset.StatusUpdated"] });
            bench.call("mediavalet", "webhook.subscribe", subscribed).await;
            json!({ "address": address })
        }
        _ => json!({ "assetId": asset }),
    }
}

const ACTIONS: [&str; 11] = [
    "asset.upload",
    "asset.upload_version",
    "asset.package",
    "asset.set_keywords",
    "asset.set_categories",
    "asset.update",
    "asset.rendition",
    "asset.download",
    "asset.wait_until_processed",
    "webhook.subscribe",
    "webhook.unsubscribe",
];

/// Runs an action and loses the response to one of its calls. Returns the number of calls, and the creating calls that
/// arrived twice.
async fn lose(rows: &[(String, Vec<String>, Effect)], action: &str, lost: Option<usize>) -> (usize, Vec<String>) {
    let processing = std::time::Duration::ZERO;
    let options = Options { files: 2, max_size: 3000, processing, ..Options::default() };
    let (bench, proxy) = Bench::behind_a_proxy(options).await;
    let input = input(&bench, action).await;
    proxy.decide(move |request| if Some(request.index) == lost { ProxyAction::Lose } else { ProxyAction::Forward });
    let step = Arc::<FakeStep>::default();
    let mut ended = bench.attempt(&step, action, &input).await.unwrap();
    for _ in 0..3 {
        match ended {
            Err(error) if error.kind() == ErrorKind::UnknownOutcome => {
                ended = bench.resume(&step, action, &input).await
            }
            _ => break,
        }
    }
    ended.unwrap_or_else(|error| panic!("{action} with call {lost:?} lost: {error:?}"));
    let seen = proxy.seen();
    let mut sent = BTreeMap::<_, usize>::new();
    for request in seen.iter().filter(|request| creates(rows, request)) {
        let what = format!("{} {} {}", request.method, request.target, String::from_utf8_lossy(&request.body));
        *sent.entry(what).or_default() += 1;
    }
    let report = bench.sandbox.report();
    assert_eq!(report.duplicates, 0, "{action} with call {lost:?} lost: {report:?}");
    (seen.len(), sent.into_iter().filter(|(_, times)| *times > 1).map(|(what, _)| what).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_creating_call_is_sent_twice_whichever_response_is_lost() {
    let rows = &effects(&Registry::discover().unwrap());
    let one = |action: &'static str| async move {
        let (calls, twice) = lose(rows, action, None).await;
        assert_eq!(twice, [""; 0], "{action}");
        for lost in 0..calls {
            let (_, twice) = lose(rows, action, Some(lost)).await;
            // An upload whose first response was lost is started again: the unfinished upload stays invisible, and its
            // bytes are dropped.
            let harmless = |what: &String| !what.contains("/uploads ") && !what.starts_with("GET ");
            let twice: Vec<_> = twice.into_iter().filter(harmless).collect();
            assert_eq!(twice, [""; 0], "{action} with call {lost} lost");
        }
        calls
    };
    let calls: usize = futures::future::join_all(ACTIONS.map(one)).await.into_iter().sum();
    println!("{} actions, {calls} calls, each response lost once: 0 creates sent twice", ACTIONS.len());
    assert!(calls > 30, "{calls}");
}

/// MediaValet has no idempotency keys, so it carries out twice what a proxy delivers twice. For an upload, that leaves
/// an invisible unfinished upload.
#[tokio::test]
async fn an_upload_whose_calls_are_delivered_twice_is_one_asset() {
    for way in [ProxyAction::Twice, ProxyAction::TwiceAtOnce] {
        let options = Options { files: 2, max_size: 3000, ..Options::default() };
        let (bench, proxy) = Bench::behind_a_proxy(options).await;
        proxy.decide(move |request| if request.method == "GET" { ProxyAction::Forward } else { way.clone() });
        let (step, input) = (Arc::<FakeStep>::default(), input(&bench, "asset.upload").await);
        bench.attempt(&step, "asset.upload", &input).await.unwrap().unwrap();
        let report = bench.sandbox.report();
        assert_eq!((report.assets, report.duplicates, report.unfinished_uploads), (1, 0, 1), "{report:?}");
    }
}
