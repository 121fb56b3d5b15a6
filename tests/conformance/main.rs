//! The same behaviours over every action of every connector, found through the registry: a new connector is in by being
//! linked, or by a folder. The service is a socket that answers whatever the behaviour calls for; what an action does about
//! it follows from its effect alone.
#![allow(clippy::unwrap_used)]

mod behaviours;
mod sample;
mod service;
mod subject;

use std::{collections::BTreeSet, time::Duration};

use futures::StreamExt;
use serde_json::json;
use tokio::{sync::Mutex, time::timeout};
use trunkline_core::{Context, ErrorKind};

use crate::{
    behaviours::{Behaviour, Findings, behaviours, failed, silences},
    sample::{connect, input},
    service::{Service, answer},
    subject::{Suite, every_action, registry},
};

/// What a busy machine may take beyond a deadline.
const GRACE: Duration = Duration::from_secs(10);

/// Longer than any action takes here with all its tries.
const LONG: Duration = Duration::from_secs(120);

/// One test at a time: some of them look at the clock.
static TURN: Mutex<()> = Mutex::const_new(());

/// How long an action gets from a service that is silent.
const SHORT: Duration = Duration::from_millis(400);

/// All actions against all behaviours, so many at a time; each gets this long, and not much longer.
async fn conform(behaviours: &[Behaviour], at_a_time: usize, time: Duration) {
    let _turn = TURN.lock().await;
    let (suite, findings) = (Suite::new().await, Findings::default());
    let findings = &findings;
    let one = |subject| async move {
        let subject: subject::Subject<'_> = subject.await;
        // So that there is a token already.
        subject.meets(&[answer(400, "", "{}")], LONG).await;
        for behaviour in behaviours {
            let replies = std::slice::from_ref(&behaviour.reply);
            let verdict = match timeout(time + GRACE, subject.meets(replies, time)).await {
                Ok(ended) => behaviour.judge(&ended),
                Err(_) => Err(format!("does not end within {time:?}")),
            };
            findings.weigh(&subject, behaviour.name, verdict);
        }
    };
    suite.subjects().map(one).buffer_unordered(at_a_time).collect::<Vec<_>>().await;
    findings.finish(&behaviours.iter().map(|behaviour| behaviour.name).collect::<Vec<_>>());
    println!("{} actions x {} behaviours", suite.actions.len(), behaviours.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_copes_with_every_answer_as_its_effect_demands() {
    conform(&behaviours(), 512, LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_ends_at_its_deadline() {
    // Few enough that each gets to send its request in time.
    conform(&silences(), 48, SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_cut_off() {
    // One action of each connector and effect: what bounds a body knows no more of an action than that.
    let _turn = TURN.lock().await;
    let suite = Suite::new().await;
    let mut kinds = BTreeSet::new();
    let endless = [answer(200, "", &format!("\"{}\"", "x".repeat(40 * 1024 * 1024)))];
    for (connector, spec) in &suite.actions {
        if spec.route.is_none() || !kinds.insert((connector, format!("{:?}", spec.effect))) {
            continue;
        }
        let subject = suite.subject(connector, spec).await;
        let ended = subject.meets(&endless, LONG).await;
        failed(&ended, &[ErrorKind::Limit, ErrorKind::Unexpected, ErrorKind::UnknownOutcome]).unwrap();
    }
    assert!(kinds.len() >= 4, "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_repeats_its_page_ends() {
    let _turn = TURN.lock().await;
    let registry = registry();
    let thing = |n: usize| json!({ "id": n, "name": format!("thing {n}") });
    let things: Vec<_> = (0..1000).map(thing).collect();
    let bodies = [
        json!(things),
        json!({ "payload": things }),
        json!({ "payload": { "assets": things } }),
        json!({ "tasks": things }),
    ];
    let mut checked = 0;
    for (connector, spec) in every_action(&registry).into_iter().filter(|(_, spec)| spec.lists) {
        let mut seen = false;
        for body in &bodies {
            let service = Service::start().await;
            service.replies(&[answer(200, "", &body.to_string())]);
            let connected = connect(&registry, "sample", &connector, &service.address);
            let (mut next, mut pages) = (None, 0);
            let end = loop {
                match connected.page(&spec.name, input(&spec.input), next, &Context::default()).await {
                    Err(error) => break Some(error),
                    // Not the place where this list has its items.
                    Ok(page) if page.items.len() < things.len() || page.next.is_none() => break None,
                    Ok(page) => next = page.next,
                }
                pages += 1;
                assert!(pages < 5, "{connector}.{} goes on for ever", spec.name);
            };
            if pages > 0 {
                let kind = end.map(|error| error.kind());
                assert_eq!(kind, Some(ErrorKind::Unexpected), "{connector}.{} after {pages} pages", spec.name);
                seen = true;
            }
        }
        checked += usize::from(seen);
    }
    assert!(checked > 0);
    println!("{checked} lists");
}

#[test]
fn every_action_is_described_and_its_schemas_are_valid() {
    let registry = registry();
    let mut checked = 0;
    for connector in registry.connectors() {
        jsonschema::meta::validate(&connector.spec().connection).unwrap();
        for spec in connector.actions() {
            let name = format!("{}.{}", connector.spec().name, spec.name);
            let parts: Vec<_> = spec.name.split('.').collect();
            let word = |part: &&str| {
                !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            };
            // One word is for what has no resource of its own, such as `request`.
            assert!(parts.iter().all(word), "{name} is not named resource.verb, nor with one word");
            assert!(!spec.title.is_empty() && !spec.group.is_empty(), "{name} has no title or no group");
            for schema in [&spec.input, &spec.output] {
                jsonschema::meta::validate(schema).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            assert_eq!(spec.input["additionalProperties"], json!(false), "{name} takes inputs it does not know");
            let sample = input(&spec.input);
            let faults = connector.action_input(&spec.name).unwrap().check(&sample);
            assert!(
                faults.is_empty(),
                "{name}: the sample {sample} does not fit, give the schema examples: {faults:#?}"
            );
            for (input, property) in spec.input["properties"].as_object().into_iter().flatten() {
                assert!(property["title"].is_string(), "{name}: the input {input} has no title");
            }
            checked += 1;
        }
    }
    println!("{checked} actions");
}
