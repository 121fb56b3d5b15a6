//! Answers that grow and shrink: vendors add members, leave out what is optional, find new words and count beyond 32 bits.
//! The answers of the reference's cases (`fixtures/`) are changed in such ways and served over HTTP; every action hands over
//! what is there as it is, or says with a typed error what it misses. Hand-written actions get such answers for all their
//! calls.

use std::{
    collections::BTreeMap,
    fs,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use serde_json::{Value, json};
use trunkline_core::{Error, ErrorKind};
use trunkline_tests::{Dice, project};

use crate::{
    LONG,
    service::{BASE, Reply, Seen, answer, bytes},
    subject::Subject,
};

/// A vendor's answer of the reference, by the route of its case.
pub(crate) type Answers = BTreeMap<String, Vec<Value>>;

/// Cases of a connector whose answer is JSON with a good end.
pub(crate) fn answers(connector: &str) -> Answers {
    let mut found = Answers::new();
    for entry in fs::read_dir(project().join("tests/fixtures").join(connector)).into_iter().flatten() {
        let cases: Vec<Value> = serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
        for case in cases.iter().filter(|case| case.get("output").is_some()) {
            let body = &case["response"]["body"];
            if case["response"]["status"].as_u64().unwrap() < 300 && (body.is_object() || body.is_array()) {
                let route = case["route"].as_str().unwrap().replacen(" /1/", " /", 1);
                found.entry(route).or_default().push(body.clone());
            }
        }
    }
    found
}

/// What may be changed at one place of an answer.
const CHANGES: [&str; 5] = ["added", "removed", "null", "word", "grown"];

/// Members that say whether a call succeeded: with them an answer would be another one.
const TELL: [&str; 4] = ["errors", "error", "status", "warnings"];

/// The places of a document, by pointer.
fn places(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| places(item, format!("{at}/{n}"), found)),
        Value::Object(members) => {
            let ours = members.iter().filter(|(name, _)| !TELL.contains(&name.as_str()));
            ours.for_each(|(name, member)| places(member, format!("{at}/{}", escaped(name)), found));
        }
        _ => {}
    }
    found.push(at);
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Changes the answer at a random place, as often as is rolled: what was done, for a message.
fn change(body: &mut Value, dice: &mut Dice) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..dice.roll(1, 5) {
        let mut all = Vec::new();
        places(body, String::new(), &mut all);
        let at = all[dice.roll(0, all.len() as u64) as usize].clone();
        let what = CHANGES[dice.roll(0, CHANGES.len() as u64) as usize];
        let number = dice.roll(1 << 32, 1 << 62);
        let Some(value) = body.pointer_mut(&at) else { continue };
        let root = at.is_empty();
        match (what, &mut *value) {
            ("added", Value::Object(members)) => {
                let new = json!({ "deep": [1, null, "zażółć"], "id": "another" });
                members.insert(format!("x-new-{number}"), new);
            }
            ("removed", _) if !root => drop(remove(body, &at)),
            ("null", other) if !root => *other = Value::Null,
            ("word", Value::String(text)) => *text = format!("NEW_WORD_{number}"),
            ("grown", Value::Number(old)) => *old = number.into(),
            _ => continue,
        }
        told.push(format!("{what} {at}"));
    }
    told
}

fn remove(body: &mut Value, at: &str) -> Option<Value> {
    let (holder, name) = at.rsplit_once('/')?;
    match body.pointer_mut(holder)? {
        Value::Object(members) => members.shift_remove(&name.replace("~1", "/").replace("~0", "~")),
        // A list with an item less is another list.
        _ => None,
    }
}

/// Whether every text and number of an output was in an answer, or in what the action was given.
fn is_said(output: &Value, said: &str) -> bool {
    match output {
        Value::Null | Value::Bool(_) => true,
        Value::Array(items) => items.iter().all(|item| is_said(item, said)),
        Value::Object(members) => members.iter().all(|(name, member)| {
            // Where a page goes on is the client's own matter.
            name == "next" || is_said(member, said)
        }),
        other => said.contains(&other.to_string()),
    }
}

/// What is wrong with how a row took an answer: its output is the answer's own value, at the place where the unchanged answer
/// has it.
fn judge_row(output: &Value, body: &Value, place: &SourceLocation) -> Result<(), String> {
    let (given, expected) = match place {
        SourceLocation::Items(at) => {
            let expected = match body.pointer(at) {
                None | Some(Value::Null) => json!([]),
                Some(object @ Value::Object(_)) => json!([object]),
                Some(items) => items.clone(),
            };
            (&output["items"], expected)
        }
        SourceLocation::Result(at) => (output, body.pointer(at).cloned().unwrap_or_default()),
    };
    if *given == expected { Ok(()) } else { Err(format!("gave {given}, not {expected}")) }
}

/// Where an action finds its output in an answer.
#[derive(Clone)]
enum SourceLocation {
    Items(String),
    Result(String),
}

/// By its output for an unchanged answer.
fn place(output: &Value, body: &Value, lists: bool) -> Option<SourceLocation> {
    let mut all = Vec::new();
    places(body, String::new(), &mut all);
    // The outermost of several that are equal.
    all.sort_by_key(String::len);
    let wanted = if lists { &output["items"] } else { output };
    let at = all.into_iter().find(|at| body.pointer(at) == Some(wanted))?;
    Some(if lists { SourceLocation::Items(at) } else { SourceLocation::Result(at) })
}

/// How changed answers were taken.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) good: usize,
    pub(crate) told: usize,
    pub(crate) wrong: Vec<String>,
}

impl Taken {
    fn note(&mut self, subject: &Subject, told: &[String], result: &Result<Value, Error>, verdict: Result<(), String>) {
        match result {
            Ok(_) => self.good += 1,
            Err(_) => self.told += 1,
        }
        if let Err(wrong) = verdict {
            self.wrong.push(format!("{} with {told:?}: {wrong}", subject.name()));
        }
    }
}

/// Long enough for a call, and short enough for an action that waits for what a changed answer never says.
const TIME: Duration = Duration::from_millis(700);

/// Serves a row so many changed answers of the reference.
async fn grow_row(subject: &Subject, own: &[Value], times: usize, dice: &mut Dice) -> Taken {
    let mut known = Vec::new();
    for body in own {
        let ended = subject.meets(&[answer(200, "", &body.to_string())], LONG).await;
        if let Some(place) = ended.result.ok().and_then(|output| place(&output, body, subject.spec.lists)) {
            known.push((body, place));
        }
    }
    let mut taken = Taken::default();
    for _ in 0..if known.is_empty() { 0 } else { times } {
        let (body, place) = &known[dice.roll(0, known.len() as u64) as usize];
        let mut body = (*body).clone();
        let told = change(&mut body, dice);
        let result = subject.meets(&[answer(200, "", &body.to_string())], LONG).await.result;
        let verdict = match &result {
            Ok(output) => judge_row(output, &body, place),
            // Where a list was, there is something that is none.
            Err(error) if error.kind() == ErrorKind::Unexpected && subject.spec.lists => Ok(()),
            Err(error) => Err(format!("failed: {error:?}")),
        };
        taken.note(subject, &told, &result, verdict);
    }
    taken
}

/// The answers to a call.
fn fitting<'a>(answers: &'a Answers, seen: &Seen) -> Option<&'a Vec<Value>> {
    let path: Vec<_> = seen.path().strip_prefix(BASE)?.split('/').collect();
    let fits = |route: &&String| {
        let Some((method, own)) = route.split_once(' ') else { return false };
        let own: Vec<_> = own.split('/').collect();
        let same = |(own, other): (&&str, &&str)| own.starts_with('{') || own.eq_ignore_ascii_case(other);
        method == seen.method && own.len() == path.len() && own.iter().zip(&path).all(same)
    };
    // A fixed segment says more than a parameter.
    let best = answers.keys().filter(fits).min_by_key(|route| route.matches('{').count())?;
    answers.get(best)
}

/// Addresses of the reference's answers lead to the service, and nowhere else.
fn at_home(value: &mut Value, address: &str) {
    match value {
        Value::String(text) if text.starts_with("https://") => *text = format!("{address}{BASE}/bytes"),
        Value::Array(items) => items.iter_mut().for_each(|item| at_home(item, address)),
        Value::Object(members) => members.values_mut().for_each(|member| at_home(member, address)),
        _ => {}
    }
}

/// Serves a hand-written action so many times changed answers to all its calls.
async fn grow_written(subject: &Subject, answers: &Answers, times: usize, dice: &mut Dice) -> Taken {
    let mut taken = Taken::default();
    for _ in 0..times {
        let seed = dice.roll(0, u64::MAX);
        let mut at_home_answers = answers.clone();
        at_home_answers.values_mut().flatten().for_each(|body| at_home(body, &subject.service.address));
        let served = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        let (shared, dice) = (served.clone(), Mutex::new(Dice::seeded(seed)));
        let reply = Reply::Of(Arc::new(move |seen| {
            let mut dice = dice.lock().unwrap();
            let Some(all) = fitting(&at_home_answers, seen) else { return bytes(200, "", "{}") };
            let mut body = all[dice.roll(0, all.len() as u64) as usize].clone();
            let told = change(&mut body, &mut dice);
            let mut shared = shared.lock().unwrap();
            shared.0.extend(told);
            shared.1.push(body.clone());
            bytes(200, "", &body.to_string())
        }));
        let result = AssertUnwindSafe(subject.meets(&[reply], TIME)).catch_unwind().await.map(|ended| ended.result);
        let (told, bodies) = served.lock().unwrap().clone();
        let Ok(result) = result else {
            taken.wrong.push(format!("{} with {told:?}: panicked", subject.name()));
            continue;
        };
        let verdict = match &result {
            Ok(output) if is_said(&without_own(output), &format!("{}{}", json!(bodies), subject.said())) => Ok(()),
            Ok(output) => Err(format!("invented something: {output} of {}", json!(bodies))),
            Err(error) if error.kind() == ErrorKind::Internal => Err(format!("failed: {error:?}")),
            Err(_) => Ok(()),
        };
        taken.note(subject, &told, &result, verdict);
    }
    taken
}

/// Serves an action so many changed answers.
pub(crate) async fn grow(subject: &Subject, answers: &Answers, times: usize, seed: u64) -> Taken {
    let mut dice = Dice::seeded(seed);
    match subject.spec.route.as_ref().and_then(|route| answers.get(route)) {
        Some(own) => grow_row(subject, own, times, &mut dice).await,
        None => grow_written(subject, answers, times, &mut dice).await,
    }
}

/// An output without what an action says of its own: numbers of things, words for what it did, what it read of headers and
/// of bytes.
fn without_own(output: &Value) -> Value {
    let own = [
        "changes",
        "failed",
        "files",
        "done",
        "processed",
        "reasons",
        "warnings",
        "cursor",
        "error",
        "action",
        "source",
        "status",
        "headers",
        "bytes",
        "sha256",
        "file",
        "connection",
    ];
    match output {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| !own.contains(&name.as_str()));
            Value::Object(kept.map(|(name, member)| (name.clone(), without_own(member))).collect())
        }
        Value::Array(items) => items.iter().map(without_own).collect(),
        other => other.clone(),
    }
}

/// The sabotage twin: what is harmed or invented is noticed.
#[test]
fn a_harmed_value_and_an_invented_one_are_noticed() {
    let body = json!({ "payload": { "id": "0012", "count": 4_294_967_297_u64 } });
    let at = SourceLocation::Result("/payload".to_owned());
    judge_row(&body["payload"], &body, &at).unwrap();
    for harmed in [json!({ "id": "12", "count": 4_294_967_297_u64 }), json!({ "id": "0012", "count": 1 }), Value::Null]
    {
        judge_row(&harmed, &body, &at).unwrap_err();
    }
    assert!(is_said(&json!({ "a": ["0012"] }), &body.to_string()));
    assert!(!is_said(&json!({ "a": ["12"] }), &body.to_string()));
}
