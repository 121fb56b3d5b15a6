//! Calls whose bodies are not JSON, against a service that only records requests: the vendor's reference does not
//! describe these calls, so the simulator does not have them.

use serde_json::{Value, json};
use trunkline_core::{Connected, Effect};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{method, path},
};

use super::*;

const TOKEN: &str = "canary-access";

/// A file source in the simulator, and a recording service in place of MediaValet.
struct Rig {
    bench: Bench,
    server: MockServer,
    connections: Connections,
}

impl Rig {
    async fn new() -> Rig {
        let (bench, server) = (Bench::new(1).await, MockServer::start().await);
        let token = json!({ "access_token": TOKEN, "token_type": "bearer", "expires_in": 3600 });
        Mock::given(path("/token")).respond_with(ResponseTemplate::new(200).set_body_json(token)).mount(&server).await;
        let document = json!({
            "name": "dam", "allowPrivateNetwork": true, "connector": "mediavalet-v1.0", "endpointUrl": server.uri(), "subscriptionKey": "k",
            "tokenUrl": format!("{}/token", server.uri()), "authentication": "oauth2", "flows": "password",
            "username": "u", "password": "p", "clientId": "c", "clientSecret": "s",
        });
        let connection = Connection::from_value(document).unwrap();
        let vault = Arc::new(MemoryVault::default());
        let registry = Registry::discover().unwrap();
        let dam = registry.connect(&connection, vault, &|_| unreachable!("secrets are literal")).unwrap();
        let source: &Connected = bench.connections.get("mediaflow").unwrap();
        let connections = [dam, source.clone()].into_iter().collect();
        Rig { bench, server, connections }
    }

    async fn answers(&self, verb: &str, at: &str, answer: ResponseTemplate) {
        Mock::given(method(verb)).and(path(at)).respond_with(answer).mount(&self.server).await;
    }

    async fn run(&self, action: &str, input: Value) -> Result<Value> {
        let cx = Context::new("key", "dam", self.connections.clone());
        self.connections.get("dam").unwrap().run(action, input, &cx).await
    }

    /// Returns the last request that is not a token request.
    async fn last(&self) -> Request {
        self.server.received_requests().await.unwrap().pop().unwrap()
    }
}

#[tokio::test]
async fn bulk_sends_many_calls_and_returns_an_outcome_for_each() {
    let rig = Rig::new().await;
    let part = |status: &str, body: &str| {
        format!("--b\r\nContent-Type: application/http; msgtype=response\r\n\r\nHTTP/1.1 {status}\r\n\r\n{body}\r\n")
    };
    // As observed by another client: the whole response in a JSON string.
    let text = part("200 OK", r#"{"payload":["spring"],"errors":[]}"#)
        + &part("200 OK", r#"{"payload":null,"errors":["no such category"]}"#)
        + &part("404 Not Found", "")
        + "--b--";
    rig.answers("POST", "/bulk", ResponseTemplate::new(200).set_body_json(text)).await;
    let asset = "6f9619ff-8b86-4011-b42d-00cf4fc964ff";
    let calls = json!([
        { "action": "asset.add_keywords", "input": { "assetId": asset, "keywords": ["spring"] } },
        { "action": "asset.add_categories", "input": { "assetId": asset, "categories": [asset] } },
        { "action": "asset.delete", "input": { "assetId": asset } },
    ]);
    let output = rig.run("bulk", json!({ "calls": calls })).await.unwrap();
    let outcomes = output["outcomes"].as_array().unwrap();
    let done: Vec<_> = outcomes.iter().map(|one| one["done"].as_bool().unwrap()).collect();
    assert_eq!((done, &output["failed"]), (vec![true, false, false], &json!(2)), "errors in a 200 count here as well");
    assert_eq!(outcomes[0]["output"], json!(["spring"]));
    assert!(outcomes[1]["error"]["message"].as_str().unwrap().contains("no such category"), "{output}");
    assert_eq!(outcomes[2]["error"]["kind"], "not_found");
    let body = String::from_utf8(rig.last().await.body).unwrap();
    assert_eq!(body.matches(&format!("authorization: Bearer {TOKEN}\r\n")).count(), 3);
    // After a crash, only calls that may be repeated are sent again.
    let dam = rig.connections.get("dam").unwrap();
    let cx = Context::new("key", "dam", rig.connections.clone());
    assert_eq!(dam.connector().action_spec("bulk").unwrap().effect, Effect::Create);
    let again = json!({ "calls": [calls[2]] });
    assert_eq!(dam.reconcile("bulk", again, &cx).await.unwrap(), None);
    let create = json!({ "calls": [calls[2], { "action": "category.create", "input": { "treeName": "x" } }] });
    let unclear = dam.reconcile("bulk", create, &cx).await.unwrap_err();
    assert_eq!(unclear.kind(), ErrorKind::UnknownOutcome);
}

#[tokio::test]
async fn logos_are_sent_as_bytes_or_in_a_form() {
    let rig = Rig::new().await;
    rig.answers("POST", "/organizationalunits/current/logo", ResponseTemplate::new(200)).await;
    rig.answers("POST", "/organizationalunits/press/logo", ResponseTemplate::new(200)).await;
    let file = rig.bench.file(0).await;
    let bytes = rig.bench.bytes(&file, 0).await;
    assert_eq!(rig.run("org_unit.set_logo", json!({ "file": file })).await.unwrap(), json!({ "answer": null }));
    let seen = rig.last().await;
    assert_eq!(seen.body, bytes);
    assert_eq!(seen.headers["content-length"], bytes.len().to_string().as_str());
    let input = json!({ "portal": "press", "file": file, "formField": "logo" });
    rig.run("org_unit.set_portal_logo", input).await.unwrap();
    let seen = rig.last().await;
    assert!(seen.headers["content-type"].to_str().unwrap().starts_with("multipart/form-data; boundary="));
    assert!(seen.body.windows(bytes.len()).any(|window| window == bytes), "the whole file is in it");
    let hostile = json!({ "portal": "../users", "file": file });
    assert_eq!(rig.run("org_unit.set_portal_logo", hostile).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn direct_links_are_exported_as_a_file() {
    let rig = Rig::new().await;
    let zip = ResponseTemplate::new(200).set_body_raw(b"PK".to_vec(), "application/zip");
    rig.answers("GET", "/directlinks/export", zip).await;
    let file = rig.run("direct_link.export", json!({})).await.unwrap()["file"].clone();
    assert_eq!((&file["name"], &file["mediaType"]), (&json!("direct-links.zip"), &json!("application/zip")));
    let file: FileRef = serde_json::from_value(file).unwrap();
    let opened = rig.connections.open(&file, 0, &Context::default()).await.unwrap();
    assert_eq!(opened.bytes.try_collect::<Vec<_>>().await.unwrap().concat(), b"PK");
    let seen = rig.last().await;
    assert_eq!(seen.headers["authorization"], format!("Bearer {TOKEN}").as_str());
    assert_eq!(seen.headers["ocp-apim-subscription-key"], "k");
    rig.server.reset().await;
    rig.answers("GET", "/directlinks/export", ResponseTemplate::new(204)).await;
    assert_eq!(rig.run("direct_link.export", json!({})).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// A list that cannot be read is not an empty one: nothing is created on a guess.
#[tokio::test]
async fn nothing_is_created_if_the_list_to_look_in_has_no_list() {
    for body in [
        json!({}),
        json!({ "message": "the index is being built" }),
        json!({ "error": { "code": 42 } }),
        json!({ "payload": null }),
        json!({ "payload": "text" }),
        json!({ "payload": {} }),
    ] {
        let rig = Rig::new().await;
        rig.answers("GET", "/skyhook/subscriptions/list", ResponseTemplate::new(200).set_body_json(&body)).await;
        rig.answers("GET", "/downloads", ResponseTemplate::new(200).set_body_json(&body)).await;
        rig.answers("GET", "/categories", ResponseTemplate::new(200).set_body_json(&body)).await;
        rig.answers("GET", "/skyhook/events", ResponseTemplate::new(200).set_body_json(json!({ "payload": [] }))).await;
        let asset = "6f9619ff-8b86-4011-b42d-00cf4fc964ff";
        for (action, input) in [
            ("webhook.subscribe", json!({ "address": "https://example.com/hook", "events": ["Asset.StatusUpdated"] })),
            ("asset.package", json!({ "assetIds": [asset], "zipFileName": "a.zip" })),
            (
                "asset.set_categories",
                json!({ "assetId": asset, "categories": ["Library\\New"], "createMissing": true }),
            ),
        ] {
            let error = rig.run(action, input).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unexpected, "{action}, {body}: {error:?}");
        }
        let requests = rig.server.received_requests().await.unwrap();
        assert!(requests.iter().all(|one| one.method == "GET" || one.url.path() == "/token"), "{body}: {requests:#?}");
    }
}
