//! Who may call: under which names, and with which token.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use trunkline_core::{Error, ErrorKind, Secret};
use trunkline_rest::Url;

use super::{App, response::Refusal};

/// How long a caller may take, and be made to wait.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Guard {
    hosts: BTreeSet<String>,
    token: [u8; 32],
}

impl Guard {
    /// Knows the address it listens at and, on this machine, the names of that; and the name it has outside.
    pub(crate) fn new(address: SocketAddr, public: Option<&Url>, token: &Secret) -> Self {
        let port = address.port();
        let mut hosts = BTreeSet::from([address.to_string()]);
        if address.ip().is_loopback() {
            hosts.extend(["localhost", "127.0.0.1", "[::1]"].map(|name| format!("{name}:{port}")));
        }
        if let Some((url, host)) = public.and_then(|url| Some((url, url.host_str()?.to_lowercase()))) {
            hosts.extend(url.port_or_known_default().map(|port| format!("{host}:{port}")));
            if url.port().is_none() {
                hosts.insert(host);
            }
        }
        Guard { hosts, token: hash(token.expose()) }
    }

    /// Whether a request names one host, and a known one.
    fn knows(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut named = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else { return false };
        let known = |name: &str| self.hosts.contains(&name.to_lowercase());
        host.to_str().is_ok_and(known) && uri.authority().is_none_or(|one| known(one.as_str()))
    }

    /// Compares in a time that says nothing about where the two differ.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|given| given.split_once(' '));
        token.is_some_and(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && hash(token.trim()) == self.token)
    }
}

/// A token as it is compared and kept.
pub(crate) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// For every request: refuses other hosts, and callers who never end.
pub(crate) async fn host(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !app.guard.knows(request.uri(), request.headers()) {
        let error = Error::new(ErrorKind::Permission, "this is not the host that the request names")
            .hint("call it by the address it listens at; `--public-url` gives it another name");
        return Refusal::new(StatusCode::MISDIRECTED_REQUEST, error).into_response();
    }
    match tokio::time::timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let error = Error::new(ErrorKind::Limit, "the request took too long");
            Refusal::new(StatusCode::REQUEST_TIMEOUT, error).into_response()
        }
    }
}

/// For the API: refuses those without the token.
pub(crate) async fn token(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.guard.admits(request.headers()) {
        return next.run(request).await;
    }
    let error = Error::new(ErrorKind::Auth, "the API's token is missing, or is another one")
        .hint("send it as `Authorization: Bearer TOKEN`; `trunkline serve` says where it is");
    Refusal::new(StatusCode::UNAUTHORIZED, error).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knows(guard: &Guard, uri: &str, hosts: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        guard.knows(&uri.parse().unwrap(), &headers)
    }

    #[test]
    fn only_names_of_ours_are_known() {
        let public = "https://flows.example.com".parse().unwrap();
        let guard = Guard::new(([127, 0, 0, 1], 8700).into(), Some(&public), &Secret::from("t"));
        for host in ["127.0.0.1:8700", "LocalHost:8700", "[::1]:8700", "flows.example.com", "Flows.Example.com:443"] {
            assert!(knows(&guard, "/health", &[host]), "{host}");
        }
        for hosts in [
            &["evil.test"][..],
            &["evil.test:8700"],
            &["127.0.0.1"],
            &["127.0.0.1:80"],
            &["flows.example.com.evil.test"],
            &["evil.test", "127.0.0.1:8700"],
            &["127.0.0.1:8700", "evil.test"],
            &[""],
            &[],
        ] {
            assert!(!knows(&guard, "/health", hosts), "{hosts:?}");
        }
        assert!(!knows(&guard, "http://evil.test/health", &["127.0.0.1:8700"]));
        let outside = Guard::new(([0, 0, 0, 0], 8700).into(), Some(&public), &Secret::from("t"));
        assert!(!knows(&outside, "/health", &["localhost:8700"]) && knows(&outside, "/health", &["flows.example.com"]));
    }
}
