//! Responses that change over time: vendors add members, leave out optional ones, add enum values and exceed 32 bits.
//!
//! The responses of the reference cases (`fixtures/`) are changed in these ways and served over HTTP. Every action
//! returns the values unchanged, or a typed error for a missing one. Hand-written actions get changed responses for all
//! their calls.

use std::{
    collections::BTreeMap,
    fs,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use serde_json::{Value, json};
use trunkline_core::{Error, ErrorKind, pointer_name, pointer_part};
use trunkline_tests::{Dice, project};

use crate::{
    LONG,
    service::{BASE, RecordedRequest, Reply, answer, bytes},
    subject::Subject,
};

/// The vendor's reference responses by the route of their case.
pub(crate) type Answers = BTreeMap<String, Vec<Value>>;

/// Returns the cases of a connector with a JSON response and a successful outcome.
pub(crate) fn answers(connector: &str) -> Answers {
    let mut found = Answers::new();
    for entry in fs::read_dir(project().join("connectors").join(connector).join("tests/fixtures")).into_iter().flatten()
    {
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

/// The kinds of change at one place of a response.
const CHANGES: [&str; 5] = ["added", "removed", "null", "word", "grown"];

/// Members that state whether a call succeeded. They are not changed, since the response would mean something else.
const OUTCOME_MEMBERS: [&str; 4] = ["errors", "error", "status", "warnings"];

/// Collects the JSON pointers of a document.
fn places(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| places(item, format!("{at}/{n}"), found)),
        Value::Object(members) => {
            let ours = members.iter().filter(|(name, _)| !OUTCOME_MEMBERS.contains(&name.as_str()));
            ours.for_each(|(name, member)| places(member, format!("{at}/{}", pointer_part(name)), found));
        }
        _ => {}
    }
    found.push(at);
}

/// Changes the response at random places, a random number of times. Returns descriptions of the changes.
fn change(body: &mut Value, dice: &mut Dice) -> Vec<String> {
    let mut changes = Vec::new();
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
        changes.push(format!("{what} {at}"));
    }
    changes
}

fn remove(body: &mut Value, at: &str) -> Option<Value> {
    let (holder, name) = at.rsplit_once('/')?;
    match body.pointer_mut(holder)? {
        Value::Object(members) => members.shift_remove(&pointer_name(name)),
        // Items are not removed, since a shorter list is a valid list.
        _ => None,
    }
}

/// Returns whether every text and number of an output occurs in a response or in the input of the action.
fn occurs(output: &Value, texts: &str) -> bool {
    match output {
        Value::Null | Value::Bool(_) => true,
        Value::Array(items) => items.iter().all(|item| occurs(item, texts)),
        Value::Object(members) => members.iter().all(|(name, member)| {
            // The form of the cursor is the client's own.
            name == "next" || occurs(member, texts)
        }),
        other => texts.contains(&other.to_string()),
    }
}

/// Checks the output of a row: it is the value of the response at the place where the unchanged response has it.
fn judge_row(output: &Value, body: &Value, place: &SourceLocation) -> Result<(), String> {
    let (given, expected) = match place {
        SourceLocation::Items(at) => {
            let expected = match body.pointer(at) {
                None => return Err("returned a page without a place for its items".to_owned()),
                // A null is an empty list if the total says so.
                Some(Value::Null) => json!([]),
                Some(object @ Value::Object(_)) => json!([object]),
                Some(items) => items.clone(),
            };
            (&output["items"], expected)
        }
        SourceLocation::Result(at) => (output, body.pointer(at).cloned().unwrap_or_default()),
    };
    if *given == expected { Ok(()) } else { Err(format!("returned {given}, not {expected}")) }
}

/// The place of the output in a response.
#[derive(Clone)]
enum SourceLocation {
    Items(String),
    Result(String),
}

/// Finds the place, from the output for the unchanged response.
fn place(output: &Value, body: &Value, lists: bool) -> Option<SourceLocation> {
    let mut all = Vec::new();
    places(body, String::new(), &mut all);
    // The outermost of several equal values.
    all.sort_by_key(String::len);
    let wanted = if lists { &output["items"] } else { output };
    let at = all.into_iter().find(|at| body.pointer(at) == Some(wanted))?;
    Some(if lists { SourceLocation::Items(at) } else { SourceLocation::Result(at) })
}

/// The results for changed responses.
#[derive(Default)]
pub(crate) struct GrowthReport {
    pub(crate) good: usize,
    pub(crate) errors: usize,
    pub(crate) wrong: Vec<String>,
}

impl GrowthReport {
    fn note(
        &mut self,
        subject: &Subject,
        changes: &[String],
        result: &Result<Value, Error>,
        verdict: Result<(), String>,
    ) {
        match result {
            Ok(_) => self.good += 1,
            Err(_) => self.errors += 1,
        }
        if let Err(wrong) = verdict {
            self.wrong.push(format!("{} with {changes:?}: {wrong}", subject.name()));
        }
    }
}

/// Long enough for a call, and short enough for an action that waits for a state which a changed response never shows.
const TIME: Duration = Duration::from_millis(700);

/// Serves a row `times` changed reference responses.
async fn grow_row(subject: &Subject, own: &[Value], times: usize, dice: &mut Dice) -> GrowthReport {
    let mut known = Vec::new();
    for body in own {
        let ended = subject.meets(&[answer(200, "", &body.to_string())], LONG).await;
        if let Some(place) = ended.result.ok().and_then(|output| place(&output, body, subject.spec.lists)) {
            known.push((body, place));
        }
    }
    let mut taken = GrowthReport::default();
    for _ in 0..if known.is_empty() { 0 } else { times } {
        let (body, place) = &known[dice.roll(0, known.len() as u64) as usize];
        let mut body = (*body).clone();
        let changes = change(&mut body, dice);
        let result = subject.meets(&[answer(200, "", &body.to_string())], LONG).await.result;
        let verdict = match &result {
            Ok(output) => judge_row(output, &body, place),
            // The list was replaced by another type.
            Err(error) if error.kind() == ErrorKind::Unexpected && subject.spec.lists => Ok(()),
            Err(error) => Err(format!("failed: {error:?}")),
        };
        taken.note(subject, &changes, &result, verdict);
    }
    taken
}

/// Returns the reference responses for a request.
fn fitting<'a>(answers: &'a Answers, seen: &RecordedRequest) -> Option<&'a Vec<Value>> {
    let path: Vec<_> = seen.path().strip_prefix(BASE)?.split('/').collect();
    let fits = |route: &&String| {
        let Some((method, own)) = route.split_once(' ') else { return false };
        let own: Vec<_> = own.split('/').collect();
        let same = |(own, other): (&&str, &&str)| own.starts_with('{') || own.eq_ignore_ascii_case(other);
        method == seen.method && own.len() == path.len() && own.iter().zip(&path).all(same)
    };
    // A fixed segment is a better match than a parameter.
    let best = answers.keys().filter(fits).min_by_key(|route| route.matches('{').count())?;
    answers.get(best)
}

/// Replaces URLs in reference responses by URLs of the service.
fn at_home(value: &mut Value, address: &str) {
    match value {
        Value::String(text) if text.starts_with("https://") => *text = format!("{address}{BASE}/bytes"),
        Value::Array(items) => items.iter_mut().for_each(|item| at_home(item, address)),
        Value::Object(members) => members.values_mut().for_each(|member| at_home(member, address)),
        _ => {}
    }
}

/// Runs a hand-written action `times` times with changed responses to all its calls.
async fn grow_written(subject: &Subject, answers: &Answers, times: usize, dice: &mut Dice) -> GrowthReport {
    let mut taken = GrowthReport::default();
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
            let changes = change(&mut body, &mut dice);
            let mut shared = shared.lock().unwrap();
            shared.0.extend(changes);
            shared.1.push(body.clone());
            bytes(200, "", &body.to_string())
        }));
        let result = AssertUnwindSafe(subject.meets(&[reply], TIME)).catch_unwind().await.map(|ended| ended.result);
        let (changes, bodies) = served.lock().unwrap().clone();
        let Ok(result) = result else {
            taken.wrong.push(format!("{} with {changes:?}: panicked", subject.name()));
            continue;
        };
        let verdict = match &result {
            Ok(output) if occurs(&without_own(output), &format!("{}{}", json!(bodies), subject.given())) => Ok(()),
            Ok(output) => Err(format!("returned a value that no response has: {output} of {}", json!(bodies))),
            Err(error) if error.kind() == ErrorKind::Internal => Err(format!("failed: {error:?}")),
            Err(_) => Ok(()),
        };
        taken.note(subject, &changes, &result, verdict);
    }
    taken
}

/// Runs an action with `times` changed responses.
pub(crate) async fn grow(subject: &Subject, answers: &Answers, times: usize, seed: u64) -> GrowthReport {
    let mut dice = Dice::seeded(seed);
    match subject.spec.route.as_ref().and_then(|route| answers.get(route)) {
        Some(own) => grow_row(subject, own, times, &mut dice).await,
        None => grow_written(subject, answers, times, &mut dice).await,
    }
}

/// Removes the parts of an output that an action computes: counts, words for what it did, values from headers and
/// bytes.
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

/// The sabotage twin: changed and invented values are found.
#[test]
fn a_changed_value_and_an_invented_one_are_found() {
    let body = json!({ "payload": { "id": "0012", "count": 4_294_967_297_u64 } });
    let at = SourceLocation::Result("/payload".to_owned());
    judge_row(&body["payload"], &body, &at).unwrap();
    for harmed in [json!({ "id": "12", "count": 4_294_967_297_u64 }), json!({ "id": "0012", "count": 1 }), Value::Null]
    {
        judge_row(&harmed, &body, &at).unwrap_err();
    }
    assert!(occurs(&json!({ "a": ["0012"] }), &body.to_string()));
    assert!(!occurs(&json!({ "a": ["12"] }), &body.to_string()));
}
