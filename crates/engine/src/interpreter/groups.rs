//! The groups in which an `each` works on items: each item by itself, or batches of several.

use std::collections::BTreeMap;

use serde_json::Value;
use trunkline_flow::Scope;
use uuid::Uuid;

use crate::{
    interpreter::{list::List, record::RunRecord},
    run::{KeyForm, key_form::write_numbers},
};

/// An item, or a batch of items, to work on.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) items: Vec<GroupItem>,
    pub(super) scope: Scope,
}

/// An item of a group, by its key.
pub(super) struct GroupItem {
    pub(super) key: String,
    /// The fingerprint, if it is remembered across runs.
    pub(super) once: Option<String>,
    /// What people call it.
    pub(super) label: Option<String>,
    /// Its number in the list, from 0.
    pub(super) index: u64,
}

/// An item to work on.
pub(super) struct PendingItem {
    pub(super) id: GroupItem,
    pub(super) value: Value,
}

/// Groups items into batches, if the `each` has any.
///
/// A batch is named after its keys, so the same items have the same name after a crash, and other items have
/// another one. In a rerun, a batch of the earlier run stays together and keeps its name.
pub(super) fn group(list: &List<'_>, record: &RunRecord, pending: Vec<PendingItem>, scope: &Scope) -> Vec<Group> {
    let Some(size) = list.batch else {
        let single = |PendingItem { id, value }: PendingItem| Group {
            name: id.key.clone(),
            items: vec![id],
            scope: scope.with("item", &value),
        };
        return pending.into_iter().map(single).collect();
    };
    let mut previous = BTreeMap::<String, Vec<PendingItem>>::new();
    let mut new = Vec::new();
    for item in pending {
        match record.batch(list.path, &item.id.key) {
            Some(batch) => previous.entry(batch).or_default().push(item),
            None => new.push(item),
        }
    }
    let mut batches: Vec<(String, Vec<PendingItem>)> = previous.into_iter().collect();
    let mut new = new.into_iter().peekable();
    while new.peek().is_some() {
        let batch: Vec<_> = new.by_ref().take(size).collect();
        let keys: Value = batch.iter().map(|item| item.id.key.clone()).collect();
        let name = Uuid::new_v5(&Uuid::NAMESPACE_OID, keys.to_string().as_bytes());
        batches.push((format!("batch-{}", &name.simple().to_string()[..12]), batch));
    }
    let group = |(name, batch): (String, Vec<PendingItem>)| {
        let (items, values): (Vec<_>, Vec<_>) = batch.into_iter().map(|item| (item.id, item.value)).unzip();
        Group { name, items, scope: scope.with("items", &values.into()) }
    };
    batches.into_iter().map(group).collect()
}

/// The fingerprint of a value. Equal values have the same one, whatever the order of their members and however their
/// numbers are written. It also says in which form the key of its item is remembered.
pub(super) struct Fingerprint {
    pub(super) text: String,
    /// The text that earlier versions recorded: numbers as they were written.
    pub(super) as_written: String,
}

impl Fingerprint {
    pub(super) fn of(mut value: Value, form: KeyForm) -> Fingerprint {
        value.sort_all_objects();
        let text = |value: &Value| {
            let fingerprint = Uuid::new_v5(&Uuid::NAMESPACE_OID, value.to_string().as_bytes());
            match form {
                KeyForm::Plain => fingerprint.simple().to_string(),
                KeyForm::Typed | KeyForm::Equal => format!("{TYPED}{}", fingerprint.simple()),
            }
        };
        let as_written = text(&value);
        let respelled = form == KeyForm::Equal && write_numbers(&mut value);
        Fingerprint { text: if respelled { text(&value) } else { as_written.clone() }, as_written }
    }
}

/// What a fingerprint begins with if the key of its item has the typed form.
pub(super) const TYPED: &str = "typed:";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_that_differ_only_in_how_a_number_is_written_have_one_fingerprint() {
        let of = |text: &str, form| Fingerprint::of(serde_json::from_str(text).unwrap(), form);
        let same = [
            ("1", "1.0"),
            ("[1e2]", "[100]"),
            (r#"{ "a": { "b": [2.0] }, "c": 0 }"#, r#"{ "c": 0.0, "a": { "b": [2] } }"#),
        ];
        for (one, other) in same {
            let (first, second) = (of(one, KeyForm::Equal), of(other, KeyForm::Equal));
            assert_eq!(first.text, second.text, "{one} {other}");
            assert!(first.text.starts_with(TYPED));
            // The sabotage twin: the form that writes numbers as the service did.
            assert_ne!(of(one, KeyForm::Typed).text, of(other, KeyForm::Typed).text, "{one} {other}");
            // What an earlier version has recorded is still known.
            assert_eq!(second.as_written, of(other, KeyForm::Typed).text);
        }
        for (one, other) in [("1", "\"1\""), ("1", "1.5"), ("[1]", "1"), ("1", "true")] {
            assert_ne!(of(one, KeyForm::Equal).text, of(other, KeyForm::Equal).text, "{one} {other}");
        }
    }
}
