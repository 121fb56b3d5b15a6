//! What is in a list at the first look is not new. A look that does not see the whole list is not the first one.

use super::*;

/// A way in which a look does not see the list.
type Fault = fn(&mut Listing);

fn faults() -> Vec<(&'static str, Fault)> {
    let without_keys = |list: &mut Listing| list.items = (0..90).map(|n| json!({ "building": n })).collect();
    vec![
        ("the first page fails", |list| list.fails_at = Some(0)),
        ("a later page fails", |list| list.fails_at = Some(1)),
        ("the last page fails", |list| list.fails_at = Some(list.items.len() / PAGE)),
        ("no item has a key", without_keys),
        ("all keys are null", |list| list.items.iter_mut().for_each(|item| item["id"] = Value::Null)),
        ("it may be incomplete", |list| {
            list.maybe_incomplete = Some("it ended after 50 of 90 items".into());
            list.items.truncate(50);
        }),
    ]
}

/// Looks twice at a list with a fault, then at the list without it, and then at a new item. Returns what the runs got.
async fn looks(name: &str, flow: Value, count: u64, fault: Fault) -> Vec<usize> {
    let room = room(name).await;
    room.save(&flow, "feed").await;
    let whole: Vec<_> = (0..count).map(|id| json!({ "id": id })).collect();
    listing(name, |list| {
        list.items.clone_from(&whole);
        fault(list);
    });
    let mut got = Vec::new();
    let _ = room.look().await;
    let findings = room.findings().await;
    assert_eq!(findings.len(), 1, "{name}: {findings:?}");
    got.push(room.got().await.len());
    listing(name, |list| *list = Listing { items: whole, ..Listing::default() });
    for _ in 0..2 {
        room.look().await.unwrap();
        got.push(room.got().await.len());
    }
    assert_eq!(room.findings().await, [], "{name}");
    add(name, count..count + 1);
    room.look().await.unwrap();
    got.push(room.got().await.len());
    got
}

#[tokio::test]
async fn a_first_look_that_fails_does_not_make_old_items_new() {
    for (what, fault) in faults() {
        for newest_first in [false, true] {
            let name = format!("{what} {newest_first}");
            let flow = watching(json!({ "newest_first": newest_first }));
            assert_eq!(looks(&name, flow, 90, fault).await, [0, 0, 0, 1], "{name}");
        }
    }
}

#[tokio::test]
async fn of_fifty_thousand_items_none_starts_a_run() {
    let fault = |list: &mut Listing| list.fails_at = Some(1000);
    assert_eq!(looks("a flood", watching(json!({})), 50_000, fault).await, [0, 0, 0, 1]);
}

/// The sabotage twin: with `take`, the same looks do start runs.
#[tokio::test]
async fn without_a_first_look_all_items_start_runs() {
    let flow = watching(json!({ "existing": "take" }));
    let fault: Fault = |list| list.fails_at = Some(1);
    assert_eq!(looks("taken", flow, 90, fault).await, [40, 90, 90, 91]);
}

/// A service may hide items in every look: the list is as complete as it gets.
#[tokio::test]
async fn a_list_that_is_the_same_twice_is_complete_enough() {
    let room = room("overstated").await;
    room.save(&watching(json!({})), "feed").await;
    add("overstated", 0..50);
    listing("overstated", |list| list.maybe_incomplete = Some("it ended after 50 of 60 items".into()));
    room.look().await.unwrap();
    assert!(room.findings().await[0].what.contains("not its first look"));
    room.look().await.unwrap();
    add("overstated", 50..53);
    room.look().await.unwrap();
    assert_eq!(room.got().await.len(), 3);
    let findings = room.findings().await;
    assert_eq!(findings[0].place.as_deref(), Some("it ended after 50 of 60 items"));
}

#[tokio::test]
async fn a_first_look_at_an_empty_list_is_one() {
    let room = room("empty").await;
    room.save(&watching(json!({})), "feed").await;
    room.look().await.unwrap();
    add("empty", 0..3);
    room.look().await.unwrap();
    assert_eq!(room.got().await.len(), 3);
}

/// An item without a key does not keep the others from being known after the first look.
#[tokio::test]
async fn a_first_look_with_one_bad_item_is_one() {
    let room = room("one bad").await;
    room.save(&watching(json!({})), "feed").await;
    add("one bad", 0..3);
    listing("one bad", |list| list.items.push(json!({ "id": null })));
    room.look().await.unwrap();
    assert_eq!((room.got().await.len(), room.findings().await.len()), (0, 1));
    add("one bad", 3..5);
    room.look().await.unwrap();
    assert_eq!((room.got().await.len(), room.findings().await.len()), (2, 1));
}
