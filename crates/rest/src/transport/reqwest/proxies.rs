//! The proxies of the environment: which proxy a request goes through, and which hosts are reached without one.
//!
//! The variables are read here and not by the HTTP client, for two reasons: an error can name the proxy and its variable,
//! and a value that the client would ignore is refused, because requests would silently take another way.

use std::{env, ffi::OsString, fmt, net::IpAddr};

use ipnet::IpNet;
use trunkline_core::{ConnectStage, Error, ErrorDetail, ErrorKind, Result};
use url::{Host, Url};

/// A proxy, and the variable that names it.
pub(super) struct EnvironmentProxy {
    pub(super) url: Url,
    pub(super) variable: &'static str,
}

/// The proxy without its password, for messages.
impl fmt::Display for EnvironmentProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.url.host_str().unwrap_or_default();
        write!(f, "{host}:{} of {}", self.url.port_or_known_default().unwrap_or_default(), self.variable)
    }
}

/// The proxies of the environment.
#[derive(Default)]
pub(super) struct Proxies {
    http: Option<EnvironmentProxy>,
    https: Option<EnvironmentProxy>,
    all: Option<EnvironmentProxy>,
    direct: Vec<DirectHosts>,
}

impl Proxies {
    /// Reads the variables of this process.
    ///
    /// # Errors
    ///
    /// `config` if a variable has a value that cannot be used.
    pub(super) fn of_environment() -> Result<Proxies> {
        Proxies::of(|name| env::var_os(name))
    }

    /// Reads the variables. As for curl, a name in lower case goes before the same name in upper case, and a variable
    /// without a value counts as not set.
    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Result<Proxies> {
        let set = |name: &'static str| variable(name).filter(|value| !value.is_empty()).map(|value| (name, value));
        let first = |lower: &'static str, upper: &'static str| set(lower).or_else(|| set(upper));
        // Where a web server starts the program for a request (CGI), HTTP_PROXY is the request's header `Proxy`.
        let http =
            if variable("REQUEST_METHOD").is_some() { set("http_proxy") } else { first("http_proxy", "HTTP_PROXY") };
        let named =
            |found: Option<(&'static str, OsString)>| found.map(|(name, value)| proxy(name, &value)).transpose();
        Ok(Proxies {
            http: named(http)?,
            https: named(first("https_proxy", "HTTPS_PROXY"))?,
            all: named(first("all_proxy", "ALL_PROXY"))?,
            direct: first("no_proxy", "NO_PROXY").map_or(Ok(Vec::new()), |(name, value)| direct(name, &value))?,
        })
    }

    /// Returns the proxy that requests to this URL go through.
    pub(super) fn proxy_for(&self, url: &Url) -> Option<&EnvironmentProxy> {
        let named = match url.scheme() {
            "http" => &self.http,
            "https" => &self.https,
            _ => return None,
        };
        let proxy = named.as_ref().or(self.all.as_ref())?;
        (!self.direct.iter().any(|hosts| hosts.contain(url))).then_some(proxy)
    }

    /// Returns whether a proxy has this host name.
    pub(super) fn has_host(&self, name: &str) -> bool {
        let proxies = [&self.http, &self.https, &self.all].into_iter().flatten();
        proxies.filter_map(|proxy| proxy.url.host_str()).any(|host| host.eq_ignore_ascii_case(name))
    }
}

/// Reads the URL of a proxy. Without a scheme it is an HTTP proxy.
fn proxy(variable: &'static str, value: &OsString) -> Result<EnvironmentProxy> {
    let read = |value: &str| {
        let url = if value.contains("://") { Url::parse(value) } else { Url::parse(&format!("http://{value}")) };
        let url = url.ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())?;
        // The client reads both as a URI, which is less lenient, and would go past a proxy that it cannot read.
        value.parse::<http::Uri>().ok()?.authority()?;
        url.as_str().parse::<http::Uri>().ok()?.authority()?;
        Some(url)
    };
    match value.to_str().and_then(read) {
        Some(url) => Ok(EnvironmentProxy { url, variable }),
        // The value may have a password.
        None => {
            let message = format!("the variable {variable} does not name a proxy that can be used");
            let hint = "write it as http://HOST:PORT or https://HOST:PORT, or unset it";
            Err(refused(message).hint(hint))
        }
    }
}

/// Returns the error of a variable whose value cannot be used. No setting of a connection is at fault.
fn refused(message: String) -> Error {
    Error::new(ErrorKind::Config, message).with_detail(ErrorDetail::NoConnection { stage: ConnectStage::Proxy })
}

/// Hosts that are reached without a proxy: one entry of `no_proxy`.
#[derive(Debug, PartialEq)]
struct DirectHosts {
    hosts: Hosts,
    /// The only port that the entry is about.
    port: Option<u16>,
}

#[derive(Debug, PartialEq)]
enum Hosts {
    All,
    /// An address, or all addresses of a network.
    Network(IpNet),
    /// A name and the names below it, or only those.
    Name {
        name: String,
        only_below: bool,
    },
}

impl DirectHosts {
    /// Reads an entry. Entries are read as curl and Go read them; what both would ignore is not an entry.
    fn read(entry: &str) -> Option<DirectHosts> {
        let all_ports = |hosts| Some(DirectHosts { hosts, port: None });
        if entry == "*" {
            return all_ports(Hosts::All);
        }
        if let Ok(network) = entry.parse::<IpNet>() {
            return all_ports(Hosts::Network(network.trunc()));
        }
        if let Ok(address) = entry.parse::<IpAddr>() {
            return all_ports(Hosts::Network(address.to_canonical().into()));
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse::<u16>().ok()?)),
            _ => (entry, None),
        };
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let hosts = match literal.parse::<IpAddr>() {
            Ok(address) => Hosts::Network(address.to_canonical().into()),
            Err(_) => Hosts::name(host)?,
        };
        Some(DirectHosts { hosts, port })
    }

    fn contain(&self, url: &Url) -> bool {
        let is_host = match (&self.hosts, url.host()) {
            (Hosts::All, _) => true,
            (Hosts::Network(network), Some(Host::Ipv4(address))) => network.contains(&IpAddr::V4(address)),
            (Hosts::Network(network), Some(Host::Ipv6(address))) => {
                network.contains(&IpAddr::V6(address)) || network.contains(&address.to_canonical())
            }
            (Hosts::Name { name, only_below }, Some(Host::Domain(host))) => {
                let host = host.trim_end_matches('.');
                let below = host.strip_suffix(&**name).is_some_and(|front| front.ends_with('.'));
                below || (!only_below && host == name)
            }
            _ => false,
        };
        is_host && self.port.is_none_or(|port| url.port_or_known_default() == Some(port))
    }
}

impl Hosts {
    /// Reads a name: `x.example`, `.x.example`, or `*.x.example` for the names below it only.
    fn name(text: &str) -> Option<Hosts> {
        let below = text.strip_prefix("*.");
        let name = below.or_else(|| text.strip_prefix('.')).unwrap_or(text).trim_end_matches('.');
        // In the form in which URLs have names: lower case, and without letters beyond ASCII.
        let Ok(Host::Domain(name)) = Host::parse(name) else { return None };
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        is_name.then_some(Hosts::Name { name, only_below: below.is_some() })
    }
}

/// Reads the hosts that are reached without a proxy. Commas and white space separate them.
fn direct(variable: &'static str, value: &OsString) -> Result<Vec<DirectHosts>> {
    let unmatched = |what: String| {
        let message = format!("{what} of the variable {variable} is not a host that can be matched");
        refused(message).hint(
            "write a name (example.com, which stands for the names below it too), *.example.com for those only, an address, \
             a network such as 10.0.0.0/8, or * for all; :PORT may follow a name or an address",
        )
    };
    let Some(value) = value.to_str() else { return Err(unmatched("the value".to_owned())) };
    let entries = value.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
    let read = |(number, entry): (usize, &str)| match DirectHosts::read(entry) {
        Some(hosts) => Ok(hosts),
        // It may be the URL of a proxy, with a password.
        None if entry.contains('@') => Err(unmatched(format!("entry {}", number + 1))),
        None => Err(unmatched(format!("entry {} ({entry})", number + 1))),
    };
    entries.enumerate().map(read).collect()
}

#[cfg(test)]
mod tests;
