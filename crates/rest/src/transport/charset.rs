//! The charset of a body: a byte order mark, else the charset that the response declares, else UTF-8.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::headers::ContentType;

/// Returns the text of a body, without its byte order mark.
///
/// # Errors
///
/// The reason, as the second half of a sentence, if the bytes are not text in the charset.
pub(crate) fn text<'a>(body: &'a [u8], content_type: &ContentType) -> Result<Cow<'a, str>, String> {
    let charset = content_type.charset.as_deref().map(str::trim).filter(|charset| !charset.is_empty());
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
        let json = utf_16("[\"ö\"]", u16::to_be_bytes);
        assert_eq!(text(&json, &of("application/json", None)).as_deref(), Ok("[\"ö\"]"));
        assert_eq!(text(b"plain", &of("text/plain", Some("no-such"))).as_deref(), Ok("plain"));
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
