//! Excerpts of foreign texts for messages.

use trunkline_core::{Redactor, Secret};

/// Bytes of a response that an error quotes.
const EXCERPT: usize = 200;

/// Returns the beginning of a text for an error message: one line, without control characters and without secrets:
/// `secrets` as they are, and all secrets that the redactor knows in any form.
pub(crate) fn excerpt(bytes: &[u8], secrets: &[Secret], redactor: &Redactor) -> String {
    // Secrets are replaced before the text is cut: a secret at the cut would keep its first half.
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(64 << 10)]).into_owned();
    for secret in secrets {
        if secret.expose().len() >= 4 {
            text = text.replace(secret.expose(), "***");
        }
    }
    // The service may have written a secret in another form, for example escaped for JSON.
    let text = redactor.redact(&text);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut line = words.collect::<Vec<_>>().join(" ");
    if line.len() > EXCERPT {
        line.truncate(line.floor_char_boundary(EXCERPT));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_short_and_hold_no_control_character_and_no_secret() {
        let secrets = [Secret::from("canary-secret"), Secret::from("abc")];
        let (redactor, knowing) = (Redactor::default(), Redactor::default());
        let excerpt = |bytes: &[u8], secrets: &[Secret]| excerpt(bytes, secrets, &redactor);
        knowing.add(&secrets[0]);
        assert_eq!(super::excerpt(b"hex 63616e6172792d736563726574", &[], &knowing), "hex ***");
        assert_eq!(excerpt(b"hex 63616e6172792d736563726574", &[]), "hex 63616e6172792d736563726574");
        assert_eq!(excerpt(b" a\r\n\x1b[31m\tb\0c ", &[]), "a [31m b c");
        assert_eq!(excerpt(b"key canary-secret abc", &secrets), "key *** abc");
        let long = "ö".repeat(150);
        assert!(excerpt(long.as_bytes(), &[]).len() <= EXCERPT + '…'.len_utf8());
        let at_the_cut = format!("{} canary-secret", "x".repeat(EXCERPT - 7));
        assert!(!excerpt(at_the_cut.as_bytes(), &secrets).contains("canary"));
        assert_eq!(excerpt(b"\xff\xfe", &[]), "\u{fffd}\u{fffd}");
    }
}
