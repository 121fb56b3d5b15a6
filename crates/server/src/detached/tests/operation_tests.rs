//! Each operation that changes something is completed although its caller goes away.

use std::{collections::BTreeSet, time::Instant};

use axum::body::to_bytes;
use serde_json::Value;
use trunkline::operations::{
    Caller,
    flows::{FlowDraft, SaveFlow},
};
use trunkline_core::{Registry, RunId};
use trunkline_engine::RunEvent;
use trunkline_testkit::fake::Fake;

use super::*;

/// What a caller asks for before it goes away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verb {
    Resume,
    Rerun,
    Cancel,
    Signal,
    Resolve,
    WebhookResult,
}

use Verb::*;

/// A server with the flows and connections that the requests need.
struct Room {
    app: TestApp,
    webhook: String,
}

impl Room {
    async fn new() -> Room {
        let connectors = Fake::of_things("shop").register(Registry::empty());
        let app = TestApp::with(Brake::default(), connectors);
        // Wakes suspended runs, as a server does from its start.
        app.app.dispatcher.resume_all().await.unwrap();
        app.app.runtime.add_connection(json!({ "name": "shop", "connector": "shop-v1.0" })).await.unwrap();
        let mut room = Room { app, webhook: String::new() };
        let fails = json!([{ "id": "all", "each": "{{ [1] }}", "steps": [{ "id": "bad", "fail": "on purpose" }] }]);
        let lost = json!({ "name": "{{ input.name }}", "fault": "lost" });
        for (name, steps) in [
            ("stops", json!([{ "id": "bad", "fail": "on purpose" }])),
            ("fails", fails),
            ("waits", json!([{ "id": "a", "wait": { "signal": "go" } }])),
            ("loses", json!([{ "id": "a", "action": "thing.make_blindly", "connection": "shop", "input": lost }])),
        ] {
            room.save(json!({ "name": name, "steps": steps })).await;
        }
        let hook = json!({ "webhook": { "answer": "result" } });
        room.webhook = room.save(json!({ "name": "hook", "steps": [], "trigger": hook })).await.unwrap();
        room
    }

    async fn save(&self, mut flow: Value) -> Option<String> {
        let is_bound = flow["name"] == "loses";
        if is_bound {
            flow["connections"] = json!({ "shop": "shop" });
        }
        let bindings = if is_bound { json!({ "shop": "shop" }) } else { json!({}) };
        let draft = json!({ "flow": { "document": flow }, "connections": bindings, "active": true });
        let draft: FlowDraft = serde_json::from_value(draft).unwrap();
        self.app.app.runtime.execute::<SaveFlow>(&Caller::owner(), draft).await.unwrap().webhook
    }

    /// Starts a run, and waits until it has this status.
    async fn run(&self, flow: &str, status: RunStatus) -> String {
        // Each thing is lost once.
        let input = json!({ "input": { "name": format!("{flow} {}", self.ids().await.len()) } });
        let request = TestApp::request(Method::POST, &format!("/rest/v1/flows/{flow}/runs"), &input);
        let body = to_bytes(self.app.call(request).await.into_body(), usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let id = body["run"].as_str().unwrap_or_else(|| panic!("{flow}: {body}")).to_owned();
        assert!(self.becomes(async || self.status(&id).await == status).await, "{flow}: {:?}", self.status(&id).await);
        id
    }

    async fn status(&self, run: &str) -> RunStatus {
        self.app.app.runtime.engine().run(&RunId::from(run)).await.unwrap().status
    }

    async fn events(&self, run: &str, counts: fn(&RunEvent) -> bool) -> usize {
        let mut count = 0;
        let mut visit = |event: RunEvent| count += usize::from(counts(&event));
        self.app.app.runtime.journal().replay(&RunId::from(run), &mut visit).await.unwrap();
        count
    }

    /// Returns whether a condition holds within three seconds.
    async fn becomes(&self, mut holds: impl AsyncFnMut() -> bool) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3) {
            if holds().await {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// Sends a request whose caller goes away after it has waited `points` times. Returns the status if the response
    /// came before, and whether the operation is completed a moment later.
    async fn send(&self, verb: Verb, points: usize) -> (Option<u16>, bool) {
        let send = async |path: &str, body: Value| {
            status_unless_gone(&self.app, TestApp::request(Method::POST, path, &body), points).await
        };
        let known = self.ids().await;
        match verb {
            Resume => {
                let run = self.run("stops", RunStatus::Failed).await;
                let status = send(&format!("/rest/v1/runs/{run}/resume"), json!({})).await;
                let resumed = async || self.events(&run, |event| matches!(event, RunEvent::Resumed { .. })).await > 0;
                let ended = async || resumed().await && self.status(&run).await == RunStatus::Failed;
                (status, self.becomes(ended).await)
            }
            Rerun => {
                let run = self.run("fails", RunStatus::Partial).await;
                let status = send(&format!("/rest/v1/runs/{run}/rerun"), json!({})).await;
                (status, self.becomes(async || self.have_ended(&known, 2).await).await)
            }
            Cancel | Signal => {
                let run = self.run("waits", RunStatus::Running).await;
                let (path, expected) = match verb {
                    Cancel => ("cancel", RunStatus::Cancelled),
                    _ => ("signals/go", RunStatus::Succeeded),
                };
                let status = send(&format!("/rest/v1/runs/{run}/{path}"), json!({})).await;
                let is_done = self.becomes(async || self.status(&run).await == expected).await;
                // The next one does not wait for it.
                self.app.app.runtime.engine().cancel(&RunId::from(&*run)).await.ok();
                (status, is_done)
            }
            Resolve => {
                let run = self.run("loses", RunStatus::Failed).await;
                let body = json!({ "step": "a", "verdict": "done", "output": 1 });
                let status = send(&format!("/rest/v1/runs/{run}/resolve"), body).await;
                let is_resolved = |event: &RunEvent| matches!(event, RunEvent::StepResolved { .. });
                (status, self.becomes(async || self.events(&run, is_resolved).await == 1).await)
            }
            WebhookResult => {
                let status = send(&self.webhook, json!({})).await;
                (status, self.becomes(async || self.have_ended(&known, 1).await).await)
            }
        }
    }

    async fn ids(&self) -> BTreeSet<RunId> {
        self.app.app.runtime.journal().runs().await.unwrap().into_iter().map(|run| run.id).collect()
    }

    /// Returns whether there are this many runs more, none of which is active.
    async fn have_ended(&self, known: &BTreeSet<RunId>, count: usize) -> bool {
        let mut runs = self.app.app.runtime.journal().runs().await.unwrap();
        runs.retain(|run| !known.contains(&run.id));
        runs.len() == count && runs.iter().all(|run| run.status != RunStatus::Running)
    }
}

/// Repeats a request whose caller goes away, each time at a later point, until a caller gets the response. Returns the
/// first point at which the operation was not completed.
async fn first_loss(verb: Verb) -> Option<usize> {
    let (room, mut points) = (Room::new().await, 1);
    for _ in 1..MOST_POINTS {
        let (status, is_done) = room.send(verb, points).await;
        match status {
            None if !is_done => return Some(points),
            None => points += 1,
            Some(status) => {
                assert!((200..300).contains(&status) && is_done, "{verb:?}: {status}");
                // A response can come before the caller goes away for the first time.
                if points > 1 {
                    return None;
                }
            }
        }
    }
    panic!("{verb:?}: no caller went away, or all did");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_is_completed_even_if_the_caller_goes_away() {
    let mut twins = Vec::new();
    for verb in [Resume, Rerun, Cancel, Signal, Resolve, WebhookResult] {
        assert_eq!(first_loss(verb).await, None, "{verb:?}: the caller went away at this point");
        twins.push((verb, ATTACHED.scope((), first_loss(verb)).await));
    }
    // The sabotage twin. A write that has begun may end all the same, so not each operation is lost each time.
    assert!(twins.iter().any(|(_, loss)| loss.is_some()), "{twins:?}");
}
