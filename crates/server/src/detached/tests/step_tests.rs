//! A test of a step that reads is not completed if its caller goes away: no one sees its result.

use serde_json::Value;
use trunkline_core::{Effect, Registry};
use trunkline_testkit::fake::{Fake, FakeAction, FakeCall};

use super::*;

#[tokio::test]
async fn a_test_of_a_step_that_reads_ends_with_its_caller() {
    let slow = |name: &str, effect| {
        FakeAction::new(name, effect, |call: FakeCall| async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            call.system.count(call.input["ends"].as_str().unwrap_or_default());
            Ok(Value::Null)
        })
    };
    let fake = Fake::new("shop").with(slow("slow.read", Effect::Read)).with(slow("slow.make", Effect::Create));
    let app = TestApp::with(Brake::default(), fake.register(Registry::empty()));
    app.app.runtime.add_connection(json!({ "name": "shop", "connector": "shop-v1.0" })).await.unwrap();
    let flow = json!({ "name": "drawn", "connections": { "shop": "shop" }, "steps": [
        { "id": "read", "action": "slow.read", "connection": "shop", "input": { "ends": "read" } },
        { "id": "make", "action": "slow.make", "connection": "shop", "input": { "ends": "made" } }
    ] });
    let test = |step: &str| json!({ "flow": { "document": flow }, "step": step, "confirmed": true });
    for (path, body) in [
        ("/rest/v1/steps/test", test("read")),
        ("/rest/v1/steps/test", test("make")),
        // The twin: work that does not end with its caller.
        ("/rest/v1/actions/shop.slow.read/call", json!({ "connection": "shop", "input": { "ends": "called" } })),
    ] {
        let call = app.call(TestApp::request(Method::POST, path, &body));
        assert!(tokio::time::timeout(Duration::from_millis(100), call).await.is_err(), "{path} takes longer");
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    let ended = |what: &str| fake.system().calls(what);
    assert_eq!((ended("read"), ended("made"), ended("called")), (0, 1, 1), "{:?}", fake.system().all_calls());
}
