use super::{super::ReqwestTransport, *};
use crate::transport::{HttpRequest, HttpTransport, TransportFailure, TransportOptions};
use futures::TryStreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

fn of(set: &[(&str, &str)]) -> Result<Proxies> {
    let set: Vec<_> = set.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
    Proxies::of(|name| set.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
}

fn way(proxies: &Proxies, url: &str) -> Option<String> {
    proxies.proxy_for(&url.parse().unwrap()).map(ToString::to_string)
}

#[test]
fn a_variable_names_a_proxy_or_is_refused() {
    for (value, expected) in [
        ("http://proxy.example.com:3128", Some("proxy.example.com:3128")),
        ("https://Proxy.example.com", Some("proxy.example.com:443")),
        ("proxy.example.com:3128", Some("proxy.example.com:3128")),
        ("proxy.example.com", Some("proxy.example.com:80")),
        ("10.0.0.1:8080", Some("10.0.0.1:8080")),
        ("http://[::1]:3128/", Some("[::1]:3128")),
        ("http://ada:pass%20word@proxy:3128", Some("proxy:3128")),
        ("socks5://proxy:1080", None),
        ("ftp://proxy", None),
        ("http://", None),
        ("http://proxy:port", None),
        ("proxy example", None),
        ("://proxy", None),
        (" ", None),
    ] {
        let found = of(&[("HTTPS_PROXY", value)]);
        match expected {
            Some(proxy) => {
                let proxies = found.unwrap();
                assert_eq!(way(&proxies, "https://x.example").unwrap(), format!("{proxy} of HTTPS_PROXY"), "{value:?}");
                assert_eq!(way(&proxies, "http://x.example"), None, "{value:?}");
            }
            None => {
                let error = found.err().unwrap();
                assert_eq!(error.kind(), ErrorKind::Config, "{value:?}");
                let text = error.to_string();
                assert!(text.contains("HTTPS_PROXY") && !text.contains("1080"), "{error}");
            }
        }
    }
}

#[test]
fn variables_are_chosen_as_curl_chooses_them() {
    let (one, two) = (("http_proxy", "one"), ("HTTP_PROXY", "two"));
    for (set, expected) in [
        (&[][..], None),
        (&[one, two], Some("one:80 of http_proxy")),
        (&[two], Some("two:80 of HTTP_PROXY")),
        (&[("http_proxy", ""), two], Some("two:80 of HTTP_PROXY")),
        (&[("HTTP_PROXY", "")], None),
        (&[("all_proxy", "three"), ("ALL_PROXY", "four")], Some("three:80 of all_proxy")),
        (&[("ALL_PROXY", "four"), two], Some("two:80 of HTTP_PROXY")),
        (&[("HTTPS_PROXY", "five")], None),
        // What a web server hands to a program that it starts for a request.
        (&[two, ("REQUEST_METHOD", "GET")], None),
        (&[one, two, ("REQUEST_METHOD", "GET")], Some("one:80 of http_proxy")),
        (&[two, ("ALL_PROXY", "four"), ("REQUEST_METHOD", "GET")], Some("four:80 of ALL_PROXY")),
        (&[one, ("no_proxy", "other"), ("NO_PROXY", "x.example")], Some("one:80 of http_proxy")),
        (&[one, ("no_proxy", ""), ("NO_PROXY", "x.example")], None),
    ] {
        assert_eq!(way(&of(set).unwrap(), "http://x.example/a").as_deref(), expected, "{set:?}");
    }
}

#[test]
fn entries_without_a_proxy_are_read_as_curl_and_go_read_them() {
    for (value, direct, proxied) in [
        (
            "x.example",
            &["x.example", "a.x.example", "X.Example", "x.example.", "x.example:8443"][..],
            &["notx.example"][..],
        ),
        (".x.example", &["x.example", "a.x.example"], &["notx.example"]),
        ("*.x.example", &["a.x.example", "a.b.x.example"], &["x.example", "notx.example"]),
        ("X.Example.", &["x.example", "x.example."], &["example"]),
        ("x.example:8443", &["x.example:8443", "a.x.example:8443"], &["x.example", "x.example:80"]),
        ("x.example:443", &["x.example"], &["x.example:8443"]),
        ("*.x.example:8443", &["a.x.example:8443"], &["a.x.example"]),
        ("a.example, b.example", &["a.example", "b.example"], &["c.example"]),
        ("a.example b.example\tc.example", &["a.example", "b.example", "c.example"], &["d.example"]),
        (" ,, a.example , ", &["a.example"], &["b.example"]),
        ("a.example,*", &["b.example", "10.0.0.1", "[::1]"], &[]),
        ("bücher.example", &["xn--bcher-kva.example", "bücher.example"], &["example"]),
        ("my_host", &["my_host"], &["host"]),
        ("10.0.0.1", &["10.0.0.1"], &["10.0.0.2", "10.0.0.1.example"]),
        ("10.0.0.1:8443", &["10.0.0.1:8443"], &["10.0.0.1"]),
        ("10.1.2.3/8", &["10.0.0.1", "10.255.0.1"], &["11.0.0.1"]),
        ("::1", &["[::1]"], &["[::2]"]),
        ("[::1]", &["[::1]"], &["[::2]"]),
        ("[::1]:8443", &["[::1]:8443"], &["[::1]"]),
        ("fd00::/8", &["[fd12::1]"], &["[fe80::1]"]),
        ("10.0.0.0/8", &["[::ffff:10.0.0.1]"], &["[::ffff:11.0.0.1]"]),
        ("", &[], &["x.example"]),
    ] {
        let proxies = of(&[("https_proxy", "proxy"), ("no_proxy", value)]).unwrap();
        for host in direct {
            assert_eq!(way(&proxies, &format!("https://{host}/")), None, "{value}: {host}");
        }
        for host in proxied {
            assert!(way(&proxies, &format!("https://{host}/")).is_some(), "{value}: {host}");
        }
    }
}

#[test]
fn an_entry_that_would_be_ignored_is_refused() {
    for entry in [
        "10.0.0.0/33",
        "10.0/8",
        "x.example/24",
        "10.*",
        "*x.example",
        "a.*.example",
        "192.168",
        "192.168.",
        "10.0.0.256",
        "https://x.example",
        "x.example:port",
        "x.example:70000",
        "[::1",
        "fe80::1%eth0",
        "a;b",
        "fd00::/129",
        ".",
        "*.",
    ] {
        let error = of(&[("NO_PROXY", &format!("good.example, {entry}"))]).err().unwrap_or_else(|| panic!("{entry}"));
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Config, "{entry}");
        assert!(text.contains("NO_PROXY") && text.contains("entry 2") && text.contains(entry), "{text}");
    }
    let error = of(&[("NO_PROXY", "http://ada:canary@proxy")]).err().unwrap().to_string();
    assert!(!error.contains("canary"), "{error}");
}

#[test]
fn the_hosts_of_all_proxies_are_known() {
    let proxies = of(&[("http_proxy", "one"), ("https_proxy", "http://Two:1"), ("all_proxy", "three")]).unwrap();
    assert!(["one", "TWO", "three"].iter().all(|host| proxies.has_host(host)));
    assert!(!proxies.has_host("four"));
}

/// Sends a request through a transport with these variables. It does not arrive.
async fn fail(set: &[(&str, &str)], url: &str) -> TransportFailure {
    let transport = ReqwestTransport::with_proxies(of(set).unwrap());
    let request = HttpRequest::new(http::Method::GET, url.parse().unwrap());
    transport.send(request, TransportOptions { private_network: true }).await.err().unwrap()
}

/// A proxy that reads a request and answers with these bytes. Returns its address.
async fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer).await;
        }
    });
    address
}

#[tokio::test]
async fn a_dead_proxy_is_reported_as_the_proxy_and_not_as_the_service() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let (mute, forbidden) = (answering(b"").await, answering(b"HTTP/1.1 403 Forbidden\r\n\r\n").await);
    let sign_in = answering(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    let odd = answering(b"SSH-2.0-x\r\n\r\n").await;
    for (name, proxy) in [
        ("https_proxy", &closed),
        ("HTTPS_PROXY", &mute),
        ("HTTPS_PROXY", &forbidden),
        ("ALL_PROXY", &sign_in),
        ("all_proxy", &odd),
        ("HTTPS_PROXY", &"no-such-host.invalid:3128".to_owned()),
    ] {
        let url = format!("http://ada:canary@{proxy}");
        let failure = fail(&[(name, &url)], "https://api.example.com/").await;
        let text = failure.error.to_string();
        let expected = format!("no connection to api.example.com through the proxy {proxy} of {name}: ");
        assert!(text.contains(&expected), "{text}");
        let advice = failure.error.advice().unwrap();
        assert!(!text.contains("canary") && advice.contains(&format!("password in {name}")), "{text}: {advice}");
        assert!(!failure.maybe_received, "{text}");
        assert!(failure.error.has(&ErrorDetail::NoConnection { stage: ConnectStage::Proxy }), "{text}");
    }
    // Without a proxy, and past one, the host itself is named.
    for set in [&[][..], &[("HTTP_PROXY", &*closed), ("NO_PROXY", "127.0.0.1")]] {
        let transport = ReqwestTransport::with_proxies(of(set).unwrap());
        let request = HttpRequest::new(http::Method::GET, format!("http://{closed}/").parse().unwrap());
        let error = transport.send(request, TransportOptions { private_network: true }).await.err().unwrap().error;
        assert!(error.to_string().contains(&format!("no connection to {closed}: it refuses connections")), "{error}");
        assert!(error.has(&ErrorDetail::NoConnection { stage: ConnectStage::Tcp }), "{error}");
    }
}

#[tokio::test]
async fn a_failure_behind_the_proxy_names_both() {
    let tunnel = answering(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let failure = fail(&[("HTTPS_PROXY", &tunnel)], "https://api.example.com/").await;
    let text = failure.error.to_string();
    assert!(text.contains(&format!("api.example.com through the proxy {tunnel} of HTTPS_PROXY")), "{text}");
    let mute = answering(b"").await;
    let failure = fail(&[("HTTP_PROXY", &mute)], "http://api.example.com/").await;
    let text = failure.error.to_string();
    assert!(
        text.contains(&format!("the connection to api.example.com through the proxy {mute} of HTTP_PROXY")),
        "{text}"
    );
    assert!(failure.maybe_received, "{text}");
}

/// Two servers on this machine, of which the first one is a proxy, and an entry that the HTTP client would ignore.
async fn proxy_and_service() -> (String, String, Vec<String>) {
    let proxy = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nproxy").await;
    let service = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nservice").await;
    let (_, port) = service.rsplit_once(':').unwrap();
    let entries = vec![
        service.clone(),
        format!("127.0.0.0/8 other.example"),
        format!("*.example {service}"),
        format!("localhost,127.0.0.1:{port}"),
    ];
    (proxy, service, entries)
}

#[tokio::test]
async fn a_request_to_an_entry_of_no_proxy_goes_past_the_proxy() {
    let (proxy, service, entries) = proxy_and_service().await;
    for entry in entries {
        let transport = ReqwestTransport::with_proxies(of(&[("http_proxy", &proxy), ("no_proxy", &entry)]).unwrap());
        let request = HttpRequest::new(http::Method::GET, format!("http://{service}/").parse().unwrap());
        let response = transport.send(request, TransportOptions { private_network: true }).await.unwrap();
        let body: Vec<_> = response.body.try_collect().await.unwrap();
        assert_eq!(body.concat(), b"service", "{entry}");
    }
}

/// The sabotage twin: the client's own reading of the same entries sends the request to the proxy.
#[tokio::test]
async fn the_reading_of_the_client_alone_ignores_these_entries() {
    crate::transport::reqwest::set_crypto();
    let (proxy, service, entries) = proxy_and_service().await;
    for entry in entries {
        let through = reqwest::Proxy::all(format!("http://{proxy}")).unwrap();
        let through = through.no_proxy(reqwest::NoProxy::from_string(&entry));
        let client = reqwest::Client::builder().proxy(through).build().unwrap();
        let body = client.get(format!("http://{service}/")).send().await.unwrap().text().await.unwrap();
        assert_eq!(body, "proxy", "{entry}");
    }
}
