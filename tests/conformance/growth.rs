//! Answers that grow and shrink: vendors add members, leave out what is optional, find new words and count beyond 32 bits.
//! The answers of the reference's cases (`fixtures/`) are changed in such ways and served over HTTP; every action hands over
//! what is there as it is, or says with a typed error what it misses. Hand-written actions get such answers for all their
//! calls.

use std::{collections::BTreeMap, fs, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use serde_json::{Map, Value, json};
use trunkline_core::ErrorKind;
use trunkline_tests::{Dice, project};

use crate::{service::answer, subject::Subject};

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
fn judge_row(output: &Value, body: &Value, place: &Place) -> Result<(), String> {
    let (given, expected) = match place {
        Place::Items(at) => {
            let expected = match body.pointer(at) {
                None | Some(Value::Null) => json!([]),
                Some(object @ Value::Object(_)) => json!([object]),
                Some(items) => items.clone(),
            };
            (&output["items"], expected)
        }
        Place::Result(at) => (output, body.pointer(at).cloned().unwrap_or_default()),
    };
    if *given == expected { Ok(()) } else { Err(format!("gave {given}, not {expected}")) }
}

/// Where an action finds its output in an answer.
pub(crate) enum Place {
    Items(String),
    Result(String),
}

/// By its output for an unchanged answer.
fn place(output: &Value, body: &Value, lists: bool) -> Option<Place> {
    let mut all = Vec::new();
    places(body, String::new(), &mut all);
    // The outermost of several that are equal.
    all.sort_by_key(String::len);
    let wanted = if lists { &output["items"] } else { output };
    let at = all.into_iter().find(|at| body.pointer(at) == Some(wanted))?;
    Some(if lists { Place::Items(at) } else { Place::Result(at) })
}

/// How changed answers were taken.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) good: usize,
    pub(crate) told: usize,
    pub(crate) wrong: Vec<String>,
}

const TIME: Duration = Duration::from_secs(2);

/// Serves an action so many changed answers.
pub(crate) async fn grow(subject: &Subject, answers: &Answers, times: usize, seed: u64) -> Taken {
    let mut dice = Dice::seeded(seed);
    let mut taken = Taken::default();
    let own = subject.spec.route.as_ref().and_then(|route| answers.get(route));
    let every: Vec<&Value> = answers.values().flatten().collect();
    for _ in 0..times {
        let (mut bodies, mut found) = (Vec::new(), None);
        match own {
            Some(own) => {
                let body = &own[dice.roll(0, own.len() as u64) as usize];
                let plain = answer(200, "", &body.to_string());
                let ended = subject.meets(&[plain], TIME).await;
                let Ok(output) = ended.result else { continue };
                found = place(&output, body, subject.spec.lists);
                bodies.push(body.clone());
            }
            None => (0..12).for_each(|_| bodies.push(every[dice.roll(0, every.len() as u64) as usize].clone())),
        }
        let told: Vec<_> = bodies.iter_mut().flat_map(|body| change(body, &mut dice)).collect();
        let replies: Vec<_> = bodies.iter().map(|body| answer(200, "", &body.to_string())).collect();
        let ended = AssertUnwindSafe(subject.meets(&replies, TIME)).catch_unwind().await;
        let verdict = match ended {
            Err(_) => Err("panicked".to_owned()),
            Ok(ended) => match ended.result {
                Ok(output) => {
                    taken.good += 1;
                    match &found {
                        Some(place) => judge_row(&output, &bodies[0], place),
                        None if own.is_some() => Ok(()),
                        None => {
                            let said = format!("{}{}", json!(bodies), subject.said());
                            let invented = subject.spec.name != "request" && !is_said(&without_counts(&output), &said);
                            if invented { Err(format!("invented something: {output}")) } else { Ok(()) }
                        }
                    }
                }
                Err(error) => {
                    taken.told += 1;
                    let odd = [ErrorKind::Internal, ErrorKind::Store].contains(&error.kind());
                    let row_takes_all = found.is_some() && !matches!(error.kind(), ErrorKind::Unexpected);
                    if odd || row_takes_all { Err(format!("failed: {error:?}")) } else { Ok(()) }
                }
            },
        };
        if let Err(wrong) = verdict {
            taken.wrong.push(format!("{} with {told:?}: {wrong}", subject.name()));
        }
    }
    taken
}

/// An output without what an action says of its own: numbers of things and words for what it did.
fn without_counts(output: &Value) -> Value {
    let own =
        ["changes", "failed", "files", "removed", "done", "reasons", "warnings", "cursor", "error", "action", "source"];
    let kept = |members: &Map<String, Value>| {
        members
            .iter()
            .filter(|(name, _)| !own.contains(&name.as_str()))
            .map(|(n, v)| (n.clone(), without_counts(v)))
            .collect()
    };
    match output {
        Value::Object(members) => Value::Object(kept(members)),
        Value::Array(items) => items.iter().map(without_counts).collect(),
        other => other.clone(),
    }
}
