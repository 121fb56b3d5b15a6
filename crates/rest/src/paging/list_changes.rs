//! Detects that a list changed while it was read page by page.
//!
//! With offsets, each page is requested from the last item of the page before: another item in that place means that
//! items have moved. With page numbers, the page before is read a second time. Changes that cancel each other out
//! between two pages are not detected. With cursors and links there is no such check: only the vendor's promise counts.

use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Returns the identity of an item, which an edit does not change: a hash of its `id`, or of the whole item if it has
/// none.
pub(crate) fn item_identity(item: &Value) -> String {
    match item.get("id") {
        Some(id @ (Value::String(_) | Value::Number(_))) => fingerprint([id]),
        _ => fingerprint([item]),
    }
}

/// Returns a hash of the identities of the items of a page.
pub(crate) fn page_identity(items: &[Value]) -> String {
    fingerprint(&items.iter().map(|item| item_identity(item).into()).collect::<Vec<_>>())
}

/// Returns 64 bits of the SHA-256 of these values, in hexadecimal.
pub(crate) fn fingerprint<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    let digest = values.into_iter().fold(Sha256::new(), |digest, value| digest.chain_update(value.to_string()));
    HEXLOWER.encode(&digest.finalize()[..8])
}

/// Removes the overlap of two pages: the last item of the page before, which has to be the first of this one. Returns a
/// message if it is not there.
pub(crate) fn remove_overlap(items: &mut Vec<Value>, last: &str) -> Option<String> {
    match items.iter().position(|item| item_identity(item) == last) {
        Some(0) => {
            items.remove(0);
            None
        }
        Some(places) => Some(format!("its items moved back by {places} between two pages")),
        None => Some("its items moved between two pages".to_owned()),
    }
}

/// Returns a message if the total number of items has changed.
pub(crate) fn total_changed(before: Option<u64>, now: Option<u64>) -> Option<String> {
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
        assert_eq!(item_identity(&json!({ "id": 1, "name": "a" })), item_identity(&json!({ "id": 1, "name": "b" })));
        assert_ne!(item_identity(&json!({ "id": 1 })), item_identity(&json!({ "id": 2 })));
        assert_ne!(item_identity(&json!({ "id": null, "n": 1 })), item_identity(&json!({ "id": null, "n": 2 })));
        assert_ne!(item_identity(&json!("a")), item_identity(&json!("b")));
    }

    #[test]
    fn the_overlap_of_two_pages_is_removed() {
        let last = item_identity(&json!(3));
        let removed = |mut items: Vec<Value>| (remove_overlap(&mut items, &last).is_some(), items);
        assert_eq!(removed(vec![json!(3), json!(4)]), (false, vec![json!(4)]));
        assert_eq!(removed(vec![json!(2), json!(3)]), (true, vec![json!(2), json!(3)]));
        assert_eq!(removed(vec![json!(4)]), (true, vec![json!(4)]));
        assert_eq!(removed(Vec::new()), (true, Vec::new()));
    }
}
