//! Every route of the API, with requests that it has to refuse.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use trunkline_server::ApiRoute;
use trunkline_tests::Cli;

use super::Serve;

/// Returns a request to a route whose path parameters name nothing that exists.
fn request(serve: &Serve, row: &ApiRoute, query: &str) -> RequestBuilder {
    let path: Vec<_> = row.path.split('/').map(|part| if part.starts_with('{') { "0" } else { part }).collect();
    let url = serve.url(&format!("{}{query}", path.join("/")));
    serve.http.request(row.method.parse().unwrap(), url).bearer_auth(&serve.token)
}

/// Asserts that a response is a problem, and returns its status and its body.
async fn problem(what: &str, response: Response) -> (u16, Value) {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    assert_eq!(headers["content-type"], "application/problem+json", "{what}: {status}");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status, "{what}: {problem}");
    assert_eq!(problem["request"], headers["x-request-id"].to_str().unwrap(), "{what}");
    let kind = problem["kind"].as_str().unwrap();
    assert_eq!(problem["type"], format!("urn:trunkline:problem:{kind}"), "{what}");
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {problem}");
    (status, problem)
}

/// Everything that a request could have changed.
async fn state(serve: &Serve) -> Vec<(u16, Value)> {
    vec![serve.get("/rest/v1/connections").await, serve.get("/rest/v1/flows").await, serve.get("/rest/v1/runs").await]
}

#[tokio::test]
async fn every_route_refuses_bad_requests_with_a_problem_and_changes_nothing() {
    let cli = Cli::default();
    let serve = Serve::start(&cli).await;
    let before = state(&serve).await;
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(1024 * 1024));
    let mut refused = 0;
    for row in trunkline_server::api_routes() {
        let what = format!("{} {}", row.method, row.path);
        let mut refuse = async |request: RequestBuilder, expected: &[u16]| {
            let (status, problem) = problem(&what, request.send().await.unwrap()).await;
            assert!(expected.contains(&status), "{what}: {status} {problem}");
            refused += 1;
            problem
        };
        let without_token = request(&serve, row, "").build().unwrap();
        let url = without_token.url().clone();
        refuse(serve.http.request(row.method.parse().unwrap(), url.clone()), &[401]).await;
        refuse(serve.http.request(Method::TRACE, url).bearer_auth(&serve.token), &[405]).await;
        refuse(request(&serve, row, "?nothing=1"), &[400]).await;
        if ["POST", "PUT", "PATCH"].contains(&row.method) {
            let json = || request(&serve, row, "").header("content-type", "application/json");
            let plain = request(&serve, row, "").header("content-type", "text/plain");
            refuse(plain.body("{}"), &[415]).await;
            for body in ["{", "[]", "1", "{\"a\":1,\"a\":1}", "\u{0}"] {
                refuse(json().body(body), &[400]).await;
            }
            refuse(json().body(deep.clone()), &[400, 413]).await;
            refuse(json().body(long.clone()), &[413]).await;
            refuse(json().header("content-encoding", "gzip").body("{}"), &[415]).await;
            // The body is a payload or a document, which may have any member.
            if !["runs.signal", "connections.put", "connections.patch"].contains(&row.operation) {
                let problem = refuse(json().body("{\"nothing\":1}"), &[400]).await;
                assert!(!problem["findings"].as_array().unwrap().is_empty(), "{what}: {problem}");
            }
        } else {
            let problem = refuse(request(&serve, row, "?nothing=1"), &[400]).await;
            assert!(problem["detail"].as_str().unwrap().contains("nothing"), "{what}: {problem}");
            refuse(request(&serve, row, "?name=1&name=1"), &[400]).await;
            refuse(request(&serve, row, "").body("{}"), &[400]).await;
        }
    }
    assert!(refused > 400, "{refused}");
    assert_eq!(state(&serve).await, before);
}

#[tokio::test]
async fn the_description_of_the_api_needs_no_token_and_is_loaded_once() {
    let cli = Cli::default();
    let serve = Serve::start(&cli).await;
    let response = serve.http.get(serve.url("/rest/v1/openapi.json")).send().await.unwrap();
    let tag = response.headers()["etag"].clone();
    assert_eq!(
        (response.status().as_u16(), response.json::<Value>().await.unwrap()),
        (200, trunkline_server::document())
    );
    let again = serve.http.get(serve.url("/rest/v1/openapi.json")).header("if-none-match", tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), again.bytes().await.unwrap().len()), (304, 0));
}

#[tokio::test]
async fn a_request_has_one_id_in_its_response_and_in_the_log() {
    let cli = Cli::default();
    let serve = Serve::start(&cli).await;
    let id = async |given: &str| {
        let request = serve.http.get(serve.url("/health")).header("x-request-id", given);
        request.send().await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id("order-4711_a.b").await, "order-4711_a.b");
    for other in ["", "a b", "\u{e9}", &"a".repeat(65)] {
        let made = id(other).await;
        assert!(made.len() == 16 && made != other, "{other}: {made}");
    }
    assert_ne!(id("").await, id("").await);
}

#[tokio::test]
async fn pages_of_listed_origins_can_use_the_api_and_others_cannot() {
    let cli = Cli::default();
    let listed = "https://builder.example.com";
    let serve = Serve::with(&cli, &["--listen", "127.0.0.1:0", "--allow-origin", listed]).await;
    let call = |method: &str, origin: &str| {
        let request = serve.http.request(method.parse().unwrap(), serve.url("/rest/v1/flows"));
        request.header("origin", origin)
    };
    let allowed = call("GET", listed).bearer_auth(&serve.token).send().await.unwrap();
    assert_eq!(
        (allowed.status().as_u16(), allowed.headers()["access-control-allow-origin"].as_bytes()),
        (200, listed.as_bytes())
    );
    let preflight = call("OPTIONS", listed).header("access-control-request-method", "POST").send().await.unwrap();
    assert_eq!(preflight.status(), 200);
    assert!(preflight.headers()["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
    // A page may also send requests that it cannot read the response of.
    let refused = call("POST", "https://evil.test").bearer_auth(&serve.token).json(&serde_json::json!({}));
    let (status, problem) = problem("evil", refused.send().await.unwrap()).await;
    assert_eq!((status, problem["kind"].as_str()), (403, Some("permission")));
    let preflight = call("OPTIONS", "https://evil.test").header("access-control-request-method", "POST");
    assert!(!preflight.send().await.unwrap().headers().contains_key("access-control-allow-origin"));
    assert_eq!(call("GET", &serve.url("")).bearer_auth(&serve.token).send().await.unwrap().status(), 200);
}

/// Sends the example of an operation to its route, and returns the status and the body.
async fn example(serve: &Serve, document: &Value, method: &str, path: &str) -> (u16, String) {
    let operation = &document["paths"][path][method];
    let mut url = path.to_owned();
    let mut query = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let Some(example) = parameter.get("example") else { continue };
        let text = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
        match parameter["in"].as_str() {
            Some("path") => url = url.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), &text),
            _ => query.push((parameter["name"].as_str().unwrap().to_owned(), text)),
        }
    }
    let request = serve.http.request(method.to_uppercase().parse().unwrap(), serve.url(&url)).bearer_auth(&serve.token);
    let request = match operation.pointer("/requestBody/content/application~1json/example") {
        Some(body) => request.query(&query).json(body),
        None => request.query(&query),
    };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn the_examples_of_the_description_work() {
    let cli = Cli::default();
    let serve = Serve::start(&cli).await;
    let document = trunkline_server::document();
    // Made first, from their own examples.
    for (method, path) in [("post", "/rest/v1/connections"), ("post", "/rest/v1/flows"), ("post", "/rest/v1/runs")] {
        let (status, text) = example(&serve, &document, method, path).await;
        assert!((200..300).contains(&status), "{path}: {status} {text}");
    }
    let exists = |path: &str| !path.contains("{run}");
    // These call the host of the example, which no test does, or have no end.
    let calls = |path: &str| path.ends_with("/check") || path.ends_with("/discover") || path == "/rest/v1/events";
    let (mut answered, mut refused) = (0, 0);
    for (path, item) in document["paths"].as_object().unwrap().iter().filter(|(path, _)| !calls(path)) {
        for method in item.as_object().unwrap().keys().filter(|method| *method != "delete") {
            let (status, text) = example(&serve, &document, method, path).await;
            if method == "get" && exists(path) {
                assert_eq!(status, 200, "{method} {path}: {text}");
                answered += 1;
            } else {
                // The run of the example does not exist, a connection cannot sign in, and the flow is there already, so
                // it is not replaced unseen.
                assert!(
                    [200, 201, 202, 400, 404, 409, 422, 428, 503].contains(&status),
                    "{method} {path}: {status} {text}"
                );
                assert!(item[method]["responses"].get(status.to_string()).is_some(), "{method} {path}: {status}");
                refused += 1;
            }
        }
    }
    assert!(answered > 12 && refused > 12, "{answered} {refused}");
}

#[tokio::test]
async fn every_connector_has_an_icon_in_which_nothing_runs() {
    let cli = Cli::default();
    let serve = Serve::start(&cli).await;
    for name in ["http", "mediaflow", "mediavalet"] {
        let url = serve.url(&format!("/rest/v1/connectors/{name}/icon"));
        let response = serve.http.get(&url).bearer_auth(&serve.token).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"image/svg+xml".parse().unwrap())
        );
        assert_eq!(response.headers()["content-security-policy"], "default-src 'none'; sandbox");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let icon = response.text().await.unwrap();
        assert!(icon.starts_with("<svg ") && icon.ends_with("</svg>\n"), "{icon}");
        assert_eq!(serve.http.get(&url).send().await.unwrap().status(), 401, "it needs the token");
    }
    let (status, connector) = serve.get("/rest/v1/connectors/mediavalet").await;
    let about = connector["about"].as_str().unwrap();
    assert!(status == 200 && about.len() > 20 && connector["documentation"] == "https://docs.mediavalet.com");
    let (_, list) = serve.get("/rest/v1/connectors").await;
    assert!(list.to_string().contains(about) && list.to_string().contains("1.0"), "{list}");
}
