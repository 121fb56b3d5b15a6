//! Events of a connector, from the subscription to the run, and starts that fail.

use serde_json::{Value, json};
use trunkline_tests::{Cli, few, flow_input, sandbox, shipped_flow, until};

use super::{Serve, add};

fn on_event(event: &str, more: &Value) -> Value {
    let mut trigger = json!({ "event": event, "connection": "dam" });
    trigger.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "name": "approved", "connections": { "dam": "mediavalet" }, "overlap": "parallel", "trigger": trigger,
        "steps": [{ "id": "seen", "set": { "asset": "{{ input.event.data.AssetId }}" } }],
        "output": { "asset": "{{ steps.seen.asset }}" }
    })
}

/// Returns the subscriptions that the sandbox has.
async fn subscriptions(cli: &Cli) -> Vec<Value> {
    let listed = cli.run(&["call", "mediavalet.webhook.list", "--connection", "mediavalet"]).await.expect(0).json();
    listed.as_array().unwrap().clone()
}

async fn runs_of(serve: &Serve, flow: &str) -> Vec<Value> {
    serve.runs().await.into_iter().filter(|run| run["flow"] == flow).collect()
}

async fn starts(cli: &Cli, flow: &str) -> Value {
    cli.run(&["flow", "show", flow, "--json"]).await.expect(0).json()["starts"].clone()
}

fn cloud_event(kind: &str) -> Value {
    json!({
        "id": format!("id of {kind}"), "source": "5b1c", "type": kind, "specversion": "1.0",
        "data": { "AssetId": "7", "Status": 0 }
    })
}

#[tokio::test]
async fn an_event_is_subscribed_to_starts_runs_and_is_unsubscribed_from() {
    let (cli, sandbox) = (Cli::default(), sandbox(few(2)).await);
    cli.connect(&sandbox).await;
    let serve = Serve::start(&cli).await;
    let public = ["--public-url", &serve.address];
    let flow = on_event("asset.approved", &json!({}));
    let refused = add(&cli, &flow, &[]).await.expect(1);
    assert!(refused.stderr.contains("public URL") && refused.stderr.contains("--public-url"), "{}", refused.stderr);
    let unknown = add(&cli, &on_event("Asset.StatusUpdate", &json!({})), &public).await.expect(1);
    assert!(unknown.stderr.contains("did you mean Asset.StatusUpdated?"), "{}", unknown.stderr);
    assert!(subscriptions(&cli).await.is_empty());

    add(&cli, &flow, &public).await.expect(0);
    let first = subscriptions(&cli).await;
    let url = first[0]["Data"]["webhook"].as_str().unwrap().to_owned();
    assert_eq!((first.len(), &first[0]["Events"]), (1, &json!([{ "Name": "Asset.StatusUpdated" }])));
    assert!(url.starts_with(&serve.url("/webhooks/approved/")), "{url}");
    let copied = shipped_flow();
    let input = flow_input(&sandbox).to_string();
    cli.run(&["run", copied.to_str().unwrap(), "--input", &input]).await.expect(0);
    let runs = until("a run for each asset", async || {
        let runs = runs_of(&serve, "approved").await;
        (runs.len() == 2).then_some(runs)
    })
    .await;
    for run in runs {
        let ended = serve.ended(run["id"].as_str().unwrap()).await;
        assert_eq!(
            (&ended["status"], &ended["output"]["asset"]),
            (&json!("succeeded"), &ended["input"]["event"]["data"]["AssetId"])
        );
    }
    until("the last start", async || starts(&cli, "approved").await["last"].is_string().then_some(())).await;

    // Another version of the flow keeps the subscription, and a filter leaves events out.
    add(&cli, &on_event("asset.approved", &json!({ "where": "{{ input.event.data.AssetId == 'x' }}" })), &public)
        .await
        .expect(0);
    assert_eq!(subscriptions(&cli).await, first);
    let sent = serve.http.post(&url).json(&cloud_event("Asset.StatusUpdated")).send().await.unwrap();
    assert_eq!(sent.json::<Value>().await.unwrap()["skipped"].as_str().map(|why| why.contains("filter")), Some(true));
    // Another event is another subscription, and leaves none behind.
    add(&cli, &on_event("Asset.KeywordsAdded", &json!({})), &public).await.expect(0);
    let second = subscriptions(&cli).await;
    assert_eq!((second.len(), &second[0]["Events"]), (1, &json!([{ "Name": "Asset.KeywordsAdded" }])));
    assert_eq!(serve.http.post(&url).json(&cloud_event("Asset.StatusUpdated")).send().await.unwrap().status(), 404);

    cli.run(&["flow", "deactivate", "approved"]).await.expect(0);
    assert!(subscriptions(&cli).await.is_empty());
    cli.run(&["flow", "activate", "approved", public[0], public[1]]).await.expect(0);
    assert_eq!(subscriptions(&cli).await.len(), 1);
    cli.run(&["flow", "remove", "approved"]).await.expect(0);
    assert!(subscriptions(&cli).await.is_empty());
    assert_eq!(runs_of(&serve, "approved").await.len(), 2);
}

/// The sabotage twin is a plain webhook: it starts a run for whatever is delivered.
#[tokio::test]
async fn an_event_that_a_flow_is_not_subscribed_to_starts_no_run() {
    let (cli, sandbox) = (Cli::default(), sandbox(few(1)).await);
    cli.connect(&sandbox).await;
    let serve = Serve::start(&cli).await;
    add(&cli, &on_event("Asset.StatusUpdated", &json!({})), &["--public-url", &serve.address]).await.expect(0);
    let url = subscriptions(&cli).await[0]["Data"]["webhook"].as_str().unwrap().to_owned();
    let plain = json!({ "name": "plain", "trigger": { "webhook": {} }, "steps": [] });
    let added = add(&cli, &plain, &["--public-url", &serve.address]).await.expect(0).json();
    assert_eq!(added["url"], json!(serve.url(added["webhook"].as_str().unwrap())));
    for (url, kind, status, flow, runs) in [
        (&*url, "Asset.KeywordsAdded", 400, "approved", 0),
        (&*url, "Asset.StatusUpdated", 202, "approved", 1),
        // Again, which starts nothing.
        (&*url, "Asset.StatusUpdated", 202, "approved", 1),
        (added["url"].as_str().unwrap(), "Asset.KeywordsAdded", 202, "plain", 1),
    ] {
        let sent = serve.http.post(url).json(&cloud_event(kind)).send().await.unwrap();
        assert_eq!((sent.status().as_u16(), runs_of(&serve, flow).await.len()), (status, runs), "{kind} to {flow}");
    }
    let starts = until("the failed start", async || {
        let starts = starts(&cli, "approved").await;
        starts["failed"].is_array().then_some(starts)
    })
    .await;
    assert_eq!((&starts["failed"][0]["trigger"], starts["last"].is_string()), (&json!("event"), true));
}

#[tokio::test]
async fn a_webhook_that_cannot_start_runs_is_listed_counted_and_runs_on_failure() {
    let cli = Cli::default();
    let serve = Serve::start(&cli).await;
    let flow = json!({
        "name": "strict", "trigger": { "webhook": {} }, "steps": [], "overlap": "parallel",
        "input": { "type": "object", "properties": { "body": { "type": "object", "required": ["order"] } } },
        "on_failure": [{ "id": "note", "fail": "noted: {{ error.message }}" }]
    });
    let path = add(&cli, &flow, &[]).await.expect(0).json()["webhook"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        let sent = serve.http.post(serve.url(&path)).json(&json!({ "oder": 7 })).send().await.unwrap();
        assert_eq!(sent.status(), 400);
    }
    let health = until("the failed starts in the health", async || {
        let (_, health) = serve.health().await;
        health.get("failed_starts").is_some().then_some(health)
    })
    .await;
    assert_eq!((&health["status"], &health["failed_starts"]), (&json!("ok"), &json!({ "webhook": 3 })));
    let list = cli.run(&["flow", "list"]).await.expect(0).stdout;
    assert!(list.contains("strict: 3 failed starts by its webhook") && list.contains("order"), "{list}");
    // The first failure of three runs the handler.
    let runs = runs_of(&serve, "strict").await;
    assert_eq!(runs.len(), 1, "{runs:?}");
    let ended = serve.ended(runs[0]["id"].as_str().unwrap()).await;
    assert!(ended["status"] == "failed" && ended.to_string().contains("noted: "), "{ended}");

    let sent = serve.http.post(serve.url(&path)).json(&json!({ "order": 7 })).send().await.unwrap();
    assert_eq!(sent.status(), 202);
    until("an end of the count", async || serve.health().await.1.get("failed_starts").is_none().then_some(())).await;
    let starts = starts(&cli, "strict").await;
    assert_eq!((&starts["failures"], starts["failed"].as_array().unwrap().len()), (&json!(0), 3));
}
