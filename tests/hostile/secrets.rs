//! Finds secrets in texts, as they are and in the encodings that a peer or a log may use.

use base64::{Engine, prelude::BASE64_STANDARD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Returns the places whose texts have one of the secrets in them.
pub(crate) fn places(texts: impl IntoIterator<Item = (String, String)>, secrets: &[&str]) -> Vec<String> {
    let forms: Vec<String> = secrets.iter().flat_map(|secret| forms(secret)).collect();
    let has = |(place, text): (String, String)| {
        let form = forms.iter().find(|form| text.contains(&**form))?;
        let at = text.find(&**form)?;
        let before = text[..at].chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect::<String>();
        Some(format!("{place}, after {before:?}"))
    };
    texts.into_iter().filter_map(has).collect()
}

fn forms(secret: &str) -> Vec<String> {
    let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    // In JSON, letters of other scripts may be escaped.
    vec![secret.to_owned(), percent, BASE64_STANDARD.encode(secret), secret.escape_default().to_string()]
}
