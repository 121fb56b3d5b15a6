//! `webhook.subscribe` and `webhook.unsubscribe`: a URL has at most one webhook, however often it is subscribed.

use super::*;

const ADDRESS: &str = "https://example.com/hook";

async fn webhooks(bench: &Bench) -> Vec<Value> {
    bench.call("mediavalet", "webhook.list", json!({})).await.as_array().unwrap().clone()
}

async fn subscribe(bench: &Bench, address: &str, events: &[&str]) -> (Value, Value) {
    let input = json!({ "address": address, "events": events });
    let output = bench.call("mediavalet", "webhook.subscribe", input).await;
    (output["id"].clone(), output["done"].clone())
}

#[tokio::test]
async fn a_second_subscription_changes_only_what_differs() {
    let bench = Bench::quick(1).await;
    let (id, done) = subscribe(&bench, ADDRESS, &["Asset.StatusUpdated", "asset.keywordsadded"]).await;
    assert_eq!(done, "created");
    let again = subscribe(&bench, "https://EXAMPLE.com/hook", &["Asset.KeywordsAdded", "Asset.StatusUpdated"]).await;
    assert_eq!(again, (id.clone(), json!("nothing")));
    let other = subscribe(&bench, ADDRESS, &["Asset.MediaFileAdded"]).await;
    assert_eq!(other, (id.clone(), json!("updated")));
    let all = webhooks(&bench).await;
    assert_eq!(all.len(), 1);
    assert_eq!((&all[0]["Id"], &all[0]["Events"]), (&id, &json!([{ "Name": "Asset.MediaFileAdded" }])));
    let second = subscribe(&bench, "https://example.com/other", &["Asset.MediaFileAdded"]).await;
    assert_eq!((second.1, webhooks(&bench).await.len()), (json!("created"), 2));
}

#[tokio::test]
async fn an_unknown_event_is_refused_with_a_list_of_the_known_ones() {
    let bench = Bench::quick(1).await;
    let input = json!({ "address": ADDRESS, "events": ["Asset.Renamed"] });
    let error = bench.try_call("mediavalet", "webhook.subscribe", input).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    assert!(error.advice().unwrap().contains("Category.AssetsAssigned"), "{error:?}");
    assert!(webhooks(&bench).await.is_empty());
}

#[tokio::test]
async fn a_webhook_is_removed_by_url_or_id_and_a_missing_one_is_a_success() {
    let bench = Bench::quick(1).await;
    let (first, _) = subscribe(&bench, ADDRESS, &["Asset.StatusUpdated"]).await;
    let (second, _) = subscribe(&bench, "https://example.com/other", &["Asset.StatusUpdated"]).await;
    let unsubscribe = async |input: Value| bench.try_call("mediavalet", "webhook.unsubscribe", input).await;
    assert_eq!(unsubscribe(json!({ "address": ADDRESS })).await.unwrap(), json!({ "deleted": [first] }));
    assert_eq!(unsubscribe(json!({ "address": ADDRESS })).await.unwrap(), json!({ "deleted": [] }));
    assert_eq!(unsubscribe(json!({ "id": second })).await.unwrap(), json!({ "deleted": [second] }));
    assert!(webhooks(&bench).await.is_empty());
    for wrong in [json!({}), json!({ "id": second, "address": ADDRESS })] {
        assert_eq!(unsubscribe(wrong).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[tokio::test]
async fn lost_responses_create_no_second_webhook() {
    let bench = Bench::quick(1).await;
    for every in 2..=6 {
        let address = format!("https://example.com/{every}");
        let input = json!({ "address": address, "events": ["Asset.StatusUpdated"] });
        bench.with_losses(every, "webhook.subscribe", &input).await;
        let of_address = webhooks(&bench).await.iter().filter(|one| one["Data"]["webhook"] == *address).count();
        assert_eq!(of_address, 1, "every {every}. response lost");
        bench.with_losses(every, "webhook.unsubscribe", &json!({ "address": address })).await;
        assert!(webhooks(&bench).await.is_empty(), "every {every}. response lost");
    }
}
