//! What a caller expects of a saved document that it changes, as the headers `If-Match` and `If-None-Match` of HTTP say it
//! (RFC 9110 section 13).
//!
//! An operation compares the entity tag of what it has looked at, and the store writes only if that has not changed since.
//! So of two callers that have seen the same document, one changes it, and the other one gets an error.

use data_encoding::HEXLOWER;
use serde::Serialize;
use trunkline_core::{Error, ErrorDetail, ErrorKind, Result};
use trunkline_store::{SavedFlow, SeenConnection};

use crate::token::hash;

/// The regular expression of `If-Match`.
pub(super) const ENTITY_TAGS: &str = r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#;

/// What a caller expects.
pub(super) struct Precondition {
    /// The entity tags of which the document has one; `None` if each one fits, as with `*`.
    tags: Option<Vec<String>>,
    /// Whether there has to be a document, or there must be none; `None` if the caller expects nothing.
    exists: Option<bool>,
}

impl Precondition {
    /// Reads the members `if_match` and `if_none_match` of an input, which are written as the headers.
    ///
    /// # Errors
    ///
    /// `invalid_input` if one of them is not written so, or if both are given.
    pub(super) fn read(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Precondition> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, message);
        match (if_match.map(str::trim), if_none_match.map(str::trim)) {
            (None, None) => Ok(Precondition { tags: None, exists: None }),
            (None, Some("*")) => Ok(Precondition { tags: None, exists: Some(false) }),
            (None, Some(other)) => {
                Err(invalid(format!("`If-None-Match` is {other}, and a change takes only `*` here"))
                    .hint("`*` creates the document only if there is none"))
            }
            (Some("*"), None) => Ok(Precondition { tags: None, exists: Some(true) }),
            (Some(text), None) => {
                let tags = entity_tags(text).ok_or_else(|| {
                    invalid(format!("`If-Match` is not a list of entity tags: {text}"))
                        .hint("pass the `ETag` of the document as it is, with its quotes")
                });
                Ok(Precondition { tags: Some(tags?), exists: Some(true) })
            }
            (Some(_), Some(_)) => Err(invalid("`If-Match` and `If-None-Match` are both given".to_owned())),
        }
    }

    /// Returns whether the caller expects anything.
    pub(super) fn is_given(&self) -> bool {
        self.exists.is_some()
    }

    /// Fails unless the document is as expected. `tag` is its entity tag, if it exists.
    ///
    /// # Errors
    ///
    /// `conflict` with the detail [`ErrorDetail::NotAsExpected`].
    pub(super) fn check(&self, what: &str, tag: Option<&str>) -> Result<()> {
        let is_listed = |tag: &str| self.tags.as_ref().is_none_or(|tags| tags.iter().any(|one| one == tag));
        let failed = |why: &str| Error::new(ErrorKind::Conflict, format!("{what} {why}"));
        let error = match (self.exists, tag) {
            (None, _) | (Some(false), None) => return Ok(()),
            (Some(true), Some(tag)) if is_listed(tag) => return Ok(()),
            (Some(true), Some(_)) => failed("is not as the caller has seen it: its entity tag is another one")
                .next("get it again, and repeat the change if it is still right"),
            (Some(true), None) => failed("does not exist, but the caller expects it"),
            (Some(false), Some(_)) => failed("exists already, but the caller expects that it does not"),
        };
        Err(error.with_detail(ErrorDetail::NotAsExpected))
    }
}

/// Returns the strong entity tags of a list. Weak ones are left out: they fit nothing that is changed.
fn entity_tags(mut text: &str) -> Option<Vec<String>> {
    let mut tags = Vec::new();
    loop {
        let strong = text.strip_prefix("W/");
        let (opaque, rest) = strong.unwrap_or(text).strip_prefix('"')?.split_once('"')?;
        if !opaque.chars().all(|c| c == '!' || ('#'..='~').contains(&c) || c >= '\u{80}') {
            return None;
        }
        if strong.is_none() {
            tags.push(format!("\"{opaque}\""));
        }
        match rest.trim_start() {
            "" => return Some(tags),
            rest => text = rest.strip_prefix(',')?.trim_start(),
        }
    }
}

fn entity_tag(saved: &impl Serialize) -> String {
    let text = serde_json::to_string(saved).unwrap_or_default();
    format!("\"{}\"", HEXLOWER.encode(&hash(&text)[..16]))
}

/// Returns the entity tag of a saved flow: of its document and of what is saved with it. Two flows with the same tag are
/// [unchanged](SavedFlow::is_unchanged).
pub(super) fn tag_of_flow(flow: &SavedFlow) -> String {
    let SavedFlow { created_at, version, connections, active, input, .. } = flow;
    entity_tag(&(created_at, version, connections, active, input))
}

/// Returns the entity tag of a connection. Two states that differ in their secrets only have
/// different times, and so different tags.
pub(super) fn tag_of_connection(seen: &SeenConnection) -> String {
    entity_tag(&(&seen.document, seen.updated_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_read_as_rfc_9110_writes_them() {
        let all = |tags: &[&str]| Some(tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>());
        for (text, tags) in [
            ("\"a\"", all(&["\"a\""])),
            ("\"a\" ,\"b, c\",  \"\"", None),
            ("\"a\" ,\"b,c\",  \"\"", all(&["\"a\"", "\"b,c\"", "\"\""])),
            ("W/\"a\"", all(&[])),
            ("W/\"a\", \"b\"", all(&["\"b\""])),
            ("\"é\"", all(&["\"é\""])),
            ("", None),
            ("a", None),
            ("\"a", None),
            ("a\"", None),
            ("'a'", None),
            ("w/\"a\"", None),
            ("\"a\" \"b\"", None),
            ("\"a\",", None),
            ("\"a\",,\"b\"", None),
            ("*, \"a\"", None),
            ("\"a\u{7f}\"", None),
        ] {
            assert_eq!(entity_tags(text), tags, "{text}");
        }
    }

    #[test]
    fn a_document_has_to_be_as_expected() {
        for (if_match, if_none_match, tag, is_fine) in [
            (None, None, Some("\"a\""), true),
            (None, None, None, true),
            (Some("\"a\""), None, Some("\"a\""), true),
            (Some("\"b\", \"a\""), None, Some("\"a\""), true),
            (Some("\"b\""), None, Some("\"a\""), false),
            (Some("W/\"a\""), None, Some("\"a\""), false),
            (Some("\"a\""), None, None, false),
            (Some("*"), None, Some("\"a\""), true),
            (Some("*"), None, None, false),
            (None, Some("*"), None, true),
            (None, Some("*"), Some("\"a\""), false),
        ] {
            let found = Precondition::read(if_match, if_none_match).unwrap().check("flow copy", tag);
            assert_eq!(found.is_ok(), is_fine, "{if_match:?} {if_none_match:?} {tag:?}");
            assert!(found.err().is_none_or(|error| error.has(&ErrorDetail::NotAsExpected)));
        }
        for (if_match, if_none_match) in [(Some("a"), None), (None, Some("\"a\"")), (Some("*"), Some("*"))] {
            let error = Precondition::read(if_match, if_none_match).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
}
