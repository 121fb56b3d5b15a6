//! The name of a file in a `Content-Disposition` header (RFC 6266).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::transport::{parameter, split_unquoted};

/// Returns the file name in a `Content-Disposition`, without any path in it. `filename*` takes precedence over
/// `filename` (section 4.3).
pub(super) fn file_name(disposition: &str) -> Option<String> {
    let (_, parameters) = split_unquoted(disposition, ';');
    let parameters = parameters?;
    let extended = parameter(parameters, "filename*").and_then(|value| extended(&value));
    let name = extended.or_else(|| parameter(parameters, "filename"))?;
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    let name = name.trim();
    (!name.trim_matches('.').is_empty()).then(|| name.to_owned())
}

/// Decodes an extended value (RFC 8187 section 3.2): `UTF-8'en'na%C3%AFve.pdf`.
fn extended(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let bytes: Cow<'_, [u8]> = percent_decode_str(rest.split_once('\'')?.1).into();
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" => String::from_utf8(bytes.into_owned()).ok(),
        // RFC 5987, the predecessor, had this one too. Its bytes are the first characters of Unicode.
        "iso-8859-1" => Some(bytes.iter().copied().map(char::from).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_read_as_it_was_meant() {
        for (disposition, expected) in [
            (r#"attachment; filename="a;b.pdf""#, Some("a;b.pdf")),
            (r#"attachment; filename="a\"b\".pdf"; size=3"#, Some(r#"a"b".pdf"#)),
            (r#"inline; FILENAME = "Größe, 1.pdf""#, Some("Größe, 1.pdf")),
            ("attachment; filename=plain.pdf", Some("plain.pdf")),
            ("attachment;filename=two words.pdf;", Some("two words.pdf")),
            // The extended form counts, wherever it stands; the plain one is for old readers.
            (r#"attachment; filename="x.pdf"; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.pdf"#, Some("naïve €.pdf")),
            (r#"attachment; filename*=utf-8'en'a%3Bb.pdf; filename="x.pdf""#, Some("a;b.pdf")),
            (r#"attachment; filename*="UTF-8''na%C3%AFve.pdf""#, Some("naïve.pdf")),
            ("attachment; filename*=ISO-8859-1''%E4.pdf", Some("ä.pdf")),
            (r#"attachment; filename*=UTF-8''%FF.pdf; filename="x.pdf""#, Some("x.pdf")),
            (r#"attachment; filename*=KOI8-R''%C1.pdf; filename="x.pdf""#, Some("x.pdf")),
            // A text inside another parameter is not a name.
            (r#"attachment; comment="filename=bad; filename=worse"; filename=good"#, Some("good")),
            // A path is cut off, with one or two backslashes.
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            (r#"attachment; filename="C:\a\b.pdf""#, Some("b.pdf")),
            (r#"attachment; filename="C:\\a\\b.pdf""#, Some("b.pdf")),
            ("attachment; filename*=UTF-8''..%2F..%2Fx%00.pdf", Some("x.pdf")),
            (r#"attachment; filename="..""#, None),
            (r#"attachment; filename="""#, None),
            ("attachment; filename=", None),
            ("attachment", None),
            ("", None),
        ] {
            assert_eq!(file_name(disposition).as_deref(), expected, "{disposition}");
        }
    }
}
