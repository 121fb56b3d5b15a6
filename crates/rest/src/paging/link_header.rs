//! The `Link` header (RFC 8288 section 3).

use crate::transport::{parameter, split_unquoted};

/// Returns the URL of the next page in `Link` headers.
pub(crate) fn next_link(headers: impl IntoIterator<Item = impl AsRef<str>>) -> Option<String> {
    headers.into_iter().find_map(|header| next(header.as_ref()))
}

/// Returns the target of the first link in a header whose relation is `next`.
fn next(header: &str) -> Option<String> {
    let mut rest = header;
    // A target may contain commas and semicolons.
    while let Some((target, after)) = rest.split_once('<').and_then(|(_, after)| after.split_once('>')) {
        let (parameters, others) = split_unquoted(after, ',');
        let relations = parameter(parameters, "rel").unwrap_or_default();
        if relations.split_whitespace().any(|relation| relation.eq_ignore_ascii_case("next")) {
            return Some(target.trim().to_owned());
        }
        rest = others.unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found() {
        for (header, expected) in [
            (r#"<https://a/1>; rel="prev", <https://a/3>; rel="next""#, Some("https://a/3")),
            ("</3>;rel=next", Some("/3")),
            (r#"</3>; rel="last next""#, Some("/3")),
            ("</3> ; REL = NEXT ;", Some("/3")),
            ("<https://a/?ids=1,2;3>; rel=next", Some("https://a/?ids=1,2;3")),
            ("</ä?q=a|b c>; rel=next,", Some("/ä?q=a|b c")),
            (r#"</3>; title="one, two; three"; rel=next"#, Some("/3")),
            // Neither a title nor a second `rel` is the relation of a link.
            (r#"</1>; title="x, </2>; rel=next"; rel=prev, </3>; rel=next"#, Some("/3")),
            ("</3>; rel=prev; rel=next", None),
            ("</3>; rel=prev", None),
            ("</3>; rel='next'", None),
            ("</3>", None),
            ("junk <", None),
            ("", None),
        ] {
            assert_eq!(next_link([header]).as_deref(), expected, "{header}");
        }
        assert_eq!(next_link(["</1>; rel=prev", "</3>; rel=next"]).as_deref(), Some("/3"));
    }
}
