//! Faults of a connection, one per row: the fault, the setting that has to be named, and words of the message.

use serde_json::{Value, json};
use trunkline_core::Severity;
use trunkline_sandbox::{Options, RefreshPolicy, Sandbox};
use trunkline_tests::{document, few, http, sandbox};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use super::faulty::{Tls, closed};

/// The servers of the suite.
pub(crate) struct Parts {
    sandbox: Sandbox,
    /// A server with responses that the sandbox never sends.
    odd: MockServer,
    /// A server that this machine does not trust.
    stranger: Tls,
    /// A refresh token of a revoked sign-in.
    revoked: String,
}

impl Parts {
    pub(crate) async fn start() -> Parts {
        let sandbox = sandbox(Options { refresh_policy: RefreshPolicy::OneTime, ..few(1) }).await;
        let odd = MockServer::start().await;
        let page = || ResponseTemplate::new(200).set_body_raw("<!doctype html><title>Welcome</title>", "text/html");
        let unknown = json!({ "error": "invalid_client", "error_description": "there is no such client_id" });
        for (at, answer) in [
            ("/page", page()),
            ("/page/users/current", page()),
            ("/moved/users/current", ResponseTemplate::new(301).insert_header("location", "https://www.example.com/")),
            ("/only-get", ResponseTemplate::new(405)),
            ("/refused", ResponseTemplate::new(403).set_body_json(json!({ "message": "not for you" }))),
            ("/locked", ResponseTemplate::new(401)),
            ("/broken", ResponseTemplate::new(500)),
            ("/unknown-client", ResponseTemplate::new(401).set_body_json(unknown)),
        ] {
            Mock::given(path(at)).respond_with(answer).mount(&odd).await;
        }
        let revoked = revoked(&document(&sandbox, "mediavalet")).await;
        Parts { sandbox, odd, stranger: Tls::start("localhost").await, revoked }
    }

    pub(crate) fn document(&self, connector: &str) -> Value {
        document(&self.sandbox, connector)
    }

    /// Returns a connection of the connector `http` with client credentials.
    pub(crate) fn http(&self) -> Value {
        let valet = self.document("mediavalet");
        let login = self.url("/mediavalet-login");
        json!({
            "name": "http", "connector": "http-v1.0", "allowPrivateNetwork": true, "endpointUrl": login,
            "checkPath": "/connect/userinfo", "authentication": "oauth2", "flows": "client_credentials",
            "clientId": valet["clientId"], "clientSecret": valet["clientSecret"], "tokenUrl": valet["tokenUrl"],
            "issuer": login, "scopes": "api",
        })
    }

    /// Returns a URL of the sandbox.
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.sandbox.address())
    }

    pub(crate) async fn stop(self) {
        self.sandbox.stop().await;
    }
}

/// Returns a revoked refresh token: a refresh token is valid for one use, and a second use revokes the sign-in.
async fn revoked(valet: &Value) -> String {
    let ask = async |grant: &[(&str, &str)]| {
        let text = |name: &str| valet[name].as_str().unwrap().to_owned();
        let (id, secret) = (text("clientId"), text("clientSecret"));
        let mut form = vec![("client_id", &*id), ("client_secret", &*secret)];
        form.extend(grant);
        let answer = http().post(text("tokenUrl")).form(&form).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    let [username, password] = ["username", "password"].map(|name| valet[name].as_str().unwrap());
    let scope = ("scope", "openid api offline_access");
    let first = ask(&[("grant_type", "password"), ("username", username), ("password", password), scope]).await;
    let first = first["refresh_token"].as_str().unwrap();
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", first)];
    let second = ask(&refresh).await["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(ask(&refresh).await["error"], "invalid_grant");
    second
}

/// A connection with one fault.
pub(crate) struct Broken {
    pub(crate) name: &'static str,
    pub(crate) document: Value,
    /// The first stage that fails.
    pub(crate) stage: &'static str,
    pub(crate) pointer: &'static str,
    pub(crate) severity: Severity,
    /// Words in the message or the hint.
    pub(crate) seen: &'static [&'static str],
    /// Other settings that are named as well.
    pub(crate) beside: Vec<&'static str>,
}

/// Returns the document with changed settings; null removes one.
fn with(mut document: Value, changes: Value) -> Value {
    let settings = document.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => settings.shift_remove(name),
            value => settings.insert(name.clone(), value.clone()),
        };
    }
    document
}

fn row(
    name: &'static str,
    document: Value,
    stage: &'static str,
    pointer: &'static str,
    seen: &'static [&'static str],
) -> Broken {
    Broken { name, document, stage, pointer, seen, severity: Severity::Error, beside: Vec::new() }
}

pub(crate) fn all(parts: &Parts) -> Vec<Broken> {
    [mediavalet(parts), mediaflow(parts), any_service(parts)].into_iter().flatten().collect()
}

fn mediavalet(parts: &Parts) -> Vec<Broken> {
    let valet = |changes| with(parts.document("mediavalet"), changes);
    let good = parts.document("mediavalet");
    let text = |name: &str| good[name].as_str().unwrap().to_owned();
    let by_refresh = |token: &str| {
        valet(json!({ "flows": "refresh_token", "refreshToken": token, "username": null, "password": null }))
    };
    let by_browser = json!({ "flows": "authorization_code", "username": null, "password": null });
    let away = with(by_browser.clone(), json!({ "authorizationUrl": "https://login.example.invalid/authorize" }));
    let closed = format!("http://127.0.0.1:{}", closed());
    let tls_to_plain = parts.url("/mediavalet").replace("http:", "https:");
    let stranger = format!("https://localhost:{}/", parts.stranger.port);
    vec![
        row("no such key", valet(json!({ "subscriptionKey": "wrong" })), "call", "/subscriptionKey", &["portal"]),
        row(
            "no such client",
            valet(json!({ "clientId": "nobody" })),
            "token",
            "/clientId",
            &["invalid_client", "does not know the client ID"],
        ),
        row("another secret", valet(json!({ "clientSecret": "wrong" })), "token", "/clientSecret", &["invalid_client"]),
        row(
            "garbage behind the secret",
            valet(json!({ "clientSecret": text("clientSecret") + "\n" })),
            "token",
            "/clientSecret",
            &["white space"],
        ),
        row("another password", valet(json!({ "password": "wrong" })), "token", "/password", &["invalid_grant"]),
        row(
            "a scope that is not known",
            valet(json!({ "scopes": "openid api everything" })),
            "token",
            "/scopes",
            &["invalid_scope", "everything is not known"],
        ),
        row(
            "a scope is missing",
            valet(json!({ "scopes": "openid" })),
            "token",
            "/scopes",
            &["openid and api are required"],
        ),
        row(
            "an unknown refresh token",
            by_refresh("rt-0"),
            "token",
            "/refreshToken",
            &["invalid_grant", "from the vendor"],
        ),
        row("a revoked refresh token", by_refresh(&parts.revoked), "token", "/refreshToken", &["revoked"]),
        row("no sign-in yet", valet(by_browser), "token", "/flows", &["no user has signed in", "in the browser"]),
        Broken {
            severity: Severity::Warning,
            beside: vec!["/flows"],
            ..row("no host for the browser", valet(away), "name", "/authorizationUrl", &["cannot resolve its name"])
        },
        row(
            "another path of the token URL",
            valet(json!({ "tokenUrl": parts.url("/mediavalet-login/token") })),
            "token",
            "/tokenUrl",
            &["404"],
        ),
        row(
            "no listener at the token URL",
            valet(json!({ "tokenUrl": closed })),
            "tcp",
            "/tokenUrl",
            &["refuses connections"],
        ),
        row(
            "a token URL without a host",
            valet(json!({ "tokenUrl": "https://login.example.invalid/token" })),
            "name",
            "/tokenUrl",
            &["login.example.invalid", "cannot resolve its name", "spelling"],
        ),
        row(
            "a token URL that is a page",
            valet(json!({ "tokenUrl": parts.odd.uri() + "/page" })),
            "token",
            "/tokenUrl",
            &["no token"],
        ),
        row(
            "a token URL that does not accept POST",
            valet(json!({ "tokenUrl": parts.odd.uri() + "/only-get" })),
            "token",
            "/tokenUrl",
            &["405", "check the token URL"],
        ),
        row(
            "TLS to a plain token URL",
            valet(json!({ "tokenUrl": tls_to_plain })),
            "tls",
            "/tokenUrl",
            &["plain text", "port"],
        ),
        row(
            "a token URL with an untrusted certificate",
            valet(json!({ "tokenUrl": stranger })),
            "tls",
            "/tokenUrl",
            &["not trusted here"],
        ),
        row(
            "endpoint and token URL swapped",
            valet(json!({ "tokenUrl": text("endpointUrl"), "endpointUrl": text("tokenUrl") })),
            "token",
            "/tokenUrl",
            &["401", "no token"],
        ),
        row(
            "another path of the endpoint",
            valet(json!({ "endpointUrl": text("endpointUrl") + "/v2" })),
            "call",
            "/endpointUrl",
            &["404", "path included"],
        ),
        row(
            "an endpoint that is a page",
            valet(json!({ "endpointUrl": parts.odd.uri() + "/page" })),
            "call",
            "/endpointUrl",
            &["not JSON"],
        ),
        row(
            "an endpoint that has moved",
            valet(json!({ "endpointUrl": parts.odd.uri() + "/moved" })),
            "call",
            "/endpointUrl",
            &["301", "a redirect to www.example.com"],
        ),
        row(
            "TLS to a plain endpoint",
            valet(json!({ "endpointUrl": tls_to_plain })),
            "tls",
            "/endpointUrl",
            &["plain text"],
        ),
        row(
            "an endpoint with an untrusted certificate",
            valet(json!({ "endpointUrl": stranger })),
            "tls",
            "/endpointUrl",
            &["not trusted here"],
        ),
        row(
            "this machine, not allowed",
            valet(json!({ "allowPrivateNetwork": false })),
            "settings",
            "/endpointUrl",
            &["allowPrivateNetwork"],
        ),
        row(
            "a token URL of this machine, not allowed",
            valet(json!({ "endpointUrl": "https://api.example.invalid", "allowPrivateNetwork": false })),
            "settings",
            "/tokenUrl",
            &["private address", "allowPrivateNetwork"],
        ),
    ]
}

fn mediaflow(parts: &Parts) -> Vec<Broken> {
    let flow = |changes| with(parts.document("mediaflow"), changes);
    let good = parts.document("mediaflow");
    let by_password = json!({ "flows": "password", "refreshToken": null, "username": "nobody", "password": "wrong" });
    vec![
        row(
            "another secret of the key",
            flow(json!({ "clientSecret": "wrong" })),
            "token",
            "/clientSecret",
            &["invalid_client"],
        ),
        row(
            "no such server key",
            flow(json!({ "refreshToken": "wrong" })),
            "token",
            "/refreshToken",
            &["from the vendor"],
        ),
        row("no such user", flow(by_password), "token", "/password", &["user name and password"]),
        row(
            "an endpoint without a host",
            flow(json!({ "endpointUrl": "https://api.example.invalid/1" })),
            "name",
            "/endpointUrl",
            &["cannot resolve its name"],
        ),
        row(
            "no listener at the endpoint",
            flow(json!({ "endpointUrl": format!("http://127.0.0.1:{}/1", closed()) })),
            "tcp",
            "/endpointUrl",
            &["refuses connections"],
        ),
        row(
            "another version of the endpoint",
            flow(json!({ "endpointUrl": parts.url("/mediaflow/2") })),
            "call",
            "/endpointUrl",
            &["404"],
        ),
        row(
            "URLs swapped",
            flow(json!({ "endpointUrl": good["tokenUrl"], "tokenUrl": good["endpointUrl"] })),
            "token",
            "/tokenUrl",
            &["check the token URL"],
        ),
        row(
            "an unknown client with the login server's own message",
            flow(json!({ "tokenUrl": parts.odd.uri() + "/unknown-client" })),
            "token",
            "/clientId",
            &["there is no such client_id"],
        ),
    ]
}

fn any_service(parts: &Parts) -> Vec<Broken> {
    let http = |changes| with(parts.http(), changes);
    let (valet, flow) = (parts.document("mediavalet"), parts.document("mediaflow"));
    let viewer = parts.sandbox.credentials().mediavalet;
    let fixed = |settings: Value| {
        let document = json!({ "name": "http", "connector": "http-v1.0", "allowPrivateNetwork": true });
        with(with(document, json!({ "endpointUrl": parts.odd.uri(), "checkPath": "/locked" })), settings)
    };
    vec![
        row(
            "no such path to check",
            http(json!({ "checkPath": "/nothing" })),
            "call",
            "/checkPath",
            &["404", "choose a path"],
        ),
        row(
            "an issuer without discovery",
            http(json!({ "issuer": parts.url("/mediaflow-login") })),
            "discovery",
            "/issuer",
            &["404"],
        ),
        row(
            "an issuer by another name",
            http(json!({ "issuer": parts.url("/mediavalet-login").replace("127.0.0.1", "localhost") })),
            "discovery",
            "/issuer",
            &["it belongs to http://127.0.0.1"],
        ),
        Broken {
            severity: Severity::Warning,
            ..row("less is granted", http(json!({ "scopes": "api openid" })), "", "/scopes", &["without openid"])
        },
        row(
            "a flow that the login server does not have",
            http(
                json!({ "tokenUrl": flow["tokenUrl"], "clientId": flow["clientId"], "clientSecret": flow["clientSecret"],
                "issuer": null }),
            ),
            "token",
            "/flows",
            &["unsupported_grant_type", "another flow"],
        ),
        row(
            "the API of another product",
            http(json!({ "endpointUrl": flow["endpointUrl"], "checkPath": "/users/me" })),
            "call",
            "",
            &["401", "does not accept", "same environment"],
        ),
        row(
            "a user without the right",
            http(json!({ "flows": "password", "username": viewer.viewer_username, "password": viewer.viewer_password,
                "scopes": valet["scopes"], "endpointUrl": parts.odd.uri(), "checkPath": "/refused" })),
            "call",
            "/username",
            &["403", "not for you", "administrator"],
        ),
        row(
            "another token",
            fixed(json!({ "authentication": "bearer", "token": "wrong" })),
            "call",
            "/token",
            &["401"],
        ),
        row(
            "another key",
            fixed(json!({ "authentication": "apiKey", "apiKey": "wrong" })),
            "call",
            "/apiKey",
            &["401"],
        ),
        row(
            "a wrong password in basic authentication",
            fixed(json!({ "authentication": "basic", "username": "u", "password": "wrong" })),
            "call",
            "/password",
            &["401"],
        ),
        row(
            "a name that leads to this machine",
            fixed(
                json!({ "authentication": "none", "endpointUrl": "https://localhost:1", "allowPrivateNetwork": null }),
            ),
            "tcp",
            "/endpointUrl",
            &["private address", "allowPrivateNetwork"],
        ),
    ]
}
