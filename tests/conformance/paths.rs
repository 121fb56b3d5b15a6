//! An id is data, never a path.
//!
//! If an action names its route, hostile strings for each parameter are refused before anything is sent, or arrive as
//! exactly one segment. Other hand-written actions put inputs into paths as well: the same strings in place of each
//! text of an input are refused, or arrive as one segment of a call that the action makes for a harmless text, too.

use std::{collections::BTreeSet, sync::Mutex, time::Duration};

use futures::{StreamExt, stream};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use trunkline_core::ErrorKind;
use trunkline_tests::hostile::HOSTILE;

use crate::{
    sample::{input, sample},
    service::{BASE, RecordedRequest, Reply, answer},
    subject::{SETUP, Subject},
    with_suite,
};

/// A short timeout for actions that wait for a state.
const TIME: Duration = Duration::from_secs(2);

/// The path for `request`, `download` and `upload`: its form belongs to the caller, its parameters are data.
const PATH: &str = "/a/{b}/c";

/// A text of an input, and the whole input with it.
struct Case {
    pointer: String,
    input: Value,
}

/// Returns every text and every number of every sample input of an action.
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

/// Returns responses with which an action makes as many calls as possible: an object with all members, and a list of
/// such objects.
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

/// Returns the names in a query.
fn names(seen: &RecordedRequest) -> Vec<&str> {
    let query = seen.target.split_once('?').map(|(_, query)| query);
    query.into_iter().flat_map(|query| query.split('&')).map(|pair| pair.split('=').next().unwrap_or(pair)).collect()
}

/// Returns whether a request equals one that was made with the harmless text, except for the segments with that text.
fn is_as_intended(arrived: &RecordedRequest, harmless: &RecordedRequest, texts: &[String], hostile: &str) -> bool {
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

/// Returns whether a request is inside the endpoint and has no injected header.
fn is_inside(arrived: &RecordedRequest) -> bool {
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
        let known = |one: &RecordedRequest| {
            let meant = harmless.iter().any(|harmless| is_as_intended(one, harmless, &texts, hostile));
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
fn every_text_of_a_hand_written_action_stays_in_its_segment() {
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
            "{} hand-written actions, {texts} texts: {refused} refused, {arrived} arrived as intended",
            actions.len()
        );
        assert!(texts > 20 && refused > 500 && arrived > 500, "{texts} {refused} {arrived}");
    });
}

/// Returns the parameters of a route, such as `assetId` in `/assets/{assetId}/keywords`.
fn parameters(route: &str) -> impl Iterator<Item = &str> {
    route.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

/// Returns whether a proxy on the way could read this as several segments or as another one: proxies decode, some of
/// them twice.
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

/// Returns whether the segments are those of the route with the inputs in their places, and the inputs occur nowhere
/// else.
fn is_the_route(arrived: &RecordedRequest, route: &str, input: &Value) -> bool {
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

/// Checks one parameter of a route with all hostile strings.
async fn judge_parameter(subject: &Subject, route: &str, parameter: &str, counts: &Mutex<Counts>) {
    let mut least = input(&subject.spec.input);
    // Inputs that the route needs although the schema does not require them.
    for name in parameters(route) {
        least[name] = sample(&subject.spec.input["properties"][name], true);
    }
    let ask = async |input: &Value| {
        // An error response is final: one call makes one request.
        subject.service.replies(&[answer(400, "", "{}")]);
        let error = subject.run(input.clone(), SETUP).await.expect_err("a 400 is an error");
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
            "{actions} actions with a route, {texts} parameters x {strings} strings: {refused} refused, {arrived} arrived as intended"
        );
        assert!(texts > 20 && refused > texts * 40 && arrived > texts, "{texts} {refused} {arrived}");
    });
}

/// The sabotage twin: a value that left its segment is found.
#[test]
fn a_parameter_outside_its_segment_is_found() {
    let judge = |method: &str, target: &str, id: &str| {
        let (at, clock) = (std::time::Instant::now(), std::time::SystemTime::now());
        let seen = RecordedRequest {
            method: method.into(),
            target: target.into(),
            head: String::new(),
            body: String::new(),
            at,
            clock,
        };
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

/// The sabotage twin: a value that left its segment is found.
#[test]
fn a_text_outside_its_segment_is_found() {
    let seen = |target: &str| {
        let (at, clock) = (std::time::Instant::now(), std::time::SystemTime::now());
        let (method, head, body) = ("GET".into(), format!("GET {target}\r\n"), String::new());
        RecordedRequest { method, target: target.into(), head, body, at, clock }
    };
    let (harmless, texts) = (seen("/base/assets/sample/keywords?a=1"), ["sample".to_owned()]);
    let judge = |target: &str, hostile: &str| {
        let seen = seen(target);
        is_as_intended(&seen, &harmless, &texts, hostile) && is_inside(&seen)
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
