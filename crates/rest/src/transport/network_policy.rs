//! What the operator of a host lets its connections reach, whatever their settings say.
//!
//! The idea: settings come from users, documents and discovery, but the network belongs to the operator. The policy is
//! given to the [`HttpEnvironment`](crate::HttpEnvironment) of a host, and every request of every connection passes it,
//! in one place: the channel to the transport.

use std::sync::Arc;

use ipnet::IpNet;
use trunkline_core::{Error, ErrorKind, NextStep, Result};
use url::{Host, Url};

use super::url_policy;

/// What the operator of a host lets its connections reach: API, login servers, discovery, and the storage of files.
///
/// The default is every public host. A connection reaches a private network only if both its own setting
/// `allowPrivateNetwork` and the operator allow it.
///
/// ```
/// use trunkline_rest::{HttpEnvironment, NetworkPolicy};
/// # fn main() -> trunkline_core::Result<()> {
/// let policy = NetworkPolicy::default().with_hosts("api.example.com:443, *.example.net, 10.1.0.0/16")?;
/// let http = HttpEnvironment::default().with_network(policy.with_private_network(true));
/// # drop(http); Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct NetworkPolicy {
    /// The hosts that may be reached; `None` for all.
    hosts: Option<Arc<[HostRule]>>,
    private_network: bool,
}

/// Hosts that may be reached.
#[derive(Clone, Debug, PartialEq)]
struct HostRule {
    place: Place,
    /// `None` for every port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq)]
enum Place {
    Any,
    /// A name, in lower case and Punycode.
    Name(String),
    /// The names below this one.
    Below(String),
    /// An address, or a network of addresses.
    Network(IpNet),
}

impl NetworkPolicy {
    /// Returns a policy that allows everything, for a program that makes its clients itself, in code.
    pub fn any() -> NetworkPolicy {
        NetworkPolicy { hosts: None, private_network: true }
    }

    /// Sets whether the setting `allowPrivateNetwork` of a connection takes effect. Without it, a connection with this
    /// setting is refused.
    pub fn with_private_network(self, allowed: bool) -> NetworkPolicy {
        NetworkPolicy { private_network: allowed, ..self }
    }

    /// Allows only these hosts: names, `*.example.com` for the names below one, `*`, addresses and networks such as
    /// `10.1.0.0/16`, each with a port if only that is allowed. They are separated by commas, spaces or lines; `#`
    /// begins a comment. A network matches URLs with an address, not names that resolve to one.
    ///
    /// # Errors
    ///
    /// `config` if an entry cannot be read, or if there is none.
    pub fn with_hosts(self, list: &str) -> Result<NetworkPolicy> {
        let lines = list.lines().map(|line| line.split_once('#').map_or(line, |(rule, _)| rule));
        let entries = lines.flat_map(|line| line.split([',', ' ', '\t'])).filter(|entry| !entry.is_empty());
        let hosts = entries.map(HostRule::parse).collect::<Result<Vec<_>>>()?;
        if hosts.is_empty() {
            let message = "the list of allowed hosts is empty, so that no connection could reach anything";
            return Err(Error::new(ErrorKind::Config, message)
                .next("name at least one host, or leave the option out to allow all of them")
                .next(allow_hosts()));
        }
        Ok(NetworkPolicy { hosts: Some(hosts.into()), ..self })
    }

    /// Returns whether connections into private networks are allowed.
    pub(crate) fn allows_private(&self) -> bool {
        self.private_network
    }

    /// Checks that a connection may reach private networks. `wanted` is its own setting.
    ///
    /// # Errors
    ///
    /// `config`, with the setting, if only the connection allows it.
    pub(crate) fn check_private(&self, wanted: bool) -> Result<()> {
        if !wanted || self.private_network {
            return Ok(());
        }
        let message =
            "the connection wants to reach private networks, and the operator of this host has not allowed that";
        Err(Error::new(ErrorKind::Config, message)
            .setting("/allowPrivateNetwork")
            .next("remove allowPrivateNetwork from the connection, or let the operator of this host allow it")
            .next(NextStep::SetOption { name: "allow-private-network".to_owned() }))
    }

    /// Checks that a URL may be reached. `what` names it in the error.
    ///
    /// # Errors
    ///
    /// `config` if its host or port is not in the list of allowed hosts.
    pub(crate) fn check(&self, what: &str, url: &Url) -> Result<()> {
        let Some(rules) = &self.hosts else { return Ok(()) };
        if rules.iter().any(|rule| rule.matches(url)) {
            return Ok(());
        }
        let host = url_policy::host(url);
        let message = format!("the {what} is on {host}, which is not among the hosts that the operator allows");
        Err(Error::new(ErrorKind::Config, message)
            .with("host", host)
            .next("nothing was sent; if connections may reach it, the operator of this host adds it to the list")
            .next(allow_hosts()))
    }
}

fn allow_hosts() -> NextStep {
    NextStep::SetOption { name: "allow-hosts".to_owned() }
}

impl HostRule {
    fn parse(entry: &str) -> Result<HostRule> {
        HostRule::read(entry).ok_or_else(|| {
            let message = format!("the allowed host {entry:?} is not a name, *.name, *, address or network");
            Error::new(ErrorKind::Config, message)
                .next("write it without https:// and without a path: api.example.com:443, *.example.com, 10.1.0.0/16")
                .next(allow_hosts())
        })
    }

    fn read(entry: &str) -> Option<HostRule> {
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let (place, port) = match entry.strip_prefix('[') {
            // An IPv6 address or network, where colons stand in the address.
            Some(rest) => match rest.split_once(']')? {
                (place, "") => (place, None),
                (place, rest) => (place, Some(port(rest.strip_prefix(':')?)?)),
            },
            None if network(entry).is_some() => (entry, None),
            None => match entry.rsplit_once(':') {
                Some((place, text)) => (place, Some(port(text)?)),
                None => (entry, None),
            },
        };
        let place = match place.strip_prefix("*.") {
            _ if place == "*" => Place::Any,
            Some(name) => Place::Below(name_of(name)?),
            None => match network(place) {
                Some(network) => Place::Network(network),
                None => Place::Name(name_of(place)?),
            },
        };
        Some(HostRule { place, port })
    }

    fn matches(&self, url: &Url) -> bool {
        let in_network = |address: std::net::IpAddr| match &self.place {
            Place::Network(network) => network.contains(&address.to_canonical()),
            _ => false,
        };
        let fits = match url.host() {
            _ if self.place == Place::Any => true,
            Some(Host::Ipv4(address)) => in_network(address.into()),
            Some(Host::Ipv6(address)) => in_network(address.into()),
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                match &self.place {
                    Place::Name(allowed) => name == *allowed,
                    Place::Below(allowed) => name.strip_suffix(&**allowed).is_some_and(|rest| rest.ends_with('.')),
                    Place::Any | Place::Network(_) => false,
                }
            }
            None => false,
        };
        fits && self.port.is_none_or(|port| url.port_or_known_default() == Some(port))
    }
}

/// Reads an address or a network of addresses.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| Some(text.parse::<std::net::IpAddr>().ok()?.to_canonical().into()))
}

/// Returns a host name as URLs have it.
fn name_of(text: &str) -> Option<String> {
    match Host::parse(text).ok()? {
        Host::Domain(name) => Some(name.trim_end_matches('.').to_owned()).filter(|name| !name.contains('*')),
        // Another notation of an address.
        Host::Ipv4(_) | Host::Ipv6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(list: &str, url: &str) -> bool {
        NetworkPolicy::default().with_hosts(list).unwrap().check("URL", &url.parse().unwrap()).is_ok()
    }

    #[test]
    fn a_list_allows_its_hosts_and_no_others() {
        let list = "api.example.com, login.example.com:443\n*.blob.example.net # storage\n10.1.0.0/16 192.0.2.7:8443 \
                    [fd00::/8]:443,[2001:db8::1] Größe.example 127.0.0.1";
        for url in [
            "https://api.example.com/1",
            "https://API.example.com.:8443/",
            "https://login.example.com/token",
            "https://x.y.blob.example.net/c?sig=s",
            "https://10.1.255.1/",
            "https://192.0.2.7:8443/",
            "https://[fd12::1]/",
            "https://[2001:db8::1]:9/",
            "https://größe.example/",
            "http://127.0.0.1:9/",
            "https://[::ffff:10.1.2.3]/",
        ] {
            assert!(allows(list, url), "{url}");
        }
        for url in [
            "https://example.com/",
            "https://api.example.com.evil.example/",
            "https://xapi.example.com/",
            "https://login.example.com:8443/",
            "https://blob.example.net/",
            "https://xblob.example.net/",
            "https://10.2.0.1/",
            "https://192.0.2.7/",
            "https://[fd12::1]:8443/",
            "https://127.0.0.2/",
            "https://localhost/",
            "https://0x7f.1.2.3/",
        ] {
            assert!(!allows(list, url), "{url}");
            // The twins: without a list, and with one for everything.
            assert!(NetworkPolicy::default().check("URL", &url.parse().unwrap()).is_ok() && allows("*", url), "{url}");
        }
        assert!(allows("*:443", "https://a.example/") && !allows("*:443", "https://a.example:444/"));
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_an_error() {
        for bad in [
            "https://a.example",
            "a.example/path",
            "a.example:",
            "a.example:99999",
            "a.*",
            "**",
            "10.0.0.0/33",
            "[::1",
            "",
        ] {
            let error = NetworkPolicy::default().with_hosts(bad).unwrap_err();
            assert!(error.advice().unwrap().contains("allow-hosts"), "{bad}: {error:?}");
        }
        assert!(NetworkPolicy::default().with_hosts(" # nothing\n,").is_err());
    }

    #[test]
    fn a_private_network_needs_the_consent_of_both() {
        let [none, both] = [false, true].map(|allowed| NetworkPolicy::default().with_private_network(allowed));
        assert!(none.check_private(false).is_ok() && both.check_private(true).is_ok());
        let error = none.check_private(true).unwrap_err();
        assert_eq!((error.kind(), error.setting_pointer()), (ErrorKind::Config, Some("/allowPrivateNetwork")));
        assert!(error.advice().unwrap().contains("allow-private-network"));
    }
}
