//! Failures of `reqwest` as errors for people: what failed, at which stage, and what to do.

use std::{error::Error as StdError, fmt, io, iter::successors};

use trunkline_core::{ConnectStage, Error, ErrorDetail, ErrorKind, Retry};

use super::resolver::UnresolvedName;
use crate::transport::{CONNECT, TransportFailure, ssrf::PrivateAddress};

/// The host of a request, and the way to it.
pub(super) struct Peer {
    pub(super) host: String,
    /// The proxy that the request goes through, and the variable that names it.
    pub(super) proxy: Option<(String, &'static str)>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proxy {
            Some((proxy, _)) => write!(f, "{} through the proxy {proxy}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

/// Returns the error of a response that was cut off.
pub(super) fn cut(peer: &Peer, error: reqwest::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the response of {peer} was cut off"))
        .retry(Retry::Backoff)
        .with("host", &peer.host)
        .source(error.without_url())
}

/// Returns the failure of a request. If it failed before it was sent, the error says at which stage, see
/// [`ErrorDetail::NoConnection`].
pub(super) fn failed(peer: &Peer, error: reqwest::Error) -> TransportFailure {
    let refused = |error| TransportFailure { error, maybe_received: false };
    let error = error.without_url();
    if let Some(private) = causes(&error).find_map(|cause| cause.downcast_ref::<PrivateAddress>()) {
        return refused(private.to_error("URL"));
    }
    if error.is_connect() || error.is_builder() {
        return refused(connect_error(peer, &error).source(error));
    }
    let cause = causes(&error).last().map(ToString::to_string).unwrap_or_default();
    let broken = Error::new(ErrorKind::Unavailable, format!("the connection to {peer} broke: {cause}"))
        .retry(Retry::Backoff)
        .with("host", &peer.host)
        .source(error);
    TransportFailure { error: broken, maybe_received: true }
}

/// Returns the error of a failed connection, with its reason and advice.
fn connect_error(peer: &Peer, error: &reqwest::Error) -> Error {
    use rustls::{CertificateError as Bad, Error as Tls, InvalidMessage::InvalidContentType};
    let failed = |stage: ConnectStage, why: String, hint: &str| {
        let error = Error::new(ErrorKind::Unavailable, format!("no connection to {peer}: {why}"));
        error.retry(Retry::Backoff).with("host", &peer.host).with_detail(ErrorDetail::NoConnection { stage }).hint(hint)
    };
    // The request got no farther than the proxy, if it has one, until the TLS handshake with the host.
    let before_tls = |stage: ConnectStage, why: String, hint: &str| match &peer.proxy {
        None => failed(stage, why, hint),
        Some((_, variable)) => failed(
            ConnectStage::Proxy,
            why,
            &format!(
                "check the proxy, and host, port, user name and password in {variable}; NO_PROXY names hosts that are reached \
             without it"
            ),
        ),
    };
    // Another try does not make a certificate valid.
    let tls = |why: String, hint: &str| failed(ConnectStage::Tls, why, hint).retry(Retry::Never);
    for cause in causes(error) {
        if cause.downcast_ref::<io::Error>().is_some_and(is_out_of_files) {
            // The fault is on this machine: the kind `store` suspends the run instead of failing its items.
            let message = format!("no connection to {peer}: {cause}");
            return Error::new(ErrorKind::Store, message)
                .retry(Retry::Backoff)
                .with("host", &peer.host)
                .hint("raise the limit of open files (`ulimit -n`) or run less at once, then resume the run");
        }
        if let Some(unresolved) = cause.downcast_ref::<UnresolvedName>() {
            let hint = "check the spelling of the URL, and whether this machine can resolve names";
            return before_tls(
                ConnectStage::Name,
                format!("this machine cannot resolve its name ({unresolved})"),
                hint,
            );
        }
        match cause.downcast_ref::<Tls>() {
            None => {}
            Some(Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. })) => {
                let hint =
                    "write the URL with the host name that the vendor documents, not with an alias or an IP address";
                return tls(format!("its certificate is for another name ({cause})"), hint);
            }
            Some(Tls::InvalidCertificate(_)) => {
                let hint =
                    "check the URL; if it is right, this machine must trust the authority that signed the certificate";
                return tls(format!("its certificate is not trusted here ({cause})"), hint);
            }
            Some(Tls::InvalidMessage(InvalidContentType)) => {
                let hint = "check the port: the https URL of the vendor most likely has none";
                return tls("it responds in plain text, such as http, instead of TLS".to_owned(), hint);
            }
            Some(_) => return tls(format!("the TLS handshake failed ({cause})"), "check the URL and its port"),
        }
        match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => {
                let hint = "check host and port; no server is listening there now";
                return before_tls(ConnectStage::Tcp, format!("it refuses connections ({cause})"), hint);
            }
            Some(io::ErrorKind::UnexpectedEof) => {
                let why = format!("it closed the connection during the TLS handshake ({cause})");
                return failed(ConnectStage::Tls, why, "check the URL and its port");
            }
            _ => {}
        }
    }
    if error.is_timeout() {
        let hint = "check host and port; a firewall may drop the packets to it";
        return before_tls(ConnectStage::Tcp, format!("it did not accept one within {CONNECT:.0?}"), hint);
    }
    let cause = causes(error).last().map(ToString::to_string).unwrap_or_default();
    before_tls(ConnectStage::Tcp, cause, "check the URL and the network")
}

/// Returns whether the error is `ENFILE` or `EMFILE`.
fn is_out_of_files(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

/// Returns an error and all its causes, including the inner error of an I/O error, which its `source` skips.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    successors(Some(error), |&error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner as &(dyn StdError + 'static)),
        None => error.source(),
    })
}
