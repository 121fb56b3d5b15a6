//! The `Link` header (RFC 8288 section 3).

use crate::transport::{parameter, split_unquoted};

/// Returns the URL of the next page in `Link` headers.
///
/// # Errors
///
/// A message if there is none and a header cannot be read: a next page may stand in it. It continues a sentence that
/// begins with the page.
pub(crate) fn next_link(headers: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Option<String>, String> {
    let mut unreadable = None;
    for header in headers {
        match next(header.as_ref()) {
            Ok(Some(link)) => return Ok(Some(link)),
            Ok(None) => {}
            Err(why) => unreadable = Some(format!("has a `Link` header that cannot be read: {why}")),
        }
    }
    unreadable.map_or(Ok(None), Err)
}

/// Returns the target of the first link in a header whose relation is `next`.
fn next(header: &str) -> Result<Option<String>, &'static str> {
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        // A target may contain commas and semicolons.
        let target = rest.strip_prefix('<').ok_or("a link has no `<` before its URL")?;
        let (target, after) = target.split_once('>').ok_or("a link has no `>` after its URL")?;
        let (parameters, others) = split_unquoted(after, ',');
        let parameters = parameters.trim();
        if !parameters.is_empty() && !parameters.starts_with(';') {
            return Err("a link has no `;` before its parameters");
        }
        let relations = parameter(parameters, "rel").unwrap_or_default();
        // Quotes of the wrong kind leave the meaning clear.
        let relations = relations.trim_matches('\'');
        if relations.split_whitespace().any(|relation| relation.eq_ignore_ascii_case("next")) {
            return Ok(Some(target.trim().to_owned()));
        }
        if relations.contains('<') {
            return Err("a link has no `,` before it");
        }
        if parameter(parameters, "rel*").is_some() {
            return Err("the relation of a link is encoded");
        }
        if others.is_none() && is_open(parameters) {
            return Err("a quoted text has no end");
        }
        rest = others.unwrap_or_default().trim_start_matches([' ', '\t', ',']);
    }
    Ok(None)
}

/// Returns whether a quoted text begins and does not end: a separator after it would separate.
fn is_open(text: &str) -> bool {
    split_unquoted(&format!("{text},"), ',').1.is_none()
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
            ("</3>; rel='next'", Some("/3")),
            ("<https://a/?ids=1,2;3>; rel=next", Some("https://a/?ids=1,2;3")),
            ("</ä?q=a|b c>; rel=next,", Some("/ä?q=a|b c")),
            (r#"</3>; title="one, two; three"; rel=next"#, Some("/3")),
            (", </1>; rel=prev,, </3>; rel=next", Some("/3")),
            // Neither a title nor a second `rel` is the relation of a link.
            (r#"</1>; title="x, </2>; rel=next"; rel=prev, </3>; rel=next"#, Some("/3")),
            ("</3>; rel=prev; rel=next", None),
            (r#"</3>; rel=prev; title="next, and more""#, None),
            ("</3>; rel=prev", None),
            ("</3>", None),
            ("", None),
        ] {
            assert_eq!(next_link([header]).unwrap().as_deref(), expected, "{header}");
        }
        assert_eq!(next_link(["</1>; rel=prev", "</3>; rel=next"]).unwrap().as_deref(), Some("/3"));
        assert_eq!(next_link(["junk", "</3>; rel=next"]).unwrap().as_deref(), Some("/3"));
    }

    #[test]
    fn a_header_that_may_hide_a_next_page_is_an_error() {
        for header in [
            "junk <",
            "/3; rel=next",
            "https://a/3; rel=\"next\"",
            "</3; rel=next",
            "</1>; rel=prev, /3; rel=next",
            "</1>; rel=prev </3>; rel=next",
            "</3> rel=next",
            "</3>; rel*=UTF-8''next",
            r#"</1>; title="x, </3>; rel=next"#,
            "{\"next\": \"/3\"}",
        ] {
            let read = next_link([header]);
            assert!(read.is_err(), "{header}: {read:?}");
        }
    }
}
