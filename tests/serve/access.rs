//! Access to the server: with the token, by one of its host names, and from this machine.

use std::fs;

use trunkline_tests::{Cli, LONG};

use super::Serve;

const API: [(&str, &str); 8] = [
    ("GET", "/rest/v1/connections"),
    ("POST", "/rest/v1/connections/dam/authorize"),
    ("GET", "/rest/v1/flows"),
    ("POST", "/rest/v1/flows/copy/runs"),
    ("GET", "/rest/v1/runs"),
    ("GET", "/rest/v1/runs/0"),
    ("POST", "/rest/v1/runs/0/cancel"),
    ("DELETE", "/rest/v1/runs/0"),
];

#[tokio::test]
async fn the_api_requires_the_token() {
    let cli = Cli::default();
    let serve = Serve::start(&cli).await;
    let health = serve.http.get(serve.url("/health")).send().await.unwrap();
    assert_eq!((health.status().as_u16(), health.text().await.unwrap().as_str()), (200, r#"{"status":"ok"}"#));
    let altered = format!("{}0", &serve.token[..63]);
    for (method, path) in API {
        let call = |authorization: Option<String>| {
            let request = serve.http.request(method.parse().unwrap(), serve.url(path));
            let request =
                authorization.into_iter().fold(request, |request, value| request.header("authorization", value));
            async { request.send().await.unwrap() }
        };
        for wrong in [
            None,
            Some("Bearer".to_owned()),
            Some("Bearer ".to_owned()),
            Some(format!("Bearer {}", serve.token.to_uppercase())),
            Some(format!("Bearer {}", &serve.token[..63])),
            Some(format!("Bearer {altered}")).filter(|_| altered != serve.token),
            Some(format!("Basic {}", serve.token)),
            Some(serve.token.clone()),
        ] {
            let answer = call(wrong.clone()).await;
            assert_eq!(answer.status(), 401, "{method} {path} with {wrong:?}");
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            let reply: serde_json::Value = answer.json().await.unwrap();
            assert_eq!(reply["kind"], "auth");
        }
        // With the token, the request passes authentication.
        let answer = call(Some(format!("Bearer {}", serve.token))).await;
        assert_ne!(answer.status(), 401, "{method} {path}");
    }
}

#[tokio::test]
async fn another_host_name_is_refused_and_foreign_pages_cannot_read() {
    let cli = Cli::default();
    let serve = Serve::with(&cli, &["--listen", "127.0.0.1:0", "--public-url", "https://flows.example.com"]).await;
    let call = async |path: &str, host: &str| {
        let request = serve.http.get(serve.url(path)).bearer_auth(&serve.token).header("host", host);
        let answer = request.header("origin", "https://evil.test").send().await.unwrap();
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "{:?}", answer.headers());
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let port = serve.address.rsplit(':').next().unwrap();
    for path in ["/health", "/rest/v1/runs", "/rest/v1/oauth2/callback", "/nowhere"] {
        for host in ["evil.test", &format!("evil.test:{port}"), "127.0.0.1", &format!("127.0.0.1.evil.test:{port}")] {
            let (status, reply) = call(path, host).await;
            assert_eq!((status, reply.contains("permission")), (421, true), "{path} of {host}: {reply}");
        }
        for host in ["flows.example.com", &format!("localhost:{port}")] {
            assert_ne!(call(path, host).await.0, 421, "{path} of {host}");
        }
    }
    let preflight = serve.http.request("OPTIONS".parse().unwrap(), serve.url("/rest/v1/runs"));
    let preflight = preflight.header("origin", "https://evil.test").header("access-control-request-method", "GET");
    assert!(!preflight.send().await.unwrap().headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn every_error_response_is_json() {
    let cli = Cli::default();
    let serve = Serve::start(&cli).await;
    let reply = async |request: reqwest::RequestBuilder| {
        let answer = request.bearer_auth(&serve.token).send().await.unwrap();
        let (status, reply) = (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap());
        assert!(reply["detail"].is_string(), "{reply}");
        (status, reply["kind"].as_str().unwrap().to_owned())
    };
    let post = |path: &str| serve.http.post(serve.url(path));
    assert_eq!(reply(serve.http.get(serve.url("/nowhere"))).await, (404, "not_found".into()));
    assert_eq!(reply(serve.http.delete(serve.url("/health"))).await, (405, "invalid_input".into()));
    assert_eq!(reply(serve.http.get(serve.url("/rest/v1/runs/0"))).await, (404, "not_found".into()));
    assert_eq!(reply(post("/rest/v1/flows/copy/runs")).await, (404, "not_found".into()));
    for body in ["[]", "{", r#"{"inputs":{}}"#, r#"{"connections":7}"#] {
        assert_eq!(reply(post("/rest/v1/flows/copy/runs").body(body)).await, (400, "invalid_input".into()), "{body}");
    }
    let long = "x".repeat(1024 * 1024 + 1);
    assert_eq!(reply(post("/rest/v1/flows/copy/runs").body(long)).await, (413, "limit".into()));
}

#[tokio::test]
async fn other_machines_are_not_served_without_tls() {
    let cli = Cli::default();
    for arguments in
        [&["--listen", "0.0.0.0:0"][..], &["--listen", "[::]:0", "--public-url", "http://flows.example.com"]]
    {
        let answer = cli.run(&[&["serve", "--json"], arguments].concat()).await.expect(1);
        assert_eq!(answer.error()["kind"], "config", "{answer:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_token_is_created_once_and_only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let cli = Cli::default();
    let serve = Serve::start(&cli).await;
    let (token, file) = (serve.token.clone(), cli.home().join("data.api-token"));
    assert_eq!((token.len(), fs::metadata(&file).unwrap().permissions().mode() & 0o777), (64, 0o600));
    let answer = tokio::time::timeout(LONG, serve.stop()).await.unwrap();
    assert_eq!(answer.code, 0);
    let again = Serve::start(&cli).await;
    assert_eq!(again.token, token);
    again.kill().await;

    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let error = cli.run(&["serve", "--listen", "127.0.0.1:0", "--json"]).await.expect(1).error();
    assert!(error["message"].as_str().unwrap().contains("others can read it"), "{error}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "short").unwrap();
    cli.run(&["serve", "--listen", "127.0.0.1:0", "--json"]).await.expect(1);
    let left: Vec<_> = fs::read_dir(cli.home()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("data.api-token.")), "{left:?}");
}
