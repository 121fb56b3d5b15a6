//! The same behaviours for every action of every connector in the registry: a new connector is included as soon as it
//! is linked or described in a folder.
//!
//! The idea: the service is a socket that sends the bytes of each behaviour. The required reaction of an action follows
//! from its effect alone.
#![allow(clippy::unwrap_used)]

mod behaviours;
mod growth;
mod lists;
mod log;
mod lost;
mod paths;
mod sample;
mod service;
mod subject;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use futures::{StreamExt, stream};
use serde_json::json;
use tokio::{
    runtime::Runtime,
    sync::{Mutex, OnceCell},
    time::timeout,
};
use trunkline_core::Effect;
use trunkline_tests::Dice;

use crate::{
    behaviours::{Behaviour, Findings, behaviours, silences, too_long},
    growth::{answers, grow},
    lists::{Shelf, list_behaviours},
    lost::{POLLS, afters},
    sample::input,
    service::{Reply, answer},
    subject::{ActionOutcome, Subject, Suite, registry},
};

/// The time that a busy machine may exceed a deadline by.
const GRACE: Duration = Duration::from_secs(5);

/// Longer than any action takes with all its tries.
const LONG: Duration = Duration::from_secs(120);

/// The timeout of an action with a silent service.
const SHORT: Duration = Duration::from_millis(400);

/// Runs a test with all actions. The tests share connections and services, and therefore the runtime of these. They run
/// one at a time, since some of them measure time.
fn with_suite(test: impl AsyncFnOnce(&Suite)) {
    static THREADS: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    static SUITE: OnceCell<Suite> = OnceCell::const_new();
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    THREADS.block_on(async {
        let _turn = ONE_AT_A_TIME.lock().await;
        let suite = SUITE.get_or_init(Suite::new).await;
        test(suite).await;
        suite.log.shows_no_secret();
    });
}

/// Runs all actions against all behaviours, `at_a_time` at once. Each has to end within `time` and [`GRACE`].
async fn conform(suite: &Suite, behaviours: &[Behaviour], at_a_time: usize, time: Duration) {
    let findings = &Findings::default();
    let one = |subject| async move {
        let subject: &Subject = subject;
        // The first call gets a token.
        subject.meets(&[answer(400, "", "{}")], LONG).await;
        for behaviour in behaviours {
            let replies = std::slice::from_ref(&behaviour.reply);
            match timeout(time + GRACE, subject.meets(replies, time)).await {
                Ok(ended) => {
                    findings.insist(subject, behaviour.name, ended.shows_no_secret());
                    findings.weigh(subject, behaviour.name, behaviour.judge(&ended));
                }
                Err(_) => findings.insist(subject, behaviour.name, Err(format!("does not end within {time:?}"))),
            }
        }
    };
    stream::iter(&suite.subjects).for_each_concurrent(at_a_time, one).await;
    findings.finish(&behaviours.iter().map(|behaviour| behaviour.name).collect::<Vec<_>>());
    println!("{} actions x {} behaviours", suite.subjects.len(), behaviours.len());
}

#[test]
fn every_action_handles_every_response_as_its_effect_requires() {
    with_suite(async |suite| conform(suite, &behaviours(), 512, LONG).await);
}

#[test]
fn a_request_with_a_lost_response_is_repeated_only_if_that_is_harmless() {
    with_suite(async |suite| {
        let findings = &Findings::default();
        let one = |subject| async move {
            let subject: &Subject = subject;
            subject.meets(&[answer(400, "", "{}")], LONG).await;
            let success = match subject.spec.lists {
                true => Shelf::new(lists::place(subject).await, 0).body(Vec::new()),
                false => json!({ "payload": {} }),
            };
            for after in afters(&success).iter().filter(|_| subject.spec.name != POLLS) {
                let ended = subject.meets(&after.replies, LONG).await;
                findings.weigh(subject, after.name, after.judge(&ended));
            }
        };
        stream::iter(&suite.subjects).for_each_concurrent(512, one).await;
        let afters = afters(&json!({}));
        findings.finish(&afters.iter().map(|after| after.name).collect::<Vec<_>>());
        let mut effects = BTreeMap::<_, usize>::new();
        for subject in &suite.subjects {
            *effects.entry(format!("{:?}", subject.spec.effect)).or_default() += 1;
        }
        println!("{} actions x {}: {effects:?}", suite.subjects.len(), afters.len());
        assert_eq!(effects.len(), 4);
    });
}

/// Runs every action of both systems with `times` changed responses each.
fn responses_may_change(times: usize) {
    with_suite(async |suite| {
        let mut dice = Dice::default();
        let of = ["mediavalet", "mediaflow"].map(|name| (name, answers(name)));
        let all: BTreeMap<_, _> = of.iter().map(|(name, answers)| (*name, answers)).collect();
        let subjects = suite.subjects.iter().filter(|one| all.contains_key(&*one.connector) && one.spec.name != POLLS);
        let subjects: Vec<_> = subjects.map(|one| (one, dice.roll(0, u64::MAX))).collect();
        let one = async |(subject, seed): (&Subject, u64)| grow(subject, all[&*subject.connector], times, seed).await;
        let count = subjects.len();
        let taken: Vec<_> = stream::iter(subjects).map(one).buffer_unordered(64).collect().await;
        let wrong: Vec<_> = taken.iter().flat_map(|taken| &taken.wrong).collect();
        let (good, errors) = taken.iter().fold((0, 0), |sum, one| (sum.0 + one.good, sum.1 + one.errors));
        println!("{count} actions, {} responses: {good} returned, {errors} errors", good + errors);
        assert!(
            wrong.is_empty(),
            "{} wrong:\n{}",
            wrong.len(),
            wrong.iter().take(20).map(|one| one.as_str()).collect::<Vec<_>>().join("\n")
        );
        assert!(
            good > 5 * errors && good + errors > count * times * 9 / 10,
            "{good} and {errors} of {}",
            count * times
        );
    });
}

#[test]
fn changed_responses_leave_all_other_values_intact() {
    responses_may_change(8);
}

#[test]
#[ignore = "takes minutes: ten thousand responses"]
fn ten_thousand_changed_responses_leave_all_other_values_intact() {
    responses_may_change(30);
}

/// The sabotage twin: a create that is declared idempotent.
#[test]
fn a_repeated_create_is_found() {
    with_suite(async |suite| {
        let creates = |subject: &&Subject| subject.connector == "http" && subject.spec.name == "request";
        let subject = suite.subjects.iter().find(creates).unwrap();
        let after = &afters(&json!({}))[0];
        subject.service.replies(&after.replies);
        let input = json!({ "method": "POST", "path": "/orders", "effect": "idempotent" });
        let result = subject.run(input, LONG).await;
        let ended = ActionOutcome { subject, result, seen: subject.service.seen() };
        assert_eq!((ended.effect(), ended.requests()), (Effect::Create, 2));
        after.judge(&ended).unwrap_err();
    });
}

#[test]
fn every_action_ends_at_its_deadline() {
    // Few enough at a time that each request is sent before the deadline.
    with_suite(async |suite| conform(suite, &silences(), 48, SHORT).await);
}

#[test]
fn an_error_inside_a_success_is_an_error() {
    const INSIDE: &str = "an error inside a 200";
    // The forms in which each vendor reports an error with status 200.
    let errors = |connector: &str| match connector {
        "mediavalet" => Some(json!({ "apiVersion": "1.2", "errors": ["no"], "warnings": [], "payload": {} })),
        "mediaflow" => Some(json!({ "status": 400, "error": "no" })),
        _ => None,
    };
    with_suite(async |suite| {
        let findings = Findings::default();
        let one = async |subject: &Subject| {
            let Some(body) = errors(&subject.connector) else { return 0 };
            let ended = subject.meets(&[answer(200, "", &body.to_string())], LONG).await;
            let behaviour = Behaviour { name: INSIDE, reply: Reply::Whole(Vec::new()), judge: |_| Ok(()) };
            findings.weigh(subject, INSIDE, behaviour.judge(&ended));
            1
        };
        let counts: Vec<usize> = stream::iter(&suite.subjects).map(one).buffer_unordered(64).collect().await;
        findings.finish(&[INSIDE]);
        let checked: usize = counts.iter().sum();
        assert!(checked > 300, "{checked}");
        println!("{checked} actions, 0 reported an error as a success");
    });
}

#[test]
fn a_body_without_end_is_cut_off() {
    with_suite(async |suite| {
        // One action of each connector and effect, since the size limit depends on nothing else.
        let mut kinds = BTreeSet::new();
        for subject in &suite.subjects {
            let kind = (&subject.connector, format!("{:?}", subject.spec.effect));
            if subject.spec.route.is_some() && kinds.insert(kind) {
                let ended = timeout(LONG, subject.meets(&[Reply::Endless], LONG)).await.unwrap();
                too_long(&ended).unwrap();
            }
        }
        assert!(kinds.len() >= 4, "{kinds:?}");
    });
}

#[test]
fn retry_after_is_honoured() {
    with_suite(async |suite| {
        let mut connectors = BTreeSet::new();
        let once = suite.subjects.iter().filter(|subject| {
            let reads = subject.spec.effect == Effect::Read || subject.spec.name == "request";
            reads && subject.spec.name != "download" && connectors.insert(&subject.connector)
        });
        let once: Vec<_> = once.collect();
        assert!(once.len() >= 4);
        let one = async |subject: &Subject| {
            // A throttled connection stays slow for a while, so other tests do not share it.
            let subject = suite.fresh(subject).await;
            let no = answer(400, "", "{}");
            let pause = Duration::from_secs(1);
            let ended = subject.meets(&[answer(429, "retry-after: 1\r\n", "{}"), no.clone()], LONG).await;
            let [first, second] = &ended.seen[..] else { panic!("{}: {:#?}", subject.name(), ended.seen) };
            assert!(second.at - first.at >= pause, "{}: {:?}", subject.name(), second.at - first.at);
            // A date has whole seconds: this one is between one and two seconds away.
            let date = httpdate::fmt_http_date(SystemTime::now() + 2 * pause);
            let ended = subject.meets(&[answer(429, &format!("retry-after: {date}\r\n"), "{}"), no], LONG).await;
            let [_, second] = &ended.seen[..] else { panic!("{}: {:#?}", subject.name(), ended.seen) };
            let until = httpdate::parse_http_date(&date).unwrap();
            assert!(second.clock >= until, "{}: {:?} before {date}", subject.name(), second.clock);
        };
        stream::iter(once).for_each_concurrent(None, one).await;
    });
}

#[test]
fn every_list_arrives_whole_or_is_an_error() {
    with_suite(async |suite| {
        let (findings, behaviours) = (&Findings::default(), &list_behaviours());
        let one = async |subject: &Subject| {
            let place = lists::place(subject).await;
            for behaviour in behaviours {
                findings.insist(subject, behaviour.name, behaviour.judge(subject, place).await);
            }
        };
        let subjects: Vec<_> = suite.subjects.iter().filter(|subject| subject.spec.lists).collect();
        let connectors: BTreeSet<_> = subjects.iter().map(|subject| &*subject.connector).collect();
        assert_eq!(connectors, BTreeSet::from(["mediaflow", "mediavalet", "todo"]));
        println!("{} lists x {} behaviours", subjects.len(), behaviours.len());
        stream::iter(subjects).for_each_concurrent(16, one).await;
        findings.finish(&[]);
    });
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
            // One word names an action without a resource, such as `request`.
            assert!(parts.iter().all(word), "{name} is neither resource.verb nor one word");
            assert!(!spec.title.is_empty() && !spec.group.is_empty(), "{name} has no title or no group");
            for schema in [&spec.input, &spec.output] {
                jsonschema::meta::validate(schema).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            assert_eq!(spec.input["additionalProperties"], json!(false), "{name} accepts unknown inputs");
            let sample = input(&spec.input);
            let faults = connector.action_input(&spec.name).unwrap().check(&sample);
            assert!(
                faults.is_empty(),
                "{name}: the sample {sample} does not fit, add examples to the schema: {faults:#?}"
            );
            for (input, property) in spec.input["properties"].as_object().into_iter().flatten() {
                assert!(property["title"].is_string(), "{name}: the input {input} has no title");
            }
            checked += 1;
        }
    }
    println!("{checked} actions");
}
