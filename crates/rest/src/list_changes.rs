//! Whether a list has changed between two of its pages, as far as pages tell.
//!
//! A page by offset begins with the last item of the page before: another item in its place has moved. Where pages have
//! numbers, the page before is read a second time. What cancels itself out between two pages stays unseen, and of cursors and
//! links nothing is known but what the vendor promises.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// What tells an item from others although it may be edited meanwhile: its `id`, or else all of it.
pub(crate) fn mark(item: &Value) -> String {
    match item.get("id") {
        Some(id @ (Value::String(_) | Value::Number(_))) => fingerprint([id]),
        _ => fingerprint([item]),
    }
}

/// The same for a page.
pub(crate) fn page_mark(items: &[Value]) -> String {
    fingerprint(&items.iter().map(|item| mark(item).into()).collect::<Vec<_>>())
}

pub(crate) fn fingerprint<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    let digest = values.into_iter().fold(Sha256::new(), |digest, value| digest.chain_update(value.to_string()));
    digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes the last item of the page before from the beginning of this one, or says what stands there instead.
pub(crate) fn pick_up(items: &mut Vec<Value>, last: &str) -> Option<String> {
    match items.iter().position(|item| mark(item) == last) {
        Some(0) => {
            items.remove(0);
            None
        }
        Some(places) => Some(format!("its items moved back by {places} between two pages")),
        None => Some("its items moved between two pages".to_owned()),
    }
}

/// Says how the number of items has changed.
pub(crate) fn recounted(before: Option<u64>, now: Option<u64>) -> Option<String> {
    match (before, now) {
        (Some(before), Some(now)) if before != now => Some(format!("it had {before} items, and then {now}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_item_that_was_edited_is_the_same_item() {
        assert_eq!(mark(&json!({ "id": 1, "name": "a" })), mark(&json!({ "id": 1, "name": "b" })));
        assert_ne!(mark(&json!({ "id": 1 })), mark(&json!({ "id": 2 })));
        assert_ne!(mark(&json!({ "id": null, "n": 1 })), mark(&json!({ "id": null, "n": 2 })));
        assert_ne!(mark(&json!("a")), mark(&json!("b")));
    }

    #[test]
    fn a_page_is_picked_up_where_the_one_before_ended() {
        let last = mark(&json!(3));
        let picked = |mut items: Vec<Value>| (pick_up(&mut items, &last).is_some(), items);
        assert_eq!(picked(vec![json!(3), json!(4)]), (false, vec![json!(4)]));
        assert_eq!(picked(vec![json!(2), json!(3)]), (true, vec![json!(2), json!(3)]));
        assert_eq!(picked(vec![json!(4)]), (true, vec![json!(4)]));
        assert_eq!(picked(Vec::new()), (true, Vec::new()));
    }
}
