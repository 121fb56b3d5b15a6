//! Which addresses may be used at all: https everywhere, http only towards this machine.

use http::{HeaderMap, header};
use trunkline_core::{Error, ErrorKind, Result};
use url::{Host, Url};

/// Refuses an address that would carry secrets in the open or hides something in itself. `what` names it.
pub(crate) fn check(what: &str, url: &Url) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::new(ErrorKind::Config, format!("the {what} {why}"))
            .with("host", host(url))
            .hint("write it as https://host/path; http is for this machine only"))
    };
    match (url.scheme(), url.host()) {
        (_, None) => refuse("has no host"),
        ("https", _) => Ok(()),
        ("http", Some(host)) if is_loopback(&host) => Ok(()),
        ("http", _) => refuse("is http: everybody on the way could read along"),
        _ => refuse("is not an https address"),
    }?;
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("holds a user name or password");
    }
    Ok(())
}

/// The same for an address that others are built on: it has no query and no fragment either.
pub(crate) fn check_base(what: &str, url: &Url) -> Result<()> {
    check(what, url)?;
    if url.query().is_some() || url.fragment().is_some() {
        let hint = "leave out everything from ? or # on";
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

/// Host and port as messages name them: never a path or a query, for those may be signed.
pub(crate) fn host(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => url.scheme().to_owned(),
    }
}

/// Where an answer sends its reader on to, for messages: the host at most, for the rest of the address may be signed. `host`
/// is the one that answered.
pub(crate) fn redirect(headers: &HeaderMap, host: &str) -> String {
    let Some(location) = headers.get(header::LOCATION) else { return "a redirect that does not say where to".into() };
    let location = String::from_utf8_lossy(location.as_bytes());
    let from = Url::parse(&format!("https://{host}"));
    match from.and_then(|from| from.join(&location)).map(|to| self::host(&to)) {
        Ok(same) if same == host => "a redirect to the same host".into(),
        Ok(other) => format!("a redirect to {other}"),
        Err(_) => "a redirect to something that is no address".into(),
    }
}

/// Whether two addresses are on the same server: scheme, host and port.
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    let origin = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    origin(one) == origin(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_or_this_machine() {
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
        ] {
            assert!(!accepted(bad), "{bad}");
        }
    }
}
