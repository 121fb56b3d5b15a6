//! What the tests of the engine share: a fake system for each test, by the name of its place, and short ways to write
//! flows.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

pub mod between;
pub mod lab;

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex},
};

use serde_json::{Value, json};
use trunkline_core::{Connected, Diagnostic, Registry};
use trunkline_flow::Flow;
use trunkline_testkit::fake::{Fake, FakeSystem};

static SHOPS: LazyLock<Mutex<BTreeMap<String, Fake>>> = LazyLock::new(Mutex::default);

fn shop(place: &str) -> Fake {
    SHOPS.lock().unwrap().entry(place.to_owned()).or_insert_with(|| Fake::of_things("shop")).clone()
}

/// Returns the system that the calls of one test reach.
pub fn world(place: &str) -> Arc<FakeSystem> {
    shop(place).system().clone()
}

pub fn registry() -> Registry {
    Fake::of_things("shop").registry()
}

pub fn slots(place: &str) -> BTreeMap<String, Connected> {
    BTreeMap::from([("shop".to_owned(), shop(place).connected())])
}

pub fn flow(steps: Value) -> Flow {
    let document = json!({ "name": "test", "connections": { "shop": "shop" }, "steps": steps });
    let flow = Flow::from_value(document).unwrap();
    Diagnostic::accept("the flow", &flow.check(&registry())).unwrap();
    flow
}

pub fn call(id: &str, action: &str, input: Value) -> Value {
    json!({ "id": id, "action": action, "connection": "shop", "input": input })
}

pub use trunkline_testkit::fact;
