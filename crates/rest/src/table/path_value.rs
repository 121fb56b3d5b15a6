//! Values of path parameters. A server may decode a path more than once, take a backslash for a slash, or fold wide
//! characters into narrow ones. So a value is checked in each form that some server might see.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result};

/// Everything but the unreserved characters of RFC 3986 section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Values that are percent-encoded more often than this are refused.
const DECODINGS: usize = 8;

/// Longest value in bytes; servers commonly refuse URLs beyond 8 KiB.
const LONGEST: usize = 2048;

/// What happens to slashes in a path parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Slashes {
    /// A value with a slash is refused: the parameter is one segment of the path.
    #[default]
    Refuse,
    /// They are sent as they are: the parameter is one or more segments, such as `8/6/boat.jpg`. None of them may be
    /// empty or `..`.
    Keep,
    /// They are sent as `%2F`: the parameter is one segment, in which the service finds the slashes.
    Encode,
}

/// Returns a value as percent-encoded segments: one, unless its slashes are kept.
///
/// # Errors
///
/// `invalid_input` for a value that is missing or cannot be a part of a path.
pub(super) fn segments_of(name: &str, value: Option<&Value>, slashes: Slashes) -> Result<Vec<String>> {
    let text: Cow<'_, str> = match value {
        Some(Value::String(text)) => text.as_str().into(),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => number.to_string().into(),
        Some(Value::Bool(flag)) => flag.to_string().into(),
        None | Some(Value::Null) => return Err(refused(name, "is missing", ADVICE)),
        Some(_) => return Err(refused(name, "is neither a text nor an integer", ADVICE)),
    };
    if text.len() > LONGEST {
        return Err(refused(name, "is longer than 2048 bytes", ADVICE));
    }
    let parts: Vec<&str> = if slashes == Slashes::Refuse { vec![&text] } else { text.split('/').collect() };
    let mut encoded = Vec::with_capacity(parts.len());
    for part in &parts {
        match problem(part) {
            // Within one segment, `//` stays what it is, as in the id `https://example.com/`.
            Some(Problem::Other(_)) if part.is_empty() && slashes == Slashes::Encode && parts.len() > 1 => {
                encoded.push(String::new());
            }
            None => encoded.push(utf8_percent_encode(part, RESERVED).to_string()),
            Some(Problem::Slash) if slashes == Slashes::Refuse => {
                let advice = "nothing was sent; if the service takes slashes here, declare with `slashes` whether they \
                              are sent as they are (`keep`) or as %2F (`encode`)";
                return Err(refused(name, "has a slash", advice));
            }
            Some(Problem::Slash) => return Err(refused(name, "has a backslash or an encoded slash", ADVICE)),
            Some(Problem::Other(why)) if parts.len() > 1 => {
                return Err(refused(name, &format!("has a part between slashes that {why}"), ADVICE));
            }
            Some(Problem::Other(why)) => return Err(refused(name, why, ADVICE)),
        }
    }
    Ok(if slashes == Slashes::Encode { vec![encoded.join("%2F")] } else { encoded })
}

const ADVICE: &str = "give the id or the text itself; nothing was sent";

fn refused(name: &str, why: &str, advice: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{name} {why}, but it has to become a part of a path"))
        .with("input", format_args!("/{name}"))
        .hint(advice)
}

/// The reason why a value cannot be one segment.
enum Problem {
    Slash,
    Other(&'static str),
}

/// Checks a value in each form that it has after one decoding more, since a server may decode it repeatedly.
fn problem(text: &str) -> Option<Problem> {
    // Such a value has only one form.
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return None;
    }
    let mut form = text.to_owned();
    for _ in 0..DECODINGS {
        if let Some(problem) = problem_of_form(&form) {
            return Some(problem);
        }
        if has_overlong_sequence(&form) {
            return Some(Problem::Other("has a byte sequence that is not UTF-8"));
        }
        let decoded = decode(&form);
        if decoded == form {
            return None;
        }
        form = decoded;
    }
    Some(Problem::Other("is percent-encoded too many times"))
}

fn problem_of_form(text: &str) -> Option<Problem> {
    if text.is_empty() {
        return Some(Problem::Other("is empty"));
    }
    if text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}')) {
        return Some(Problem::Other("has a control character"));
    }
    if text.chars().any(|c| matches!(narrow(c), '/' | '\\')) {
        return Some(Problem::Slash);
    }
    // Some servers cut a segment at `;` and drop spaces at its ends before they look for dots.
    let before = text.split(';').next().unwrap_or_default();
    let bare: String = before.chars().map(narrow).filter(|c| !c.is_whitespace()).collect();
    if bare.chars().all(|c| c == '.') && (!bare.is_empty() || text.starts_with(';') || text.trim().is_empty()) {
        return Some(Problem::Other("is only dots or spaces"));
    }
    None
}

/// Returns the ASCII character that a careless server takes this one for.
fn narrow(c: char) -> char {
    match c {
        '\u{ff0f}' | '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{1735}' | '\u{2571}' => '/',
        '\u{ff3c}' | '\u{fe68}' | '\u{2216}' | '\u{29f5}' | '\u{29f9}' | '\u{2572}' | '\u{20e5}' => '\\',
        '\u{ff0e}' | '\u{2024}' | '\u{2025}' | '\u{2026}' | '\u{fe52}' | '\u{3002}' | '\u{ff61}' => '.',
        other => other,
    }
}

/// Decodes once: `%2f`, and the form `%u002f` that some servers accept.
fn decode(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("%u").or_else(|| rest.find("%U")) {
        plain.push_str(&rest[..at]);
        let code =
            rest.get(at + 2..at + 6).and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        match code {
            Some(c) => {
                plain.push(c);
                rest = &rest[at + 6..];
            }
            None => {
                plain.push_str(&rest[at..at + 2]);
                rest = &rest[at + 2..];
            }
        }
    }
    plain.push_str(rest);
    percent_decode_str(&plain).decode_utf8_lossy().into_owned()
}

/// Returns whether a text has overlong sequences, which are not UTF-8 but which old decoders read as `/`, `\` or `.`.
fn has_overlong_sequence(text: &str) -> bool {
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    let lead = |window: &[u8]| matches!(window, [0xc0 | 0xc1, _] | [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f]);
    bytes.windows(2).any(lead)
}
