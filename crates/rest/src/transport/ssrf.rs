//! Protection against server-side request forgery: the servers that a connection may reach. URLs come from settings,
//! and URLs of files come from a service. Neither may lead to servers that only this machine or its network can reach.
//!
//! URLs are checked here. The addresses of names are checked by the transport, while it connects.

use std::{
    error::Error as StdError,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use trunkline_core::{ConnectStage, Error, ErrorDetail, ErrorKind, Result};
use url::{Host, Url};

use super::{NetworkPolicy, url_policy};

/// The servers that a connection may reach.
#[derive(Clone, Debug, Default)]
pub(crate) struct SsrfPolicy {
    /// Whether private networks and this machine are allowed.
    allow_private: bool,
    /// Hosts of files besides the host of the endpoint: names, suffixes of names such as `*.example.com`, or `*` for
    /// any public host.
    data_hosts: Vec<String>,
    /// What the operator allows all connections.
    network: NetworkPolicy,
}

impl SsrfPolicy {
    pub(crate) fn new(allow_private: bool, data_hosts: Vec<String>, network: NetworkPolicy) -> SsrfPolicy {
        SsrfPolicy { allow_private: allow_private && network.allows_private(), data_hosts, network }
    }

    /// Returns whether private networks and this machine are allowed.
    pub(crate) fn allows_private(&self) -> bool {
        self.allow_private
    }

    /// Returns what the operator allows all connections.
    pub(crate) fn network(&self) -> &NetworkPolicy {
        &self.network
    }

    /// Checks a URL from the settings or from a service: https, without a user name, and not in a private network.
    /// Names are not resolved here; the transport checks their addresses. `what` names the URL
    /// in the error.
    ///
    /// # Errors
    ///
    /// `config` if the URL is not allowed.
    pub(crate) fn check(&self, what: &str, url: &Url) -> Result<()> {
        url_policy::check(what, url)?;
        self.network.check(what, url)?;
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        match literal.filter(|address| !self.allow_private && !is_public(*address)) {
            Some(_) => Err(PrivateAddress { host: url_policy::host(url) }.to_error(what)),
            None => Ok(()),
        }
    }

    /// Checks the URL of a file, which must be on the host of the endpoint or on one of the hosts of files.
    ///
    /// # Errors
    ///
    /// `config`, with the setting, if the URL is not allowed.
    pub(crate) fn check_data(&self, what: &str, url: &Url, endpoint: &Url) -> Result<()> {
        self.network.check(what, url)?;
        self.check(what, url).map_err(|error| error.setting("/allowPrivateNetwork"))?;
        let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
        let matches = |pattern: &String| {
            let pattern = pattern.trim_end_matches('.').to_ascii_lowercase();
            match pattern.strip_prefix('*') {
                Some("") => true,
                Some(end) => end.starts_with('.') && host.len() > end.len() && host.ends_with(end),
                None => host == pattern,
            }
        };
        if endpoint.host_str() == url.host_str() || self.data_hosts.iter().any(matches) {
            return Ok(());
        }
        let message = format!("the {what} is on {host}, which is not one of the data hosts of this connection");
        Err(Error::new(ErrorKind::Config, message).setting("/dataHosts").with("host", &host).hint(format!(
            "if the service stores files there, add {host} to the Data Hosts of the connection; if it is a server that \
                 wants a sign-in, check the credentials of the connection"
        )))
    }
}

/// The failure of a name or an address that leads into a private network.
#[derive(Debug)]
pub(crate) struct PrivateAddress {
    pub(super) host: String,
}

impl PrivateAddress {
    /// Returns the error for the user; `what` names the URL.
    pub(crate) fn to_error(&self, what: &str) -> Error {
        let message = format!("the {what} leads to a private address: {}", self.host);
        Error::new(ErrorKind::Config, message)
            .with("host", &self.host)
            .with_detail(ErrorDetail::NoConnection { stage: ConnectStage::Tcp })
            .hint(
                "nothing was sent; set allowPrivateNetwork if the connection is meant to reach this network or machine",
            )
    }
}

impl fmt::Display for PrivateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} leads to a private address", self.host)
    }
}

impl StdError for PrivateAddress {}

/// Returns whether an address is public (IANA special-purpose registries, RFC 6890). An address that embeds another
/// address is public if the embedded one is.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        // Shared between carrier and customer (RFC 6598).
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        // The deprecated 6to4 relay anycast (RFC 7526).
        || (a == 192 && b == 88 && c == 99)
        // Benchmarks (RFC 2544).
        || (a == 198 && (b == 18 || b == 19))
        // Multicast, reserved, broadcast.
        || a >= 224;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // Mapped, and NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => embedded(high, low),
        // Loopback, unspecified, compatible, discard, local NAT64, Teredo and other protocol assignments,
        // documentation.
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => false,
        [0x100, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] | [0x2001, 0..=0x1ff, ..] => false,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] | [0x5f00, ..] => false,
        // Global unicast.
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn special_purpose_addresses_are_not_public() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ] {
            assert!(public(address), "{address}");
        }
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    #[test]
    fn the_wildcard_allows_any_public_host() {
        let (policy, endpoint) = (
            SsrfPolicy::new(false, vec!["*".into()], NetworkPolicy::any()),
            Url::parse("https://api.example.com").unwrap(),
        );
        let fits = |text: &str| policy.check_data("URL", &Url::parse(text).unwrap(), &endpoint).is_ok();
        assert!(fits("https://anywhere.example/7"));
        assert!(!fits("https://10.0.0.1/7") && !fits("https://[::1]/7") && !fits("http://anywhere.example/7"));
    }

    #[test]
    fn files_are_on_the_endpoint_or_on_a_data_host() {
        let hosts = vec!["*.blob.core.windows.net".into(), "files.example.com".into()];
        let policy = SsrfPolicy::new(false, hosts, NetworkPolicy::any());
        let endpoint = Url::parse("https://api.example.com/1").unwrap();
        let fits = |text: &str| policy.check_data("URL", &Url::parse(text).unwrap(), &endpoint).is_ok();
        for good in [
            "https://api.example.com/files/7",
            "https://x.blob.core.windows.net/c/b?sig=s",
            "https://X.BLOB.core.windows.net/c/b",
            "https://files.example.com:8443/7",
        ] {
            assert!(fits(good), "{good}");
        }
        for bad in [
            "https://evil.example/7",
            "https://blob.core.windows.net/7",
            "https://xblob.core.windows.net/7",
            "https://x.blob.core.windows.net.evil.example/7",
            "https://api.example.com.evil.example/7",
            "https://sub.api.example.com/7",
            "https://sub.files.example.com/7",
            "https://169.254.169.254/latest",
            "https://[::ffff:10.0.0.1]/7",
            "http://files.example.com/7",
        ] {
            assert!(!fits(bad), "{bad}");
        }
    }
}
