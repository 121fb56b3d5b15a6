//! Deduplication keys of triggers.

use std::collections::BTreeSet;

use serde_json::json;
use trunkline_core::{ErrorKind, RunId};

use super::{id, kind, started};
use crate::journal::{Journal, TriggerEvent};

fn event(flow: &str, keys: &[&str]) -> TriggerEvent {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    TriggerEvent { flow: flow.into(), keys, ..TriggerEvent::default() }
}

async fn accept(journal: &impl Journal, name: &str, event: TriggerEvent) -> trunkline_core::Result<Option<RunId>> {
    journal.accept_triggered(&id(name), "v1", &json!({ "name": "copy" }), started("v1", 1), &event).await
}

async fn not_taken(journal: &impl Journal, flow: &str, keys: &[&str]) -> BTreeSet<String> {
    journal.not_taken(flow, "", event(flow, keys).keys).await.unwrap()
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

pub(super) async fn each_feed_of_a_flow_has_keys_of_its_own(journal: &impl Journal) {
    let of = |feed: &str, keys: &[&str]| TriggerEvent { feed: feed.into(), ..event("copy", keys) };
    let not_taken = async |feed: &str| {
        let keys = event("copy", &["", "a", "b", "c"]).keys;
        journal.not_taken("copy", feed, keys).await.unwrap().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(accept(journal, "a1", of("one", &["a"])).await.unwrap(), None);
    assert_eq!(accept(journal, "a2", of("two", &["a"])).await.unwrap(), None, "the key of another feed");
    assert_eq!(accept(journal, "a3", of("", &["a"])).await.unwrap(), None, "no feed is one of its own");
    assert_eq!(accept(journal, "a4", of("two", &["b", "a"])).await.unwrap(), Some(id("a2")));
    journal.remember_trigger(TriggerEvent { keep: true, ..of("one", &["", "b"]) }).await.unwrap();
    assert_eq!(not_taken("one").await, ["c"]);
    assert_eq!(not_taken("two").await, ["", "b", "c"]);
    assert_eq!(not_taken("").await, ["", "b", "c"]);
    assert_eq!(not_taken("three").await, ["", "a", "b", "c"]);
    journal.forget_trigger("copy").await.unwrap();
    for feed in ["one", "two", ""] {
        assert_eq!(not_taken(feed).await, ["", "a", "b", "c"], "a removed flow leaves no feed");
    }
}
