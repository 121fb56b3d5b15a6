//! Schedules and polled lists: runs that start by themselves, also for times when the server was down.

use serde_json::{Value, json};
use trunkline::Runtime;
use trunkline_core::{Severity, Timestamp};
use trunkline_engine::TriggerEvent;
use trunkline_flow::Flow;

use trunkline_tests::{Cli, few, sandbox, until};

use super::{Serve, add, save};

const DAY: u64 = 24 * 60 * 60 * 1000;

fn nightly(name: &str, missed: &str) -> Value {
    json!({
        "name": name, "overlap": "queue",
        "trigger": { "schedule": { "cron": "0 2 * * *", "timezone": "Europe/Stockholm", "missed": missed } },
        "input": { "type": "object", "properties": { "who": { "type": "string" } }, "required": ["who"] },
        "steps": [{ "id": "got", "skip": "{{ input.who }} at {{ input.at }}" }]
    })
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// Sets the time up to which a flow's trigger has looked.
async fn looked(runtime: &Runtime, flow: &str, through: u64) {
    runtime
        .journal()
        .remember_trigger(TriggerEvent {
            flow: flow.into(),
            keys: Vec::new(),
            through: Some(Timestamp::from_millis(through)),
            ..TriggerEvent::default()
        })
        .await
        .unwrap();
}

pub(super) async fn through(runtime: &Runtime, flow: &str) -> Option<u64> {
    runtime.flows().saved_flow(flow).await.unwrap().through.map(Timestamp::as_millis)
}

fn of<'a>(runs: &'a [Value], flow: &str) -> Vec<&'a Value> {
    runs.iter().filter(|run| run["flow"] == flow).collect()
}

#[tokio::test]
async fn missed_times_are_made_up_for_once() {
    let cli = Cli::default();
    for missed in ["skip", "one", "all"] {
        add(&cli, &nightly(missed, missed), &["--input", r#"{"who":"all"}"#]).await.expect(0);
    }
    let serve = Serve::start(&cli).await;
    let runtime = cli.runtime();
    // The schedule of a new flow begins with the next time.
    until("the first look", async || through(&runtime, "all").await).await;
    until("the first look", async || through(&runtime, "skip").await).await;
    assert!(serve.runs().await.is_empty());
    serve.kill().await;
    // Four nights later.
    let since = now() - 4 * DAY - 10 * 60_000;
    for missed in ["skip", "one", "all"] {
        looked(&runtime, missed, since).await;
    }
    for _ in 0..2 {
        let serve = Serve::start(&cli).await;
        let runs = until("the runs", async || {
            let runs = serve.runs().await;
            let ended = runs.iter().all(|run| run["status"] == "succeeded");
            (ended && of(&runs, "all").len() >= 4 && of(&runs, "one").len() == 1).then_some(runs)
        })
        .await;
        // At two o'clock, the scheduled time itself may fall into the test.
        assert!(of(&runs, "all").len() <= 5 && of(&runs, "skip").len() <= 1, "{runs:?}");
        let last = of(&runs, "one")[0]["id"].as_str().unwrap();
        let input = serve.get(&format!("/rest/v1/runs/{last}")).await.1["input"].clone();
        assert_eq!(input["who"], "all");
        assert!(input["at"].as_str().unwrap().contains("T02:00:00+0"), "{input}");
        serve.stop().await.expect(0);
    }
}

#[tokio::test]
async fn an_inactive_flow_has_no_missed_times() {
    let cli = Cli::default();
    add(&cli, &nightly("all", "all"), &["--input", r#"{"who":"all"}"#]).await.expect(0);
    let runtime = cli.runtime();
    looked(&runtime, "all", now() - 4 * DAY).await;
    cli.run(&["flow", "deactivate", "all"]).await.expect(0);
    let serve = Serve::start(&cli).await;
    save(&cli, &minutely()).await;
    until("a look at the other", async || through(&runtime, "minutely").await).await;
    assert!(serve.runs().await.is_empty(), "nothing starts an inactive flow");
    cli.run(&["flow", "activate", "all"]).await.expect(0);
    until("a new beginning", async || through(&runtime, "all").await.filter(|through| *through > now() - DAY)).await;
    assert!(of(&serve.runs().await, "all").is_empty());
}

fn minutely() -> Value {
    json!({ "name": "minutely", "trigger": { "schedule": { "cron": "* * * * *" } }, "steps": [] })
}

/// Returns the names of the items that the runs of a polled list received.
pub(super) async fn got(serve: &Serve, flow: &str) -> Vec<String> {
    let mut names = Vec::new();
    for run in of(&serve.runs().await, flow) {
        let (_, run) = serve.get(&format!("/rest/v1/runs/{}", run["id"].as_str().unwrap())).await;
        for item in run["input"]["items"].as_array().unwrap() {
            names.push(item["name"].as_str().unwrap().to_owned());
        }
    }
    names
}

pub(super) fn watching(name: &str, overlap: &str, existing: &str) -> Value {
    json!({
        "name": name, "connections": { "dam": "mediavalet" }, "overlap": overlap,
        "trigger": { "poll": {
            "action": "category.list", "connection": "dam", "every": "1s", "key": "{{ item.id }}", "existing": existing
        } },
        "steps": [{ "id": "each", "each": "{{ input.items }}", "key": "{{ item.id }}", "steps": [
            { "id": "again", "action": "category.get", "connection": "dam", "input": { "categoryGuid": "{{ item.id }}" } }
        ] }]
    })
}

pub(super) async fn make(runtime: &Runtime, parent: &str, name: &str) {
    let input = json!({ "treeName": name, "parentId": parent });
    runtime.call("mediavalet.category.create", "mediavalet", input).await.unwrap();
}

#[tokio::test]
async fn new_items_of_a_polled_list_are_delivered_once_despite_kills() {
    let cli = Cli::default();
    let sandbox = sandbox(few(1)).await;
    cli.connect(&sandbox).await;
    save(&cli, &watching("skipping", "queue", "skip")).await;
    save(&cli, &watching("taking", "parallel", "take")).await;
    let runtime = cli.runtime();
    let mut serve = Serve::start(&cli).await;
    until("the first look", async || through(&runtime, "skipping").await).await;
    until("the first look", async || through(&runtime, "taking").await).await;
    assert!(got(&serve, "skipping").await.is_empty(), "existing items are not new");
    let there = got(&serve, "taking").await.len();
    assert!(there > 0, "existing items are delivered");
    let parent = sandbox.category().to_string();
    let mut dice = trunkline_tests::Dice::default();
    let mut made = Vec::new();
    for round in 0..4 {
        for item in 0..5 {
            made.push(format!("made {round}.{item}"));
            make(&runtime, &parent, made.last().unwrap()).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(dice.roll(0, 1500))).await;
        serve.kill().await;
        serve = Serve::start(&cli).await;
    }
    for flow in ["skipping", "taking"] {
        let mut names = until("all of them", async || {
            let names = got(&serve, flow).await;
            made.iter().all(|name| names.contains(name)).then_some(names)
        })
        .await;
        names.retain(|name| name.starts_with("made"));
        names.sort();
        assert_eq!(names, made, "{flow}: each once");
        let runs = serve.runs().await;
        let ids: Vec<_> = of(&runs, flow).into_iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect();
        for run in ids {
            assert_eq!(serve.ended(&run).await["status"], "succeeded");
        }
    }
    sandbox.stop().await;
}

/// The sabotage twin: without its deduplication keys, a trigger delivers the items again.
#[tokio::test]
async fn without_deduplication_keys_a_trigger_delivers_items_again() {
    let cli = Cli::default();
    let sandbox = sandbox(few(1)).await;
    cli.connect(&sandbox).await;
    save(&cli, &watching("taking", "parallel", "take")).await;
    let serve = Serve::start(&cli).await;
    let runtime = cli.runtime();
    until("the first look", async || through(&runtime, "taking").await).await;
    let there = got(&serve, "taking").await.len();
    // The keys are deleted, and the flow is saved again.
    cli.run(&["flow", "remove", "taking"]).await.expect(0);
    save(&cli, &watching("taking", "parallel", "take")).await;
    until("all again", async || (got(&serve, "taking").await.len() == 2 * there).then_some(())).await;
    sandbox.stop().await;
}

#[test]
fn faults_of_a_trigger_are_found_at_their_place() {
    let registry = trunkline::registry(None).unwrap();
    let faults = |trigger: Value, steps: Value| -> Vec<String> {
        let flow =
            json!({ "name": "wrong", "connections": { "dam": "mediavalet" }, "trigger": trigger, "steps": steps });
        let found = Flow::from_value(flow).map_or_else(|found| found, |flow| flow.check(&registry));
        let errors = found.into_iter().filter(|one| one.severity == Severity::Error);
        errors.map(|one| one.pointer).collect()
    };
    let uses = |text: &str| json!([{ "id": "got", "set": { "value": text } }]);
    let cases = [
        (json!({}), json!([]), "/trigger"),
        (json!({ "schedule": { "cron": "* * * * *" }, "webhook": {} }), json!([]), "/trigger"),
        (json!({ "schedule": null }), json!([]), "/trigger"),
        (json!({ "schedule": { "cron": "61 * * * *" } }), json!([]), "/trigger/schedule/cron"),
        (json!({ "schedule": { "cron": "0 0 31 2 *" } }), json!([]), "/trigger/schedule/cron"),
        (json!({ "schedule": { "cron": "* * * * * *" } }), json!([]), "/trigger/schedule/cron"),
        (json!({ "schedule": { "cron": "* * * * *", "timezone": "Mars" } }), json!([]), "/trigger/schedule/timezone"),
        (json!({ "schedule": { "cron": "* * * * *" } }), uses("{{ input.when }}"), "/steps/0/set/value"),
        (json!({ "webhook": {} }), uses("{{ input.items }}"), "/steps/0/set/value"),
        (json!({ "webhook": { "headers": ["X-Event"] } }), uses("{{ input.headers.other }}"), "/steps/0/set/value"),
        (json!({ "webhook": { "timeout": "soon" } }), json!([]), "/trigger/webhook/timeout"),
        (
            json!({ "webhook": { "signature": { "header": "X", "signed": "{timestamp}" } } }),
            json!([]),
            "/trigger/webhook/signature/signed",
        ),
        (
            json!({ "webhook": { "signature": { "header": "X", "timestamp": "T" } } }),
            json!([]),
            "/trigger/webhook/signature/timestamp",
        ),
        (
            json!({ "webhook": { "signature": { "header": "X", "signed": "{delivery}{body}" } } }),
            json!([]),
            "/trigger/webhook/signature/signed",
        ),
    ];
    for (trigger, steps, place) in cases {
        let found = faults(trigger.clone(), steps);
        assert!(!found.is_empty() && found.iter().all(|one| one.starts_with(place)), "{trigger}: {found:?}");
    }
    let poll = |change: Value| {
        let mut poll = watching("x", "queue", "skip")["trigger"]["poll"].clone();
        poll.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({ "poll": poll })
    };
    for (change, place) in [
        (json!({ "action": "category.create", "input": { "treeName": "x" } }), "/trigger/poll/action"),
        (json!({ "action": "category.nothing" }), "/trigger/poll/action"),
        (json!({ "connection": "other" }), "/trigger/poll/connection"),
        (json!({ "every": "0s" }), "/trigger/poll/every"),
        (json!({ "key": "{{ input.x }}" }), "/trigger/poll/key"),
    ] {
        let found = faults(poll(change.clone()), json!([]));
        assert!(!found.is_empty() && found.iter().all(|one| one.starts_with(place)), "{change}: {found:?}");
    }
    let good = [
        (json!({ "schedule": { "cron": "*/5 * * * *" } }), uses("{{ input.at }}")),
        (
            json!({ "webhook": { "headers": ["X-Event"] } }),
            uses("{{ input.headers['x-event'] }} {{ input.body.a }} {{ input.delivery }}"),
        ),
        (poll(json!({})), uses("{{ input.items }}")),
    ];
    for (trigger, steps) in good {
        assert_eq!(faults(trigger.clone(), steps), [""; 0], "{trigger}");
    }
}
