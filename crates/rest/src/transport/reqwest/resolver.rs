//! The names that the transport connects to.
//!
//! The idea: a name is resolved once, its addresses are checked, and the connection goes to one of the checked
//! addresses. A later change of the name in DNS has no effect.

use std::{error::Error as StdError, fmt, io, net::SocketAddr, sync::Arc};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::proxies::Proxies;
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
    proxies: Arc<Proxies>,
}

impl Resolver {
    pub(super) fn new(allow_private: bool, proxies: Arc<Proxies>) -> Resolver {
        Resolver { allow_private, proxies }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let allow_private = self.allow_private || self.proxies.has_host(&host);
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
}
