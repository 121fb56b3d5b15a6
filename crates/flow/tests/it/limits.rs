//! Reading and checking a flow takes time and memory in proportion to the flow, and each limit is named with its number.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use trunkline_core::{Diagnostic, Severity};
use trunkline_flow::Flow;
use trunkline_testkit::fake::Fake;

/// Returns a flow of this number of steps, each of which refers to the one before it.
fn chain(steps: usize, step: impl Fn(usize) -> Value) -> String {
    let steps: Vec<_> = (0..steps).map(step).collect();
    json!({ "name": "long", "connections": { "shop": "shop" }, "input": { "properties": { "name": { "type": "string" } } },
        "steps": steps })
    .to_string()
}

fn set(index: usize) -> Value {
    let before = if index == 0 { "input.name".to_owned() } else { format!("steps.s{}.text", index - 1) };
    json!({ "id": format!("s{index}"), "set": { "text": format!("{{{{ {before} }}}}") } })
}

fn call(index: usize) -> Value {
    json!({ "id": format!("s{index}"), "action": "thing.look", "connection": "shop",
        "input": { "name": "{{ input.name }}" } })
}

fn branches(index: usize) -> Value {
    let inner = |side: &str| json!([{ "id": format!("{side}{index}"), "set": { "text": "{{ input.name }}" } }]);
    json!({ "id": format!("s{index}"), "if": "{{ input.name == 'x' }}", "then": inner("t"), "else": inner("e") })
}

fn found(text: &str) -> (Vec<Diagnostic>, Duration) {
    let registry = Fake::of_things("shop").registry();
    let start = processor_time();
    let found = Flow::findings("long.json", text, &registry);
    (found, processor_time().saturating_sub(start))
}

/// Returns the time for which this thread has had a processor. Other tests do not count. Elsewhere than on Linux, it is
/// the time since the first call.
fn processor_time() -> Duration {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    let scheduled = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = scheduled.split(' ').next().and_then(|first| first.parse().ok());
    nanoseconds.map_or_else(|| FIRST.elapsed(), Duration::from_nanos)
}

/// Returns the shortest time of some tries: other processes use the machine, too.
fn shortest(tries: usize, text: &str) -> Duration {
    (0..tries).map(|_| found(text).1).min().unwrap_or_default()
}

#[test]
fn ten_times_the_steps_take_at_most_twelve_times_as_long() {
    for (name, step, few) in [
        ("set", &set as &dyn Fn(usize) -> Value, 1000),
        ("call", &call, 300),
        ("if", &branches, 300),
        // Each step has an error.
        ("wrong", &|index| json!({ "id": format!("s{index}"), "set": { "a": "{{ steps.nothing }}" } }), 300),
    ] {
        let (short, long) = (chain(few, step), chain(few * 10, step));
        let (one, ten) = (shortest(5, &short), shortest(3, &long));
        println!("{name}: {few} steps {one:?}, {} steps {ten:?}", few * 10);
        assert!(ten < one * 12, "{name}: {one:?} for {few} steps, and {ten:?} for ten times as many");
    }
    // Sabotage twin: a check that copies all earlier names for each step would not pass.
    let copies = |steps: usize| {
        let start = processor_time();
        let mut names = Vec::new();
        for index in 0..steps {
            names.push(set(index));
            assert_eq!(names.clone().len(), index + 1);
        }
        processor_time() - start
    };
    assert!(copies(2000) > copies(200) * 12, "copies of all names are noticed");
}

#[test]
fn each_limit_of_a_flow_is_named_with_its_number() {
    let steps =
        |count: usize| (0..count).map(|index| json!({ "id": format!("s{index}"), "set": {} })).collect::<Vec<_>>();
    let flow = |more: Value| {
        let mut flow = json!({ "name": "big", "steps": [] });
        flow.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        flow
    };
    let nested = (0..18).fold(
        json!([{ "id": "s", "set": {} }]),
        |inner, level| json!([{ "id": format!("p{level}"), "parallel": { "a": inner } }]),
    );
    let expression =
        |text: String| flow(json!({ "steps": [{ "id": "a", "set": { "a": format!("{{{{ {text} }}}}") } }] }));
    let doubling: serde_json::Map<_, _> = (0..30)
        .map(|level| {
            let next = json!({ "$ref": format!("#/$defs/a{}", level + 1) });
            (format!("a{level}"), json!({ "anyOf": [next, next] }))
        })
        .chain([("a30".to_owned(), json!(true))])
        .collect();
    let levels = (0..100).fold(json!(true), |inner, _| json!({ "anyOf": [inner, { "default": 1 }] }));
    for (document, words) in [
        (flow(json!({ "steps": steps(10_001) })), "more than 10000 steps"),
        (flow(json!({ "steps": nested })), "more than 16 levels deep"),
        (flow(json!({ "tables": { "t": { "a": vec![0; 250_000] } } })), "more than 250000 values"),
        (flow(json!({ "about": "x".repeat(9_000_000) })), "the limit is 8388608"),
        (expression(format!("'{}'", "x".repeat(8192))), "longer than 8192 bytes"),
        (expression(vec!["1"; 600].join(" * ")), "more than 1024 words"),
        (expression(vec!["'a'"; 80].join(" ~ ")), "more than 64 times"),
        (expression(format!("{}1{}", "(-".repeat(65), ")".repeat(65))), "nested more than 64 levels"),
        (expression(format!("input{}", ".a".repeat(130))), "nested more than 128 levels"),
        (flow(json!({ "input": { "$ref": "#/$defs/a0", "$defs": doubling } })), "more than 20000 parts"),
    ] {
        let (found, time) = found(&document.to_string());
        let limits: Vec<_> = found.iter().filter(|one| one.limit && one.message.contains(words)).collect();
        assert!(!limits.is_empty() && time < Duration::from_secs(20), "{words}: {time:?} {found:?}");
        let json = serde_json::to_value(limits[0]).unwrap();
        assert_eq!(json["limit"], true, "in JSON, too");
    }
    // Nested choices end.
    let (found, time) = found(&flow(json!({ "input": { "properties": { "a": levels } } })).to_string());
    assert!(time < Duration::from_secs(20), "{time:?} {found:?}");
}

#[test]
fn shapes_that_double_with_each_step_stay_small() {
    let step = |index: usize| match index {
        0 => json!({ "id": "s0", "set": { "a": { "b": 1 }, "c": ["x", "y"] } }),
        _ => json!({ "id": format!("s{index}"), "set": { "a": format!("{{{{ steps.s{} }}}}", index - 1),
            "b": format!("{{{{ steps.s{} }}}}", index - 1) } }),
    };
    let (all, time) = found(&chain(60, step));
    assert!(all.iter().all(|one| !one.message.contains("does not fit")) && time < Duration::from_secs(5), "{time:?}");
    // What is known is still checked.
    let (some, _) = found(&chain(3, |index| match index {
        2 => json!({ "id": "s2", "set": { "x": "{{ steps.s1.a.a.zzz }}" } }),
        index => step(index),
    }));
    assert!(some.iter().any(|one| one.message.contains("has no member zzz")), "{some:?}");
}

#[test]
fn a_flow_that_is_called_often_is_checked_once() {
    let inner = |name: &str, calls: Option<&str>| {
        let steps: Vec<_> = (0..12)
            .map(|index| match calls {
                Some(called) => json!({ "id": format!("c{index}"), "call": called, "retry": { "tries": 2 } }),
                None => json!({ "id": format!("c{index}"), "set": { "a": 1 } }),
            })
            .collect();
        Flow::from_value(json!({ "name": name, "steps": steps })).unwrap()
    };
    let flows: Vec<_> = (0..8)
        .map(|level| inner(&format!("f{level}"), (level < 7).then(|| format!("f{}", level + 1)).as_deref()))
        .collect();
    let find = |name: &str| flows.iter().find(|flow| flow.name() == name).cloned();
    let linked = flows[0].link(&find).unwrap();
    let start = Instant::now();
    assert_eq!(linked.check(&Fake::of_things("shop").registry()), []);
    // Twelve calls at each of seven levels are thirty-five million checks.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let many: Vec<_> =
        (0..=101).map(|index| json!({ "id": format!("c{index}"), "call": format!("g{index}") })).collect();
    let caller = Flow::from_value(json!({ "name": "many", "steps": many })).unwrap();
    let found = caller.link(&|name| Some(inner(name, None))).unwrap_err();
    assert!(found.iter().any(|one| one.limit && one.message.contains("more than 100 flows")), "{found:?}");
}

#[test]
fn a_document_with_thousands_of_faults_has_a_short_report() {
    let (found, time) =
        found(&chain(5000, |index| json!({ "id": format!("s{index}"), "set": { "a": "{{ nothing }}" } })));
    let found: Vec<_> = found.into_iter().filter(|one| one.severity == Severity::Error).collect();
    assert_eq!(found.len(), Diagnostic::MOST + 1);
    assert!(found.last().unwrap().message.contains("more findings like the first 100"));
    assert!(found[..100].iter().all(|one| one.place.is_some()) && time < Duration::from_secs(10), "{time:?}");
}
