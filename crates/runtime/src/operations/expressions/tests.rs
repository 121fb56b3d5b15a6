use serde_json::{Value, json};
use trunkline_core::Secret;
use trunkline_testkit::fake::Fake;

use super::*;
use crate::operations::{
    Caller,
    runs::{RunRequest, StartRun},
};

async fn evaluated(runtime: &Runtime, input: Value) -> Result<Value> {
    let input = serde_json::from_value(input).unwrap();
    let output = runtime.execute::<EvaluateExpression>(&Caller::owner(), input).await?;
    Ok(serde_json::to_value(output).unwrap())
}

#[tokio::test]
async fn a_value_is_evaluated_and_each_fault_has_its_place() {
    let runtime = Runtime::in_memory(trunkline_core::Registry::empty());
    let context = json!({ "input": { "n": 2 }, "steps": { "find": { "ids": [1, 2] } }, "item": "x" });
    for (value, expected, kind) in [
        (json!("{{ input.n + 1 }}"), json!(3), "a whole number"),
        (json!(["{{ steps.find.ids }}", "a {{ item }}"]), json!([[1, 2], "a x"]), "a list"),
        (json!("{{ 'k' | lookup('t') }}"), json!("v"), "a text"),
        (json!({ "plain": 1 }), json!({ "plain": 1 }), "an object"),
    ] {
        let input = json!({ "value": value, "context": context, "tables": { "t": { "k": "v" } } });
        let found = evaluated(&runtime, input).await.unwrap();
        assert_eq!(found, json!({ "ok": true, "value": expected, "type": kind, "findings": [] }));
    }
    let value =
        json!({ "a": ["é {{ input.absent }}, {{ item.name }}"], "b": "{{ 1 + }}", "c": "\n {{ item | nope }}" });
    let found = evaluated(&runtime, json!({ "value": value, "context": context })).await.unwrap();
    assert_eq!(found["ok"], false);
    let places: Vec<_> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["pointer"].as_str().unwrap(),
                one["place"]["line"].as_u64().unwrap(),
                one["place"]["column"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(places, [("/b", 1, 1), ("/c", 2, 2), ("/a/0", 1, 3), ("/a/0", 1, 23)], "{found}");
    // Bounded: by the number of expressions, and by the size of their results.
    let found = evaluated(&runtime, json!({ "value": vec!["{{ item }}"; 101], "context": context })).await.unwrap();
    assert_eq!(found["findings"][0]["limit"], true, "{found}");
    let large = json!({ "input": { "text": "x".repeat(900_000) } });
    let found = evaluated(&runtime, json!({ "value": vec!["{{ input.text }}"; 100], "context": large })).await.unwrap();
    assert_eq!(found["findings"][0]["limit"], true, "{found}");
}

#[tokio::test]
async fn an_expression_cannot_take_a_secret_of_a_run_apart() {
    let fake = Fake::of_things("shop");
    let runtime = Runtime::in_memory(fake.registry());
    runtime.add_connection(json!({ "name": "shop", "connector": "shop-v1.0" })).await.unwrap();
    let flow = json!({ "name": "leak", "connections": { "shop": "shop" }, "steps": [
        { "id": "find", "action": "thing.look", "connection": "shop", "input": { "name": "canary-of-the-shop" } },
        { "id": "copy", "set": { "of": "{{ steps.find.name }}" } }, { "id": "end", "set": {} }
    ] });
    let request: RunRequest = serde_json::from_value(json!({ "flow": { "document": flow } })).unwrap();
    let run = runtime.execute::<StartRun>(&Caller::owner(), request).await.unwrap().run;
    runtime.take_handle(&run).unwrap().wait().await.unwrap();
    runtime.redactor().add(&Secret::from("canary-of-the-shop"));
    let value = json!("{{ steps.find.name[0:9] }}{{ steps.copy.of[3:9] }}");
    let input = json!({ "value": value, "context": { "run": run }, "step": "end" });
    let found = evaluated(&runtime, input.clone()).await.unwrap();
    assert!(
        found["ok"] == true && !found.to_string().contains("canary") && !found.to_string().contains("ary-of"),
        "{found}"
    );
    let missing = evaluated(&runtime, json!({ "value": value, "context": { "run": run } })).await.unwrap_err();
    assert!(missing.to_string().contains("`step` is missing"), "{missing}");
    // The sabotage twin: in a scope whose values are not redacted first, a part of the secret is shown.
    let pinned = PinnedValues { run: Some(run.as_str().to_owned()), ..PinnedValues::default() };
    let flow = pinned.flow(&runtime).await.unwrap().unwrap();
    let scope = pinned.scope(&runtime, Some((&flow, "end")), None, None).await.unwrap();
    let found = Redacted::new(Template::trial(value, &scope).unwrap(), runtime.redactor());
    assert!(serde_json::to_string(&found).unwrap().contains("canary"));
}
