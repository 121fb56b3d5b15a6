//! Saved flows: what is stored, what stays when a flow is replaced, and what is removed with it.

use std::collections::BTreeMap;

use serde_json::json;
use trunkline_core::{ErrorKind, RunId, Secret, Timestamp};
use trunkline_engine::TriggerEvent;

use crate::flows::flow_store::{
    DeliveryOutcome, FailedStart, FlowToSave, SavedFlow, TriggerDelivery, TriggerFinding, TriggerStarts,
};

use super::samples::{TestedStore, document, flow, kind, started};

pub(super) async fn a_saved_flow_is_returned_unchanged(store: TestedStore) {
    let (flows, to_save) = (&store.flows, flow("copy", "v1", &[("source", "dam")], true));
    flows.save_flow(to_save.clone(), None).await.unwrap();
    let saved = flows.saved_flow("copy").await.unwrap();
    assert_eq!((&*saved.name, &*saved.version, saved.active), ("copy", "v1", true));
    assert_eq!(
        (&saved.connections, json!(saved.input).to_string()),
        (&to_save.connections, json!(to_save.input).to_string())
    );
    assert_eq!((saved.through, saved.token_hash.clone(), saved.has_secret), (None, None, false));
    assert_eq!(store.journal.flow("v1").await.unwrap().to_string(), document("v1").to_string());
    flows.save_flow(flow("another", "v2", &[], false), None).await.unwrap();
    let all = flows.saved_flows().await.unwrap();
    assert_eq!((all.len(), &*all[0].name, &all[1]), (2, "another", &saved), "sorted by name");
    for (after, most, page) in [(None, 1, &all[..1]), (Some("another"), 9, &all[1..]), (Some("a"), 9, &all[..])] {
        assert_eq!(flows.flow_page(after, most).await.unwrap(), page);
    }
}

pub(super) async fn a_flow_is_replaced_only_on_request(store: TestedStore) {
    let flows = &store.flows;
    flows.save_flow(flow("copy", "v1", &[], true), None).await.unwrap();
    flows.set_webhook_token("copy", vec![1, 2]).await.unwrap();
    flows.set_webhook_secret("copy", Some(&Secret::from("signing"))).await.unwrap();
    assert_eq!(kind(flows.save_flow(flow("copy", "v2", &[], false), None).await), ErrorKind::Conflict);
    let before = flows.saved_flow("copy").await.unwrap();
    assert_eq!((&*before.version, before.active), ("v1", true));
    flows.save_flow(flow("copy", "v2", &[], false), Some(&before)).await.unwrap();
    let saved = flows.saved_flow("copy").await.unwrap();
    assert_eq!((&*saved.version, saved.active, saved.has_secret), ("v2", false, true));
    assert_eq!((saved.token_hash, saved.created_at), (Some(vec![1, 2]), before.created_at), "the webhook stays");
    assert_eq!(flows.webhook_secret("copy").await.unwrap().unwrap().expose(), "signing");
    for stale in [flows.deactivate_flow("copy", Some(&before)).await, flows.remove_flow("copy", Some(&before)).await] {
        assert_eq!(kind(stale), ErrorKind::Conflict, "it was replaced meanwhile");
    }
    flows.deactivate_flow("copy", Some(&flows.saved_flow("copy").await.unwrap())).await.unwrap();
    flows.set_webhook_token("copy", vec![3]).await.unwrap();
    assert_eq!(flows.saved_flow("copy").await.unwrap().token_hash, Some(vec![3]));
}

pub(super) async fn a_removed_flow_leaves_nothing(store: TestedStore) {
    let flows = &store.flows;
    for name in ["copy", "other"] {
        flows.save_flow(flow(name, "v1", &[], true), None).await.unwrap();
        store.journal.remember_trigger(taken(name, &["a"], None)).await.unwrap();
    }
    flows.set_webhook_token("copy", vec![1]).await.unwrap();
    flows.set_webhook_secret("copy", Some(&Secret::from("signing"))).await.unwrap();
    flows.remove_flow("copy", None).await.unwrap();
    assert_eq!(kind(flows.saved_flow("copy").await), ErrorKind::NotFound);
    assert!(flows.webhook_secret("copy").await.unwrap().is_none());
    assert_eq!(store.journal.flow("v1").await.unwrap(), document("v1"), "runs may be pinned to it");
    // A new flow of this name begins without the webhook and the keys of the removed one.
    flows.save_flow(flow("copy", "v1", &[], true), None).await.unwrap();
    let saved = flows.saved_flow("copy").await.unwrap();
    assert_eq!((saved.token_hash, saved.has_secret, saved.through), (None, false, None));
    let keys = || vec!["a".to_owned()];
    assert_eq!(store.journal.not_taken("copy", "", keys()).await.unwrap().len(), 1);
    assert!(store.journal.not_taken("other", "", keys()).await.unwrap().is_empty(), "other flows keep their keys");
}

pub(super) async fn an_unknown_flow_is_not_found(store: TestedStore) {
    let flows = &store.flows;
    assert!(flows.saved_flows().await.unwrap().is_empty());
    flows.save_flow(flow("copy", "v1", &[], true), None).await.unwrap();
    let missing = SavedFlow { name: "copi".into(), ..flows.saved_flow("copy").await.unwrap() };
    for missing in [
        flows.saved_flow("copi").await.map(drop),
        flows.activate_flow(&missing, &BTreeMap::new(), false).await,
        flows.save_flow(flow("copi", "v1", &[], true), Some(&missing)).await,
        flows.deactivate_flow("copi", None).await,
        flows.remove_flow("copi", None).await,
        flows.set_webhook_token("copi", vec![1]).await,
        flows.set_webhook_secret("copi", Some(&Secret::from("signing"))).await,
    ] {
        let error = missing.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(!error.next_steps().is_empty(), "the nearest name: {error:?}");
    }
    assert!(flows.webhook_secret("copi").await.unwrap().is_none());
}

pub(super) async fn a_version_never_changes(store: TestedStore) {
    let flows = &store.flows;
    flows.save_flow(flow("copy", "v1", &[], true), None).await.unwrap();
    let mut forged = flow("copy", "v1", &[], false);
    forged.document = document("another");
    let saved = flows.saved_flow("copy").await.unwrap();
    assert_eq!(kind(flows.save_flow(forged.clone(), Some(&saved)).await), ErrorKind::Conflict);
    forged.name = "forged".into();
    assert_eq!(kind(flows.save_flow(forged, None).await), ErrorKind::Conflict);
    assert!(flows.saved_flow("copy").await.unwrap().active, "nothing was changed");
    assert_eq!(flows.saved_flows().await.unwrap().len(), 1);
    assert_eq!(store.journal.flow("v1").await.unwrap(), document("v1"));
}

pub(super) async fn what_a_trigger_has_handled_is_saved(store: TestedStore) {
    let flows = &store.flows;
    flows.save_flow(flow("copy", "v1", &[], true), None).await.unwrap();
    let through = async || flows.saved_flow("copy").await.unwrap().through;
    let at = |millis| Some(Timestamp::from_millis(millis));
    store.journal.remember_trigger(taken("copy", &[], at(7))).await.unwrap();
    assert_eq!(through().await, at(7));
    store.journal.remember_trigger(taken("copy", &["a"], None)).await.unwrap();
    assert_eq!(through().await, at(7), "an event without a time changes nothing");
    let accept = async |run: &str, event: TriggerEvent| {
        let (run, flow) = (RunId::from(run), document("v1"));
        store.journal.accept_triggered(&run, "v1", &flow, started("dam"), &event).await.unwrap()
    };
    assert_eq!(accept("a1", taken("copy", &["b"], at(8))).await, None);
    assert_eq!(through().await, at(8));
    assert_eq!(accept("a2", taken("copy", &["b"], at(9))).await, Some(RunId::from("a1")));
    assert_eq!(through().await, at(8), "nothing was accepted");
    let saved = flows.saved_flow("copy").await.unwrap();
    flows.save_flow(flow("copy", "v1", &[], true), Some(&saved)).await.unwrap();
    assert_eq!(through().await, at(8), "a replaced flow does not start from the beginning");
    flows.deactivate_flow("copy", None).await.unwrap();
    assert_eq!((flows.saved_flow("copy").await.unwrap().active, through().await), (false, at(8)));
    flows.activate_flow(&flows.saved_flow("copy").await.unwrap(), &BTreeMap::new(), true).await.unwrap();
    assert_eq!((flows.saved_flow("copy").await.unwrap().active, through().await), (true, None), "it starts again");
}

pub(super) async fn the_secret_of_a_webhook_is_removed(store: TestedStore) {
    let flows = &store.flows;
    flows.save_flow(flow("copy", "v1", &[], true), None).await.unwrap();
    flows.set_webhook_token("copy", vec![7]).await.unwrap();
    flows.set_webhook_secret("copy", Some(&Secret::from("signing"))).await.unwrap();
    flows.set_webhook_secret("copy", None).await.unwrap();
    let saved = flows.saved_flow("copy").await.unwrap();
    assert_eq!((saved.has_secret, saved.token_hash), (false, Some(vec![7])), "its address stays");
    assert!(flows.webhook_secret("copy").await.unwrap().is_none());
}

pub(super) async fn what_was_found_about_a_trigger_is_saved(store: TestedStore) {
    let flows = &store.flows;
    for name in ["copy", "other"] {
        flows.save_flow(flow(name, "v1", &[], true), None).await.unwrap();
    }
    let finding = |what: &str, items: Option<u64>| TriggerFinding {
        what: what.into(),
        hint: Some("look at it".into()),
        place: items.map(|items| format!("item {items}")),
        items,
        since: Timestamp::from_millis(7),
        seen: Timestamp::from_millis(8),
        until: items.map(|_| Timestamp::from_millis(9)),
    };
    let found = async |name: &str| flows.saved_flow(name).await.unwrap().findings;
    let updated = flows.saved_flow("copy").await.unwrap().updated_at;
    for findings in [vec![finding("it failed", None), finding("no \"key\"", Some(3))], vec![finding("é", Some(1))]] {
        flows.set_findings("copy", findings.clone()).await.unwrap();
        assert_eq!((found("copy").await, found("other").await), (findings.clone(), Vec::new()));
        assert_eq!(flows.saved_flows().await.unwrap()[0].findings, findings);
    }
    assert_eq!(flows.saved_flow("copy").await.unwrap().updated_at, updated, "the flow is as it was");
    let saved = flows.saved_flow("copy").await.unwrap();
    flows.save_flow(flow("copy", "v2", &[], true), Some(&saved)).await.unwrap();
    assert_eq!(found("copy").await, [], "another version has its own");
    flows.set_findings("copy", vec![finding("it failed", None)]).await.unwrap();
    flows.set_findings("copy", Vec::new()).await.unwrap();
    assert_eq!(found("copy").await, []);
    flows.set_findings("copy", vec![finding("it failed", None)]).await.unwrap();
    flows.remove_flow("copy", None).await.unwrap();
    flows.save_flow(flow("copy", "v1", &[], true), None).await.unwrap();
    assert_eq!(found("copy").await, [], "nor has another flow of the name");
    assert_eq!(kind(flows.set_findings("copi", Vec::new()).await), ErrorKind::NotFound);
}

pub(super) async fn the_starts_of_a_trigger_are_saved_and_stay_with_their_flow(store: TestedStore) {
    let flows = &store.flows;
    for name in ["copy", "other"] {
        flows.save_flow(flow(name, "v1", &[], true), None).await.unwrap();
    }
    let at = Timestamp::from_millis;
    let failed = |hint: Option<&str>, due: Option<u64>| FailedStart {
        at: at(9),
        trigger: "schedule".into(),
        due: due.map(at),
        reason: "no \"folder\"".into(),
        hint: hint.map(str::to_owned),
    };
    let starts = async |name: &str| flows.saved_flow(name).await.unwrap().starts;
    assert!(starts("copy").await.is_empty());
    let updated = flows.saved_flow("copy").await.unwrap().updated_at;
    for (last, failed) in [(None, vec![failed(Some("é"), Some(8)), failed(None, None)]), (Some(at(10)), Vec::new())] {
        let saved = TriggerStarts { last, failures: failed.len() as u64, failed };
        flows.set_starts("copy", saved.clone()).await.unwrap();
        assert_eq!((starts("copy").await, starts("other").await), (saved.clone(), TriggerStarts::default()));
        assert_eq!(flows.saved_flows().await.unwrap()[0].starts, saved);
    }
    assert_eq!(flows.saved_flow("copy").await.unwrap().updated_at, updated, "the flow is as it was");
    let saved = flows.saved_flow("copy").await.unwrap();
    flows.save_flow(flow("copy", "v2", &[], true), Some(&saved)).await.unwrap();
    assert_eq!(starts("copy").await.last, Some(at(10)), "another version of it keeps them");
    flows.remove_flow("copy", None).await.unwrap();
    flows.save_flow(flow("copy", "v1", &[], true), None).await.unwrap();
    assert!(starts("copy").await.is_empty(), "another flow of the name has its own");
    assert_eq!(kind(flows.set_starts("copi", TriggerStarts::default()).await), ErrorKind::NotFound);
}

pub(super) async fn the_latest_deliveries_to_a_trigger_are_kept_with_its_flow(store: TestedStore) {
    let flows = &store.flows;
    for name in ["copy", "other"] {
        flows.save_flow(flow(name, "v1", &[], true), None).await.unwrap();
    }
    let delivery = |number: u64| {
        let run = RunId::from("a1");
        let outcome = match number % 4 {
            0 => DeliveryOutcome::Started { run },
            1 => DeliveryOutcome::Duplicate { run },
            2 => DeliveryOutcome::Skipped,
            _ => DeliveryOutcome::Refused { status: 401, reason: "no \"signature\"".into() },
        };
        TriggerDelivery { at: Timestamp::from_millis(number), trigger: "webhook".into(), outcome }
    };
    assert_eq!(flows.deliveries("copy").await.unwrap(), []);
    flows.add_deliveries("copy", (0..3).map(delivery).collect()).await.unwrap();
    flows.add_deliveries("copy", (3..104).map(delivery).collect()).await.unwrap();
    assert_eq!(flows.deliveries("copy").await.unwrap(), (4..104).map(delivery).collect::<Vec<_>>(), "the newest 100");
    assert_eq!(flows.deliveries("other").await.unwrap(), []);
    let saved = flows.saved_flow("copy").await.unwrap();
    flows.save_flow(flow("copy", "v2", &[], true), Some(&saved)).await.unwrap();
    assert_eq!(flows.deliveries("copy").await.unwrap().len(), 100, "another version of it keeps them");
    flows.remove_flow("copy", None).await.unwrap();
    flows.save_flow(flow("copy", "v1", &[], true), None).await.unwrap();
    assert_eq!(flows.deliveries("copy").await.unwrap(), [], "another flow of the name has its own");
    assert_eq!(kind(flows.add_deliveries("copi", vec![delivery(1)]).await), ErrorKind::NotFound);
}

pub(super) async fn a_trigger_that_watches_something_else_starts_again(store: TestedStore) {
    let flows = &store.flows;
    flows.save_flow(flow("copy", "v1", &[], true), None).await.unwrap();
    store.journal.remember_trigger(taken("copy", &["a"], Some(Timestamp::from_millis(7)))).await.unwrap();
    let restarted = FlowToSave { restart: true, ..flow("copy", "v2", &[], true) };
    let saved = flows.saved_flow("copy").await.unwrap();
    flows.save_flow(restarted, Some(&saved)).await.unwrap();
    assert_eq!(flows.saved_flow("copy").await.unwrap().through, None);
    assert!(store.journal.not_taken("copy", "", vec!["a".into()]).await.unwrap().is_empty(), "the keys stay");
}

fn taken(flow: &str, keys: &[&str], through: Option<Timestamp>) -> TriggerEvent {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    TriggerEvent { flow: flow.into(), keys, through, ..TriggerEvent::default() }
}
