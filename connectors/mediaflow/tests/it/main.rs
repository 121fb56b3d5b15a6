//! Mediaflow's hand-written actions through the real connector: against the simulator where it supports the case,
//! otherwise against prepared responses.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
};

use futures::TryStreamExt;
use mediaflow as _;
use serde_json::{Value, json};
use trunkline_core::{Connected, Connection, Connections, Context, ErrorKind, FileRef, MemoryVault, Registry, Result};
use trunkline_sandbox::{Options, Sandbox};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

mod cases;
mod changes;
mod files;

fn connect(settings: Value) -> Connections {
    let registry = Registry::discover().unwrap();
    let connection = Connection::from_value(settings).unwrap();
    let connected: Connected = registry
        .connect(&connection, Arc::new(MemoryVault::default()), &|_| unreachable!("secrets are literal"))
        .unwrap();
    [connected].into_iter().collect()
}

async fn run(connections: &Connections, action: &str, input: Value) -> Result<Value> {
    let cx = Context::new("key", "mediaflow", connections.clone());
    connections.get("mediaflow").unwrap().run(action, input, &cx).await
}

async fn call(connections: &Connections, action: &str, input: Value) -> Value {
    run(connections, action, input).await.unwrap_or_else(|error| panic!("{action}: {error:?}"))
}

async fn kind(connections: &Connections, action: &str, input: Value) -> ErrorKind {
    match run(connections, action, input.clone()).await {
        Err(error) => error.kind(),
        Ok(output) => panic!("{action} accepted {input} and returned {output}"),
    }
}

async fn sandbox(files: u64) -> (Sandbox, Connections) {
    let options = Options { files, max_size: 300_000, refusals: true, ..Options::default() };
    let sandbox = Sandbox::start(options).await.unwrap();
    let connections = connect(sandbox.settings().remove(0));
    (sandbox, connections)
}

/// Makes the response to a request that is not a token request.
type Answers = Box<dyn Fn(&Request) -> ResponseTemplate + Send + Sync>;

/// The service of one test: it issues tokens, sends prepared responses, and records the requests.
#[derive(Clone)]
struct Stage {
    answers: Arc<Answers>,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Respond for Stage {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        if request.url.path() == "/token" {
            let token = json!({ "access_token": "access", "token_type": "Bearer", "expires_in": 3600 });
            return ResponseTemplate::new(200).set_body_json(token);
        }
        self.seen.lock().unwrap().push(request.clone());
        (self.answers)(request)
    }
}

async fn stage(
    answers: impl Fn(&Request) -> ResponseTemplate + Send + Sync + 'static,
) -> (MockServer, Connections, Arc<Mutex<Vec<Request>>>) {
    let server = MockServer::start().await;
    let stage = Stage { answers: Arc::new(Box::new(answers)), seen: Arc::default() };
    Mock::given(any()).respond_with(stage.clone()).mount(&server).await;
    let connections = connect(json!({
        "name": "mediaflow", "connector": "mediaflow-v1.0", "allowPrivateNetwork": true, "endpointUrl": format!("{}/1", server.uri()),
        "authentication": "oauth2", "flows": "refresh_token", "clientId": "client", "clientSecret": "secret-of-client",
        "refreshToken": "server-key", "tokenUrl": format!("{}/token", server.uri())
    }));
    (server, connections, stage.seen)
}

fn ok(body: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

fn query(request: &Request, name: &str) -> Option<String> {
    request.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

async fn read(connections: &Connections, file: &FileRef, from: u64) -> Vec<u8> {
    let parts: Vec<_> =
        connections.open(file, from, &Context::default()).await.unwrap().bytes.try_collect().await.unwrap();
    parts.concat()
}

async fn requests(sandbox: &Sandbox, path: &str) -> Vec<Value> {
    let all = reqwest::Client::builder().build().unwrap();
    let all = all.get(format!("http://{}/_sandbox/requests", sandbox.address())).send().await.unwrap();
    let all: Vec<Value> = all.json().await.unwrap();
    all.into_iter().filter(|one| one["path"].as_str().unwrap().starts_with(path)).collect()
}

/// Finds the first file of the simulator's library whose rights satisfy a condition.
async fn find(connections: &Connections, sandbox: &Sandbox, wanted: impl Fn(&Value, &Value) -> bool) -> Value {
    let files = json!({ "id": sandbox.root_folder(), "fields": ["any"] });
    for file in call(connections, "folder.files", files).await.as_array().unwrap() {
        let rights = call(connections, "file.check_permissions", json!({ "id": file["id"] })).await;
        if wanted(file, &rights) {
            return file.clone();
        }
    }
    panic!("the library has no such file")
}

#[tokio::test]
async fn an_original_is_opened_again_from_any_byte_and_a_preset_has_its_own_name() {
    let (sandbox, mediaflow) = sandbox(60).await;
    let good = |file: &Value, rights: &Value| rights["allowDownload"] == true && file["type"]["extension"] == "tif";
    let file = find(&mediaflow, &sandbox, good).await;
    let output = call(&mediaflow, "file.download", json!({ "id": file["id"] })).await;
    assert!(!output.to_string().contains("http"), "a reference holds no URL: {output}");
    let original: FileRef = serde_json::from_value(output["file"].clone()).unwrap();
    assert_eq!((original.size, &json!(original.name)), (file["filesize"].as_u64(), &file["filename"]));
    let whole = read(&mediaflow, &original, 0).await;
    assert_eq!(whole.len() as u64, original.size.unwrap());
    assert_eq!(read(&mediaflow, &original, 700).await, whole[700..]);

    let output = call(&mediaflow, "file.download", json!({ "id": file["id"], "format": 32 })).await;
    let preset: FileRef = serde_json::from_value(output["file"].clone()).unwrap();
    assert_eq!(preset.size, None, "the size of a file that is not rendered yet is unknown");
    assert_eq!(preset.name, file["filename"].as_str().unwrap().replace(".tif", ".jpg"));
    assert_ne!(read(&mediaflow, &preset, 0).await, whole);
    assert_eq!(kind(&mediaflow, "file.download", json!({ "id": 1 })).await, ErrorKind::NotFound);
    assert_eq!(sandbox.report().faults.get("credential_leak"), None);
}

#[tokio::test]
async fn a_custom_size_requests_the_same_rendition_each_time_it_is_opened() {
    let (sandbox, mediaflow) = sandbox(40).await;
    let file = find(&mediaflow, &sandbox, |file, rights| {
        rights["allowDownload"] == true && file["type"]["extension"] == "jpg"
    })
    .await;
    let crop = json!({ "x1": 10, "y1": 20, "x2": 110, "y2": 70, "referenceWidth": 400, "referenceHeight": 300 });
    let custom = json!({ "width": 800, "height": 400, "format": "webp", "crop": crop });
    let output = call(&mediaflow, "file.download", json!({ "id": file["id"], "custom": custom })).await;
    // Serialized, as in a journal.
    let kept: FileRef = serde_json::from_str(&output["file"].to_string()).unwrap();
    assert_eq!((kept.size, kept.media_type.as_deref()), (None, Some("image/webp")));
    assert!(kept.name.ends_with(".webp"), "{}", kept.name);
    let whole = read(&mediaflow, &kept, 0).await;
    assert_eq!(read(&mediaflow, &kept, 5).await, whole[5..]);

    let seen = requests(&sandbox, &format!("/mediaflow-files/{}/-1", file["id"])).await;
    assert_eq!(seen.len(), 2);
    let parameters = "x1=10&y1=20&x2=110&y2=70&sw=400&sh=300&w=800&h=400&stretch=1&format=webp";
    for request in seen {
        let query = request["query"].as_str().unwrap();
        assert!(query.starts_with("expires=") && query.ends_with(parameters), "{query}");
        assert!([200, 206].contains(&request["status"].as_u64().unwrap()), "{request}");
    }
    for (nonsense, why) in [
        (json!({ "custom": custom, "format": 31 }), "a preset and a custom size"),
        (json!({ "custom": { "width": 800 } }), "a width alone"),
        (json!({ "custom": { "width": 0, "height": 1 } }), "nothing"),
        (json!({ "custom": { "format": "gif" } }), "no such type"),
        (
            json!({ "custom": { "crop": { "x1": 5, "y1": 0, "x2": 5, "y2": 9, "referenceWidth": 9, "referenceHeight": 9 } } }),
            "no area",
        ),
        (
            json!({ "custom": { "crop": { "x1": 0, "y1": 0, "x2": 10, "y2": 9, "referenceWidth": 9, "referenceHeight": 9 } } }),
            "too wide",
        ),
    ] {
        let mut input = nonsense;
        input["id"] = file["id"].clone();
        assert_eq!(kind(&mediaflow, "file.download", input).await, ErrorKind::InvalidInput, "{why}");
    }
}

#[tokio::test]
async fn the_right_to_publish_is_one_decision_with_reasons() {
    let (sandbox, mediaflow) = sandbox(400).await;
    let ask = |file: &Value| json!({ "id": file["id"] });
    let good =
        find(&mediaflow, &sandbox, |file, rights| rights["allowDownload"] == true && file["gdprStatus"] == "OK").await;
    let verdict = call(&mediaflow, "file.may_publish", ask(&good)).await;
    assert_eq!(verdict, json!({ "allowed": true, "reasons": [], "warnings": [] }));

    let refused = find(&mediaflow, &sandbox, |_, rights| rights["allowDownloadReason"] == "MARKING_DENIED").await;
    let verdict = call(&mediaflow, "file.may_publish", ask(&refused)).await;
    assert_eq!(verdict, json!({ "allowed": false, "reasons": ["MARKING_DENIED"], "warnings": [] }));

    let expired = find(&mediaflow, &sandbox, |_, rights| rights["allowDownloadReason"] == "DATE_DENIED").await;
    let verdict = call(&mediaflow, "file.may_publish", ask(&expired)).await;
    assert_eq!((&verdict["allowed"], &verdict["reasons"]), (&json!(false), &json!(["DATE_DENIED", "RIGHTS_EXPIRED"])));

    let without = find(&mediaflow, &sandbox, |file, _| file["gdprStatus"] != "OK").await;
    let verdict = call(&mediaflow, "file.may_publish", ask(&without)).await;
    let expected = json!({ "allowed": false, "reasons": [without["gdprStatus"]], "warnings": [] });
    assert_eq!(verdict, expected);
    assert_eq!(kind(&mediaflow, "file.may_publish", json!({ "id": 2 })).await, ErrorKind::NotFound);
}

#[tokio::test]
async fn unknown_rights_are_reported_and_forbid_nothing() {
    let prepared = Arc::new(Mutex::new((json!({}), ok(json!([])), json!({}))));
    let answers = prepared.clone();
    let (_server, mediaflow, _) = stage(move |request| {
        let (permissions, licence, file) = &*answers.lock().unwrap();
        match request.url.path() {
            "/1/file/-7/checkpermissions" => ok(json!([permissions])),
            "/1/file/-7/license" => licence.clone(),
            _ => ok(json!([file])),
        }
    })
    .await;
    let yes = json!({ "allowDownload": true, "lockWarningMessage": "" });
    let missing = || ResponseTemplate::new(404).set_body_json(json!({ "status": 404, "error": "Not found" }));
    let licence = |from: &str, to: &str, kind: u8| ok(json!([{ "rightsExists": kind, "useFrom": from, "useTo": to }]));
    let warned = |text: &str| json!({ "allowDownload": true, "lockWarningMessage": text });
    let bare = json!({ "id": -7 });
    for (permissions, licence, file, reasons, warnings) in [
        // An older installation: unknown rights are reported, and forbid nothing.
        (yes.clone(), missing(), bare.clone(), json!([]), json!(["LICENCE_UNKNOWN"])),
        (yes.clone(), ok(json!([])), bare.clone(), json!([]), json!(["LICENCE_UNKNOWN"])),
        // One word is a prefix of the other.
        (warned("RIGHTS_EXPIRED 1"), licence("", "", 0), bare.clone(), json!(["RIGHTS_EXPIRED"]), json!([])),
        (warned("RIGHTS_EXPIRE 1"), licence("", "", 0), bare.clone(), json!([]), json!(["RIGHTS_EXPIRE"])),
        (yes.clone(), licence("2001-01-01", "2001-12-31", 2), bare.clone(), json!(["RIGHTS_EXPIRED"]), json!([])),
        (yes.clone(), licence("2001-01-01", "2001-12-31", 5), bare.clone(), json!([]), json!([])),
        (yes.clone(), licence("2999-01-01", "", 2), bare.clone(), json!(["RIGHTS_NOT_YET"]), json!([])),
        (yes.clone(), licence("", "2999-12-31 23:59", 2), bare, json!([]), json!([])),
        (
            json!({ "allowDownload": false }),
            ok(json!([{ "rightsExists": 0, "downloadWarning": "ask first" }])),
            json!({ "id": -7, "gdprStatus": "missing_consent", "rights": { "rightsType": "NO", "useTom": "2001-12-31" } }),
            json!(["DOWNLOAD_DENIED", "RIGHTS_EXPIRED", "RIGHTS_NO", "MISSING_CONSENT"]),
            json!(["DOWNLOAD_WARNING"]),
        ),
        (yes.clone(), licence("", "", 0), json!({ "gdprType": "unknown" }), json!([]), json!(["CONSENT_UNKNOWN"])),
        (json!({}), licence("", "", 0), json!({ "id": -7, "rights": null }), json!(["DOWNLOAD_DENIED"]), json!([])),
    ] {
        *prepared.lock().unwrap() = (permissions, licence, file);
        let verdict = call(&mediaflow, "file.may_publish", json!({ "id": -7 })).await;
        let allowed = reasons == json!([]);
        assert_eq!(verdict, json!({ "allowed": allowed, "reasons": reasons, "warnings": warnings }));
    }
    // A temporary failure differs from a right that the installation does not have.
    prepared.lock().unwrap().1 = ResponseTemplate::new(403).set_body_json(json!({ "status": 403, "error": "no" }));
    assert_eq!(kind(&mediaflow, "file.may_publish", json!({ "id": -7 })).await, ErrorKind::Permission);
}

#[tokio::test]
async fn a_permanent_link_is_returned_for_a_file_that_may_be_published() {
    let (sandbox, mediaflow) = sandbox(200).await;
    let may = |rights: &Value| rights["allowDownload"] == true;
    let picture = find(&mediaflow, &sandbox, |file, rights| {
        may(rights) && file["type"]["extension"] == "jpg" && file["gdprStatus"] == "OK"
    })
    .await;
    let input = json!({ "id": picture["id"], "custom": { "width": 10, "height": 10, "format": "png" } });
    let url = call(&mediaflow, "file.permalink", input).await["url"].as_str().unwrap().to_owned();
    let anybody = reqwest::Client::builder().build().unwrap();
    assert_eq!(anybody.get(&url).send().await.unwrap().status(), 200, "{url}");
    let seen = requests(&sandbox, &format!("/mediaflow-files/{}/-1", picture["id"])).await;
    let query = seen[0]["query"].as_str().unwrap();
    assert!(query.ends_with("w=10&h=10&stretch=1&format=png&permalink=true"), "{query}");

    let video = find(&mediaflow, &sandbox, |file, rights| {
        may(rights) && file["type"]["type"] == "video" && file["gdprStatus"] == "OK"
    })
    .await;
    assert_eq!(kind(&mediaflow, "file.permalink", json!({ "id": video["id"] })).await, ErrorKind::InvalidInput);
    let without = find(&mediaflow, &sandbox, |file, rights| {
        may(rights) && file["gdprStatus"] != "OK" && file["type"]["extension"] == "jpg"
    })
    .await;
    let refused = run(&mediaflow, "file.permalink", json!({ "id": without["id"] })).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Permission);
    assert!(refused.message().contains(without["gdprStatus"].as_str().unwrap()), "{refused:?}");
    assert!(requests(&sandbox, &format!("/mediaflow-files/{}/", without["id"])).await.is_empty());
    call(&mediaflow, "file.permalink", json!({ "id": without["id"], "force": true })).await;
    assert_eq!(sandbox.report().faults.get("credential_leak"), None);
}

#[tokio::test]
async fn a_response_without_a_url_is_an_error() {
    let status = Arc::new(AtomicU16::new(201));
    let body = Arc::new(Mutex::new(Vec::new()));
    let (code, bytes, origin) = (status.clone(), body.clone(), Arc::new(Mutex::new(String::new())));
    let base = origin.clone();
    let (server, mediaflow, seen) = stage(move |request| match request.url.path() {
        "/1/file/7/checkpermissions" => ok(json!([{ "allowDownload": true }])),
        "/1/file/7/license" => ok(json!([{ "rightsExists": 0 }])),
        "/1/file/7" => ok(json!([{ "id": 7, "type": { "id": 201, "type": "file", "extension": "pdf" } }])),
        "/1/file/7/downloads/0" => {
            ok(json!([{ "id": 0, "downloadURL": format!("{}/get?sig=a%2Bb", base.lock().unwrap()) }]))
        }
        "/get" => ResponseTemplate::new(code.load(Ordering::SeqCst)).set_body_bytes(bytes.lock().unwrap().clone()),
        _ => ResponseTemplate::new(404),
    })
    .await;
    *origin.lock().unwrap() = server.uri();
    let ask = || run(&mediaflow, "file.permalink", json!({ "id": 7 }));
    *body.lock().unwrap() = br#"{"url":"https://assets.example/p.pdf"}"#.to_vec();
    assert_eq!(ask().await.unwrap(), json!({ "url": "https://assets.example/p.pdf" }), "201 is accepted");
    for odd in [&b"%PDF-1.7"[..], br#"{"url":""}"#, br#"{"url":null}"#, b"", &[b' '; 70_000]] {
        *body.lock().unwrap() = odd.to_vec();
        assert_eq!(ask().await.unwrap_err().kind(), ErrorKind::Unexpected);
    }
    status.store(404, Ordering::SeqCst);
    assert_eq!(ask().await.unwrap_err().kind(), ErrorKind::NotFound);
    for request in seen.lock().unwrap().iter().filter(|one| one.url.path() == "/get") {
        assert_eq!(request.url.query(), Some("sig=a%2Bb&permalink=true"));
        assert!(request.headers.get("authorization").is_none(), "the token is not sent to another host");
    }
}

fn usage() -> Value {
    json!({
        "contact": "Ann", "date": "2026-01-31", "project": "Site", "pageUrl": "https://example.com/a", "pageName": "A"
    })
}

#[tokio::test]
async fn a_usage_is_reported_in_the_form_of_mediaflow() {
    let (_server, mediaflow, seen) = stage(|_| ResponseTemplate::new(201).set_body_json(json!({}))).await;
    let mut input = usage();
    input["ids"] = json!([-5]);
    assert_eq!(call(&mediaflow, "file.report_usage", input.clone()).await, json!({ "files": 1, "removed": false }));
    input["ids"] = json!([7, -5]);
    input["removed"] = json!(true);
    input["description"] = json!("Start page");
    assert_eq!(call(&mediaflow, "file.report_usage", input.clone()).await, json!({ "files": 2, "removed": true }));

    let sent = std::mem::take(&mut *seen.lock().unwrap());
    let bodies: Vec<Value> = sent.iter().map(|one| serde_json::from_slice(&one.body).unwrap()).collect();
    let web = json!({ "page": "https://example.com/a", "pageName": "A" });
    assert_eq!((sent[0].method.as_str(), sent[0].url.path()), ("POST", "/1/file/-5/usage"));
    assert_eq!(
        bodies[0],
        json!({ "contact": "Ann", "date": "2026-01-31", "amount": "1", "description": "", "project": "Site",
                "types": ["web"], "removed": "false", "web": web })
    );
    assert_eq!((sent[1].method.as_str(), sent[1].url.path()), ("POST", "/1/files/multiple/usages"));
    assert_eq!(
        bodies[1],
        json!({ "id": [-5, 7], "contact": "Ann", "date": "2026-01-31", "amount": "1", "description": "Start page",
                "project": "Site", "types": ["web"], "removed": "true", "web": web })
    );
    for date in ["2026-02-30", "31.01.2026", "20260131", "2026-01-31T10:00:00", "2026-1-31", ""] {
        input["date"] = json!(date);
        assert_eq!(kind(&mediaflow, "file.report_usage", input.clone()).await, ErrorKind::InvalidInput, "{date}");
    }
    input["date"] = json!("2026-01-31");
    input["ids"] = json!([]);
    assert_eq!(kind(&mediaflow, "file.report_usage", input).await, ErrorKind::InvalidInput);
    assert!(seen.lock().unwrap().is_empty(), "no faulty usage was sent");
}

#[tokio::test]
async fn a_reported_usage_is_found_and_can_be_withdrawn() {
    let (sandbox, mediaflow) = sandbox(5).await;
    let files = call(&mediaflow, "folder.files", json!({ "id": sandbox.root_folder(), "fields": ["id"] })).await;
    let mut input = usage();
    input["ids"] = json!([files[0]["id"], files[1]["id"]]);
    let cx = Context::new("key", "mediaflow", mediaflow.clone());
    let connected = mediaflow.get("mediaflow").unwrap();
    let found = |input: &Value| connected.reconcile("file.report_usage", input.clone(), &cx);

    assert_eq!(found(&input).await.unwrap(), None, "it can be created safely");
    call(&mediaflow, "file.report_usage", input.clone()).await;
    let listed = call(&mediaflow, "file.usages", json!({ "id": files[1]["id"] })).await;
    assert_eq!((&listed[0]["url"], &listed[0]["publishDate"]), (&json!("https://example.com/a"), &json!("2026-01-31")));
    assert_eq!(found(&input).await.unwrap(), Some(json!({ "files": 2, "removed": false })), "it was created");
    let mut more = input.clone();
    more["ids"].as_array_mut().unwrap().push(files[2]["id"].clone());
    assert_eq!(found(&more).await.unwrap_err().kind(), ErrorKind::UnknownOutcome, "two of three have it");

    input["removed"] = json!(true);
    assert_eq!(found(&input).await.unwrap(), None);
    call(&mediaflow, "file.report_usage", input.clone()).await;
    assert_eq!(call(&mediaflow, "file.usages", json!({ "id": files[1]["id"] })).await, json!([]));
    assert_eq!(found(&input).await.unwrap(), Some(json!({ "files": 2, "removed": true })));
}

#[tokio::test]
async fn a_report_with_a_lost_response_is_looked_up_before_it_is_repeated() {
    let (_server, mediaflow, seen) = stage(|_| {
        ResponseTemplate::new(500).set_body_json(json!({ "status": 500, "error": "Unspecified database error" }))
    })
    .await;
    let mut input = usage();
    input["ids"] = json!([5]);
    assert_eq!(kind(&mediaflow, "file.report_usage", input).await, ErrorKind::UnknownOutcome);
    assert_eq!(seen.lock().unwrap().len(), 1);
}

/// A list that cannot be read is not an empty one: nothing is known of the report.
#[tokio::test]
async fn a_look_up_without_a_list_is_an_error() {
    for body in [json!({}), json!({ "message": "wait" }), Value::Null, json!("text")] {
        let (_server, mediaflow, _) = stage(move |_| ok(body.clone())).await;
        let mut input = usage();
        input["ids"] = json!([5]);
        let cx = Context::new("key", "mediaflow", mediaflow.clone());
        let found = mediaflow.get("mediaflow").unwrap().reconcile("file.report_usage", input, &cx).await;
        assert_eq!(found.unwrap_err().kind(), ErrorKind::Unexpected);
    }
}
