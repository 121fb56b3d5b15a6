//! Detects that a list changed while it was read page by page.
//!
//! With offsets, each page is requested from the last item of the page before: another item in that place means that
//! items have moved. With page numbers, the page before is read a second time. Changes that cancel each other out
//! between two pages are not detected. With cursors, links and keys there is no such check: only the vendor's promise
//! counts.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Returns the identity of an item, which an edit does not change: a hash of its `id`, or of the whole item if it has
/// none.
pub(crate) fn item_identity(item: &Value) -> String {
    fingerprint([item.get("id").filter(|_| has_id(item)).unwrap_or(item)])
}

fn has_id(item: &Value) -> bool {
    matches!(item.get("id"), Some(Value::String(_) | Value::Number(_)))
}

/// Returns a hash of the identities of the items of a page.
pub(crate) fn page_identity(items: &[Value]) -> String {
    fingerprint(&items.iter().map(|item| item_identity(item).into()).collect::<Vec<_>>())
}

/// Returns 64 bits of the SHA-256 of these values, in hexadecimal.
pub(crate) fn fingerprint<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    hash_of(values.into_iter().map(Value::to_string))
}

fn hash_of(texts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let digest = texts.into_iter().fold(Sha256::new(), |digest, text| digest.chain_update(text));
    HEXLOWER.encode(&digest.finalize()[..8])
}

/// Hashes of a page, by which it is recognized.
pub(super) struct Prints {
    /// Number of items.
    pub(super) length: u64,
    /// Hash of the items.
    pub(super) content: String,
    /// Hash of the identities of the items in any order, if they differ from each other.
    pub(super) ids: Option<String>,
    /// Hash of the items in any order.
    pub(super) any_order: String,
    /// Whether all items have ids.
    pub(super) named: bool,
}

impl Prints {
    pub(super) fn of(items: &[Value]) -> Prints {
        // Each item is written once and hashed twice: by itself, and in the content of the page. The content could be made
        // of the hashes of the items, but then the pages of positions that are stored would not be recognized.
        let (mut content, mut prints, mut ids) = (Sha256::new(), Vec::with_capacity(items.len()), BTreeSet::new());
        for item in items {
            let text = item.to_string();
            content.update(&text);
            let print = hash_of([text]);
            ids.insert(if has_id(item) { item_identity(item) } else { print.clone() });
            prints.push(print);
        }
        prints.sort_unstable();
        let differ = ids.len() == items.len();
        let quoted = |print: String| Value::from(print).to_string();
        Prints {
            length: items.len() as u64,
            content: HEXLOWER.encode(&content.finalize()[..8]),
            ids: differ.then(|| hash_of(ids.into_iter().map(quoted))),
            any_order: hash_of(prints.into_iter().map(quoted)),
            named: items.iter().all(has_id),
        }
    }

    /// Returns the hash that shows whether two pages have the same items.
    pub(super) fn items(&self) -> &String {
        self.ids.as_ref().unwrap_or(&self.content)
    }
}

/// Returns hashes of the last items of a page, at most `most` of them. Only those of items with an id are reliable:
/// others may be equal and not the same.
pub(super) fn tail(items: &[Value], most: u64) -> Vec<String> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    items.iter().rev().take(most).take_while(|item| has_id(item)).map(|item| fingerprint([item])).collect()
}

/// Removes the items at the beginning of a page that are in this tail of the page before. Returns their number.
pub(super) fn remove_tail(items: &mut Vec<Value>, tail: &[String]) -> usize {
    let known = items.iter().take_while(|item| tail.contains(&fingerprint([*item]))).count();
    items.drain(..known);
    known
}

/// Removes the overlap of two pages: the last item of the page before, which has to be the first of this one. If items
/// of the page before are hidden, more of its `tail` may come again. Returns a message if the item is not there.
pub(super) fn remove_overlap(items: &mut Vec<Value>, last: &str, tail: &[String]) -> Option<String> {
    match items.iter().position(|item| item_identity(item) == last) {
        Some(places) if items[..places].iter().all(|item| tail.contains(&fingerprint([item]))) => {
            items.drain(..=places);
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
        let removed = |mut items: Vec<Value>| (remove_overlap(&mut items, &last, &[]).is_some(), items);
        assert_eq!(removed(vec![json!(3), json!(4)]), (false, vec![json!(4)]));
        assert_eq!(removed(vec![json!(2), json!(3)]), (true, vec![json!(2), json!(3)]));
        assert_eq!(removed(vec![json!(4)]), (true, vec![json!(4)]));
        assert_eq!(removed(Vec::new()), (true, Vec::new()));
    }

    #[test]
    fn items_of_a_short_page_may_come_again() {
        let items = |ids: &[u64]| ids.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>();
        let (before, last) = (items(&[1, 2, 3]), item_identity(&json!({ "id": 3 })));
        let mut again = items(&[2, 3, 4]);
        assert_eq!(remove_overlap(&mut again, &last, &tail(&before, 2)), None);
        assert_eq!(again, items(&[4]));
        let mut moved = items(&[1, 2, 3, 4]);
        assert!(remove_overlap(&mut moved, &last, &tail(&before, 2)).is_some(), "only two items were missing");
        assert_eq!(tail(&[json!(1), json!(1)], 9), [""; 0], "equal values are not the same item");
    }

    /// Stored positions hold these hashes, so they stay as they are.
    #[test]
    fn the_hashes_of_a_page_are_those_of_its_items_one_by_one() {
        let items = [json!({ "id": 7, "name": "a" }), json!({ "name": "b" }), json!("c")];
        let prints = Prints::of(&items);
        let sorted = |texts: Vec<String>| texts.into_iter().collect::<std::collections::BTreeSet<_>>();
        let hash = |texts: Vec<String>| fingerprint(&sorted(texts).into_iter().map(Value::from).collect::<Vec<_>>());
        assert_eq!(prints.content, fingerprint(&items));
        assert_eq!(prints.any_order, hash(items.iter().map(|item| fingerprint([item])).collect()));
        assert_eq!(prints.ids, Some(hash(items.iter().map(item_identity).collect())));
        assert!(!prints.named);
    }

    #[test]
    fn a_page_is_recognized_in_any_order_if_its_items_differ() {
        let ids = |ids: &[u64]| Prints::of(&ids.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>()).ids;
        assert_eq!(ids(&[1, 2]), ids(&[2, 1]));
        assert_ne!(ids(&[1, 2]), ids(&[1, 3]));
        assert_eq!(ids(&[7, 7]), None);
    }
}
