//! URLs in documents that a user writes: which ones are accepted, and that no password in one is shown.

use serde_json::Value;
use url::Url;

use crate::Secret;

/// Returns whether a text is a URL as it is written: nothing in it is corrected silently, and it has a possible host and
/// port if its scheme needs them. It is the format `uri` of the schemas.
pub(crate) fn is_url(text: &str) -> bool {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || r#"\<>"`{}|^"#.contains(c);
    let after_scheme = text.split_once("://").map(|(_, rest)| rest);
    Url::parse(text).is_ok_and(|url| {
        // The parser takes `https:/host` and `https:///host` for `https://host`.
        let has_authority = after_scheme.is_some_and(|rest| !rest.starts_with(['/', '?', '#', '@', ':']));
        let needs_authority = matches!(url.scheme(), "http" | "https" | "ws" | "wss" | "ftp");
        !text.contains(is_odd) && (!needs_authority || has_authority)
    })
}

/// Returns the passwords in the URLs of a document.
pub(crate) fn url_passwords(document: &Value) -> Vec<Secret> {
    let mut found = Vec::new();
    for_each_text(&mut document.clone(), &mut |text| {
        found.extend(with_password(text).and_then(|url| url.password().map(Secret::from)));
    });
    found
}

/// Replaces the passwords in the URLs of a document by `***`. Connections that were saved before such URLs were refused
/// may have them.
pub fn hide_url_passwords(document: &mut Value) {
    for_each_text(document, &mut |text| {
        if let Some(mut url) = with_password(text)
            && url.set_password(Some("***")).is_ok()
        {
            *text = url.into();
        }
    });
}

fn for_each_text(document: &mut Value, act: &mut dyn FnMut(&mut String)) {
    match document {
        Value::String(text) => act(text),
        Value::Array(items) => items.iter_mut().for_each(|item| for_each_text(item, act)),
        Value::Object(members) => members.values_mut().for_each(|member| for_each_text(member, act)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Returns the URL in a text, if it has a password.
fn with_password(text: &str) -> Option<Url> {
    let is_candidate = text.contains("://") && text.contains('@');
    is_candidate.then(|| Url::parse(text).ok())?.filter(|url| url.password().is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_urls_as_they_are_written_are_accepted() {
        for good in [
            "https://api.example.com/v1",
            "https://api.example.com:8443",
            "HTTPS://API.example.com",
            "http://127.0.0.1:80/",
            "http://[::1]:9/",
            "https://exämple.com/größe",
            "https://u:p@api.example.com?a=b#c",
            "urn:isbn:0451450523",
            "file:///etc/hosts",
            "com.example.app:/callback",
        ] {
            assert!(is_url(good), "{good}");
        }
        for bad in [
            "",
            "api.example.com",
            "/v1",
            "https://",
            "https://?key=1",
            "https:///v1",
            "https:/api.example.com",
            "https:api.example.com",
            "https:\\\\api.example.com",
            "https://api.example.com:99999",
            "https://api.example.com:port",
            "https://:443/",
            "https://u@/",
            "https://api.exa mple.com",
            " https://api.example.com",
            "https://api.example.com ",
            "https://api.example.com/a b",
            "https://api.example.com/\n",
            "https://api.example.com/\u{7f}",
            "https://api.example.com/{id}",
            "https://[::1",
        ] {
            assert!(!is_url(bad), "{bad:?}");
        }
    }

    #[test]
    fn passwords_in_urls_are_found_and_hidden() {
        let mut document = json!({
            "endpointUrl": "https://anna:sample-password@api.example.com/v1", "list": ["http://u:a%40b@h"],
            "plain": "https://api.example.com", "user": "https://anna@api.example.com", "mail": "a:b@c", "n": 1,
        });
        let found: Vec<_> = url_passwords(&document).iter().map(|one| one.expose().to_owned()).collect();
        assert_eq!(found, ["sample-password", "a%40b"]);
        hide_url_passwords(&mut document);
        let shown = document.to_string();
        assert!(!shown.contains("sample-password") && !shown.contains("a%40b"), "{shown}");
        assert_eq!(document["endpointUrl"], "https://anna:***@api.example.com/v1");
        assert_eq!((&document["plain"], &document["mail"]), (&json!("https://api.example.com"), &json!("a:b@c")));
    }
}
