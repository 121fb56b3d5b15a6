//! Every kind of fault, as a client sees it on the connection.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use trunkline_sandbox::{Faults, Options};

use crate::support::{Bench, small};

/// Sends a request over a bare socket and returns all bytes of the response until the connection closes.
async fn raw(bench: &Bench, method: &str, url: &str, headers: &str, body: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(bench.sandbox.address()).await.unwrap();
    let path = url.strip_prefix(&bench.base()).unwrap_or(url);
    let length = body.len();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    String::from_utf8_lossy(&response).into_owned()
}

/// Returns the fault `name` for every request.
fn every(name: &str) -> Faults {
    serde_json::from_value(json!({ name: 1 })).unwrap()
}

#[tokio::test]
async fn injected_errors_have_their_status_and_retry_after() {
    let bench = Bench::new(small()).await;
    let (flow, valet) = (bench.flow_bearer().await, bench.valet_bearer().await);
    bench.sandbox.set_faults(every("every_429"));
    let rejected = bench.flow(&flow, "/users/me").await;
    assert_eq!((rejected.status().as_u16(), &rejected.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    assert_eq!(rejected.json::<Value>().await.unwrap()["status"], 429);
    let (status, body) = bench.valet(&valet, reqwest::Method::GET, "/users/current", Value::Null).await;
    assert_eq!((status, &body["statusCode"]), (429, &json!(429)));
    bench.sandbox.set_faults(every("every_500"));
    let rejected = bench.flow(&flow, "/users/me").await;
    assert_eq!(rejected.status(), 500);
    assert_eq!(rejected.json::<Value>().await.unwrap()["error"], "Unspecified database error");
    bench.sandbox.set_faults(Faults { every_429: Some(3), ..Faults::default() });
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(bench.flow(&flow, "/users/me").await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 200, 200, 429]);
    assert_eq!(bench.flow_bearer().await.len(), flow.len(), "login servers get no faults");
    let report = bench.sandbox.report();
    assert_eq!((report.faults["429"], report.faults["500"]), (4, 1));
}

#[tokio::test]
async fn a_truncated_response_has_its_head_and_half_of_its_body() {
    let bench = Bench::new(small()).await;
    let bearer = bench.flow_bearer().await;
    let files = bench.files(&bearer, "filesize").await;
    let largest = files.iter().max_by_key(|file| file["filesize"].as_u64()).unwrap();
    let link = bench.flow_json(&bearer, &format!("/file/{}/downloads/0", largest["id"])).await;
    let auth = format!("Authorization: Bearer {bearer}\r\n");
    bench.sandbox.set_faults(every("every_cut"));

    let response = raw(&bench, "GET", &format!("{}/mediaflow/1/foldertree", bench.base()), &auth, "").await;
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"));
    let length = head.to_lowercase().split_once("content-length: ").unwrap().1.split("\r\n").next().unwrap().to_owned();
    let length: usize = length.parse().unwrap();
    assert_eq!(body.len(), length / 2);

    let response = bench.http.get(link[0]["downloadURL"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(response.content_length(), largest["filesize"].as_u64());
    assert!(response.bytes().await.is_err());
    assert_eq!(bench.sandbox.report().faults["cut"], 2);
}

#[tokio::test]
async fn a_response_without_a_body_is_truncated_in_its_head() {
    let bench = Bench::new(small()).await;
    let bearer = bench.valet_bearer().await;
    let (_, url) = bench.open_upload(&bearer, "a.jpg").await;
    bench.sandbox.set_faults(every("every_cut"));
    let response = raw(&bench, "PUT", &url, "x-ms-blob-type: BlockBlob\r\n", "abc").await;
    assert!(response.len() == 20 && response.starts_with("HTTP/1.1 201"), "{response:?}");
}

#[tokio::test]
async fn a_request_whose_response_is_lost_is_carried_out() {
    let bench = Bench::new(small()).await;
    let bearer = bench.valet_bearer().await;
    bench.sandbox.set_faults(every("every_lost"));
    let key = bench.sandbox.credentials().mediavalet.subscription_key;
    let headers = format!(
        "Authorization: Bearer {bearer}\r\nOcp-Apim-Subscription-Key: {key}\r\nContent-Type: application/json\r\n"
    );
    let response =
        raw(&bench, "POST", &format!("{}/mediavalet/uploads", bench.base()), &headers, r#"{"filename":"a.jpg"}"#).await;
    assert_eq!(response, "");
    let report = bench.sandbox.report();
    assert_eq!((report.unfinished_uploads, report.faults["lost"]), (1, 1));
}

#[tokio::test]
async fn a_fault_rate_is_spread_evenly_over_the_kinds() {
    let bench = Bench::new(Options { faults: Faults { rate: 0.4, ..Faults::default() }, ..small() }).await;
    let bearer = bench.flow_bearer().await;
    let url = format!("{}/mediaflow/1/users/me", bench.base());
    let mut succeeded = 0;
    for _ in 0..200 {
        let response = bench.http.get(&url).bearer_auth(&bearer).send().await;
        succeeded +=
            u32::from(response.is_ok_and(|response| response.status() == 200 && response.content_length() > Some(0)));
    }
    let faults = bench.sandbox.report().faults;
    let counts = ["429", "503", "cut", "lost"].map(|kind| faults[kind]);
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{faults:?}");
    assert!((50..=110).contains(&counts.iter().sum::<u64>()), "{faults:?}");
    assert!(succeeded > 0);
}

#[tokio::test]
async fn another_process_can_set_faults_and_read_the_report() {
    let bench = Bench::new(small()).await;
    let bearer = bench.flow_bearer().await;
    let control = format!("{}/_sandbox", bench.base());
    let put = |body: Value| {
        let request = bench.http.put(format!("{control}/faults")).json(&body);
        async move { request.send().await.unwrap().status() }
    };
    assert_eq!(put(json!({ "every_429": 1, "latency_ms": 1 })).await, 204);
    assert_eq!(bench.flow(&bearer, "/users/me").await.status(), 429);
    assert_eq!(put(json!({ "every_492": 1 })).await, 400);
    let delayed = Faults { latency: std::time::Duration::from_millis(3), ..Faults::default() };
    assert_eq!(serde_json::from_value::<Faults>(json!(delayed)).unwrap(), delayed);
    assert_eq!(put(json!(Faults::default())).await, 204);
    assert_eq!(bench.flow(&bearer, "/users/me").await.status(), 200);
    assert_eq!(bench.http.post(format!("{control}/expire-tokens")).send().await.unwrap().status(), 204);
    assert_eq!(bench.flow(&bearer, "/users/me").await.status(), 401);

    let get = |path: &str| {
        let request = bench.http.get(format!("{control}/{path}"));
        async move { request.send().await.unwrap().json::<Value>().await.unwrap() }
    };
    assert_eq!(get("settings").await, Value::from(bench.sandbox.settings()));
    assert_eq!(get("report").await, json!(bench.sandbox.report()));
    let requests = get("requests").await;
    let faulted: Vec<&Value> =
        requests.as_array().unwrap().iter().filter(|request| request["fault"] == "429").collect();
    assert_eq!((faulted.len(), &faulted[0]["path"]), (1, &json!("/mediaflow/1/users/me")));
    assert!(faulted[0]["headers"].as_array().unwrap().contains(&json!("authorization")));
    assert!(!requests.to_string().contains(&bearer));
    let about: Value = bench.http.get(bench.base()).send().await.unwrap().json().await.unwrap();
    assert_eq!(about["bases"]["blob"], format!("{}/blob", bench.base()));
}
