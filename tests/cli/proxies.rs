//! Proxies of the environment: used as by other programs, or refused, and never passed by silently.

use serde_json::json;
use trunkline_tests::Cli;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::pipes::connector;

/// A server whose list has one item.
async fn server(item: &str) -> MockServer {
    let server = MockServer::start().await;
    let page = ResponseTemplate::new(200).set_body_json(json!({ "items": [item] }));
    Mock::given(any()).respond_with(page).mount(&server).await;
    server
}

#[tokio::test]
async fn proxies_of_the_environment_are_used_or_refused() {
    let cli = Cli::default();
    let (direct, proxy) = (server("direct").await, server("proxy").await);
    let folder = connector(&cli, &direct);
    let document = json!({ "name": "li", "connector": "list-v1.0", "allowPrivateNetwork": true }).to_string();
    cli.pipe(&["--connectors", &folder, "connection", "add", "-"], &document).await.expect(0);
    let url = proxy.uri();
    let bare = url.trim_start_matches("http://");
    let host = direct.address().to_string();
    let host = &*host;
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];
    let of = async |variables: &[(&str, &str)]| {
        let call = ["--connectors", &folder, "call", "list.thing.list", "--connection", "li", "--all", "--json"];
        let mut command = cli.command(&call);
        for name in names {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        for (name, value) in variables {
            command.env(name, value);
        }
        let ended = command.spawn().unwrap().wait_with_output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
        (ended.status.code(), text(ended.stdout), text(ended.stderr))
    };
    for (variables, expected) in [
        (&[][..], "direct"),
        (&[("HTTP_PROXY", &*url)], "proxy"),
        (&[("http_proxy", &url)], "proxy"),
        (&[("http_proxy", &url), ("HTTP_PROXY", "http://127.0.0.1:1")], "proxy"),
        (&[("HTTP_PROXY", &url), ("REQUEST_METHOD", "GET")], "direct"),
        (&[("HTTP_PROXY", bare)], "proxy"),
        (&[("ALL_PROXY", &url)], "proxy"),
        (&[("HTTPS_PROXY", &url)], "direct"),
        (&[("HTTP_PROXY", "")], "direct"),
        (&[("HTTP_PROXY", &url), ("NO_PROXY", "127.0.0.1")], "direct"),
        (&[("HTTP_PROXY", &url), ("no_proxy", "10.0.0.1, 127.0.0.0/8")], "direct"),
        (&[("HTTP_PROXY", &url), ("NO_PROXY", "*")], "direct"),
        (&[("HTTP_PROXY", &url), ("NO_PROXY", host)], "direct"),
        (&[("HTTP_PROXY", &url), ("NO_PROXY", "example.com")], "proxy"),
        (&[("HTTP_PROXY", &url), ("NO_PROXY", "")], "proxy"),
    ] {
        let (code, stdout, stderr) = of(variables).await;
        assert_eq!((code, &*stdout), (Some(0), &*format!("\"{expected}\"")), "{variables:?}: {stderr}");
    }
    let count = direct.received_requests().await.unwrap().len();
    for (name, value) in
        [("HTTP_PROXY", "socks5://127.0.0.1:1080"), ("https_proxy", "http://user:canary@:x"), ("ALL_PROXY", "my proxy")]
    {
        let (code, _, stderr) = of(&[(name, value)]).await;
        assert_eq!(code, Some(1), "{name}={value}: {stderr}");
        assert!(stderr.contains(name) && stderr.contains("does not name a proxy"), "{name}={value}: {stderr}");
        assert!(!stderr.contains("canary"), "{stderr}");
    }
    for entry in ["10.0.0.0/33", "http://example.com", "127.*"] {
        let (code, _, stderr) = of(&[("HTTP_PROXY", &url), ("no_proxy", entry)]).await;
        assert_eq!(code, Some(1), "{entry}: {stderr}");
        assert!(stderr.contains("no_proxy") && stderr.contains(entry), "{entry}: {stderr}");
    }
    let (code, _, stderr) = of(&[("ALL_PROXY", "http://127.0.0.1:1")]).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("through the proxy 127.0.0.1:1 of ALL_PROXY: it refuses connections"), "{stderr}");
    assert!(!stderr.contains("endpointUrl"), "{stderr}");
    assert_eq!(direct.received_requests().await.unwrap().len(), count, "nothing was sent past the proxy");
}
