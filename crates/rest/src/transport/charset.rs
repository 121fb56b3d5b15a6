//! The charset of a body: a byte order mark, else the charset that the response declares, else that of an XML
//! declaration (RFC 7303 section 3), else UTF-8.

use std::borrow::Cow;

use bytes::Bytes;
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::{
    headers::ContentType,
    parameters::{parameter, split_unquoted},
};

/// Returns the text of a body, without its byte order mark: in the charset of that mark, else in the one that the content
/// type declares, else in that of an XML declaration, else in UTF-8.
///
/// # Errors
///
/// The reason, as the second half of a sentence, if the bytes are not text in the charset.
pub fn text_of_body<'a>(body: &'a [u8], content_type: &str) -> Result<Cow<'a, str>, String> {
    text(body, &ContentType::read(content_type))
}

/// As [`text_of_body`], with a content type that is read already.
///
/// # Errors
///
/// The reason, as the second half of a sentence, if the bytes are not text in the charset.
pub(crate) fn text<'a>(body: &'a [u8], content_type: &ContentType) -> Result<Cow<'a, str>, String> {
    let charset = content_type.charset.as_deref().map(str::trim).filter(|charset| !charset.is_empty());
    let charset = charset.or_else(|| Some(body).filter(|_| content_type.is_xml()).and_then(xml_charset));
    let (encoding, body) = match (Encoding::for_bom(body), charset) {
        (Some((encoding, mark)), _) => (encoding, &body[mark..]),
        // RFC 8259 allowed UTF-16 in its first edition, RFC 4627: one of the first two bytes is zero then.
        (None, _) if content_type.is_json() && matches!(body, [0, 1..=255, ..]) => (UTF_16BE, body),
        (None, _) if content_type.is_json() && matches!(body, [1..=255, 0, ..]) => (UTF_16LE, body),
        (None, Some(label)) => match Encoding::for_label_no_replacement(label.as_bytes()) {
            Some(encoding) => (encoding, body),
            // The bytes of ASCII mean the same in nearly every charset.
            None if body.is_ascii() => (UTF_8, body),
            None => return Err("it declares a charset that is not known".into()),
        },
        (None, None) => (UTF_8, body),
    };
    let decoded = if encoding == UTF_8 {
        str::from_utf8(body).map(Cow::from).map_err(|error| error.valid_up_to())
    } else {
        encoding.decode_without_bom_handling_and_without_replacement(body).ok_or(0)
    };
    decoded.map_err(|at| match charset {
        None if encoding == UTF_8 => format!("byte {} is not UTF-8, and it declares no charset", at + 1),
        _ if encoding == UTF_8 => format!("byte {} is not UTF-8", at + 1),
        _ => format!("it is not valid {}", encoding.name()),
    })
}

/// Returns a text as bytes in the charset that a content type declares, else in UTF-8.
///
/// # Errors
///
/// The reason, as the second half of a sentence, if the charset is not known or cannot write the text.
pub(crate) fn encoded(text: &str, content_type: &str) -> Result<Bytes, String> {
    let (_, parameters) = split_unquoted(content_type, ';');
    let label = parameters.and_then(|parameters| parameter(parameters, "charset")).unwrap_or_default();
    // The bytes of ASCII mean the same in nearly every charset.
    let is_wide = ["utf-16", "utf-32"].iter().any(|wide| label.to_ascii_lowercase().starts_with(wide));
    let plain = text.is_ascii() && !is_wide;
    let encoding = if plain || label.is_empty() { Some(UTF_8) } else { Encoding::for_label(label.as_bytes()) };
    let encoding = encoding.filter(|encoding| encoding.output_encoding() == *encoding);
    let encoding = encoding.ok_or_else(|| format!("texts are not written in the charset {label}"))?;
    let (bytes, _, lost) = encoding.encode(text);
    // Readers of the web take ASCII and Latin-1 for windows-1252; others do not.
    let highest = match label.to_ascii_lowercase() {
        _ if encoding != WINDOWS_1252 => char::MAX,
        label if label.contains("1252") => char::MAX,
        label if label.contains("ascii") => '\u{7f}',
        _ => '\u{ff}',
    };
    if lost || text.chars().any(|c| c > highest) {
        return Err(format!("a character of the text is not in the charset {label}"));
    }
    Ok(bytes.into_owned().into())
}

/// Returns the charset in an XML declaration. One that can be read as ASCII is not in UTF-16, whatever it says.
fn xml_charset(body: &[u8]) -> Option<&str> {
    let declaration = body.strip_prefix(b"<?xml")?.split(|byte| *byte == b'>').next()?;
    let (_, value) = str::from_utf8(declaration).ok()?.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let label = value.strip_prefix('"').or_else(|| value.strip_prefix('\''))?.split(['"', '\'']).next()?;
    Some(label).filter(|label| !label.is_empty() && !label.to_ascii_lowercase().starts_with("utf-16"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(media_type: &str, charset: Option<&str>) -> ContentType {
        ContentType { media_type: media_type.into(), charset: charset.map(str::to_owned) }
    }

    fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn a_text_is_read_in_its_charset() {
        let (le, be) = (utf_16("\u{feff}Malmö", u16::to_le_bytes), utf_16("\u{feff}Malmö", u16::to_be_bytes));
        for (charset, body) in [
            (None, "Malmö".as_bytes()),
            (None, "\u{feff}Malmö".as_bytes()),
            (Some("utf-8"), "Malmö".as_bytes()),
            (Some(""), "Malmö".as_bytes()),
            (Some("ISO-8859-1"), b"Malm\xf6"),
            (Some("latin1"), b"Malm\xf6"),
            (Some("windows-1252"), b"Malm\xf6"),
            (Some("macintosh"), b"Malm\x9a"),
            (Some("utf-16"), &le),
            (None, &le),
            (None, &be),
            (Some("utf-16le"), &le[2..]),
            (Some("utf-16be"), &be[2..]),
            // A byte order mark is part of the text; the charset beside it is not.
            (Some("iso-8859-1"), "\u{feff}Malmö".as_bytes()),
        ] {
            assert_eq!(text(body, &of("text/plain", charset)).as_deref(), Ok("Malmö"), "{charset:?} {body:?}");
        }
        for (kind, xml) in [
            ("application/xml", &b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>\xf6</a>"[..]),
            ("text/xml", b"<?xml version='1.0' encoding = 'iso-8859-1' standalone='yes'?><a>\xf6</a>"),
            ("image/svg+xml", b"<?xml version=\"1.0\" encoding=\"macintosh\"?><a>\x9a</a>"),
            ("text/xml", "<?xml version=\"1.0\" encoding=\"utf-16\"?><a>\u{f6}</a>".as_bytes()),
            ("text/xml", "<?xml version=\"1.0\"?><a encoding=\"koi8-r\">\u{f6}</a>".as_bytes()),
        ] {
            assert!(text(xml, &of(kind, None)).unwrap().ends_with("\u{f6}</a>"), "{kind} {xml:?}");
        }
        assert!(text(b"<?xml encoding=\"latin1\"?>\xf6", &of("text/plain", None)).is_err());
        let json = utf_16("[\"ö\"]", u16::to_be_bytes);
        assert_eq!(text(&json, &of("application/json", None)).as_deref(), Ok("[\"ö\"]"));
        assert_eq!(text(b"plain", &of("text/plain", Some("no-such"))).as_deref(), Ok("plain"));
    }

    #[test]
    fn a_text_is_written_in_the_charset_that_is_declared_or_refused() {
        for (charset, written, expected) in [
            ("", "Malm\u{f6}", Some("Malm\u{f6}".as_bytes())),
            ("; charset=UTF-8", "Malm\u{f6}", Some("Malm\u{f6}".as_bytes())),
            ("; charset=iso-8859-1", "Malm\u{f6}", Some(&b"Malm\xf6"[..])),
            ("; Charset=\"Latin1\"", "Malm\u{f6}", Some(&b"Malm\xf6"[..])),
            ("; charset=windows-1252", "\u{20ac}", Some(&b"\x80"[..])),
            ("; charset=koi8-r", "\u{430}", Some(&b"\xc1"[..])),
            ("; charset=no-such", "plain", Some(&b"plain"[..])),
            ("; charset=iso-8859-1", "\u{20ac}", None),
            ("; charset=us-ascii", "Malm\u{f6}", None),
            ("; charset=koi8-r", "\u{20ac}", None),
            ("; charset=utf-16", "plain", None),
            ("; charset=no-such", "Malm\u{f6}", None),
        ] {
            let found = encoded(written, &format!("text/plain{charset}"));
            assert_eq!(found.as_deref().ok(), expected, "{charset}: {written}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_refused_with_their_place() {
        for (charset, body, words) in [
            (None, &b"Malm\xf6"[..], "byte 5 is not UTF-8, and it declares no charset"),
            (Some("utf-8"), b"Malm\xf6", "byte 5 is not UTF-8"),
            (Some("no-such"), b"Malm\xf6", "a charset that is not known"),
            (Some("iso-2022-kr"), b"Malm\xf6", "a charset that is not known"),
            (Some("utf-16"), b"\x00\xd8\x00", "not valid UTF-16LE"),
            (Some("shift_jis"), b"\x81", "not valid Shift_JIS"),
        ] {
            let why = text(body, &of("text/plain", charset)).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }

    proptest! {
        #[test]
        fn what_a_charset_can_write_is_read_back(written in "\\PC{0,30}", label in "utf-8|iso-8859-1|utf-16|koi8-r|gbk|big5") {
            let encoding = Encoding::for_label(label.as_bytes()).unwrap();
            let (bytes, _, lost) = encoding.encode(&written);
            // `encode` writes UTF-16 as UTF-8, as forms want it.
            if !lost && encoding.output_encoding() == encoding && !written.starts_with('\u{feff}') {
                let read = text(&bytes, &of("text/plain", Some(&label)));
                prop_assert_eq!(read.as_deref(), Ok(&*written));
            }
        }
    }
}
