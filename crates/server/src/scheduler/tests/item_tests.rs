//! Items without a key, or with the key of another item, keep no other item from starting a run, and are reported with their flow.

use super::*;

type Case = (&'static str, Value, &'static [&'static str], &'static [(&'static str, u64)]);

const DIFFERENT: &str = "left out of the list: another item of it has the same key";
const EQUAL: &str = "the same item occurs again in the list; it starts one run";
const MISSING: &str = "left out of the list: {{ item.id }} cannot be evaluated: item has no member id";
const NULL: &str = "left out of the list: the key of the item is null, which identifies nothing";
const EMPTY: &str = "left out of the list: the key of the item is an empty text, which identifies nothing";
const LISTED: &str = "left out of the list: the key of the item is a list, which identifies nothing";
const OBJECT: &str = "left out of the list: the key of the item is an object, which identifies nothing";

/// Lists, the ids of the items that start runs, and what is found.
fn cases() -> Vec<Case> {
    vec![
        ("one without a key", json!([{ "id": 1 }, { "name": "no id" }, { "id": 2 }]), &["1", "2"], &[(MISSING, 1)]),
        ("null", json!([{ "id": null }, { "id": null, "n": 1 }, { "id": 2 }]), &["2"], &[(NULL, 2)]),
        ("empty", json!([{ "id": "a" }, { "id": "" }]), &["\"a\""], &[(EMPTY, 1)]),
        ("a list", json!([{ "id": [] }, { "id": 1 }]), &["1"], &[(LISTED, 1)]),
        ("an object", json!([{ "id": { "id": 1 } }, { "id": 1 }]), &["1"], &[(OBJECT, 1)]),
        ("all of them", json!([{ "id": null }, { "n": 1 }, {}]), &[], &[(NULL, 1), (MISSING, 2)]),
        ("one key for two", json!([{ "id": 1, "n": 1 }, { "id": 1, "n": 2 }]), &["1"], &[(DIFFERENT, 1)]),
        ("one item twice", json!([{ "id": 1, "n": 1 }, { "n": 1, "id": 1 }]), &["1"], &[(EQUAL, 1)]),
        ("a number and a text", json!([{ "id": 1 }, { "id": "1" }]), &["\"1\"", "1"], &[]),
        ("truth", json!([{ "id": true }, { "id": "true" }]), &["\"true\"", "true"], &[]),
        ("marks", json!([{ "id": "#" }, { "id": "#1" }, { "id": "" }]), &["\"#\"", "\"#1\""], &[(EMPTY, 1)]),
    ]
}

fn found(findings: &[TriggerFinding]) -> Vec<(&str, u64)> {
    let mut found: Vec<_> = findings.iter().map(|one| (&*one.what, one.items.unwrap_or_default())).collect();
    found.sort_unstable();
    found
}

#[tokio::test]
async fn one_bad_item_keeps_no_other_item_from_starting_a_run() {
    for newest_first in [false, true] {
        for (case, items, ids, expected) in cases() {
            let name = format!("{case} {newest_first}");
            let room = room(&name).await;
            room.save(&watching(json!({ "newest_first": newest_first })), "feed").await;
            room.look().await.unwrap();
            listing(&name, |list| list.items = items.as_array().unwrap().clone());
            room.look().await.unwrap();
            let first = room.findings().await;
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(
                (room.got().await, found(&first)),
                (ids.iter().map(|id| (*id).to_owned()).collect(), expected),
                "{name}"
            );
            // It stays as it is for as long as the item is in the list, and starts nothing again.
            room.look().await.unwrap();
            assert_eq!((room.got().await.len(), room.findings().await), (ids.len(), first), "{name}");
            listing(&name, |list| list.items = vec![json!({ "id": 77 })]);
            room.look().await.unwrap();
            assert_eq!((room.got().await.len(), room.findings().await), (ids.len() + 1, vec![]), "{name}");
        }
    }
}

#[tokio::test]
async fn a_finding_says_where_the_item_is_and_what_to_do() {
    let room = room("place").await;
    room.save(&watching(json!({})), "feed").await;
    room.look().await.unwrap();
    listing("place", |list| {
        list.items = (0..100).map(|id| if id == 42 { json!({ "id": null }) } else { json!({ "id": id }) }).collect();
    });
    room.look().await.unwrap();
    let findings = room.findings().await;
    assert_eq!((findings.len(), findings[0].place.as_deref()), (1, Some("page 2, item 3")));
    assert!(findings[0].hint.as_ref().unwrap().contains("`key`"), "{findings:?}");
    assert_eq!(room.got().await.len(), 99);
}

#[tokio::test]
async fn a_trigger_that_fails_says_so_until_it_works_again() {
    let room = room("failing").await;
    room.save(&watching(json!({})), "feed").await;
    listing("failing", |list| list.fails_at = Some(0));
    room.look().await.unwrap_err();
    let first = room.findings().await;
    assert!(first[0].what.contains("the index is being built") && first[0].items.is_none(), "{first:?}");
    room.look().await.unwrap_err();
    assert_eq!(room.findings().await, first, "it is not new");
    listing("failing", |list| list.fails_at = None);
    room.look().await.unwrap();
    assert_eq!(room.findings().await, []);
}

/// Only the first pages of a list that has the newest first are read, so a bad item behind them is still there.
#[tokio::test]
async fn a_bad_item_on_a_page_that_is_not_read_any_more_is_still_reported() {
    let room = room("behind").await;
    room.save(&watching(json!({ "newest_first": true })), "feed").await;
    add("behind", 0..100);
    room.look().await.unwrap();
    listing("behind", |list| list.items.insert(0, json!({ "name": "no id" })));
    room.look().await.unwrap();
    add("behind", 100..150);
    room.look().await.unwrap();
    room.look().await.unwrap();
    assert_eq!(found(&room.findings().await), [(MISSING, 1)]);
    assert_eq!(room.got().await.len(), 50);
}

/// A page without a known item does not show that everything behind it is known.
#[tokio::test]
async fn a_page_of_bad_items_does_not_hide_the_new_items_behind_it() {
    let room = room("hidden").await;
    room.save(&watching(json!({ "newest_first": true })), "feed").await;
    add("hidden", 0..10);
    room.look().await.unwrap();
    add("hidden", 10..20);
    listing("hidden", |list| list.items.splice(0..0, (0..PAGE).map(|n| json!({ "n": n }))).for_each(drop));
    room.look().await.unwrap();
    assert_eq!(room.got().await.len(), 10);
}

/// The health of the server says that something was found, without a name.
#[tokio::test]
async fn the_health_of_the_server_counts_flows_with_findings() {
    let room = room("counted").await;
    room.save(&watching(json!({ "existing": "take" })), "feed").await;
    let body = async || {
        room.scheduler.tick().await.unwrap();
        let body = room.scheduler.health.response(serde_json::Map::new()).into_body();
        let bytes = axum::body::to_bytes(body, 1000).await.unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    assert_eq!(body().await, json!({ "status": "ok" }));
    listing("counted", |list| list.items = vec![json!({ "id": null })]);
    room.look().await.unwrap();
    assert_eq!(body().await["findings"], 1);
}

/// An item that cannot be the input of a run, because of its size or because the flow does not take it, is left out alone.
#[tokio::test]
async fn an_item_that_no_run_can_have_as_its_input_is_left_out_alone() {
    let schema = json!({ "type": "object", "properties": { "items": { "type": "array", "items": {
        "type": "object", "properties": { "n": { "type": "integer" } } } } } });
    let big = json!({ "id": "big", "text": "x".repeat(5 << 20) });
    let cases = [
        ("too large", big, None, "too large"),
        ("not taken", json!({ "id": "odd", "n": "one" }), Some(schema), "does not take the item"),
    ];
    for (name, bad, input, reason) in cases {
        for at in [0, 7, 119] {
            let name = format!("{name} {at}");
            let room = room(&name).await;
            let mut flow = watching(json!({ "existing": "take" }));
            flow.as_object_mut().unwrap().extend(input.clone().map(|input| ("input".to_owned(), input)));
            room.save(&flow, "feed").await;
            listing(&name, |list| {
                list.items = (0..119).map(|id| json!({ "id": id, "n": id })).collect();
                list.items.insert(at, bad.clone());
            });
            for _ in 0..2 {
                room.look().await.unwrap();
                let findings = room.findings().await;
                assert_eq!((room.got().await.len(), findings.len(), findings[0].items), (119, 1, Some(1)), "{name}");
                assert!(findings[0].what.contains(reason), "{findings:?}");
            }
        }
    }
}

/// Many items that fit one by one, and not together, start several runs.
#[tokio::test]
async fn items_that_are_too_large_together_start_several_runs() {
    let room = room("large").await;
    room.save(&watching(json!({ "existing": "take" })), "feed").await;
    listing("large", |list| {
        list.items = (0..30).map(|id| json!({ "id": id, "text": "x".repeat(300_000) })).collect();
    });
    room.look().await.unwrap();
    assert_eq!((room.got().await.len(), room.findings().await), (30, vec![]));
}

#[tokio::test]
async fn a_flow_that_takes_no_item_says_why() {
    let room = room("takes none").await;
    let mut flow = watching(json!({ "existing": "take" }));
    let items = json!({ "type": "array", "items": { "type": "object", "required": ["who"] } });
    flow["input"] = json!({ "type": "object", "properties": { "items": items } });
    room.save(&flow, "feed").await;
    add("takes none", 0..3);
    room.look().await.unwrap();
    let findings = room.findings().await;
    assert!(findings[0].items == Some(3) && findings[0].what.contains("does not take the item"), "{findings:?}");
    // More of them are an error of the trigger.
    add("takes none", 3..2000);
    room.look().await.unwrap_err();
}

#[tokio::test]
async fn a_failure_that_may_be_a_hiccup_is_reported_when_it_is_repeated() {
    use ErrorKind::{Auth, Config, Permission, RateLimited, Unavailable, Unexpected};
    for (kind, after_one) in
        [(Auth, 0), (Permission, 0), (RateLimited, 0), (Unavailable, 0), (Config, 1), (Unexpected, 1)]
    {
        let room = room(&format!("hiccup {kind:?}")).await;
        room.save(&watching(json!({})), "feed").await;
        let error = Error::new(kind, "no");
        room.scheduler.failed("watch", &error).await;
        assert_eq!(room.findings().await.len(), after_one, "{kind:?}");
        room.scheduler.failed("watch", &error).await;
        assert_eq!(room.findings().await.len(), 1, "{kind:?}");
    }
}
