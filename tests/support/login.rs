//! A login server nobody here wrote, and the browser of a person who signs in there and agrees.

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
    /// For looking at its log: making a client takes longer than a call.
    http: reqwest::Client,
}

impl Login {
    /// One of its own for this test, or `None` where it is not installed.
    pub async fn start(arguments: &[&str]) -> Option<Login> {
        Some(Login { running: peer("oidc")?.start(arguments).await, http: http() })
    }

    /// An address of it, such as `/token`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address())
    }

    /// A connection of the connector `http` for a sign-in in the browser.
    pub fn document(&self) -> Value {
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
    pub async fn log(&self) -> Value {
        self.http
            .get(self.url("/_log"))
            .send()
            .await
            .expect("the login server answers as it should")
            .json()
            .await
            .expect("the login server answers as it should")
    }

    /// The token requests that arrived: their grant type and how they were answered.
    pub async fn asked(&self) -> Vec<(String, u64)> {
        let log = self.log().await;
        let entry =
            |one: &Value| (one["grant"].as_str().unwrap_or("?").to_owned(), one["status"].as_u64().unwrap_or(0));
        log["token"].as_array().expect("the login server answers as it should").iter().map(entry).collect()
    }
}

/// A browser whose owner signs in and agrees: where it comes back to. It keeps cookies and follows what it is sent to.
pub async fn walk(url: &str) -> String {
    let (http, mut cookies) = (http(), BTreeMap::new());
    let mut url = Url::parse(url).expect("the login server answers as it should");
    for _ in 0..20 {
        let sent: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let page = http
            .get(url.clone())
            .header("cookie", sent.join("; "))
            .send()
            .await
            .expect("the login server answers as it should");
        for cookie in page.headers().get_all("set-cookie") {
            let (name, value) = cookie
                .to_str()
                .expect("the login server answers as it should")
                .split(';')
                .next()
                .expect("the login server answers as it should")
                .split_once('=')
                .expect("the login server answers as it should");
            match value {
                "" => cookies.remove(name),
                _ => cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        let Some(location) = page.headers().get("location") else {
            panic!(
                "{url} answered {} instead of a redirect: {}",
                page.status(),
                page.text().await.expect("the login server answers as it should")
            );
        };
        let next = url
            .join(location.to_str().expect("the login server answers as it should"))
            .expect("the login server answers as it should");
        if next.path() == trunkline::serve::CALLBACK {
            return next.into();
        }
        url = next;
    }
    panic!("the browser goes round in circles at {url}");
}
