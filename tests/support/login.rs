//! A login server written by another project, and a browser whose user signs in there and consents.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trunkline_rest::Url;

use crate::{
    http,
    peers::{Running, peer},
};

/// The login server with its API.
#[derive(Debug)]
pub struct Login {
    running: Running,
    /// Reads the log of the server. It is made once, since making a client takes longer than a call.
    http: reqwest::Client,
}

impl Login {
    /// Starts a server for this test only, or returns `None` if it is not installed.
    pub async fn start(arguments: &[&str]) -> Option<Login> {
        Some(Login { running: peer("oidc")?.start(arguments).await, http: http() })
    }

    /// Returns the URL of a path of the server, such as `/token`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address())
    }

    /// Returns a connection document of the connector `http` for a sign-in in the browser.
    pub fn document(&self) -> Value {
        json!({
            "name": "login", "connector": "http-v1.0", "allowPrivateNetwork": true, "endpointUrl": self.url("/api"),
            "authentication": "oauth2", "flows": "authorization_code",
            "clientId": "by-post", "clientSecret": "by-post-secret",
            // A refresh token is issued only if the user is asked for consent (OpenID Connect Core, section 11).
            "tokenUrl": self.url("/token"), "authorizationUrl": self.url("/auth?prompt=consent"),
            "issuer": self.url(""), "scopes": "openid offline_access",
        })
    }

    /// Returns the log of the login server and its API.
    pub async fn log(&self) -> Value {
        self.http
            .get(self.url("/_log"))
            .send()
            .await
            .expect("the login server responds as expected")
            .json()
            .await
            .expect("the login server responds as expected")
    }

    /// Returns the token requests that arrived, as grant type and status of the response.
    pub async fn token_requests(&self) -> Vec<(String, u64)> {
        let log = self.log().await;
        let entry =
            |one: &Value| (one["grant"].as_str().unwrap_or("?").to_owned(), one["status"].as_u64().unwrap_or(0));
        log["token"].as_array().expect("the login server responds as expected").iter().map(entry).collect()
    }
}

/// Follows a sign-in as a browser whose user signs in and consents: keeps cookies and follows redirects. Returns the
/// callback URL with its query.
pub async fn walk(url: &str) -> String {
    let (http, mut cookies) = (http(), BTreeMap::new());
    let mut url = Url::parse(url).expect("the login server responds as expected");
    for _ in 0..20 {
        let sent: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let page = http
            .get(url.clone())
            .header("cookie", sent.join("; "))
            .send()
            .await
            .expect("the login server responds as expected");
        for cookie in page.headers().get_all("set-cookie") {
            let (name, value) = cookie
                .to_str()
                .expect("the login server responds as expected")
                .split(';')
                .next()
                .expect("the login server responds as expected")
                .split_once('=')
                .expect("the login server responds as expected");
            match value {
                "" => cookies.remove(name),
                _ => cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        let Some(location) = page.headers().get("location") else {
            panic!(
                "{url} answered {} instead of a redirect: {}",
                page.status(),
                page.text().await.expect("the login server responds as expected")
            );
        };
        let next = url
            .join(location.to_str().expect("the login server responds as expected"))
            .expect("the login server responds as expected");
        if next.path() == trunkline_server::CALLBACK {
            return next.into();
        }
        url = next;
    }
    panic!("more than 20 redirects, the last one to {url}");
}
