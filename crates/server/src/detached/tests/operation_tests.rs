//! Each operation that changes something is completed although its caller goes away.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use axum::body::to_bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use trunkline::operations::{
    Caller,
    flows::{FlowDraft, SaveFlow},
};
use trunkline_core::{
    Authorization, CheckReport, ConnectionContext, Connector, Registry, RunId, Secret, SignInClient, Timestamp,
    async_trait,
};
use trunkline_engine::RunEvent;
use trunkline_testkit::fake::Fake;

use super::*;

struct Login;

struct LoginClient;

#[derive(Deserialize, JsonSchema)]
struct Settings {}

/// The number of sign-ins that have begun. Each has its number as its `state`.
static BEGUN: AtomicUsize = AtomicUsize::new(0);

#[async_trait]
impl Connector for Login {
    const NAME: &'static str = "login";
    const VERSION: &'static str = "1.0";
    const TITLE: &'static str = "Login";
    type Settings = Settings;
    type Client = LoginClient;
    fn connect(_: Settings, _: ConnectionContext) -> Result<LoginClient> {
        Ok(LoginClient)
    }
    async fn check(_: &LoginClient) -> CheckReport {
        CheckReport::default()
    }
    fn sign_in(client: &LoginClient) -> Option<&dyn SignInClient> {
        Some(client)
    }
}

#[async_trait]
impl SignInClient for LoginClient {
    fn begin_authorization(&self, redirect_uri: &str) -> Result<Authorization> {
        let state = format!("state-{}", BEGUN.fetch_add(1, Ordering::SeqCst));
        let (url, verifier) = ("https://login.test".to_owned(), Secret::from("v"));
        Ok(Authorization::new(url, redirect_uri.to_owned(), state.into(), verifier, Timestamp::now()))
    }
    async fn finish_authorization(&self, _: &Authorization, _: &str) -> Result<()> {
        Ok(())
    }
    async fn sign_out(&self, _: &Secret) -> Result<()> {
        Ok(())
    }
}

/// What a caller asks for before it goes away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verb {
    Resume,
    Rerun,
    Cancel,
    Signal,
    Resolve,
    Activate,
    Authorize,
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
        let connectors = Fake::of_things("shop").register(Registry::empty()).with_connector::<Login>();
        let app = TestApp::with(Brake::default(), connectors);
        for name in ["shop", "login"] {
            let document = json!({ "name": name, "connector": format!("{name}-v1.0") });
            app.app.runtime.add_connection(document).await.unwrap();
        }
        let mut room = Room { app, webhook: String::new() };
        let fails = json!([{ "id": "all", "each": "{{ [1] }}", "steps": [{ "id": "bad", "fail": "on purpose" }] }]);
        let lost = json!({ "name": "{{ input.name }}", "fault": "lost" });
        for (name, steps) in [
            ("stops", json!([{ "id": "bad", "fail": "on purpose" }])),
            ("fails", fails),
            ("waits", json!([{ "id": "a", "wait": { "signal": "go" } }])),
            ("loses", json!([{ "id": "a", "action": "thing.make_blindly", "connection": "shop", "input": lost }])),
        ] {
            room.save(json!({ "name": name, "steps": steps }), true).await;
        }
        room.save(json!({ "name": "idle", "steps": [], "trigger": { "webhook": {} } }), false).await;
        let hook = json!({ "webhook": { "answer": "result" } });
        room.webhook = room.save(json!({ "name": "hook", "steps": [], "trigger": hook }), true).await.unwrap();
        room
    }

    async fn save(&self, mut flow: Value, active: bool) -> Option<String> {
        let is_bound = flow["name"] == "loses";
        if is_bound {
            flow["connections"] = json!({ "shop": "shop" });
        }
        let bindings = if is_bound { json!({ "shop": "shop" }) } else { json!({}) };
        let draft = json!({ "flow": { "document": flow }, "connections": bindings, "active": active });
        let draft: FlowDraft = serde_json::from_value(draft).unwrap();
        self.app.app.runtime.execute::<SaveFlow>(&Caller::owner(), draft).await.unwrap().webhook
    }

    /// Starts a run, and waits until it has this status.
    async fn run(&self, flow: &str, status: RunStatus) -> String {
        let input = json!({ "input": { "name": flow } });
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

    /// Returns whether a condition holds within a second.
    async fn becomes(&self, mut holds: impl AsyncFnMut() -> bool) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(1) {
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
        let runs = self.app.app.runtime.journal().runs().await.unwrap().len();
        match verb {
            Resume => {
                let run = self.run("stops", RunStatus::Failed).await;
                let status = send(&format!("/rest/v1/runs/{run}/resume"), json!({})).await;
                let resumed = async || self.events(&run, |event| matches!(event, RunEvent::Resumed { .. })).await > 0;
                let ended = async || resumed().await && self.status(&run).await == RunStatus::Failed;
                (status, self.becomes(ended).await)
            }
            Rerun => {
                let run = self.run("fails", RunStatus::Failed).await;
                let status = send(&format!("/rest/v1/runs/{run}/rerun"), json!({})).await;
                (status, self.becomes(async || self.has_ended(runs + 2).await).await)
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
            Activate => {
                self.app.app.runtime.activate_flow("idle", false).await.unwrap();
                let status = send("/rest/v1/flows/idle/activate", json!({})).await;
                let is_active = async || self.app.app.runtime.saved_flow("idle").await.unwrap().0.active;
                (status, self.becomes(is_active).await)
            }
            Authorize => {
                let state = format!("?code=c&state=state-{}", BEGUN.load(Ordering::SeqCst));
                let status = send("/rest/v1/connections/login/authorize", json!({})).await;
                (status, self.becomes(async || self.app.app.runtime.receive_callback(&state).is_some()).await)
            }
            WebhookResult => {
                let status = send(&self.webhook, json!({})).await;
                (status, self.becomes(async || self.has_ended(runs + 1).await).await)
            }
        }
    }

    /// Returns whether there are this many runs, none of which is active.
    async fn has_ended(&self, count: usize) -> bool {
        let runs = self.app.app.runtime.journal().runs().await.unwrap();
        runs.len() == count && runs.iter().all(|run| run.status != RunStatus::Running)
    }
}

/// Repeats a request whose caller goes away, each time at a later point, until a caller gets the response. Returns how
/// many callers went away, and how many operations were not completed.
async fn not_completed(verb: Verb) -> (usize, usize) {
    let room = Room::new().await;
    let mut lost = 0;
    for points in 1..MOST_POINTS {
        let (status, is_done) = room.send(verb, points).await;
        if let Some(status) = status {
            assert!((200..300).contains(&status) && is_done, "{verb:?}: {status}");
            return (points - 1, lost);
        }
        lost += usize::from(!is_done);
    }
    panic!("{verb:?} waits more than {MOST_POINTS} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_is_completed_even_if_the_caller_goes_away() {
    let mut twins = Vec::new();
    for verb in [Resume, Rerun, Cancel, Signal, Resolve, Activate, Authorize, WebhookResult] {
        let (gone, lost) = not_completed(verb).await;
        assert!(gone > 0, "{verb:?}: no caller went away");
        assert_eq!(lost, 0, "{verb:?}: {lost} of {gone} are not completed");
        // The sabotage twin.
        twins.push((verb, ATTACHED.scope((), not_completed(verb)).await));
    }
    println!("{twins:?}");
    for (verb, (gone, lost)) in twins {
        assert!(lost > 0, "{verb:?}: {lost} of {gone} are not completed");
    }
}
