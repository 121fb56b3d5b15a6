//! What `add` takes, the first use takes: wrong settings are refused when a connection is saved, with the setting, and
//! without a secret of theirs.

use serde_json::{Value, json};
use trunkline::{
    Runtime,
    core::{Connection, ErrorKind},
    operations::{
        Caller,
        connections::{ConnectionName, ExportConnections, ExportQuery, GetConnection},
    },
};

use crate::{FakeTransport, ports, read, runtime, shop};

fn quiet() -> Runtime {
    runtime(&ports(FakeTransport::new(|_| panic!("nothing is sent"))))
}

/// Returns a connection with these members in addition, or in place of others.
fn with(more: Value) -> Value {
    let mut document = shop("canary-token");
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document
}

fn oauth(more: Value) -> Value {
    let mut document = with(json!({ "authentication": "oauth2", "flows": "authorization_code", "clientId": "c",
        "tokenUrl": "https://login.test/token", "authorizationUrl": "https://login.test/authorize" }));
    document.as_object_mut().unwrap().remove("token");
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document
}

#[tokio::test]
async fn wrong_settings_are_refused_when_a_connection_is_saved() {
    let endpoint = |url: &str| (with(json!({ "endpointUrl": url })), "/endpointUrl");
    let login = |setting: &'static str, url: &str| (oauth(json!({ &setting[1..]: url })), setting);
    let mut cases = vec![
        (with(json!({ "issuer": "https://login.test" })), "/issuer"),
        (with(json!({ "checkPath": "/a?b=c" })), "/checkPath"),
        (with(json!({ "checkPath": "/../x" })), "/checkPath"),
        (with(json!({ "dataHosts": ["https://files.test/"] })), "/dataHosts"),
        (with(json!({ "dataHosts": ["files.test:8443"] })), "/dataHosts"),
        (with(json!({ "dataHosts": ["a*.files.test"] })), "/dataHosts"),
        (with(json!({ "idempotencyHeader": "Content-Length" })), "/idempotencyHeader"),
        (with(json!({ "authentication": "basic", "username": "a:b", "password": "canary" })), "/token"),
        (oauth(json!({ "issuer": "login.test" })), "/issuer"),
        (oauth(json!({ "issuer": "https://login.test?a=b" })), "/issuer"),
        (oauth(json!({ "clientId": "" })), "/clientId"),
        (oauth(json!({ "authorizationUrl": null })), "/authorizationUrl"),
        login("/tokenUrl", "https://login.test/token?key=canary"),
        login("/tokenUrl", "https://anna:canary@login.test/token"),
        login("/tokenUrl", "https://login.test:99999/token"),
        login("/tokenUrl", "http://login.test/token"),
        login("/authorizationUrl", "https://login.test/authorize#top"),
        login("/authorizationUrl", "https://anna:canary@login.test/authorize"),
        login("/authorizationUrl", "ftp://login.test/authorize"),
        login("/revocationUrl", "https://login.test/revoke?a=canary"),
        login("/redirectUri", "https://host.test/callback#top"),
        login("/redirectUri", "http://host.test/callback"),
        login("/redirectUri", "javascript:alert(1)"),
        login("/redirectUri", "https://host.test:0/callback"),
        login("/redirectUri", "https://anna:canary@host.test/callback"),
    ];
    cases.extend(
        [
            "https://api.test/v1?key=canary",
            "https://anna:canary@api.test",
            "https://canary@api.test",
            "https://api.test:99999",
            "https://api.test:port",
            "https://api.test/v1#part",
            "https://api.test/a b",
            "https://api te.st",
            " https://api.test",
            "https://api.test/\n",
            "https://",
            "https:///v1",
            "https:api.test",
            "api.test",
            "/v1",
            "",
            "ftp://api.test",
            "file:///etc/passwd",
            "http://api.test",
            "https://10.0.0.1",
            "https://[::1]:8443",
        ]
        .map(endpoint),
    );
    let runtime = quiet();
    for (document, setting) in cases {
        let error = runtime.add_connection(document.clone()).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert_eq!(error.kind(), ErrorKind::Config, "{document}");
        assert!(text.contains(setting), "{document} is refused without {setting}: {text}");
        assert!(!text.contains("canary"), "{document}: {text}");
    }
    assert!(runtime.connections().connections().await.unwrap().is_empty(), "nothing was saved");
}

#[tokio::test]
async fn right_settings_are_saved_and_used_without_their_secrets() {
    let runtime = quiet();
    for document in [
        shop("canary-token"),
        shop(json!({ "env": "NOT_SET_HERE" })),
        with(
            json!({ "endpointUrl": "https://api.test:8443/v1/", "dataHosts": ["*", "*.files.test", "f-1.test"], "checkPath": "/a/" }),
        ),
        with(json!({ "endpointUrl": "http://127.0.0.1:9", "allowPrivateNetwork": true })),
        oauth(
            json!({ "authorizationUrl": "https://login.test/authorize?prompt=consent", "issuer": "https://login.test/a" }),
        ),
        oauth(
            json!({ "clientSecret": { "env": "NOT_SET_HERE" }, "redirectUri": "http://127.0.0.1:8000/callback?a=b" }),
        ),
    ] {
        runtime.add_connection(document.clone()).await.unwrap_or_else(|error| panic!("{document}: {error:?}"));
    }
}

#[tokio::test]
async fn the_faults_of_all_connections_are_reported_together() {
    let named = |name: &str, url: &str| with(json!({ "name": name, "endpointUrl": url }));
    let runtime = quiet();
    let all = vec![
        named("query", "https://api.example.com/v1?key=1"),
        named("good", "https://api.example.com"),
        named("user", "https://anna:canary@api.example.com"),
        named("port", "https://api.example.com:99999"),
    ];
    let error = runtime.add_connections(all).await.unwrap_err();
    for words in ["/endpointUrl: query: ", "/endpointUrl: user: ", "/endpointUrl: port: "] {
        assert!(error.message().contains(words), "{error:?}");
    }
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    assert!(runtime.connections().connections().await.unwrap().is_empty(), "nothing was saved");
}

/// Earlier versions have saved such URLs.
#[tokio::test]
async fn a_password_in_a_saved_url_is_not_shown() {
    let ports = ports(FakeTransport::new(|_| panic!("nothing is sent")));
    let runtime = runtime(&ports);
    let saved = Connection::from_value(with(json!({ "endpointUrl": "https://anna:canary@api.test/v1" }))).unwrap();
    let settings = runtime.registry().connector("http").unwrap().settings();
    ports.connections.put_connection(&saved, settings).await.unwrap();
    let owner = Caller::owner();
    let shown = runtime.execute::<GetConnection>(&owner, ConnectionName { name: "shop".into() }).await.unwrap();
    assert_eq!(shown.document["endpointUrl"], "https://anna:***@api.test/v1");
    let exported = runtime.execute::<ExportConnections>(&owner, ExportQuery { name: None }).await.unwrap();
    assert!(!serde_json::to_string(&exported).unwrap().contains("canary"));
    let error = read(&runtime, "/a").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Config && !format!("{error:?}").contains("canary"), "{error:?}");
}
