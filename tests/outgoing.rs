//! Hosts that a connection may reach: hundreds of notations of private addresses, with a listener that must never be
//! reached; files on hosts that no setting names; redirects that could leak secrets.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use trunkline as _;
use trunkline_core::{Connected, Connection, Connections, Context, Error, ErrorKind, MemoryVault, Registry, Retry};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const CANARY: &str = "canary-of-outgoing-calls";

/// A listener that counts connections.
struct Trap {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Trap {
    async fn new() -> Trap {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let (port, connections) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                drop(socket);
            }
        });
        Trap { port, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn try_connect(settings: Value) -> Result<Connected, Error> {
    let registry = Registry::discover().unwrap();
    let connection = Connection::from_value(settings)?;
    registry.connect(&connection, Arc::new(MemoryVault::default()), &|_| unreachable!("no references"))
}

fn settings(endpoint: &str) -> Value {
    json!({ "name": "out", "connector": "http-v1.0", "endpointUrl": endpoint, "authentication": "bearer",
        "token": CANARY })
}

async fn call(connected: &Connected, action: &str) -> Result<Value, Error> {
    let connections: Connections = [connected.clone()].into_iter().collect();
    let cx = Context::new("key", "out", connections).with_timeout(std::time::Duration::from_secs(20));
    connected.run(action, json!({ "path": "/latest/meta-data" }), &cx).await
}

/// Returns the notations of an IPv4 address that some address parser accepts.
fn notations(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let whole = u32::from(address);
    let (high, low) = (whole >> 16, whole & 0xffff);
    let wide: String = address
        .to_string()
        .chars()
        .map(|c| match c {
            '0'..='9' => char::from_u32(c as u32 - '0' as u32 + 0xff10).unwrap(),
            _ => '\u{3002}',
        })
        .collect();
    vec![
        address.to_string(),
        format!("{address}."),
        whole.to_string(),
        format!("0x{whole:x}"),
        format!("0X{whole:X}"),
        format!("0{whole:o}"),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a}.{}", whole & 0xff_ffff),
        format!("{a}.{b}.{low}"),
        format!("{a}.0x{b:x}.0{c:o}.{d}"),
        format!("00{a:o}.{b}.{c}.{d}"),
        format!("%{:02x}{}", address.to_string().as_bytes()[0], &address.to_string()[1..]),
        wide,
        format!("[::ffff:{address}]"),
        format!("[::ffff:{high:x}:{low:x}]"),
        format!("[0:0:0:0:0:ffff:{high:04X}:{low:04X}]"),
        format!("[::{address}]"),
        format!("[::ffff:0:{address}]"),
        format!("[64:ff9b::{address}]"),
        format!("[2002:{high:x}:{low:x}::]"),
    ]
}

fn corpus(port: u16) -> BTreeSet<String> {
    let addresses = [
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.5.4",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ];
    let mut hosts: Vec<_> = addresses.iter().flat_map(|one| notations(one.parse().unwrap())).collect();
    let more = [
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "[100::1]",
        "[2001:db8::1]",
        "[2001::1]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "local%68ost",
        "ｌｏｃａｌｈｏｓｔ",
    ];
    hosts.extend(more.map(str::to_owned));
    let of = |host: String| [format!("https://{host}:{port}/"), format!("http://{host}:{port}/v1")];
    hosts.into_iter().flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_notation_of_an_address_reaches_the_private_network() {
    let trap = Trap::new().await;
    let all = corpus(trap.port);
    assert!(all.len() >= 300, "{}", all.len());
    let (mut by_resolution, mut by_notation) = (0, 0);
    for address in &all {
        match try_connect(settings(address)) {
            // Refused when the connection is made: the URL shows the private address, or is invalid.
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Config | ErrorKind::InvalidInput), "{address}: {error:?}");
                assert!(!format!("{error:?}").contains(CANARY));
                by_notation += usize::from(error.advice().is_some_and(|hint| hint.contains("allowPrivateNetwork")));
            }
            // Refused when the name is resolved.
            Ok(connected) => {
                by_resolution += 1;
                for action in ["request", "download"] {
                    let error = call(&connected, action).await.unwrap_err();
                    // Not every machine resolves `localhost.`.
                    if address.contains("localhost.:") && error.message().contains("lookup") {
                        continue;
                    }
                    assert_eq!(error.kind(), ErrorKind::Config, "{address}: {error:?}");
                    assert!(error.advice().unwrap().contains("allowPrivateNetwork"), "{address}: {error:?}");
                }
            }
        }
    }
    println!("{} addresses, {by_notation} refused by notation, {by_resolution} by resolution", all.len());
    assert!(by_notation > 100 && by_resolution > 0);
    assert_eq!(trap.connections(), 0);
    // The trap works: with the setting, the same address reaches it.
    let mut open = settings(&format!("http://localhost:{}/", trap.port));
    open["allowPrivateNetwork"] = json!(true);
    let error = call(&try_connect(open).unwrap(), "request").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(trap.connections() > 0);
}

#[tokio::test]
async fn a_login_server_cannot_reach_the_private_network_either() {
    let trap = Trap::new().await;
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost"] {
        let made = try_connect(json!({
            "name": "out", "connector": "http-v1.0", "endpointUrl": "https://api.example.com", "authentication": "oauth2",
            "flows": "client_credentials", "clientId": "c", "clientSecret": CANARY,
            "tokenUrl": format!("https://{host}:{}/token", trap.port),
        }));
        let error = match made {
            Ok(connected) => call(&connected, "request").await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Config, "{host}: {error:?}");
        assert!(error.advice().unwrap().contains("allowPrivateNetwork"), "{host}: {error:?}");
    }
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn a_redirect_leaks_no_secret_and_reaches_no_new_host() {
    let other = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_string("x")).mount(&other).await;
    let port = other.address().port();
    // Another port of the same host, another host, another scheme.
    for (location, followed) in [
        (format!("http://127.0.0.1:{port}/x"), true),
        (format!("http://localhost:{port}/x"), false),
        (format!("http://127.1.1.1:{port}/x"), false),
        (format!("https://127.0.0.1:{port}/x"), false),
        (format!("//localhost:{port}/x"), false),
        ("https://169.254.169.254/latest".to_owned(), false),
        (format!("ftp://127.0.0.1:{port}/x"), false),
        (format!("http://u:p@127.0.0.1:{port}/x"), false),
    ] {
        let server = MockServer::start().await;
        let moved = ResponseTemplate::new(302).insert_header("location", location.as_str());
        Mock::given(any()).respond_with(moved).mount(&server).await;
        other.reset().await;
        Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_string("x")).mount(&other).await;
        let mut document = settings(&server.uri());
        document["allowPrivateNetwork"] = json!(true);
        let connected = try_connect(document).unwrap();
        // A call follows no redirect.
        let error = call(&connected, "request").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{location}: {error:?}");
        assert!(other.received_requests().await.unwrap().is_empty(), "{location}");
        // A download follows redirects to allowed hosts, without secrets.
        let downloaded = call(&connected, "download").await;
        assert_eq!(downloaded.is_ok(), followed, "{location}: {downloaded:?}");
        let seen = other.received_requests().await.unwrap();
        assert_eq!(!seen.is_empty(), followed, "{location}");
        assert!(seen.iter().all(|request| !format!("{request:?}").contains(CANARY)), "{location}");
        // The search works: the service itself received the token.
        assert!(format!("{:?}", server.received_requests().await.unwrap()).contains(CANARY));
    }
}

/// Values of `Location`, and the part of them that an error may show.
const LOCATIONS: &[(Option<&str>, &str)] = &[
    (None, "a redirect without a target"),
    (
        Some("https://user:canary-of-location@new.example:8443/canary-of-location?sig=canary-of-location#x"),
        "a redirect to new.example:8443",
    ),
    (Some("//new.example/canary-of-location"), "a redirect to new.example"),
    (Some("/canary-of-location?sig=canary-of-location"), "a redirect to the same host"),
    (Some("canary-of-location"), "a redirect to the same host"),
    (Some("https://[canary-of-location"), "a redirect to an invalid URL"),
];

#[tokio::test]
async fn a_redirected_call_is_sent_once_and_its_error_shows_only_the_host() {
    let mut cases = 0;
    for status in [301, 302, 303, 307, 308] {
        for (location, by_notation) in LOCATIONS {
            let server = MockServer::start().await;
            let mut moved = ResponseTemplate::new(status);
            if let Some(location) = location {
                moved = moved.insert_header("location", *location);
            }
            Mock::given(any()).respond_with(moved).mount(&server).await;
            let mut document = settings(&server.uri());
            document["allowPrivateNetwork"] = json!(true);
            let connected = try_connect(document).unwrap();
            for method in ["GET", "POST", "PUT", "DELETE"] {
                let case = format!("{method} {status} {location:?}");
                let before = server.received_requests().await.unwrap().len();
                let input = json!({ "method": method, "path": "/orders" });
                let error = connected.run("request", input, &Context::default()).await.unwrap_err();
                // After a POST, many services report success with these two.
                let unclear = method == "POST" && [302, 303].contains(&status);
                let kind = if unclear { ErrorKind::UnknownOutcome } else { ErrorKind::Unexpected };
                assert_eq!((error.kind(), error.retryable()), (kind, Retry::Never), "{case}: {error:?}");
                assert!(error.message().contains(by_notation), "{case}: {error:?}");
                let all = format!("{error} {error:?} {}", serde_json::to_string(&error).unwrap());
                assert!(!all.contains("canary-of"), "{case}: {all}");
                assert_eq!(server.received_requests().await.unwrap().len() - before, 1, "{case}");
                cases += 1;
            }
        }
    }
    println!("{cases} redirects, 0 followed, 0 reported with more than their host");
}

#[tokio::test]
async fn files_on_configured_hosts_are_read() {
    let other = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_string("x")).mount(&other).await;
    let server = MockServer::start().await;
    let location = format!("http://localhost:{}/x", other.address().port());
    let moved = ResponseTemplate::new(302).insert_header("location", location.as_str());
    Mock::given(any()).respond_with(moved).mount(&server).await;
    let mut document = settings(&server.uri());
    document["allowPrivateNetwork"] = json!(true);
    let error = call(&try_connect(document.clone()).unwrap(), "download").await.unwrap_err();
    assert_eq!(error.setting_pointer(), Some("/dataHosts"), "{error:?}");
    assert!(error.advice().unwrap().contains("localhost"), "{error:?}");
    document["dataHosts"] = json!(["localhost"]);
    call(&try_connect(document).unwrap(), "download").await.unwrap();
}
