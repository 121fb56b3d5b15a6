//! The actions of [`Fake::of_things`](super::Fake::of_things).

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Effect, Error, ErrorKind, Page, Result, Retry};

use super::{
    action::{FakeAction, FakeCall},
    system::FakeSystem,
};

#[derive(Deserialize, JsonSchema)]
struct Thing {
    name: String,
    #[serde(default)]
    fault: String,
    #[serde(default)]
    items: Vec<Value>,
}

#[derive(Serialize, JsonSchema)]
struct Made {
    name: String,
    key: String,
}

pub(super) fn all() -> Vec<FakeAction> {
    let typed = |action: FakeAction| action.with_types::<Thing, Made>();
    vec![
        typed(FakeAction::new("thing.look", Effect::Read, look)),
        FakeAction::list("thing.list", list).with_schemas(
            json!({ "type": "object", "properties": { "pages": { "type": "integer" } }, "required": ["pages"] }),
            json!({ "type": "object", "properties": { "items": { "type": "array",
                "items": { "type": "object", "properties": { "name": { "type": "string" } } } }, "next": true } }),
        ),
        typed(FakeAction::new("thing.put", Effect::Idempotent, put)),
        typed(FakeAction::new("thing.make", Effect::Create, make)).reconciled_by(look_up),
        typed(FakeAction::new("thing.make_blindly", Effect::Create, make)),
        typed(FakeAction::new("thing.drop", Effect::Delete, drop_thing)),
    ]
}

fn made(name: String, call: &FakeCall) -> Result<Value> {
    Ok(json!(Made { name, key: call.cx.idempotency_key().to_owned() }))
}

/// Returns the error of a call that lacks a local resource.
fn starved() -> Error {
    Error::new(ErrorKind::Store, "too many open files").retry(Retry::Backoff)
}

fn signed_out() -> Error {
    Error::new(ErrorKind::Auth, "signed out")
}

/// Injects the fault of an input into the call number `times`.
async fn inject(system: &FakeSystem, fault: &str, times: usize) -> Result<()> {
    let (what, number) = fault.split_once(' ').unwrap_or((fault, "0"));
    let number: u64 = number.parse().unwrap_or_default();
    let fails = times as u64 <= number;
    match what {
        "busy" if fails => Err(Error::new(ErrorKind::Unavailable, "busy").retry(Retry::Backoff)),
        "later" if fails => {
            Err(Error::new(ErrorKind::RateLimited, "the quota is spent").retry(Retry::After(Duration::from_secs(2400))))
        }
        "starved" if fails => Err(starved()),
        "sleep" => {
            tokio::time::sleep(Duration::from_millis(number)).await;
            Ok(())
        }
        "auth" => Err(signed_out()),
        "down" if system.is_down() => Err(signed_out()),
        _ => Ok(()),
    }
}

/// Reads a thing, or fails, hangs or panics as the fault of the input says.
async fn look(call: FakeCall) -> Result<Value> {
    let (thing, system): (Thing, _) = (call.read()?, &call.system);
    let times = system.count(&format!("look {}", thing.name));
    for item in &thing.items {
        system.count(&format!("item {item}"));
    }
    system.enter();
    tokio::time::sleep(Duration::from_millis(2)).await;
    system.leave();
    inject(system, &thing.fault, times).await?;
    if let Some(bytes) = thing.fault.strip_prefix("big ") {
        let bytes = bytes.parse().map_err(|_| Error::new(ErrorKind::InvalidInput, "not a number of bytes"))?;
        return Ok(json!(Made { name: "x".repeat(bytes), key: String::new() }));
    }
    match thing.fault.as_str() {
        "panic" => panic!("as asked"),
        "missing" => Err(Error::new(ErrorKind::NotFound, "no such thing")),
        "forever" => {
            call.cx.cancellation().cancelled().await;
            call.cx.check_cancelled()?;
            made(thing.name, &call)
        }
        _ => made(thing.name, &call),
    }
}

/// Lists `pages` pages of three things. The list shifts by one between two pages, as if a thing was added meanwhile.
async fn list(call: FakeCall) -> Result<Page> {
    let times = call.system.calls("thing.list");
    if call.input["failures"].as_u64().is_some_and(|failures| times as u64 <= failures) {
        return Err(Error::new(ErrorKind::Unavailable, "no page").retry(Retry::Backoff));
    }
    let page = call.from.and_then(|from| from.as_u64()).unwrap_or_default();
    let first = (page * 3).saturating_sub(page.min(1));
    let items = (first..first + 3).map(|n| json!({ "name": format!("t{n}") })).collect();
    let next = (page + 1 < call.input["pages"].as_u64().unwrap_or_default()).then(|| (page + 1).into());
    Ok(Page { items, next, ..Page::default() })
}

/// Creates a thing if it does not exist.
async fn put(call: FakeCall) -> Result<Value> {
    let thing: Thing = call.read()?;
    let times = call.system.count(&format!("put {}", thing.name));
    inject(&call.system, &thing.fault, times).await?;
    if !call.system.holds(&thing.name) {
        call.system.create(&thing.name);
    }
    made(thing.name, &call)
}

/// Removes a thing if it exists.
/// Removes a thing. With the fault `gone`, it warns that there was none.
async fn drop_thing(call: FakeCall) -> Result<Value> {
    let thing: Thing = call.read()?;
    let times = call.system.count(&format!("drop {}", thing.name));
    inject(&call.system, &thing.fault, times).await?;
    if thing.fault == "gone" {
        call.cx.warn(&format!("{} was already gone", thing.name));
    }
    call.system.remove(&thing.name);
    made(thing.name, &call)
}

/// Creates a thing. With the fault `lost`, the first attempt takes effect and its response is lost; with `early`, the
/// request is lost. With `sleep`, the thing exists before the call has ended.
async fn make(call: FakeCall) -> Result<Value> {
    let (thing, system): (Thing, _) = (call.read()?, &call.system);
    let times = system.count(&format!("make {}", thing.name));
    let lost = || Error::new(ErrorKind::UnknownOutcome, "the response was lost");
    let sleeps = thing.fault.starts_with("sleep");
    if !sleeps {
        inject(system, &thing.fault, times).await?;
    }
    if thing.fault == "door" && system.refuses(&thing.name) {
        return Err(Error::new(ErrorKind::InvalidInput, "the door is shut"));
    }
    if times == 1 && thing.fault == "early" {
        return Err(lost());
    }
    system.create(&thing.name);
    if sleeps {
        inject(system, &thing.fault, times).await?;
    }
    if times == 1 && thing.fault == "lost" {
        return Err(lost());
    }
    made(thing.name, &call)
}

/// Finds out whether `thing.make` took effect.
async fn look_up(call: FakeCall) -> Result<Option<Value>> {
    let (thing, system): (Thing, _) = (call.read()?, &call.system);
    if system.is_blind() {
        return Err(Error::new(ErrorKind::UnknownOutcome, "cannot be known"));
    }
    if system.is_down() {
        return Err(starved());
    }
    if let Some(kind) = system.look_up_failure() {
        return Err(Error::new(kind, "the look-up failed").retry(Retry::Backoff));
    }
    system.holds(&thing.name).then(|| made(thing.name.clone(), &call)).transpose()
}
