use std::time::Duration;

use serde_json::{Value, json};
use trunkline_core::ErrorKind;
use trunkline_testkit::fake::{Fake, FakeAction, FakeCall};

use super::*;
use crate::operations::{
    Caller,
    run_queries::{ListRuns, RunQuery},
    runs::{RunRequest, StartRun},
};

fn flow() -> Value {
    json!({
        "name": "shopping", "connections": { "shop": "shop" },
        "input": { "type": "object", "properties": { "what": { "type": "string", "default": "chair" } } },
        "steps": [
            { "id": "find", "action": "thing.look", "connection": "shop", "input": { "name": "{{ input.what }}" } },
            { "id": "named", "set": { "as": "{{ steps.find.name | upper }}" } },
            { "id": "all", "each": ["a", "b"], "key": "{{ item }}", "steps": [
                { "id": "one", "action": "thing.look", "connection": "shop", "input": { "name": "{{ item }}" } },
                { "id": "gone", "action": "thing.drop", "connection": "shop", "input": { "name": "{{ steps.one.name }}{{ steps.named.as }}" } }
            ] },
            { "id": "make", "action": "thing.make", "connection": "shop",
              "input": { "name": "{{ steps.find.name }} {{ steps.named.as }}" }, "retry": { "tries": 5, "wait": "1s" } }
        ]
    })
}

struct Shop {
    fake: Fake,
    runtime: Runtime,
}

impl Shop {
    async fn new() -> Shop {
        Shop::of(Fake::of_things("shop")).await
    }

    async fn of(fake: Fake) -> Shop {
        let runtime = Runtime::in_memory(fake.registry());
        runtime.add_connection(json!({ "name": "shop", "connector": "shop-v1.0" })).await.unwrap();
        Shop { fake, runtime }
    }

    async fn test(&self, document: Value, step: &str, more: Value) -> Result<Value> {
        let mut input = json!({ "flow": { "document": document }, "step": step });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let input = serde_json::from_value(input).unwrap();
        let tested = self.runtime.execute::<TestStep>(&Caller::owner(), input).await?;
        Ok(serde_json::to_value(tested).unwrap())
    }
}

fn pins() -> Value {
    json!({ "steps": { "find": { "name": "stool" }, "named": { "as": "STOOL" } } })
}

#[tokio::test]
async fn a_step_is_executed_with_pinned_outputs_and_no_run_is_recorded() {
    let shop = Shop::new().await;
    let tested = shop.test(flow(), "find", json!({})).await.unwrap();
    assert_eq!(tested["input"], json!({ "name": "chair" }), "the default of the input");
    assert_eq!(tested["output"]["name"], "chair");
    assert_eq!(tested["calls"].as_array().unwrap().len(), 1, "{tested}");
    assert_eq!(tested["calls"][0]["action"], "thing.look");
    let tested = shop.test(flow(), "named", json!({ "context": pins() })).await.unwrap();
    assert_eq!(tested["output"], json!({ "as": "STOOL" }));
    let tested = shop.test(flow(), "all/*/one", json!({ "context": { "item": "b" } })).await.unwrap();
    assert_eq!((&tested["output"]["name"], &tested["calls"][0]["path"]), (&json!("b"), &json!("all/*/one")));
    assert_eq!(shop.fake.system().calls("thing.look"), 2);
    let runs = shop.runtime.execute::<ListRuns>(&Caller::owner(), RunQuery::default()).await.unwrap();
    assert!(runs.items.is_empty());
}

#[tokio::test]
async fn a_failure_is_a_part_of_the_result_and_is_not_tried_again() {
    let shop = Shop::new().await;
    let mut document = flow();
    document["steps"][0]["input"]["fault"] = "busy 1".into();
    document["steps"][0]["retry"] = json!({ "tries": 5, "wait": "1s" });
    let tested = shop.test(document, "find", json!({})).await.unwrap();
    assert_eq!(tested["error"]["kind"], "unavailable", "{tested}");
    assert!(tested["calls"][0]["error"].is_object());
    assert_eq!(shop.fake.system().calls("thing.look"), 1);
}

#[tokio::test]
async fn each_missing_value_is_named() {
    let shop = Shop::new().await;
    let error = shop.test(flow(), "make", json!({ "confirmed": true })).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("step find has no output") && text.contains("step named has no output"), "{text}");
    assert_eq!(shop.fake.system().calls("thing.make"), 0);
}

#[tokio::test]
async fn a_step_that_creates_or_deletes_is_tested_only_if_that_is_confirmed() {
    let shop = Shop::new().await;
    let context = json!({ "context": pins() });
    let error = shop.test(flow(), "make", context.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let shown = serde_json::to_string(&error).unwrap();
    assert!(shown.contains("creates something") && shown.contains("/confirmed"), "{shown}");
    let sent = serde_json::to_value(&error).unwrap()["context"]["input"].clone();
    assert_eq!(sent, json!({ "name": "stool STOOL" }).to_string(), "{shown}");
    // A block takes the strongest effect inside it.
    let error = shop.test(flow(), "all", context.clone()).await.unwrap_err();
    assert!(error.to_string().contains("deletes something"), "{error}");
    assert_eq!((shop.fake.system().calls("thing.make"), shop.fake.system().calls("thing.look")), (0, 0));
    let confirmed = json!({ "context": pins(), "confirmed": true });
    let tested = shop.test(flow(), "make", confirmed).await.unwrap();
    assert!(tested.get("error").is_none(), "{tested}");
    assert_eq!(shop.fake.system().calls("thing.make"), 1);
    // The sabotage twin: with the confirmation taken out, the refused call is made.
    CONFIRMED.scope((), shop.test(flow(), "make", context)).await.unwrap();
    assert_eq!(shop.fake.system().calls("thing.make"), 2);
}

#[tokio::test]
async fn values_come_from_a_run_where_none_are_given() {
    let shop = Shop::new().await;
    let request: RunRequest =
        serde_json::from_value(json!({ "flow": { "document": flow() }, "input": { "what": "bench" } })).unwrap();
    let run = shop.runtime.execute::<StartRun>(&Caller::owner(), request).await.unwrap().run;
    let run = shop.runtime.take_handle(&run).unwrap().wait().await.unwrap();
    assert!(run.error.is_none(), "{:?}", run.error);
    let of_run = |more: Value| {
        let mut context = json!({ "run": run.id });
        context.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "context": context, "confirmed": true })
    };
    let tested = shop.test(flow(), "make", of_run(json!({}))).await.unwrap();
    assert_eq!(tested["input"], json!({ "name": "bench BENCH" }));
    let tested = shop.test(flow(), "gone", of_run(json!({ "keys": ["b"] }))).await.unwrap();
    assert_eq!(tested["input"], json!({ "name": "bBENCH" }));
    assert_eq!(tested["calls"][0]["path"], "all/b/gone");
    // A pinned output comes first.
    let tested = shop.test(flow(), "make", of_run(json!({ "steps": { "find": { "name": "x" } } }))).await.unwrap();
    assert_eq!(tested["input"], json!({ "name": "x BENCH" }));
    for (step, more, expected) in [
        ("gone", json!({}), "give the key of an item"),
        ("make", json!({ "input": {} }), "cannot be given together"),
        ("make", json!({ "run": "absent" }), "there is no run"),
    ] {
        let error = shop.test(flow(), step, of_run(more)).await.unwrap_err();
        let text = format!("{error} {}", error.advice().unwrap_or_default());
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn only_the_faults_of_the_step_itself_matter() {
    let shop = Shop::new().await;
    let mut document = flow();
    document["steps"][1]["set"]["as"] = "{{ steps.absent.name | nothing }}".into();
    document["steps"].as_array_mut().unwrap().push(json!({ "id": "half" }));
    assert!(shop.test(document.clone(), "find", json!({})).await.is_ok());
    for (step, expected) in [("named", "nothing"), ("half", "no step half"), ("absent", "no step absent")] {
        let error = shop.test(document.clone(), step, json!({})).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    document["connections"]["other"] = "shop".into();
    document["steps"][0]["connection"] = "other".into();
    let connections = json!({ "connections": { "other": "absent" } });
    let error = shop.test(document, "find", connections).await.unwrap_err();
    assert!(error.to_string().contains("no such connection"), "{error}");
    assert_eq!(shop.fake.system().calls("thing.look"), 1);
}

/// Returns an action that takes a while unless it is cancelled, and counts its end.
fn slow(name: &str, effect: Effect) -> FakeAction {
    FakeAction::new(name, effect, |call: FakeCall| async move {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(300)) => drop(call.system.count("ended")),
            () = call.cx.cancellation().cancelled() => call.cx.check_cancelled()?,
        }
        Ok(Value::Null)
    })
}

#[tokio::test]
async fn a_test_that_reads_ends_with_its_caller_and_one_that_changes_something_does_not() {
    for (effect, ended) in [(Effect::Read, 0), (Effect::Idempotent, 1), (Effect::Create, 1), (Effect::Delete, 1)] {
        let shop = Shop::of(Fake::new("shop").with(slow("slow.call", effect))).await;
        let flow = json!({ "name": "slow", "connections": { "shop": "shop" }, "steps": [
            { "id": "both", "parallel": { "a": [{ "id": "call", "action": "slow.call", "connection": "shop" }] } }
        ] });
        let test = shop.test(flow, "both", json!({ "confirmed": true }));
        assert!(tokio::time::timeout(Duration::from_millis(100), test).await.is_err(), "it takes longer");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(
            (shop.fake.system().calls("slow.call"), shop.fake.system().calls("ended")),
            (1, ended),
            "{effect:?}"
        );
    }
}
