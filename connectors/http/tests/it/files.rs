//! Files from and to any path: by reference, and with the credentials of their own connection only.

use futures::TryStreamExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use trunkline_core::{Connected, ErrorKind, FileRef};
use wiremock::{
    Mock, MockServer, Request, Respond, ResponseTemplate,
    matchers::{any, method, path},
};

use super::{context, header, http};

/// A file on a server with range requests.
struct File(Vec<u8>);

impl Respond for File {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let all = &self.0;
        let from =
            header(request, "range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let answer = ResponseTemplate::new(if from.is_some() { 206 } else { 200 }).insert_header("etag", "\"v1\"");
        let answer = answer.insert_header("content-disposition", "attachment; filename=\"../spring ö.jpg\"");
        let from: usize = from.unwrap_or(0);
        let range = format!("bytes {from}-{}/{}", all.len() - 1, all.len());
        answer.insert_header("content-range", range).set_body_raw(all[from..].to_vec(), "image/jpeg; charset=x")
    }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 % 251) as u8).collect()
}

async fn file_service(content: Vec<u8>) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(path("/v1/files/7")).respond_with(File(content)).mount(&server).await;
    server
}

async fn download(connected: &Connected, input: Value) -> trunkline_core::Result<FileRef> {
    let output = connected.run("download", input, &context(&[connected])).await?;
    Ok(serde_json::from_value(output["file"].clone()).unwrap())
}

fn seven() -> Value {
    json!({ "path": "/files/{id}", "parameters": { "id": 7 } })
}

#[tokio::test]
async fn a_file_is_passed_by_reference_and_opened_from_any_byte() {
    let content = bytes(100_000);
    let server = file_service(content.clone()).await;
    let shop = http("shop", &server.uri());
    let file = download(&shop, seven()).await.unwrap();
    assert_eq!((file.name.as_str(), file.media_type.as_deref()), ("spring ö.jpg", Some("image/jpeg")), "no path in it");
    assert_eq!((file.size, file.connection.as_str()), (Some(100_000), "shop"));
    assert!(!serde_json::to_string(&file).unwrap().contains("canary"), "no secret is in the reference");
    for from in [0, 1, 99_999] {
        let stream = context(&[&shop]).open(&file, from).await.unwrap();
        let read = stream.bytes.try_fold(Vec::new(), |mut all, piece| async move {
            all.extend(piece);
            Ok(all)
        });
        assert_eq!(read.await.unwrap(), content[usize::try_from(from).unwrap()..]);
    }
    for seen in server.received_requests().await.unwrap() {
        assert_eq!(header(&seen, "authorization"), Some("Bearer canary-token"));
    }
    let named = json!({ "path": "/files/7", "name": "mine.jpg" });
    assert_eq!(download(&shop, named).await.unwrap().name, "mine.jpg");
}

#[tokio::test]
async fn a_redirect_is_followed_without_credentials() {
    let storage = MockServer::start().await;
    Mock::given(any()).respond_with(File(bytes(500))).mount(&storage).await;
    let server = MockServer::start().await;
    let moved = ResponseTemplate::new(302).insert_header("location", format!("{}/blob?sig=s", storage.uri()));
    Mock::given(any()).respond_with(moved).mount(&server).await;
    let shop = http("shop", &server.uri());
    let file = download(&shop, seven()).await.unwrap();
    let stream = context(&[&shop]).open(&file, 100).await.unwrap();
    let read: Vec<_> = stream.bytes.try_collect().await.unwrap();
    assert_eq!(read.concat(), bytes(500)[100..]);
    let seen = storage.received_requests().await.unwrap();
    assert_eq!(seen.len(), 2);
    for request in &seen {
        let headers = format!("{:?}", request.headers);
        assert!(!headers.contains("canary"), "{headers}");
    }
    // The search works: the service itself received the token.
    assert!(format!("{:?}", server.received_requests().await.unwrap()[0].headers).contains("canary"));
}

#[tokio::test]
async fn redirects_end_and_stay_on_https() {
    let server = MockServer::start().await;
    let round = ResponseTemplate::new(302).insert_header("location", "/v1/files/7");
    Mock::given(any()).respond_with(round).mount(&server).await;
    let error = download(&http("shop", &server.uri()), seven()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
    assert!(server.received_requests().await.unwrap().len() < 10);
    let open = MockServer::start().await;
    let plain = ResponseTemplate::new(302).insert_header("location", "http://files.example.com/7");
    Mock::given(any()).respond_with(plain).mount(&open).await;
    let error = download(&http("shop", &open.uri()), seven()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
}

#[tokio::test]
async fn errors_have_a_hint() {
    for (status, kind) in [(401, ErrorKind::Auth), (403, ErrorKind::Permission), (404, ErrorKind::NotFound)] {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(ResponseTemplate::new(status)).mount(&server).await;
        let error = download(&http("shop", &server.uri()), seven()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.advice().is_some());
    }
}

/// Downloads from one service and uploads to another.
async fn copy(target: &MockServer, content: Vec<u8>, input: Value) -> trunkline_core::Result<Value> {
    let source = file_service(content).await;
    let (from, to) = (http("from", &source.uri()), http("to", &target.uri()));
    let file = download(&from, seven()).await.unwrap();
    let mut input = input;
    input["file"] = json!(file);
    to.run("upload", input, &context(&[&to, &from])).await
}

#[tokio::test]
async fn a_file_becomes_the_body_of_a_call() {
    let target = MockServer::start().await;
    let answer = ResponseTemplate::new(201).set_body_json(json!({ "id": 9 }));
    Mock::given(method("PUT")).and(path("/v1/in/a%20b")).respond_with(answer).mount(&target).await;
    let content = bytes(3_000_000);
    let input = json!({ "path": "/in/{name}", "parameters": { "name": "a b" } });
    let output = copy(&target, content.clone(), input).await.unwrap();
    assert_eq!((&output["status"], &output["body"]["id"]), (&json!(201), &json!(9)));
    let seen = &target.received_requests().await.unwrap()[0];
    assert_eq!(Sha256::digest(&seen.body), Sha256::digest(&content));
    assert_eq!((header(seen, "content-length"), header(seen, "content-type")), (Some("3000000"), Some("image/jpeg")));
    assert_eq!(header(seen, "authorization"), Some("Bearer canary-token"));
}

#[tokio::test]
async fn a_file_becomes_a_part_of_a_form() {
    let target = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(204)).mount(&target).await;
    let input = json!({ "method": "POST", "path": "/in", "formField": "file", "form": { "title": "Vår \"26\"" } });
    let output = copy(&target, bytes(1000), input).await.unwrap();
    assert_eq!((&output["status"], &output["body"]), (&json!(204), &Value::Null));
    let seen = &target.received_requests().await.unwrap()[0];
    assert!(header(seen, "content-type").unwrap().starts_with("multipart/form-data; boundary="));
    assert_eq!(header(seen, "content-length").unwrap(), seen.body.len().to_string());
    let at = |needle: &[u8]| seen.body.windows(needle.len()).position(|window| window == needle);
    assert!(at(&bytes(1000)).is_some() && at("Vår \"26\"".as_bytes()).is_some());
    assert!(at(b"name=\"file\"; filename=").is_some() && at(b"Content-Type: image/jpeg").is_some());
    let without = json!({ "method": "POST", "path": "/in", "form": { "title": "x" } });
    assert_eq!(copy(&target, bytes(10), without).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn an_upload_is_repeated_only_if_that_is_harmless() {
    for (method, kind, times) in [("PUT", ErrorKind::Unavailable, 5), ("POST", ErrorKind::UnknownOutcome, 1)] {
        let target = MockServer::start().await;
        Mock::given(any()).respond_with(ResponseTemplate::new(502)).mount(&target).await;
        let error = copy(&target, bytes(1000), json!({ "method": method, "path": "/in" })).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        let seen = target.received_requests().await.unwrap();
        assert_eq!(seen.len(), times);
        assert!(seen.iter().all(|request| request.body == bytes(1000)), "each try sends the whole file");
    }
}

#[tokio::test]
async fn a_source_that_changes_during_the_upload_is_detected() {
    let (source, target) = (file_service(bytes(1000)).await, MockServer::start().await);
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&target).await;
    let (from, to) = (http("from", &source.uri()), http("to", &target.uri()));
    let mut file = download(&from, seven()).await.unwrap();
    file.size = Some(999);
    let error = to.run("upload", json!({ "path": "/in", "file": file }), &context(&[&to, &from])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    assert!(target.received_requests().await.unwrap().is_empty());
}
