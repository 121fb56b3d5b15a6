//! Deduplication keys of triggers.

use std::collections::BTreeSet;

use serde_json::json;
use trunkline_core::{ErrorKind, RunId};

use super::{id, kind, started};
use crate::journal::{Journal, TriggerEvent};

fn event(flow: &str, keys: &[&str]) -> TriggerEvent {
    TriggerEvent { flow: flow.into(), keys: keys.iter().map(|key| (*key).to_owned()).collect(), through: None }
}

async fn accept(journal: &impl Journal, name: &str, event: TriggerEvent) -> trunkline_core::Result<Option<RunId>> {
    journal.accept_triggered(&id(name), "v1", &json!({ "name": "copy" }), started("v1", 1), &event).await
}

async fn not_taken(journal: &impl Journal, flow: &str, keys: &[&str]) -> BTreeSet<String> {
    journal.not_taken(flow, event(flow, keys).keys).await.unwrap()
}

pub(super) async fn a_trigger_event_is_accepted_once(journal: &impl Journal) {
    let accept = async |name: &str, event: TriggerEvent| accept(journal, name, event).await;
    assert_eq!(accept("a1", event("copy", &["a", "b"])).await.unwrap(), None);
    assert_eq!(accept("a2", event("copy", &["c", "b"])).await.unwrap(), Some(id("a1")), "an earlier run has taken b");
    assert_eq!(kind(journal.replay(&id("a2"), &mut |_| {}).await), ErrorKind::NotFound, "and nothing was accepted");
    assert_eq!(accept("a3", event("copy", &["c"])).await.unwrap(), None, "and c was not taken");
    assert_eq!(accept("a4", event("other", &["a"])).await.unwrap(), None, "each flow has keys of its own");
    assert_eq!(accept("a5", event("copy", &[])).await.unwrap(), None);
    assert_eq!(accept("a6", event("copy", &[])).await.unwrap(), None, "without keys, nothing is taken");
    // A rejected run takes no keys.
    assert_eq!(kind(accept("a6", event("copy", &["d"])).await), ErrorKind::Conflict);
    assert_eq!(accept("a7", event("copy", &["d"])).await.unwrap(), None);
}

pub(super) async fn keys_without_a_run_are_taken_too(journal: &impl Journal) {
    assert_eq!(accept(journal, "a1", event("copy", &["a"])).await.unwrap(), None);
    journal.remember_trigger(event("copy", &["a", "b"])).await.unwrap();
    journal.remember_trigger(event("copy", &[])).await.unwrap();
    let new = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(not_taken(journal, "copy", &["a", "b", "c", "d"]).await, new(&["c", "d"]));
    assert_eq!(not_taken(journal, "other", &["a", "b"]).await, new(&["a", "b"]), "each flow has keys of its own");
    assert_eq!(not_taken(journal, "copy", &["c"]).await, new(&["c"]), "a question takes no key");
    assert_eq!(accept(journal, "a2", event("copy", &["a"])).await.unwrap(), Some(id("a1")), "the first run keeps it");
    assert_eq!(accept(journal, "a2", event("copy", &["b"])).await.unwrap(), Some(id("")), "no run was started for b");
}

pub(super) async fn forgotten_keys_start_runs_again(journal: &impl Journal) {
    assert_eq!(accept(journal, "a1", event("copy", &["a"])).await.unwrap(), None);
    assert_eq!(accept(journal, "a2", event("other", &["a"])).await.unwrap(), None);
    journal.forget_trigger("copy").await.unwrap();
    journal.forget_trigger("unknown").await.unwrap();
    assert_eq!(accept(journal, "a3", event("copy", &["a"])).await.unwrap(), None);
    assert_eq!(accept(journal, "a4", event("other", &["a"])).await.unwrap(), Some(id("a2")), "other flows keep theirs");
}
