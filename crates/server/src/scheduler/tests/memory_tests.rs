//! What a trigger remembers belongs to what it watches: no change of a flow makes old items new, or loses new ones,
//! without a message.

use super::*;

/// A change of a flow: the members of its poll, its connection, the list that it watches then, and whether that is
/// another one.
struct Change {
    name: &'static str,
    poll: Value,
    connection: &'static str,
    list: &'static str,
    is_another: bool,
}

fn changes() -> Vec<Change> {
    let same = |name, poll| Change { name, poll, connection: "feed", list: "", is_another: false };
    let other = |name, poll, list| Change { name, poll, connection: "feed", list, is_another: true };
    vec![
        same("nothing", json!({})),
        same("how often", json!({ "every": "2s" })),
        same("what comes first", json!({ "newest_first": true })),
        same("what counts at the first look", json!({ "existing": "take" })),
        same("spaces in the key", json!({ "key": "{{item.id}}" })),
        other("the key", json!({ "key": "{{ item.name }}" }), ""),
        other("a text as the key", json!({ "key": "id-{{ item.id }}" }), ""),
        other("the action", json!({ "action": "thing.others" }), ""),
        other("the input", json!({ "input": { "folder": "b" } }), "/b"),
        other("an input without effect", json!({ "input": { "more": true } }), ""),
        Change { name: "the connection", poll: json!({}), connection: "feed-2", list: " 2", is_another: true },
    ]
}

fn items(ids: std::ops::Range<u64>) -> Vec<Value> {
    ids.rev().map(|id| json!({ "id": id, "name": format!("name {id}") })).collect()
}

#[tokio::test]
async fn no_change_makes_old_items_new_or_loses_new_ones_without_a_message() {
    for Change { name, poll, connection, list, is_another } in changes() {
        let (room, list) = (room(name).await, format!("{name}{list}"));
        assert_eq!(room.save(&watching(json!({})), "feed").await, [""; 0]);
        for list in [name, &list] {
            listing(list, |list| list.items = items(0..60));
        }
        room.look().await.unwrap();
        // While it is changed, two items come to the list.
        for list in [name, &list] {
            listing(list, |list| list.items = items(0..62));
        }
        let warnings = room.save(&watching(poll.clone()), connection).await;
        assert_eq!(warnings.len(), usize::from(is_another), "{name}: {warnings:?}");
        for _ in 0..2 {
            room.look().await.unwrap();
        }
        let expected = if is_another { 0 } else { 2 };
        assert_eq!(room.got().await.len(), expected, "{name}: what was there at the first look is not new");
        listing(&list, |list| list.items = items(0..65));
        room.look().await.unwrap();
        assert_eq!(room.got().await.len(), expected + 3, "{name}: what comes later is");
        // Back to what it was: nothing that came in the meantime is lost, and nothing starts two runs.
        listing(name, |list| list.items = items(0..65));
        assert_eq!(room.save(&watching(json!({})), "feed").await, [""; 0], "{name}: it remembers");
        for _ in 0..2 {
            room.look().await.unwrap();
        }
        let again = if is_another { 5 } else { 0 };
        assert_eq!(room.got().await.len(), expected + 3 + again, "{name}");
    }
}

/// The sabotage twin: a trigger whose memory is gone takes all items for new.
#[tokio::test]
async fn without_its_memory_a_trigger_takes_all_items_for_new() {
    let room = room("forgetful").await;
    room.save(&watching(json!({ "existing": "take" })), "feed").await;
    listing("forgetful", |list| list.items = items(0..60));
    room.look().await.unwrap();
    room.scheduler.runtime.journal().forget_trigger("watch").await.unwrap();
    room.look().await.unwrap();
    assert_eq!(room.got().await.len(), 120);
}

#[tokio::test]
async fn with_take_a_change_says_that_all_items_are_new() {
    let room = room("taking").await;
    room.save(&watching(json!({ "existing": "take" })), "feed").await;
    listing("taking", |list| list.items = items(0..3));
    room.look().await.unwrap();
    let warnings = room.save(&watching(json!({ "existing": "take", "key": "{{ item.name }}" })), "feed").await;
    assert!(warnings[0].contains("all items"), "{warnings:?}");
    room.look().await.unwrap();
    assert_eq!(room.got().await.len(), 6);
}

/// A flow under another name is another flow. One that watches the same list says so.
#[tokio::test]
async fn a_flow_under_another_name_has_a_first_look_of_its_own() {
    let room = room("renamed").await;
    room.save(&watching(json!({})), "feed").await;
    listing("renamed", |list| list.items = items(0..60));
    room.look().await.unwrap();
    let mut renamed = watching(json!({}));
    renamed["name"] = json!("watch-2");
    let warnings = room.save(&renamed, "feed").await;
    assert!(warnings[0].contains("flow watch watches the same list"), "{warnings:?}");
    room.scheduler.runtime.remove_flow("watch").await.unwrap();
    room.look_of("watch-2").await.unwrap();
    listing("renamed", |list| list.items = items(0..61));
    room.look_of("watch-2").await.unwrap();
    assert_eq!(room.got().await.len(), 1);
}

#[tokio::test]
async fn items_that_come_while_a_flow_is_inactive_are_new_when_it_is_active_again() {
    let room = room("inactive").await;
    room.save(&watching(json!({})), "feed").await;
    listing("inactive", |list| list.items = items(0..60));
    room.look().await.unwrap();
    room.scheduler.runtime.activate_flow("watch", false).await.unwrap();
    listing("inactive", |list| list.items = items(0..63));
    room.scheduler.runtime.activate_flow("watch", true).await.unwrap();
    room.look().await.unwrap();
    assert_eq!(room.got().await.len(), 3);
}

#[tokio::test]
async fn a_flow_that_is_removed_and_added_again_has_a_first_look() {
    let room = room("removed").await;
    for ids in [0..60, 0..70] {
        room.save(&watching(json!({})), "feed").await;
        listing("removed", |list| list.items = items(ids));
        room.look().await.unwrap();
        assert_eq!(room.got().await.len(), 0);
        room.scheduler.runtime.remove_flow("watch").await.unwrap();
    }
}

/// Another kind of trigger is another thing to watch: neither missed times nor old items start runs.
#[tokio::test]
async fn a_trigger_of_another_kind_begins_again() {
    let room = room("kinds").await;
    let mut scheduled = watching(json!({}));
    scheduled["trigger"] = json!({ "schedule": { "cron": "0 * * * *", "missed": "all" } });
    listing("kinds", |list| list.items = items(0..60));
    let through = async || room.scheduler.runtime.flows().saved_flow("watch").await.unwrap().through;
    let at = |millis| TriggerEvent {
        flow: "watch".into(),
        through: Some(Timestamp::from_millis(millis)),
        ..TriggerEvent::default()
    };
    room.save(&scheduled, "feed").await;
    room.scheduler.runtime.journal().remember_trigger(at(1)).await.unwrap();
    room.save(&watching(json!({})), "feed").await;
    assert_eq!(through().await, None);
    room.look().await.unwrap();
    assert_eq!(room.got().await.len(), 0, "the first look");
    for schedule in ["0 * * * *", "30 * * * *", "0 0 * * *"] {
        room.scheduler.runtime.journal().remember_trigger(at(1)).await.unwrap();
        scheduled["trigger"]["schedule"]["cron"] = json!(schedule);
        room.save(&scheduled, "feed").await;
        assert_eq!(through().await, None, "{schedule}: no time is missed");
    }
    room.scheduler.runtime.journal().remember_trigger(at(1)).await.unwrap();
    scheduled["trigger"]["schedule"]["missed"] = json!("one");
    room.save(&scheduled, "feed").await;
    assert!(through().await.is_some(), "the times are the same");
}

/// What an early version has recorded: the keys as plain texts without a feed, and the time of the look.
async fn early(room: &Room, keys: &[&str], looked: bool) {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    let through = looked.then(|| room.scheduler.runtime.now());
    let event = TriggerEvent { flow: "watch".into(), keys, through, ..TriggerEvent::default() };
    room.scheduler.runtime.journal().remember_trigger(event).await.unwrap();
}

#[tokio::test]
async fn keys_of_early_versions_are_known_and_no_others() {
    type Case = (&'static str, Value, &'static [&'static str], &'static [&'static str]);
    let cases: &[Case] = &[
        ("numbers", json!([1, 2, 3]), &["1", "2"], &["3"]),
        ("texts", json!(["a", "b", "c"]), &["a", "b"], &["\"c\""]),
        ("texts of digits", json!(["1", "2", "3"]), &["1", "2"], &["\"3\""]),
        ("a number and its text", json!([1, "1"]), &["1"], &["\"1\""]),
        ("texts with marks", json!(["#1", "a#2", "\"q\""]), &["#1", "a#2", "\"q\""], &[]),
        ("true", json!([true, "true", false]), &["true"], &["\"true\"", "false"]),
        ("big numbers", json!([u64::MAX, u64::MAX - 1]), &["18446744073709551615"], &["18446744073709551614"]),
    ];
    for (case, ids, keys, new) in cases {
        for existing in ["skip", "take"] {
            let name = format!("early {case} {existing}");
            let room = room(&name).await;
            room.save(&watching(json!({ "existing": existing })), "feed").await;
            early(&room, keys, true).await;
            listing(&name, |list| list.items = ids.as_array().unwrap().iter().map(|id| json!({ "id": id })).collect());
            for _ in 0..2 {
                room.look().await.unwrap();
                assert_eq!(room.got().await, *new, "{name}");
            }
            // After a look at the whole list, a text is not taken for a number that was known.
            listing(&name, |list| list.items.push(json!({ "id": keys[0] })));
            room.look().await.unwrap();
            let is_other = ids.as_array().unwrap().iter().all(|id| id != keys[0]);
            assert_eq!(room.got().await.len(), new.len() + usize::from(is_other), "{name}");
        }
    }
}

/// An early version did not look at pages behind known ones. They are still known.
#[tokio::test]
async fn keys_of_early_versions_count_on_pages_that_are_read_late() {
    let room = room("early pages").await;
    room.save(&watching(json!({ "newest_first": true })), "feed").await;
    let keys: Vec<_> = (0..200).map(|id| id.to_string()).collect();
    early(&room, &keys.iter().map(String::as_str).collect::<Vec<_>>(), true).await;
    listing("early pages", |list| list.items = (0..200).rev().map(|id| json!({ "id": id.to_string() })).collect());
    room.look().await.unwrap();
    let more = (0..250).rev().map(|id| json!({ "id": id.to_string() })).collect();
    listing("early pages", |list| list.items = more);
    room.look().await.unwrap();
    assert_eq!(room.got().await.len(), 50);
}

/// The keys belong to what the flow watched then, also if it is changed before its first look with this version.
#[tokio::test]
async fn a_change_right_after_an_upgrade_is_a_change() {
    let room = room("early change").await;
    room.save(&watching(json!({})), "feed").await;
    early(&room, &["0", "1", "2"], true).await;
    listing("early change", |list| list.items = items(0..4));
    let warnings = room.save(&watching(json!({ "key": "{{ item.name }}" })), "feed").await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    room.look().await.unwrap();
    assert_eq!(room.got().await.len(), 0);
    room.save(&watching(json!({})), "feed").await;
    room.look().await.unwrap();
    assert_eq!(room.got().await, ["3"]);
}

/// An early version that has taken items without having seen the whole list has not looked.
#[tokio::test]
async fn a_look_that_an_early_version_has_not_ended_is_ended() {
    let room = room("early half").await;
    room.save(&watching(json!({ "existing": "take" })), "feed").await;
    early(&room, &["0", "1"], false).await;
    listing("early half", |list| list.items = items(0..4));
    room.look().await.unwrap();
    assert_eq!(room.got().await, ["2", "3"]);
}

/// The sabotage twin: without the keys of the early version, all items of its list are taken for new.
#[tokio::test]
async fn without_the_keys_of_the_early_version_its_items_are_new() {
    let room = room("early nothing").await;
    room.save(&watching(json!({})), "feed").await;
    early(&room, &[], true).await;
    listing("early nothing", |list| list.items = items(0..4));
    room.look().await.unwrap();
    assert_eq!(room.got().await.len(), 4);
}

/// A store that the last version before feeds has written, after looks at a list with these ids.
#[tokio::test]
async fn a_store_of_version_9_makes_no_old_item_new() {
    let ids = || [json!(1), json!("2"), json!("c"), json!("#4"), json!(true)];
    for name in ["watch", "take"] {
        let home = tempfile::tempdir().unwrap();
        let sample = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/samples/9");
        std::fs::copy(sample.join("trunkline.db"), home.path().join("trunkline.db")).unwrap();
        let key = KeySource::Value(std::fs::read_to_string(sample.join("key")).unwrap().into());
        let room = room_in(home, key, &format!("version 9 {name}")).await;
        let runs = room.scheduler.runtime.journal().runs().await.unwrap().len();
        let started = async || room.scheduler.runtime.journal().runs().await.unwrap().len() - runs;
        listing(&format!("version 9 {name}"), |list| list.items = ids().map(|id| json!({ "id": id })).to_vec());
        for _ in 0..2 {
            room.look_of(name).await.unwrap();
            assert_eq!(started().await, 0, "{name}");
        }
        // Now all keys are known in their typed form.
        let others = [json!("1"), json!(2), json!("true")].map(|id| json!({ "id": id }));
        listing(&format!("version 9 {name}"), |list| list.items.extend(others));
        room.look_of(name).await.unwrap();
        assert_eq!(started().await, 1, "{name}");
    }
}

/// A service may write the ids of its items in another way from one day to the next.
#[tokio::test]
async fn numbers_that_are_written_in_another_way_are_not_new_items() {
    let written = |ids: std::ops::Range<u64>, end: &str| -> Vec<Value> {
        let id = |id: u64| -> Value { serde_json::from_str(&format!("{id}{end}")).unwrap() };
        ids.rev().map(|number| json!({ "id": id(number) })).collect()
    };
    let room = room("respelled").await;
    room.save(&watching(json!({})), "feed").await;
    for (ids, end, expected) in
        [(0..3, "", 0), (0..3, ".0", 0), (0..5, "e0", 2), (0..5, "", 2), (0..6, ".0", 3), (0..6, "", 3)]
    {
        listing("respelled", |list| list.items = written(ids.clone(), end));
        room.look().await.unwrap();
        assert_eq!(room.got().await.len(), expected, "{ids:?} {end}");
    }
    // An earlier version has recorded a number as it was written.
    let runtime = &room.scheduler.runtime;
    let saved = runtime.flows().saved_flow("watch").await.unwrap();
    let flow = runtime.flow_of(&saved).await.unwrap();
    let (_, memory) = runtime.connect_feed(&saved, &flow).await.unwrap().unwrap();
    runtime.journal().remember_trigger(memory.taking(vec!["7.0".into()])).await.unwrap();
    for end in [".0", "", ".00"] {
        listing("respelled", |list| list.items = written(6..9, end));
        room.look().await.unwrap();
        assert_eq!(room.got().await.len(), 3 + 2, "6 and 8 are new, and 7 is not: {end}");
    }
}
