//! Values that are nested deeply, at each door of a run, and calls that need no signature.

use axum::body::{Body, to_bytes};
use hmac::{Hmac, KeyInit, Mac};

use trunkline_engine::RunEvent;

use super::*;
use crate::{brake::Brake, test_app::TestApp};

/// Sends a request. Returns its status and its body.
async fn sent(app: &TestApp, method: Method, path: &str, body: &Value) -> (u16, Value) {
    answered(app, TestApp::request(method, path, body)).await
}

async fn answered(app: &TestApp, request: Request) -> (u16, Value) {
    let response = app.call(request).await;
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// A value is refused with the number of the limit, or can be read again after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_nested_deeply_is_refused_with_the_number_or_read_again() {
    let app = TestApp::new(Brake::default());
    let steps = json!([{ "id": "a", "wait": { "signal": "go" } }]);
    let flow = json!({ "name": "deep", "overlap": "parallel", "trigger": { "webhook": {} }, "steps": steps });
    let webhook = app.save(&flow).await.webhook.unwrap();
    let (mut refused, mut accepted) = (0, 0);
    for levels in [1, 90, 97, 98, 99, 100, 101, 102, 124, 125, 126, 127, 128, 129, 500] {
        let value = (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }));
        let (_, waiting) = sent(&app, Method::POST, "/rest/v1/flows/deep/runs", &json!({})).await;
        let signal = format!("/rest/v1/runs/{}/signals/go", waiting["run"].as_str().unwrap());
        let input = json!({ "input": { "body": value } });
        for (path, body) in [("/rest/v1/flows/deep/runs", &input), (&webhook, &value), (&signal, &value)] {
            let (status, response) = sent(&app, Method::POST, path, body).await;
            if status != 202 {
                let message = response["detail"].as_str().unwrap_or_default();
                assert!(status == 413 && message.contains(" levels deep"), "{path} {levels}: {status} {response}");
                refused += 1;
                continue;
            }
            accepted += 1;
            let is_signal = path == signal;
            let id = if is_signal { &waiting["run"] } else { &response["run"] };
            let mut found = None;
            let mut visit = |event| match event {
                RunEvent::Started { input, .. } if !is_signal => found = input.get("body").cloned(),
                RunEvent::Signalled { payload, .. } => found = Some(payload),
                _ => {}
            };
            let read = app.opened_again().journal().replay(&RunId::from(id.as_str().unwrap()), &mut visit).await;
            read.unwrap_or_else(|error| panic!("{path} {levels}: {error:?}"));
            assert_eq!(found.as_ref(), Some(&value), "{path} {levels}");
        }
    }
    assert!(refused > 20 && accepted > 10, "{refused} refused, {accepted} accepted");
}

/// A call that need not be signed is a challenge: it has no deduplication key, wherever the id of a delivery is. So it
/// neither takes the place of a delivery nor is taken for a repeated one.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_signature_takes_no_delivery_wherever_its_id_is() {
    let app = TestApp::new(Brake::default());
    for (number, delivery) in [json!("X-Id"), json!("/id"), json!("{body}"), Value::Null].into_iter().enumerate() {
        let name = format!("hook{number}");
        let webhook = json!({
            "methods": ["PUT", "POST"], "delivery": delivery,
            "signature": { "header": "X-Signature", "unsigned": ["PUT"] },
        });
        let mut flow = json!({ "name": name, "overlap": "parallel", "steps": [], "trigger": { "webhook": webhook } });
        if delivery.is_null() {
            flow["trigger"]["webhook"].as_object_mut().unwrap().remove("delivery");
        }
        let path = app.add(&flow, "signing-secret").await;
        let body = json!({ "id": "delivery-1", "specversion": "1.0", "source": "s", "type": "t" }).to_string();
        let call = async |method: &Method, signature: Option<String>| {
            let request = Request::builder().method(method).uri(&*path).header(header::HOST, "127.0.0.1:8700");
            let request = request.header(header::CONTENT_TYPE, "application/cloudevents+json").header("X-Id", "1");
            let request = signature.into_iter().fold(request, |request, one| request.header("X-Signature", one));
            let (status, body) = answered(&app, request.body(Body::from(body.clone())).unwrap()).await;
            (status, body["run"].as_str().unwrap_or_default().to_owned(), body["again"] == true)
        };
        let signature = || {
            let mut mac = Hmac::<Sha256>::new_from_slice(b"signing-secret").unwrap();
            mac.update(body.as_bytes());
            Some(HEXLOWER.encode(&mac.finalize().into_bytes()))
        };
        let (first, second) = (call(&Method::PUT, None).await, call(&Method::PUT, None).await);
        assert_eq!((first.0, first.2, second.0, second.2), (202, false, 202, false), "{delivery}");
        assert_ne!(first.1, second.1, "{delivery}: each challenge has its run");
        assert_eq!(call(&Method::POST, None).await.0, 401, "{delivery}");
        let delivered = call(&Method::POST, signature()).await;
        assert_eq!((delivered.0, delivered.2), (202, false), "{delivery}: the delivery has its run");
        // The sabotage twin: the key of a signed call counts.
        let again = call(&Method::POST, signature()).await;
        assert_eq!((again.1, again.2), (delivered.1, true), "{delivery}");
    }
}

/// Its key is kept longer than its run: the delivery is recognized, and the sender gets no error.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_recognized_after_its_run_was_removed() {
    let app = TestApp::new(Brake::default());
    let webhook = json!({ "delivery": "{body}", "answer": "result" });
    let flow = json!({ "name": "hook", "steps": [], "trigger": { "webhook": webhook } });
    let path = app.save(&flow).await.webhook.unwrap();
    let delivered = async || sent(&app, Method::POST, &path, &json!({ "id": 1 })).await;
    let (status, first) = delivered().await;
    let run = RunId::from(first["run"].as_str().unwrap_or_else(|| panic!("{status} {first}")));
    assert_eq!(delivered().await.1["run"], first["run"]);
    app.app.runtime.remove_run(&run).await.unwrap();
    assert_eq!(delivered().await, (202, json!({ "run": run, "again": true })));
}

fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
    all.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

#[test]
fn a_cloud_event_has_its_own_delivery_id() {
    let event = json!({ "specversion": "1.0", "id": "7", "source": "lib", "type": "Asset.StatusUpdated" });
    let none = HeaderMap::new();
    assert_eq!(cloud_event(&none, &event).unwrap().as_deref(), Some("lib 7"));
    let binary = headers(&[("ce-specversion", "1.0"), ("ce-id", "7"), ("ce-source", "lib")]);
    assert_eq!(cloud_event(&binary, &json!("data")).unwrap().as_deref(), Some("lib 7"));
    for other in
        [json!({ "id": "7", "source": "lib" }), json!([event]), json!("x"), json!({ "specversion": "0.3", "id": "7" })]
    {
        assert_eq!(cloud_event(&none, &other).unwrap(), None, "{other}");
    }
    assert!(cloud_event(&none, &json!({ "specversion": "1.0", "id": "7" })).is_err());
    let mediavalet = json!({
        "specversion": "1.0", "id": "e1", "source": "5b1c", "subject": "/library/5b1c/assets/9/Asset.StatusUpdated",
        "type": "Asset.StatusUpdated", "dataschema": "#", "data": { "LibraryId": "5b1c", "AssetId": "9" }
    });
    assert_eq!(cloud_event(&none, &mediavalet).unwrap().as_deref(), Some("5b1c e1"));
}

/// An output that is larger than its limit is not an error of the server: the sender learns the limit with its number.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_beyond_a_limit_is_a_limit_error_with_the_number() {
    let app = TestApp::new(Brake::default());
    let large = json!({ "body": ["{{ input.body.text ~ input.body.text }}"] });
    let set = json!([{ "id": "large", "set": { "text": "{{ input.body.text ~ input.body.text }}" } }]);
    let fails = json!([{ "id": "no", "fail": "{{ input.body.text | length }} is for the operator" }]);
    for (name, steps, output, status, words) in [
        ("output", json!([]), &large, 413, "1048576"),
        ("step", set, &json!({ "body": ["{{ steps.large.text }}"] }), 413, "a step has reached a limit"),
        // The twin: any other failure stays an error of the server, without its reason.
        ("other", fails, &json!({}), 500, "the run has no response"),
    ] {
        let flow = json!({ "name": name, "trigger": { "webhook": { "answer": "response" } }, "steps": steps,
            "output": output });
        let webhook = app.save(&flow).await.webhook.unwrap();
        let body = json!({ "text": "x".repeat(600_000) });
        let (found, response) = sent(&app, Method::POST, &webhook, &body).await;
        let error = &response;
        assert_eq!(found, status, "{name}: {error}");
        assert_eq!(error["kind"], if status == 413 { "limit" } else { "internal" }, "{name}: {error}");
        assert!(error["detail"].as_str().unwrap().contains(words), "{name}: {error}");
        assert!(!error.to_string().contains("for the operator"), "{name}: {error}");
        let (found, response) = sent(&app, Method::POST, &webhook, &json!({ "text": "x" })).await;
        assert_eq!(found == 200, status == 413, "a small one is a response: {response}");
    }
}
