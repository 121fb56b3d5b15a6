//! Parts of the library that stand alone: the list of operations, tokens, redacted values, and engines of their own.

use std::collections::BTreeMap;

use serde_json::json;
use trunkline::{
    Redacted, Runtime,
    core::{Redactor, Registry, Secret},
    engine::RunStatus,
    flow::Flow,
    operations::operations,
    token::{hash, random},
};

#[test]
fn operations_have_distinct_names_in_order_and_closed_inputs() {
    let names: Vec<_> = operations().iter().map(|one| one.spec().name).collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
    for operation in operations() {
        let spec = operation.spec();
        assert!(spec.name.split_once('.').is_some_and(|(noun, verb)| !noun.is_empty() && !verb.is_empty()));
        assert!(spec.about.ends_with('.') && spec.about.starts_with(char::is_uppercase), "{}", spec.name);
    }
}

#[test]
fn a_token_is_random_and_has_a_hash() {
    let (one, other) = (random(), random());
    assert!(one.expose().len() == 64 && one.expose().bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_ne!(one.expose(), other.expose());
    // FIPS 180-2, appendix B.1.
    assert_eq!(hash("abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    assert_ne!(hash(one.expose()), hash(other.expose()));
}

#[test]
fn json_and_texts_of_a_redacted_value_show_no_secret() {
    let secret = Secret::from("a secret \"in quotes\"");
    let value = json!({ "said": [format!("it was {}", secret.expose())] });
    assert_eq!(value["said"][0], "it was a secret \"in quotes\"");
    let redactor = Redactor::default();
    redactor.add(&secret);
    let shown = Redacted::new(value, &redactor);
    assert_eq!(serde_json::to_value(&shown).unwrap(), json!({ "said": ["it was ***"] }));
    assert_eq!(shown.text(|value| value["said"][0].as_str().unwrap().to_owned()), "it was ***");
}

#[tokio::test]
async fn an_engine_is_drained_without_the_other() {
    let runtime = Runtime::in_memory(Registry::empty());
    let own = runtime.with_own_engine();
    own.engine().drain();
    let flow = Flow::from_value(json!({ "name": "nothing", "steps": [{ "id": "one", "set": { "a": 1 } }] })).unwrap();
    let status = async |runtime: &Runtime| {
        let handle = runtime.start(&flow, json!({}), BTreeMap::new()).await.unwrap();
        (handle.id().clone(), handle.wait().await.unwrap().status)
    };
    let (suspended, running) = status(&own).await;
    assert_eq!((running, status(&runtime).await.1), (RunStatus::Running, RunStatus::Succeeded));
    // The store is the same.
    let resumed = runtime.resume(&suspended).await.unwrap().wait().await.unwrap();
    assert_eq!(resumed.status, RunStatus::Succeeded);
}
