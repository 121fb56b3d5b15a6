//! The names that the transport connects to.
//!
//! The idea: a name is resolved once, its addresses are checked, and the connection goes to one of the checked
//! addresses. A later change of the name in DNS has no effect.

use std::{collections::BTreeSet, env, error::Error as StdError, ffi::OsString, fmt, io, net::SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use trunkline_core::{Error, ErrorKind, Result};
use url::Url;

use crate::transport::ssrf::{PrivateAddress, is_public};

/// The failure of a name without addresses.
#[derive(Debug)]
pub(super) struct UnresolvedName(io::Error);

impl fmt::Display for UnresolvedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for UnresolvedName {}

/// A resolver that yields only addresses that may be used.
pub(super) struct Resolver {
    allow_private: bool,
    /// Proxies of the environment may have private addresses: the operator chose them, and a proxy decides itself what
    /// it fetches.
    proxies: BTreeSet<String>,
}

impl Resolver {
    /// Returns a resolver that knows the proxies of the environment.
    ///
    /// # Errors
    ///
    /// `config` if a variable does not name a proxy that can be used: requests would go past the proxy.
    pub(super) fn new(allow_private: bool) -> Result<Resolver> {
        let names = ["http_proxy", "https_proxy", "all_proxy"];
        let names = names.into_iter().flat_map(|name| [name.to_owned(), name.to_ascii_uppercase()]);
        let set = names.filter_map(|name| env::var_os(&name).map(|value| (name, value)));
        Ok(Resolver { allow_private, proxies: proxies(set)? })
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let allow_private = self.allow_private || self.proxies.contains(&host.to_ascii_lowercase());
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((host.as_str(), 0)).await.map_err(UnresolvedName)?.collect();
            let allowed = allowed_addresses(&host, found, allow_private)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Returns the addresses of a name that may be used.
///
/// # Errors
///
/// A [`PrivateAddress`] if the name has addresses and none of them may be used.
fn allowed_addresses(
    host: &str,
    found: Vec<SocketAddr>,
    allow_private: bool,
) -> Result<Vec<SocketAddr>, PrivateAddress> {
    let resolved = !found.is_empty();
    let allowed: Vec<_> = found.into_iter().filter(|one| allow_private || is_public(one.ip())).collect();
    if resolved && allowed.is_empty() { Err(PrivateAddress { host: host.to_owned() }) } else { Ok(allowed) }
}

/// Returns whether the environment says that no proxy is used: `NO_PROXY=*`. The client itself takes the star for host
/// names only, not for addresses.
pub(super) fn passes_proxies_by() -> bool {
    let set = env::var("NO_PROXY").or_else(|_| env::var("no_proxy"));
    set.is_ok_and(|value| value.trim() == "*")
}

/// Returns the host names of the proxies in these variables. A variable without a value names none.
fn proxies(set: impl IntoIterator<Item = (String, OsString)>) -> Result<BTreeSet<String>> {
    let mut hosts = BTreeSet::new();
    for (name, value) in set.into_iter().filter(|(_, value)| !value.is_empty()) {
        let host = value.to_str().and_then(proxy_host).ok_or_else(|| {
            // The value may have a password.
            Error::new(ErrorKind::Config, format!("the variable {name} does not name a proxy that can be used"))
                .hint("write it as http://HOST:PORT or https://HOST:PORT, or unset it")
        })?;
        hosts.insert(host);
    }
    Ok(hosts)
}

/// Returns the host of a proxy. Without a scheme it is an HTTP proxy.
fn proxy_host(value: &str) -> Option<String> {
    let url = if value.contains("://") { Url::parse(value) } else { Url::parse(&format!("http://{value}")) };
    let url = url.ok().filter(|url| ["http", "https"].contains(&url.scheme()))?;
    // The client reads the value as a URI, which is less lenient.
    value.parse::<http::Uri>().ok()?.authority()?;
    Some(url.host_str()?.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_yields_only_its_public_addresses() {
        let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let both = vec![at("127.0.0.1"), at("1.1.1.1"), at("::1")];
        assert_eq!(allowed_addresses("x.example", both.clone(), false).unwrap(), [at("1.1.1.1")], "if a name has both");
        assert_eq!(allowed_addresses("x.example", both.clone(), true).unwrap(), both);
        assert!(allowed_addresses("x.example", vec![at("10.0.0.1")], false).is_err());
        assert!(
            allowed_addresses("x.example", Vec::new(), false).unwrap().is_empty(),
            "a name without addresses is not a private address"
        );
    }

    #[test]
    fn a_variable_names_a_proxy_or_is_refused() {
        for (value, host) in [
            ("http://proxy.example.com:3128", Some("proxy.example.com")),
            ("https://Proxy.example.com", Some("proxy.example.com")),
            ("proxy.example.com:3128", Some("proxy.example.com")),
            ("proxy.example.com", Some("proxy.example.com")),
            ("10.0.0.1:8080", Some("10.0.0.1")),
            ("http://[::1]:3128/", Some("[::1]")),
            ("http://ada:pass%20word@proxy:3128", Some("proxy")),
            ("socks5://proxy:1080", None),
            ("ftp://proxy", None),
            ("http://", None),
            ("http://proxy:port", None),
            ("proxy example", None),
            ("://proxy", None),
            (" ", None),
        ] {
            let found = proxies([("HTTPS_PROXY".to_owned(), OsString::from(value))]);
            match host {
                Some(host) => assert_eq!(found.unwrap(), BTreeSet::from([host.to_owned()]), "{value:?}"),
                None => {
                    let error = found.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Config, "{value:?}");
                    assert!(
                        error.to_string().contains("HTTPS_PROXY") && !error.to_string().contains("1080"),
                        "{error}"
                    );
                }
            }
        }
        assert!(proxies([("http_proxy".to_owned(), OsString::new())]).unwrap().is_empty());
        assert!(proxies([]).unwrap().is_empty());
    }
}
