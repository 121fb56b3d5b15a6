//! What requests are checked against: the names of this server, and the token of the API.

use std::{collections::BTreeSet, net::SocketAddr};

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use subtle::ConstantTimeEq;
use trunkline::token::hash;
use trunkline_core::{Error, ErrorKind, NextStep, Result, Secret};
use trunkline_rest::Url;

/// What requests are checked against.
pub(crate) struct Guard {
    /// The names of this server, in lower case.
    hosts: BTreeSet<String>,
    /// The origins of other servers whose pages may use the API.
    origins: Vec<HeaderValue>,
    /// The hash of the API token.
    token: [u8; 32],
    /// The token itself: the redactor looks for it as long as the server runs.
    _secret: Secret,
}

impl Guard {
    /// Accepts the address that the server listens on, the names of the loopback interface if that is a loopback
    /// address, and the host of the public URL.
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
        Guard { hosts, origins: Vec::new(), token: hash(token.expose()), _secret: token.clone() }
    }

    /// Accepts pages of these origins.
    ///
    /// # Errors
    ///
    /// `config` if a URL has more than an origin.
    pub(crate) fn with_origins(mut self, origins: &[Url]) -> Result<Self> {
        for url in origins {
            let origin = url.origin().ascii_serialization();
            if url.as_str().trim_end_matches('/') != origin {
                let message = format!("{url} is not an origin");
                let error = Error::new(ErrorKind::Config, message)
                    .next(NextStep::SetOption { name: "allow-origin".to_owned() });
                return Err(
                    error.hint("an origin has a scheme, a host and a port, and no path: https://builder.example.com")
                );
            }
            self.origins.extend(HeaderValue::try_from(origin));
        }
        Ok(self)
    }

    /// Returns the origins of other servers whose pages may use the API.
    pub(crate) fn origins(&self) -> &[HeaderValue] {
        &self.origins
    }

    /// Returns whether a request comes from a program, from a page of this server, or from a page that may use the API.
    pub(crate) fn is_allowed_origin(&self, headers: &HeaderMap) -> bool {
        headers.get_all(header::ORIGIN).iter().all(|origin| {
            let url = origin.to_str().ok().and_then(|origin| Url::parse(origin).ok());
            let port = url.as_ref().and_then(Url::port_or_known_default);
            let own = url.as_ref().and_then(|url| Some(format!("{}:{}", url.host_str()?.to_lowercase(), port?)));
            own.is_some_and(|own| self.hosts.contains(&own)) || self.origins.contains(origin)
        })
    }

    /// Returns whether a request names exactly one host, and that is this server.
    pub(crate) fn is_own_host(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut named = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else { return false };
        let known = |name: &str| self.hosts.contains(&name.to_lowercase());
        host.to_str().is_ok_and(known) && uri.authority().is_none_or(|one| known(one.as_str()))
    }

    /// Returns whether a request has the API token. The time that the comparison takes does not depend on it: the
    /// hashes have one length and are compared whole.
    pub(crate) fn has_token(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|given| given.split_once(' '));
        token.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && hash(token.trim()).ct_eq(&self.token).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_own_host(guard: &Guard, uri: &str, hosts: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        guard.is_own_host(&uri.parse().unwrap(), &headers)
    }

    #[test]
    fn only_pages_of_this_server_and_of_listed_origins_are_accepted() {
        let public = "https://flows.example.com".parse().unwrap();
        let guard = Guard::new(([127, 0, 0, 1], 8700).into(), Some(&public), &Secret::from("t"));
        let guard = guard.with_origins(&["https://builder.example.com".parse().unwrap()]).unwrap();
        let is_allowed = |origins: &[&str]| {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(header::ORIGIN, origin.parse().unwrap());
            }
            guard.is_allowed_origin(&headers)
        };
        for origins in [
            &[][..],
            &["http://127.0.0.1:8700"],
            &["http://localhost:8700"],
            &["https://flows.example.com"],
            &["https://builder.example.com"],
        ] {
            assert!(is_allowed(origins), "{origins:?}");
        }
        for origins in [
            &["https://evil.test"][..],
            &["null"],
            &[""],
            &["http://127.0.0.1:80"],
            &["https://builder.example.com.evil.test"],
            &["http://builder.example.com"],
            &["https://builder.example.com:8443"],
            &["https://flows.example.com", "https://evil.test"],
        ] {
            assert!(!is_allowed(origins), "{origins:?}");
        }
        let guard = Guard::new(([127, 0, 0, 1], 8700).into(), None, &Secret::from("t"));
        assert!(guard.with_origins(&["https://builder.example.com/app".parse().unwrap()]).is_err());
    }

    #[test]
    fn only_names_of_this_server_are_accepted() {
        let public = "https://flows.example.com".parse().unwrap();
        let guard = Guard::new(([127, 0, 0, 1], 8700).into(), Some(&public), &Secret::from("t"));
        for host in ["127.0.0.1:8700", "LocalHost:8700", "[::1]:8700", "flows.example.com", "Flows.Example.com:443"] {
            assert!(is_own_host(&guard, "/health", &[host]), "{host}");
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
            assert!(!is_own_host(&guard, "/health", hosts), "{hosts:?}");
        }
        assert!(!is_own_host(&guard, "http://evil.test/health", &["127.0.0.1:8700"]));
        let outside = Guard::new(([0, 0, 0, 0], 8700).into(), Some(&public), &Secret::from("t"));
        assert!(
            !is_own_host(&outside, "/health", &["localhost:8700"])
                && is_own_host(&outside, "/health", &["flows.example.com"])
        );
    }
}
