//! The rules for URLs and for naming them in messages.
//!
//! The idea: credentials and signed URLs never travel unencrypted, so https is required, and http is allowed only on
//! this machine. Messages name a host, never a path or a query, because those may be signed.

use http::{HeaderMap, StatusCode, header};
use trunkline_core::{Error, ErrorKind, Result};
use url::{Host, Url};

use super::headers::header_text;

/// Checks that a URL is https (or http on this machine), and has no port 0, user name or password. `what` names the URL
/// in the error.
///
/// # Errors
///
/// `config` if the URL is not allowed.
pub(crate) fn check(what: &str, url: &Url) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::new(ErrorKind::Config, format!("the {what} {why}"))
            .with("host", host(url))
            .hint("write it as https://host/path; http is allowed on this machine only"))
    };
    match (url.scheme(), url.host()) {
        (_, None) => refuse("has no host"),
        ("https", _) => Ok(()),
        ("http", Some(host)) if is_loopback(&host) => Ok(()),
        ("http", _) => refuse("is http, which others on the network can read"),
        _ => refuse("is not an https URL"),
    }?;
    if url.port() == Some(0) {
        let message = format!("the {what} has the port 0, which no server listens on");
        return Err(Error::new(ErrorKind::Config, message)
            .with("host", host(url))
            .hint("write the port of the service"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let message = format!("the {what} contains a user name or password");
        return Err(Error::new(ErrorKind::Config, message)
            .with("host", host(url))
            .hint("remove them from the URL: they belong in the settings for the authentication"));
    }
    Ok(())
}

/// Checks a URL that a user's browser is sent to, or comes back to: it has no user name, password or fragment (RFC 6749
/// sections 3.1 and 3.1.2).
///
/// # Errors
///
/// `config` if the URL is not allowed.
pub(crate) fn check_browser(what: &str, url: &Url) -> Result<()> {
    let refuse = |why: &str, hint: &str| Err(Error::new(ErrorKind::Config, format!("the {what} has {why}")).hint(hint));
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("a user name or password", "remove them from the URL");
    }
    match url.fragment() {
        Some(_) => refuse("a fragment", "remove everything from # on"),
        None => Ok(()),
    }
}

/// Checks a URL that other URLs are built on: as [`check`], and it has no query and no fragment.
///
/// # Errors
///
/// `config` if the URL is not allowed.
pub(crate) fn check_base(what: &str, url: &Url) -> Result<()> {
    check(what, url)?;
    if url.query().is_some() || url.fragment().is_some() {
        let hint = "remove everything from ? or # on";
        return Err(Error::new(ErrorKind::Config, format!("the {what} has a query or a fragment")).hint(hint));
    }
    Ok(())
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
        Host::Domain(name) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    }
}

/// Returns host and port for messages, without path and query, which may be signed.
pub(crate) fn host(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => url.scheme().to_owned(),
    }
}

/// Returns what a status of 3xx means, for messages. Of the target of a redirect, only the host is named, because the
/// rest of the URL may be signed. `host` is the host that sent the response.
pub(crate) fn redirect(status: StatusCode, headers: &HeaderMap, host: &str) -> String {
    if status == StatusCode::NOT_MODIFIED {
        return "which means that nothing has changed since the version that the request names".into();
    }
    let Some(location) = headers.get(header::LOCATION) else { return "a redirect without a target".into() };
    let location = header_text(location);
    let from = Url::parse(&format!("https://{host}"));
    match from.and_then(|from| from.join(&location)).map(|to| self::host(&to)) {
        Ok(same) if same == host => "a redirect to the same host".into(),
        Ok(other) => format!("a redirect to {other}"),
        Err(_) => "a redirect to an invalid URL".into(),
    }
}

/// Returns whether two URLs have the same origin: scheme, host and port.
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    let origin = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    origin(one) == origin(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_allowed_on_this_machine_only() {
        let accepted = |text: &str| check_base("endpoint URL", &Url::parse(text).unwrap()).is_ok();
        for good in [
            "https://api.example.com/1",
            "http://127.0.0.1:80/",
            "http://127.8.9.1/",
            "http://[::1]:9/",
            "http://localhost/",
            "http://LOCALHOST./",
        ] {
            assert!(accepted(good), "{good}");
        }
        for bad in [
            "http://api.example.com",
            "http://127.0.0.1.evil.example/",
            "http://localhost.evil.example/",
            "http://10.0.0.1/",
            "http://[::ffff:127.0.0.1]/",
            "http://0.0.0.0/",
            "ftp://api.example.com",
            "file:///etc/passwd",
            "data:text/plain,x",
            "https://user@api.example.com",
            "https://:pw@api.example.com",
            "https://api.example.com/?a=b",
            "https://api.example.com/#x",
            "https://api.example.com:0/",
            "http://127.0.0.1:0",
        ] {
            assert!(!accepted(bad), "{bad}");
        }
    }
}
