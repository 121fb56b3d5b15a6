//! Sign-ins and tokens against a login server nobody here wrote: oidc-provider, which is certified, rotates strictly and ends
//! a sign-in whose refresh token is used twice (`tests/peers/oidc.mjs`).
//!
//! The idea: our own look-alike believes what we believe of OAuth. Here the connector `http` signs in as a browser would,
//! and an API asks the login server about every token it is shown. Each promise has a twin that breaks it on purpose and has
//! to lose the sign-in.
#![allow(clippy::unwrap_used)]

mod cancel;
mod check;
mod discover;
mod herd;
mod kills;
mod removal;
mod sign_in;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};
use trunkline::Runtime;
use trunkline_core::{Connected, Connections, Context, Result, Secret, SignIn, Vault};
use trunkline_rest::Url;
use trunkline_tests::{
    http,
    peers::{Running, peer},
};

pub(crate) const CALLBACK: &str = "http://127.0.0.1:8700/rest/v1/oauth2/callback";

/// The login server with its API.
pub(crate) struct Login {
    running: Running,
    /// For looking at its log: making a client takes longer than a call.
    http: reqwest::Client,
}

impl Login {
    /// One of its own for this test, or `None` where it is not installed.
    pub(crate) async fn start(arguments: &[&str]) -> Option<Login> {
        Some(Login { running: peer("oidc")?.start(arguments).await, http: http() })
    }

    /// An address of it, such as `/token`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address())
    }

    /// A connection of the connector `http` for a sign-in in the browser.
    pub(crate) fn document(&self) -> Value {
        json!({
            "name": "login", "connector": "http-v1.0", "allowPrivateNetwork": true, "endpointUrl": self.url("/api"),
            "authentication": "oauth2", "flows": "authorization_code",
            "clientId": "by-post", "clientSecret": "by-post-secret",
            // A refresh token is only for those who ask a person each time (OpenID Connect Core section 11).
            "tokenUrl": self.url("/token"), "authorizationUrl": self.url("/auth?prompt=consent"),
            "issuer": self.url(""), "scopes": "openid offline_access",
        })
    }

    /// What the login server and its API have seen.
    pub(crate) async fn log(&self) -> Value {
        self.http.get(self.url("/_log")).send().await.unwrap().json().await.unwrap()
    }

    /// The token requests that arrived: their grant type and how they were answered.
    pub(crate) async fn asked(&self) -> Vec<(String, u64)> {
        let log = self.log().await;
        let entry =
            |one: &Value| (one["grant"].as_str().unwrap_or("?").to_owned(), one["status"].as_u64().unwrap_or(0));
        log["token"].as_array().unwrap().iter().map(entry).collect()
    }
}

/// A browser whose owner signs in and agrees: where it comes back to. It keeps cookies and follows what it is sent to.
pub(crate) async fn walk(url: &str) -> String {
    let (http, mut cookies) = (http(), BTreeMap::new());
    let mut url = Url::parse(url).unwrap();
    for _ in 0..20 {
        let sent: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let page = http.get(url.clone()).header("cookie", sent.join("; ")).send().await.unwrap();
        for cookie in page.headers().get_all("set-cookie") {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => cookies.remove(name),
                _ => cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        let Some(location) = page.headers().get("location") else {
            panic!("{url} answered {} instead of a redirect: {}", page.status(), page.text().await.unwrap());
        };
        let next = url.join(location.to_str().unwrap()).unwrap();
        if next.as_str().starts_with(CALLBACK) {
            return next.into();
        }
        url = next;
    }
    panic!("the browser goes round in circles at {url}");
}

/// A connection of this document, signed in.
pub(crate) async fn signed_in(runtime: &Runtime, document: Value) -> Connected {
    let name = runtime.add_connection(document).await.unwrap();
    let connected = runtime.connect(&name).await.unwrap();
    let begun = connected.begin_authorization(CALLBACK).unwrap();
    connected.finish_authorization(&begun, &walk(&begun.url).await).await.unwrap();
    connected
}

/// What a call of the API is.
pub(crate) fn input() -> Value {
    json!({ "method": "GET", "path": "/me" })
}

/// A call of the API: whose token it was.
pub(crate) async fn call(connected: &Connected) -> Result<Value> {
    let cx = Context::new("", connected.name(), Connections::default());
    Ok(connected.run("request", input(), &cx).await?["body"]["sub"].clone())
}

/// Changes what is stored, after all that was written before.
async fn change(vault: &dyn Vault, connection: &str, change: impl Fn(&mut Map<String, Value>)) {
    loop {
        let found = vault.load(connection).await.unwrap().unwrap();
        let mut record = serde_json::from_str(found.content.expose()).unwrap();
        change(&mut record);
        let content = Secret::from(Value::from(record).to_string());
        if vault.replace(connection, found.version, &content, &SignIn::default()).await.unwrap() {
            return;
        }
    }
}

/// Makes the stored tokens look as if they had run out.
pub(crate) async fn expire(vault: &dyn Vault, connection: &str) {
    change(vault, connection, |record| record["expiresAt"] = 1.into()).await;
}

/// Makes nobody wait for whoever is at work on the stored tokens.
pub(crate) async fn forget_lease(vault: &dyn Vault, connection: &str) {
    change(vault, connection, |record| drop(record.shift_remove("lease"))).await;
}

/// Whether somebody is at work on the stored tokens.
pub(crate) async fn is_leased(vault: &dyn Vault, connection: &str) -> bool {
    vault.load(connection).await.unwrap().is_some_and(|entry| entry.content.expose().contains("\"lease\""))
}

pub(crate) fn vault(runtime: &Runtime) -> Arc<dyn Vault> {
    Arc::new(runtime.store().clone())
}
