//! The name of a file: what a `Content-Disposition` header says (RFC 6266), and what a disk or a service can take.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use encoding_rs::{Encoding, UTF_8};
use http::{HeaderMap, header};
use percent_encoding::percent_decode_str;

use crate::transport::{header_text, parameter, split_unquoted};

/// The longest name in bytes that file systems take.
const LONGEST: usize = 255;

/// The longest extension in bytes that is taken for one.
const LONGEST_EXTENSION: usize = 16;

/// Names of devices on Windows, with any extension.
const DEVICES: &[&str] = &["con", "prn", "aux", "nul", "com", "lpt"];

/// Returns the file name in the headers of a response or of a part of a form, without what no file name can have.
/// `filename*` takes precedence over `filename` (section 4.3).
pub fn file_name(headers: &HeaderMap) -> Option<String> {
    headers.get_all(header::CONTENT_DISPOSITION).iter().find_map(|value| {
        let text = header_text(value);
        let (kind, parameters) = split_unquoted(&text, ';');
        // Some servers leave out the type.
        let parameters = if kind.contains('=') { &text } else { parameters? };
        let extended = || parameter(parameters, "filename*").and_then(|value| extended(&value));
        let plain = || parameter(parameters, "filename").map(|name| encoded_words(&name).unwrap_or(name));
        let forms: [&dyn Fn() -> Option<String>; 3] = [&extended, &|| continued(parameters), &plain];
        forms.into_iter().find_map(|form| clean(&form()?))
    })
}

/// Decodes an extended value (RFC 8187 section 3.2): `UTF-8'en'na%C3%AFve.pdf`. Servers leave out the charset and the
/// quotes.
fn extended(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let (charset, text) = match (parts.next(), parts.next(), parts.next()) {
        (Some(charset), Some(_), Some(text)) => (charset, text),
        _ => ("utf-8", value),
    };
    decode(charset, &Cow::from(percent_decode_str(text)))
}

/// Decodes a name that is cut into several parameters (RFC 2231 section 3): `filename*0*=UTF-8''na%C3%AF;
/// filename*1=ve.pdf`.
fn continued(parameters: &str) -> Option<String> {
    let (mut charset, mut name) = ("utf-8".to_owned(), Vec::new());
    for number in 0.. {
        if let Some(part) = parameter(parameters, &format!("filename*{number}*")) {
            let mut part = part.as_str();
            if number == 0
                && let [label, _, text] = part.splitn(3, '\'').collect::<Vec<_>>()[..]
            {
                (charset, part) = (label.to_owned(), text);
            }
            name.extend(percent_decode_str(part));
        } else if let Some(part) = parameter(parameters, &format!("filename*{number}")) {
            name.extend(part.into_bytes());
        } else {
            break;
        }
    }
    decode(&charset, &name).filter(|name| !name.is_empty())
}

/// Decodes the words of RFC 2047, which some servers borrow from mail: `=?UTF-8?Q?na=C3=AFve?= =?UTF-8?B?LnBkZg==?=`.
/// Returns `None` if there is none, or one that cannot be decoded.
fn encoded_words(text: &str) -> Option<String> {
    let (mut name, mut rest, mut found) = (String::new(), text, false);
    while let Some((before, word)) = rest.split_once("=?") {
        // White space between two words is not part of the text (section 6.2).
        name += if found && before.trim().is_empty() { "" } else { before };
        let [charset, coding, coded] = word.splitn(3, '?').collect::<Vec<_>>()[..] else { return None };
        let (coded, after) = coded.split_once("?=")?;
        let bytes = match coding {
            "b" | "B" => BASE64_STANDARD.decode(coded).ok()?,
            // `=` stands where a URL has `%`. A percent sign is itself.
            "q" | "Q" => {
                let url = coded.replace('%', "%25").replace('=', "%").replace('_', " ");
                percent_decode_str(&url).collect()
            }
            _ => return None,
        };
        name += &decode(charset.split('*').next().unwrap_or_default(), &bytes)?;
        (rest, found) = (after, true);
    }
    found.then(|| name + rest)
}

fn decode(charset: &str, bytes: &[u8]) -> Option<String> {
    let encoding =
        Encoding::for_label_no_replacement(charset.trim().as_bytes()).or(charset.is_empty().then_some(UTF_8))?;
    encoding.decode_without_bom_handling_and_without_replacement(bytes).map(Cow::into_owned)
}

/// Returns a name without what no name can have: a path, control characters, spaces and dots at its end. A name that
/// Windows keeps for a device gets an underscore, one that is only an extension gets a stem, and one that is too long
/// loses the end of its stem. Returns `None` if nothing is left.
pub(crate) fn clean(name: &str) -> Option<String> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect();
    let name = name.trim_start().trim_end_matches(|c: char| c == '.' || c.is_whitespace());
    if name.is_empty() {
        return None;
    }
    let device = name.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let is_device = |known: &&&str| {
        let rest = device.strip_prefix(**known);
        rest.is_some_and(|rest| if matches!(**known, "com" | "lpt") { is_digit(rest) } else { rest.is_empty() })
    };
    let name = match name.strip_prefix('.') {
        Some(extension) if mime_guess::from_ext(extension).first().is_some() => format!("file.{extension}"),
        _ if DEVICES.iter().any(|known| is_device(&known)) => format!("_{name}"),
        _ => name.to_owned(),
    };
    if name.len() > LONGEST {
        let end = extension(&name).map_or(String::new(), |extension| format!(".{extension}"));
        let cut = name.floor_char_boundary(LONGEST - end.len());
        // Once more, since the cut may have left a space at the end.
        return clean(&format!("{}{end}", &name[..cut]));
    }
    Some(name)
}

fn is_digit(text: &str) -> bool {
    text.len() == 1 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether a character shows nothing itself and changes how the others are shown.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Returns the extension of a name, if it has one: letters and digits after a dot that is not its first character. Digits
/// alone are the end of a date or of a version.
pub(crate) fn extension(name: &str) -> Option<&str> {
    let (stem, extension) = name.rsplit_once('.')?;
    let fits = !stem.is_empty() && !extension.is_empty() && extension.len() <= LONGEST_EXTENSION;
    let is_number = extension.bytes().all(|byte| byte.is_ascii_digit());
    (fits && !is_number && extension.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(extension)
}

/// Returns a name with the extension of its media type, if it has none. A later step may know a file by its extension
/// only.
pub(crate) fn with_extension(name: String, media_type: Option<&str>) -> String {
    match media_type.filter(|kind| *kind != "application/octet-stream").and_then(mime2ext::mime2ext) {
        Some(of_type) if extension(&name).is_none() => clean(&format!("{name}.{of_type}")).unwrap_or(name),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn named(disposition: &[u8]) -> Option<String> {
        let value = HeaderValue::from_bytes(disposition).unwrap();
        file_name(&HeaderMap::from_iter([(header::CONTENT_DISPOSITION, value)]))
    }

    #[test]
    fn the_name_is_read_as_it_was_meant() {
        for (disposition, expected) in [
            (r#"attachment; filename="a;b.pdf""#, Some("a;b.pdf")),
            (r#"attachment; filename="a\"b\".pdf"; size=3"#, Some(r#"a"b".pdf"#)),
            (r#"attachment; filename="the \"big\" boat.jpg""#, Some(r#"the "big" boat.jpg"#)),
            (r#"inline; FILENAME = "Größe, 1.pdf""#, Some("Größe, 1.pdf")),
            ("attachment; filename=plain.pdf", Some("plain.pdf")),
            ("attachment;filename=two words.pdf;", Some("two words.pdf")),
            // The extended form counts, wherever it stands; the plain one is for old readers.
            (r#"attachment; filename="x.pdf"; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.pdf"#, Some("naïve €.pdf")),
            (r#"attachment; filename*=utf-8'en'a%3Bb.pdf; filename="x.pdf""#, Some("a;b.pdf")),
            (r#"attachment; filename*="UTF-8''na%C3%AFve.pdf""#, Some("naïve.pdf")),
            ("attachment; filename*=utf8''na%C3%AFve.pdf", Some("naïve.pdf")),
            ("attachment; FileName* = UTF-8''na%c3%afve.pdf", Some("naïve.pdf")),
            ("attachment; filename*=ISO-8859-1''%E4.pdf", Some("ä.pdf")),
            ("attachment; filename*=windows-1252''%80.pdf", Some("€.pdf")),
            ("attachment; filename*=UTF-8''it's%20here.pdf", Some("it's here.pdf")),
            ("attachment; filename*=na%C3%AFve.pdf", Some("naïve.pdf")),
            ("attachment; filename*=''na%C3%AFve.pdf", Some("naïve.pdf")),
            ("attachment; filename*=UTF-8''naïve.pdf", Some("naïve.pdf")),
            (r#"attachment; filename*=UTF-8''%FF.pdf; filename="x.pdf""#, Some("x.pdf")),
            (r#"attachment; filename*=KOI8-R''%C1.pdf; filename="x.pdf""#, Some("а.pdf")),
            (r#"attachment; filename*=no-such''%C1.pdf; filename="x.pdf""#, Some("x.pdf")),
            (r#"attachment; filename*=UTF-8''; filename="x.pdf""#, Some("x.pdf")),
            (r#"attachment; filename*=; filename="x.pdf""#, Some("x.pdf")),
            (r#"attachment; filename="x.pdf"; filename*=UTF-8''..%2F"#, Some("x.pdf")),
            // Without a type.
            (r#"filename="boat;1.jpg""#, Some("boat;1.jpg")),
            (r#"filename="x.pdf"; filename*=UTF-8''na%C3%AFve.pdf"#, Some("naïve.pdf")),
            // In pieces, as in mail.
            ("attachment; filename*0*=UTF-8''na%C3%AF; filename*1=ve.pdf", Some("naïve.pdf")),
            (r#"attachment; filename*1=".pdf"; filename*0="naive""#, Some("naive.pdf")),
            // Words of mail.
            ("attachment; filename=\"=?UTF-8?B?bmHDr3ZlLnBkZg==?=\"", Some("naïve.pdf")),
            ("attachment; filename=\"=?utf-8?q?na=C3=AFve_1%.pdf?=\"", Some("naïve 1%.pdf")),
            ("attachment; filename=\"=?iso-8859-1?Q?na=EF?= =?utf-8*en?B?dmU=?=.pdf\"", Some("naïve.pdf")),
            ("attachment; filename=\"=?utf-8?x?a?=.pdf\"", Some("=?utf-8?x?a?=.pdf")),
            ("attachment; filename=\"a=?b.pdf\"", Some("a=?b.pdf")),
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
            assert_eq!(named(disposition.as_bytes()).as_deref(), expected, "{disposition}");
        }
        assert_eq!(named(b"attachment; filename=\"b\xe5t.jpg\"").as_deref(), Some("båt.jpg"));
    }

    #[test]
    fn of_several_headers_the_first_with_a_name_counts() {
        let mut headers = HeaderMap::new();
        for value in ["inline", "attachment; filename=a.pdf", "attachment; filename=b.pdf"] {
            headers.append(header::CONTENT_DISPOSITION, HeaderValue::from_static(value));
        }
        assert_eq!(file_name(&headers).as_deref(), Some("a.pdf"));
    }

    #[test]
    fn a_name_is_one_that_disks_and_services_take() {
        let long = format!("{}.jpeg", "ö".repeat(200));
        for (name, expected) in [
            ("boat.jpg", Some("boat.jpg")),
            ("a", Some("a")),
            (".jpg", Some("file.jpg")),
            (".htaccess", Some(".htaccess")),
            ("boat.", Some("boat")),
            ("boat.jpg. . ", Some("boat.jpg")),
            ("...", None),
            ("..", None),
            (" ", None),
            ("a/", None),
            ("a/b\\c.jpg", Some("c.jpg")),
            ("a\0\r\n\tb\u{7f}.jpg", Some("ab.jpg")),
            ("gpj\u{202e}.exe", Some("gpj.exe")),
            ("CON", Some("_CON")),
            ("nul.jpg", Some("_nul.jpg")),
            ("COM1.tar.gz", Some("_COM1.tar.gz")),
            ("LPT9 .txt", Some("_LPT9 .txt")),
            ("COM.txt", Some("COM.txt")),
            ("COM10.txt", Some("COM10.txt")),
            ("console.log", Some("console.log")),
            ("the \"big\" boat.jpg", Some("the \"big\" boat.jpg")),
            (&long, Some(&format!("{}.jpeg", "ö".repeat(125)))),
            (&"x".repeat(300), Some(&"x".repeat(255))),
            // The cut leaves a space at the end.
            (&"abcd ".repeat(100), Some("abcd ".repeat(51).trim_end())),
        ] {
            assert_eq!(clean(name).as_deref(), expected, "{name:?}");
        }
    }

    #[test]
    fn a_name_without_an_extension_gets_that_of_its_type() {
        for (name, media_type, expected) in [
            ("boat", Some("image/jpeg"), "boat.jpg"),
            ("boat", Some("image/tiff"), "boat.tif"),
            ("boat", Some("application/pdf"), "boat.pdf"),
            ("boat.jpg", Some("image/png"), "boat.jpg"),
            ("boat", Some("application/octet-stream"), "boat"),
            ("boat", Some("x/unknown"), "boat"),
            ("boat", None, "boat"),
            (".htaccess", Some("text/plain"), ".htaccess.txt"),
            ("no. 7", Some("image/png"), "no. 7.png"),
            ("Photo 2024.05.01", Some("image/jpeg"), "Photo 2024.05.01.jpg"),
            ("v1.2", Some("application/pdf"), "v1.2.pdf"),
            ("song.mp3", Some("audio/x-wav"), "song.mp3"),
        ] {
            assert_eq!(with_extension(name.into(), media_type), expected);
        }
    }

    proptest! {
        /// What a server writes by the RFC is read back, up to what no name can have.
        #[test]
        fn names_are_read_in_each_form(name in "[^\u{0}-\u{1f}\u{7f}]{1,60}|[ -~]{1,300}", form in 0..4) {
            use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
            // A backslash is a path in a name, whatever stands after it.
            let name = name.replace('\\', "");
            let percent = utf8_percent_encode(&name, NON_ALPHANUMERIC);
            let disposition = match form {
                0 => format!("attachment; filename=\"{}\"", name.replace('"', "\\\"")),
                1 => format!("attachment; filename=x; filename*=UTF-8''{percent}"),
                2 => format!("attachment; filename=\"=?utf-8?B?{}?=\"", BASE64_STANDARD.encode(&name)),
                _ => format!("attachment; filename*0*=utf-8''{percent}; filename*1=\"\""),
            };
            prop_assume!(!name.contains("=?"));
            let found = named(disposition.as_bytes());
            let wanted = clean(&name).or(clean("x").filter(|_| form == 1));
            prop_assert_eq!(&found, &wanted, "{}", disposition);
            if let Some(found) = found {
                prop_assert!(found.len() <= LONGEST && !found.contains(['/', '\\']) && clean(&found) == Some(found.clone()));
            }
        }
    }
}
