//! An id is data, never a path. Where an action names its route, hostile strings as each parameter of it are refused before
//! anything is sent, or arrive as exactly one segment. Other hand-written actions put their inputs into paths, too: there, the
//! same strings in place of each text of an input are refused, or arrive as one segment of a call that is made anyway.

use std::{collections::BTreeSet, sync::Mutex, time::Duration};

use futures::{StreamExt, stream};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use trunkline_core::ErrorKind;
use trunkline_tests::hostile::HOSTILE;

use crate::{
    sample::{input, sample},
    service::{BASE, Reply, Seen, answer},
    subject::{SETUP, Subject},
    with_suite,
};

/// What waits for a state that never comes is done soon.
const TIME: Duration = Duration::from_secs(2);

/// What `request`, `download` and `upload` are given: the path is the caller's own, what is put into it is not.
const PATH: &str = "/a/{b}/c";

/// A text of an input, and a whole input with it.
struct Case {
    pointer: String,
    input: Value,
}

/// Every text and every number of every input that an action can have.
fn cases(subject: &Subject) -> Vec<Case> {
    let schema = &subject.spec.input;
    let any_path = is_any_path(subject);
    let mut least = input(schema);
    if any_path {
        least["path"] = json!(PATH);
        least["parameters"] = json!({ "b": "sample" });
    }
    let mut cases = Vec::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let mut input = least.clone();
        match name.as_str() {
            "path" | "parameters" if any_path => {}
            _ => input[name] = sample(property, true),
        }
        let mut pointers = Vec::new();
        leaves(&input[name], format!("/{name}"), &mut pointers);
        let fits = subject.connected.connector().action_input(&subject.spec.name).unwrap().check(&input);
        assert!(fits.is_empty(), "{}: the sample {input} does not fit: {fits:#?}", subject.name());
        cases.extend(pointers.into_iter().map(|pointer| Case { pointer, input: input.clone() }));
    }
    cases
}

fn leaves(value: &Value, pointer: String, found: &mut Vec<String>) {
    match value {
        Value::Array(all) => {
            all.iter().enumerate().for_each(|(at, one)| leaves(one, format!("{pointer}/{at}"), found));
        }
        Value::Object(all) => {
            all.iter().for_each(|(name, one)| leaves(one, format!("{pointer}/{name}"), found));
        }
        Value::String(_) | Value::Number(_) => found.push(pointer),
        Value::Bool(_) | Value::Null => {}
    }
}

fn is_any_path(subject: &Subject) -> bool {
    subject.spec.input.pointer("/properties/parameters").is_some()
}

/// Answers that lead an action as far as may be: a thing with all that is looked for, and a list of such things.
fn replies() -> [Reply; 2] {
    let id = "11111111-8b86-4011-b42d-00cf4fc964ff";
    let thing = json!({
        "id": id, "name": "sample", "filename": "a.jpg", "filesize": 5, "file": { "fileName": "a.jpg" },
        "keywordName": "found", "media": { "original": "https://example.com/x" }, "tree": { "path": "\\sample" },
        "allowDownload": true, "mediaId": 1, "total": 1,
    });
    let mut one = thing.clone();
    one["payload"] = thing.clone();
    one["items"] = json!([thing]);
    [answer(200, "", &one.to_string()), answer(200, "", &json!({ "payload": [thing] }).to_string())]
}

/// The names in a query.
fn names(seen: &Seen) -> Vec<&str> {
    let query = seen.target.split_once('?').map(|(_, query)| query);
    query.into_iter().flat_map(|query| query.split('&')).map(|pair| pair.split('=').next().unwrap_or(pair)).collect()
}

/// What arrived is a call that was made with the harmless text as well, but for the segments that this stands in.
fn is_as_meant(arrived: &Seen, harmless: &Seen, texts: &[String], hostile: &str) -> bool {
    let (found, meant): (Vec<_>, Vec<_>) = (arrived.path().split('/').collect(), harmless.path().split('/').collect());
    let same = |(found, meant): (&&str, &&str)| {
        found == meant
            || texts.iter().any(|text| text == meant)
                && percent_decode_str(found).decode_utf8().is_ok_and(|found| found == hostile)
    };
    arrived.method == harmless.method
        && names(arrived) == names(harmless)
        && found.len() == meant.len()
        && found.iter().zip(&meant).all(same)
}

/// Nothing arrived outside of the endpoint, and no header that nobody set.
fn is_inside(arrived: &Seen) -> bool {
    let rest = arrived.path().strip_prefix(BASE).and_then(|path| path.strip_prefix('/'));
    let dots = |segment: &str| matches!(percent_decode_str(segment).decode_utf8_lossy().as_ref(), "." | "..");
    rest.is_some_and(|rest| !rest.split('/').any(dots)) && !arrived.head.to_lowercase().contains("\nx-injected")
}

#[derive(Default)]
struct Counts {
    texts: usize,
    refused: usize,
    arrived: usize,
    wrong: Vec<String>,
}

async fn judge(subject: &Subject, case: &Case, counts: &Mutex<Counts>) {
    let replies = replies();
    let with = |text: Value| {
        let mut input = case.input.clone();
        *input.pointer_mut(&case.pointer).unwrap() = text;
        input
    };
    let ask = async |input: Value| {
        let mut seen = Vec::new();
        for reply in &replies {
            subject.service.replies(std::slice::from_ref(reply));
            let _ = subject.run(input.clone(), TIME).await;
            seen.extend(subject.service.seen());
        }
        seen
    };
    let usual = case.input.pointer(&case.pointer).unwrap().clone();
    let (mut harmless, mut texts) = (Vec::new(), Vec::new());
    for text in [usual, json!("other"), json!("22222222-8b86-4011-b42d-00cf4fc964ff")] {
        harmless.extend(ask(with(text.clone())).await);
        texts.push(text.as_str().map_or_else(|| text.to_string(), str::to_owned));
    }
    let own_path = case.pointer == "/path" && is_any_path(subject);
    for hostile in HOSTILE {
        let arrived = ask(with(json!(hostile))).await;
        let known = |one: &Seen| {
            let meant = harmless.iter().any(|harmless| is_as_meant(one, harmless, &texts, hostile));
            own_path || (meant && (is_any_path(subject) || subject.knows(one)))
        };
        let wrong = arrived.iter().filter(|one| !is_inside(one) || !known(one));
        let wrong = wrong.map(|one| {
            let (name, pointer) = (subject.name(), &case.pointer);
            format!("{name} with {pointer} = {hostile:?} became {} {}", one.method, one.target)
        });
        let mut counts = counts.lock().unwrap();
        counts.wrong.extend(wrong);
        if arrived.is_empty() { counts.refused += 1 } else { counts.arrived += 1 }
    }
    counts.lock().unwrap().texts += 1;
}

#[test]
fn every_text_of_a_hand_written_action_stays_where_it_belongs() {
    with_suite(async |suite| {
        let counts = Mutex::<Counts>::default();
        let by_hand = suite.subjects.iter().filter(|subject| subject.spec.route.is_none());
        let actions: BTreeSet<_> = by_hand.clone().map(Subject::name).collect();
        let one = async |subject: &Subject| {
            for case in cases(subject) {
                judge(subject, &case, &counts).await;
            }
        };
        stream::iter(by_hand).for_each_concurrent(None, one).await;
        let Counts { texts, refused, arrived, wrong } = counts.into_inner().unwrap();
        assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
        println!(
            "{} hand-written actions, {texts} texts: {refused} refused, {arrived} arrived as meant",
            actions.len()
        );
        assert!(texts > 20 && refused > 500 && arrived > 500, "{texts} {refused} {arrived}");
    });
}

/// The names in a route, such as `assetId` in `/assets/{assetId}/keywords`.
fn parameters(route: &str) -> impl Iterator<Item = &str> {
    route.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

/// Someone on the way could take this for more than a segment, or for another one: proxies decode, some of them twice.
fn could_leave(text: &str) -> bool {
    let mut text = text.to_owned();
    loop {
        let decoded = percent_decode_str(&text).decode_utf8_lossy().into_owned();
        if decoded == text {
            break;
        }
        text = decoded;
    }
    matches!(text.as_str(), "" | "." | "..") || text.contains(|c: char| matches!(c, '/' | '\\') || c.is_control())
}

/// The segments that arrived are those of the route, with the inputs in their places, and nothing else of them anywhere.
fn is_the_route(arrived: &Seen, route: &str, input: &Value) -> bool {
    let Some((method, path)) = route.split_once(' ') else { return false };
    let Some(found) = arrived.path().strip_prefix(BASE) else { return false };
    let (found, meant): (Vec<_>, Vec<_>) = (found.split('/').collect(), path.split('/').collect());
    let same = |(found, meant): (&&str, &&str)| match parameters(meant).next() {
        Some(name) => {
            let text = input[name].as_str().map_or_else(|| input[name].to_string(), str::to_owned);
            !could_leave(found) && percent_decode_str(found).decode_utf8().is_ok_and(|found| found == text)
        }
        None => found == meant,
    };
    arrived.method == method && found.len() == meant.len() && found.iter().zip(&meant).all(same)
}

/// One parameter of a route against all hostile strings.
async fn judge_parameter(subject: &Subject, route: &str, parameter: &str, counts: &Mutex<Counts>) {
    let mut least = input(&subject.spec.input);
    // What the schema does not require, but the route needs.
    for name in parameters(route) {
        least[name] = sample(&subject.spec.input["properties"][name], true);
    }
    let ask = async |input: &Value| {
        // A refusal is final: one call is one request.
        subject.service.replies(&[answer(400, "", "{}")]);
        let error = subject.run(input.clone(), SETUP).await.expect_err("a 400 is no success");
        (error, subject.service.seen())
    };
    let (error, harmless) = ask(&least).await;
    let [harmless] = &harmless[..] else { panic!("{}: {error:?} after {harmless:#?}", subject.name()) };
    assert!(is_the_route(harmless, route, &least), "{} became {}", subject.name(), harmless.target);
    for hostile in HOSTILE {
        let mut input = least.clone();
        input[parameter] = json!(hostile);
        let (error, arrived) = ask(&input).await;
        let right = match &arrived[..] {
            [] => error.kind() == ErrorKind::InvalidInput,
            [one] => is_inside(one) && is_the_route(one, route, &input) && names(one) == names(harmless),
            _ => false,
        };
        let mut counts = counts.lock().unwrap();
        if !right {
            let targets: Vec<_> = arrived.iter().map(|one| format!("{} {}", one.method, one.target)).collect();
            let name = subject.name();
            counts.wrong.push(format!("{name} with {parameter} = {hostile:?} became {targets:?}: {error}"));
        }
        if arrived.is_empty() { counts.refused += 1 } else { counts.arrived += 1 }
    }
    counts.lock().unwrap().texts += 1;
}

#[test]
fn every_parameter_of_every_route_is_one_segment_or_refused() {
    with_suite(async |suite| {
        assert!(HOSTILE.len() >= 50);
        let counts = Mutex::<Counts>::default();
        let with_route = suite.subjects.iter().filter_map(|subject| Some((subject, subject.spec.route.as_deref()?)));
        let one = async |(subject, route): (&Subject, &str)| {
            for parameter in parameters(route) {
                judge_parameter(subject, route, parameter, &counts).await;
            }
        };
        stream::iter(with_route.clone()).for_each_concurrent(64, one).await;
        let Counts { texts, refused, arrived, wrong } = counts.into_inner().unwrap();
        assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
        let (actions, strings) = (with_route.count(), HOSTILE.len());
        println!(
            "{actions} actions with a route, {texts} parameters x {strings} strings: {refused} refused, {arrived} arrived as meant"
        );
        assert!(texts > 20 && refused > texts * 40 && arrived > texts, "{texts} {refused} {arrived}");
    });
}

/// The sabotage twin: what left its segment is seen.
#[test]
fn a_parameter_that_left_its_segment_is_seen() {
    let judge = |method: &str, target: &str, id: &str| {
        let (at, clock) = (std::time::Instant::now(), std::time::SystemTime::now());
        let seen = Seen { method: method.into(), target: target.into(), head: String::new(), at, clock };
        is_the_route(&seen, "GET /assets/{id}/keywords", &json!({ "id": id })) && is_inside(&seen)
    };
    assert!(judge("GET", "/base/assets/a%20b/keywords", "a b"));
    for (method, wrong, id) in [
        ("GET", "/base/assets/keywords", ""),
        ("GET", "/base/assets/a/b/keywords", "a/b"),
        ("GET", "/base/assets/a%2Fb/keywords", "a/b"),
        ("GET", "/base/assets/a%255cb/keywords", "a%5cb"),
        ("GET", "/base/assets/%00/keywords", "\u{0}"),
        ("GET", "/base/assets/other/keywords", "a b"),
        ("GET", "/base/assets/a%2520b/keywords", "a b"),
        ("GET", "/base/assets/../keywords", ".."),
        ("GET", "/base/users", "../users"),
        ("GET", "/assets/a%20b/keywords", "a b"),
        ("DELETE", "/base/assets/a%20b/keywords", "a b"),
    ] {
        assert!(!judge(method, wrong, id), "{method} {wrong}");
    }
}

/// The sabotage twin: what left its segment is seen.
#[test]
fn a_text_that_left_its_segment_is_seen() {
    let seen = |target: &str| {
        let (at, clock) = (std::time::Instant::now(), std::time::SystemTime::now());
        Seen { method: "GET".into(), target: target.into(), head: format!("GET {target}\r\n"), at, clock }
    };
    let (harmless, texts) = (seen("/base/assets/sample/keywords?a=1"), ["sample".to_owned()]);
    let judge = |target: &str, hostile: &str| {
        let seen = seen(target);
        is_as_meant(&seen, &harmless, &texts, hostile) && is_inside(&seen)
    };
    assert!(judge("/base/assets/a%20b/keywords?a=1", "a b"));
    for (wrong, hostile) in [
        ("/base/assets/a/b/keywords?a=1", "a/b"),
        ("/base/assets/x?y=z/keywords?a=1", "x?y=z"),
        ("/base/users/keywords?a=1", "../users"),
        ("/base/assets/../keywords?a=1", ".."),
        ("/base/assets/%2e%2e/keywords?a=1", ".."),
        ("/assets/a%20b/keywords?a=1", "a b"),
        ("/base/assets/a%2520b/keywords?a=1", "a b"),
        ("/base/assets/a%20b/keywords?a=1&x=y", "a b"),
    ] {
        assert!(!judge(wrong, hostile), "{wrong}");
    }
}
