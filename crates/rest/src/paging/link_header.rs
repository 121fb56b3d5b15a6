//! The `Link` header.

/// Returns the URL of the next page in `Link` headers (RFC 8288 section 3).
pub(crate) fn next_link<'a>(headers: impl Iterator<Item = &'a str>) -> Option<String> {
    for header in headers {
        let mut rest = header;
        while let Some((_, after)) = rest.split_once('<') {
            let (target, after) = after.split_once('>')?;
            let end = after.find('<').unwrap_or(after.len());
            let is_next = after[..end].split([';', ',']).any(|parameter| {
                parameter.trim().split_once('=').is_some_and(|(name, value)| {
                    name.trim().eq_ignore_ascii_case("rel")
                        && value.trim().trim_matches('"').split_whitespace().any(|rel| rel.eq_ignore_ascii_case("next"))
                })
            });
            if is_next {
                return Some(target.trim().to_owned());
            }
            rest = &after[end..];
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_headers() {
        let next = |header| next_link([header].into_iter());
        assert_eq!(next("<https://a/1>; rel=\"prev\", <https://a/3>; rel=\"next\"").as_deref(), Some("https://a/3"));
        assert_eq!(next("</3>;rel=next").as_deref(), Some("/3"));
        assert_eq!(next("</3>; rel=\"last next\"").as_deref(), Some("/3"));
        assert_eq!(next("</3>; rel=prev"), None);
        assert_eq!(next("junk <"), None);
    }
}
