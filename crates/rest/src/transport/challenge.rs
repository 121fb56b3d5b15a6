//! The reason that a service gives for a 401 or 403 in the header `WWW-Authenticate` (RFC 6750 section 3).

use http::{HeaderMap, header};

use super::{
    headers::header_text,
    parameters::{parameter, split_unquoted},
};

/// The reason why a service does not accept a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenProblem {
    /// `invalid_token`, `insufficient_scope`, or `invalid_request`; servers also write others.
    pub(crate) code: Option<String>,
    pub(crate) description: Option<String>,
    /// The scopes that the call needs.
    pub(crate) scope: Option<String>,
}

impl TokenProblem {
    /// Returns the reason in the Bearer challenges of each header; of several headers, the first that has one counts.
    pub(crate) fn of(headers: &HeaderMap) -> Option<TokenProblem> {
        headers.get_all(header::WWW_AUTHENTICATE).iter().find_map(|value| {
            let text = header_text(value);
            let (mut found, mut is_bearer, mut rest) = (TokenProblem::default(), false, Some(&*text));
            while let Some(part) = rest {
                // A comma separates both challenges and their parameters: `Scheme`, `Scheme name=value`, `name=value`.
                let (mut part, after) = split_unquoted(part, ',');
                rest = after;
                let (first, more) = part.trim().split_once(' ').unwrap_or((part.trim(), ""));
                if !first.is_empty() && !first.contains('=') && !more.trim_start().starts_with('=') {
                    is_bearer = first.eq_ignore_ascii_case("bearer");
                    part = more;
                }
                let slots = [
                    ("error", &mut found.code),
                    ("error_description", &mut found.description),
                    ("scope", &mut found.scope),
                ];
                for (name, slot) in slots.into_iter().filter(|(_, slot)| is_bearer && slot.is_none()) {
                    *slot = parameter(part, name).filter(|text| !text.is_empty());
                }
            }
            found.code.is_some().then_some(found)
        })
    }

    /// Returns whether the service says that the token has expired, was revoked or is broken.
    pub(crate) fn is_invalid_token(&self) -> bool {
        self.code.as_deref() == Some("invalid_token")
    }

    /// Returns whether the service says that a token with more rights is needed. A new token has the same rights.
    pub(crate) fn is_insufficient_scope(&self) -> bool {
        self.code.as_deref() == Some("insufficient_scope")
    }

    /// Returns the words of the service.
    pub(crate) fn words(&self) -> String {
        let parts =
            [self.code.clone(), self.description.clone(), self.scope.as_ref().map(|scope| format!("needs {scope}"))];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[&[u8]]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_bytes(value).unwrap());
        }
        TokenProblem::of(&headers).map(|problem| problem.words())
    }

    #[test]
    fn the_reason_is_found_among_challenges() {
        for (values, expected) in [
            (&[&br#"Bearer error="invalid_token""#[..]][..], Some("invalid_token")),
            (&[br#"bearer realm="a, b", Error=invalid_token"#], Some("invalid_token")),
            (
                &[br#"Basic realm="x", Bearer realm="y", error="invalid_token", error_description="it \"expired\"""#],
                Some("invalid_token, it \"expired\""),
            ),
            (
                &[b"Negotiate", br#"Bearer error="insufficient_scope", scope="a b""#],
                Some("insufficient_scope, needs a b"),
            ),
            (
                &[b"Bearer error=\"invalid_token\", error_description=\"abgelaufen f\xfcr Sie\""],
                Some("invalid_token, abgelaufen für Sie"),
            ),
            (&[br#"Bearer realm="x""#, br#"Bearer error="invalid_token""#], Some("invalid_token")),
            (&[br#"Digest realm="x", error="invalid_token""#], None),
            (&[br#"Bearer realm="x""#], None),
            (&[b"Bearer"], None),
            (&[b""], None),
            (&[br#"Bearer error="open"#], Some("open")),
            (&[br#"Bearer error = invalid_token, Basic error=x"#], Some("invalid_token")),
            (&[b"Negotiate YWJj=, Bearer"], None),
            (&[b", ,Bearer ,error=invalid_token"], Some("invalid_token")),
        ] {
            assert_eq!(of(values).as_deref(), expected, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn a_description_is_read_as_it_was_written(text in "[ -~]{1,40}", realm in "[a-z ,;=]{0,10}") {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            let value = format!("Basic realm=\"{realm}\", Bearer error=\"invalid_token\", error_description=\"{quoted}\"");
            prop_assert_eq!(of(&[value.as_bytes()]), Some(format!("invalid_token, {text}")));
        }
    }
}
