//! The redactor: it replaces secrets in texts that are about to be shown or stored, such as log lines and errors.
//!
//! [`Secret`](crate::Secret) does not print itself, but it has to leave its type to become a header or a form, and a
//! library may then quote it in a message. The redactor is the second protection. It knows every
//! [`Secret`](crate::Secret) of the process while it is in use and for some time after, and finds it as it is or in one
//! of the common encodings.
//!
//! ```
//! use trunkline_core::{Secret, redact};
//! let secret = Secret::from("correct horse");
//! assert_eq!(redact("Sent: correct horse; correct%20horse; Y29ycmVjdCBob3JzZQ=="), "Sent: ***; ***; ***");
//! ```

use std::{
    borrow::{Borrow, Cow},
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE},
};
use data_encoding::{HEXLOWER, HEXUPPER};
use secrecy::{ExposeSecret, SecretString};
use zeroize::{Zeroize, Zeroizing};

/// The minimum length in bytes of a secret to look for. Shorter ones would be found in ordinary words.
const MIN_LENGTH: usize = 8;
/// The number of secrets that are still looked for after their last use. All secrets in use are looked for.
const MAX_UNUSED: usize = 256;
const MASK: &[u8] = b"***";

static REDACTOR: LazyLock<Mutex<Redactor>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Redactor {
    /// All known secrets, each with the number of its latest registration.
    known: HashMap<KnownSecret, u64>,
    /// The number of the latest registration.
    last: u64,
    /// The number of known secrets above which unused ones are removed.
    capacity: usize,
    /// Secrets that are not in the index yet. Their encodings are computed at the next redaction, which in most
    /// processes never happens.
    unindexed: Vec<Arc<SecretString>>,
    index: Index,
}

struct KnownSecret(Arc<SecretString>);

impl Borrow<str> for KnownSecret {
    fn borrow(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for KnownSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for KnownSecret {}

impl Hash for KnownSecret {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.expose_secret().hash(state);
    }
}

/// Registers a secret, so that it is looked for from now on. Equal secrets share one string.
pub(crate) fn register(mut text: String) -> Arc<SecretString> {
    if text.len() < MIN_LENGTH {
        return Arc::new(text.into());
    }
    let mut redactor = REDACTOR.lock().unwrap_or_else(PoisonError::into_inner);
    redactor.last += 1;
    let last = redactor.last;
    let same = redactor.known.get_key_value(text.as_str()).map(|(known, _)| known.0.clone());
    if let Some(same) = same {
        redactor.known.insert(KnownSecret(same.clone()), last);
        text.zeroize();
        return same;
    }
    let secret: Arc<SecretString> = Arc::new(text.into());
    redactor.known.insert(KnownSecret(secret.clone()), last);
    redactor.unindexed.push(secret.clone());
    if redactor.known.len() > redactor.capacity.max(2 * MAX_UNUSED) {
        redactor.remove_unused();
    }
    secret
}

impl Redactor {
    /// Removes the secrets that are no longer in use, except the latest [`MAX_UNUSED`].
    fn remove_unused(&mut self) {
        // With `unindexed` empty, the redactor has one reference to each secret: a count of 1 means no other user.
        self.unindexed.clear();
        let unused = |known: &KnownSecret| Arc::strong_count(&known.0) == 1;
        let mut numbers: Vec<_> = self.known.iter().filter(|(known, _)| unused(known)).map(|(_, last)| *last).collect();
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        if let Some(oldest) = numbers.get(MAX_UNUSED) {
            self.known.retain(|known, last| !unused(known) || *last > *oldest);
        }
        self.capacity = self.known.len() + MAX_UNUSED;
        self.index = Index::default();
        self.unindexed = self.known.keys().map(|known| known.0.clone()).collect();
    }
}

/// The encodings of all known secrets, by their first bytes.
#[derive(Default)]
struct Index {
    encodings: HashMap<[u8; MIN_LENGTH], Vec<Encoding>>,
    /// For each pair of bytes, whether an encoding starts with it. This rules out most positions in a text with one
    /// look-up.
    starts: Vec<bool>,
}

/// One way in which a secret may be written.
struct Encoding {
    bytes: Zeroizing<Vec<u8>>,
    /// Whether base64 characters directly before and after it are replaced as well: within a longer base64 text, they
    /// hold the ends of the secret.
    with_neighbours: bool,
}

impl Index {
    fn add(&mut self, secret: &str) {
        self.starts.resize(1 << 16, false);
        for encoding in encodings(secret) {
            let Some(start) = encoding.bytes.first_chunk::<MIN_LENGTH>() else { continue };
            self.starts[first_two(start)] = true;
            let same_start = self.encodings.entry(*start).or_default();
            if same_start.iter().all(|known| known.bytes != encoding.bytes) {
                same_start.push(encoding);
                // The longest first: else a shorter match would leave the rest of a longer secret visible.
                same_start.sort_by_key(|encoding| std::cmp::Reverse(encoding.bytes.len()));
            }
        }
    }

    /// Returns the encoding that `text` starts with, if any.
    fn at(&self, text: &[u8]) -> Option<&Encoding> {
        let start = text.first_chunk::<MIN_LENGTH>().filter(|start| self.starts[first_two(start)])?;
        self.encodings.get(start)?.iter().find(|encoding| text.starts_with(&encoding.bytes))
    }
}

fn first_two(start: &[u8; MIN_LENGTH]) -> usize {
    usize::from(start[0]) << 8 | usize::from(start[1])
}

/// Returns the text with `***` in place of every [`Secret`](crate::Secret) that this process uses or has used lately. A
/// secret is found as it is and in its common encodings: escaped for JSON, Rust or URLs, in hex and in base64.
pub fn redact(text: &str) -> Cow<'_, str> {
    match redact_bytes(text.as_bytes()) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// Returns the bytes with `***` in place of every secret, as [`redact`] does. `text` has to consist of whole lines,
/// because a secret that is split over two calls is not found.
pub fn redact_bytes(text: &[u8]) -> Cow<'_, [u8]> {
    let mut redactor = REDACTOR.lock().unwrap_or_else(PoisonError::into_inner);
    let unindexed = std::mem::take(&mut redactor.unindexed);
    unindexed.iter().for_each(|secret| redactor.index.add(secret.expose_secret()));
    if redactor.index.encodings.is_empty() {
        return Cow::Borrowed(text);
    }
    let (mut redacted, mut copied, mut at) = (Vec::new(), 0, 0);
    while at < text.len() {
        let Some(encoding) = redactor.index.at(&text[at..]) else {
            at += 1;
            continue;
        };
        let (mut from, mut to) = (at, at + encoding.bytes.len());
        if encoding.with_neighbours {
            from -= text[copied..from].iter().rev().take_while(|byte| is_base64(**byte)).count();
            to += text[to..].iter().take_while(|byte| is_base64(**byte)).count();
        }
        redacted.extend_from_slice(&text[copied..from]);
        redacted.extend_from_slice(MASK);
        (copied, at) = (to, to);
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    redacted.extend_from_slice(&text[copied..]);
    Cow::Owned(redacted)
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte)
}

/// Returns the ways in which a secret may be written: as it is, escaped for JSON, Rust and URLs, in hex, and in base64.
fn encodings(secret: &str) -> Vec<Encoding> {
    let bytes = secret.as_bytes();
    let mut all = vec![secret.to_owned()];
    if let Ok(mut json) = serde_json::to_string(secret) {
        all.push(json[1..json.len() - 1].to_owned());
        // Some JSON writers escape the slash.
        all.push(json[1..json.len() - 1].replace('/', "\\/"));
        json.zeroize();
    }
    all.push(secret.chars().map(|c| if c.is_ascii() { c.to_string() } else { unicode_escaped(c) }).collect());
    all.push(secret.escape_debug().to_string());
    for space in ["%20", "+"] {
        for keep in ["-._~", "-._*", ""] {
            let escaped = |byte: u8| match byte {
                b' ' => space.to_owned(),
                _ if byte.is_ascii_alphanumeric() || keep.as_bytes().contains(&byte) => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            };
            let text: String = bytes.iter().copied().map(escaped).collect();
            all.push(lower_escapes(&text));
            all.push(text);
        }
    }
    all.push(HEXLOWER.encode(bytes));
    all.push(HEXUPPER.encode(bytes));
    let plain = |text: String| Encoding { bytes: Zeroizing::new(text.into_bytes()), with_neighbours: false };
    let mut encodings: Vec<_> = all.into_iter().map(plain).collect();
    // In base64, a secret looks different at each of three offsets, and its first and last characters also depend on
    // the bytes around it.
    for offset in 0..3 {
        let mut padded = Zeroizing::new(vec![0; offset]);
        padded.extend_from_slice(bytes);
        let inner = if offset == 0 { 0 } else { 4 }..padded.len() / 3 * 4;
        for mut text in [BASE64_STANDARD.encode(&*padded), BASE64_URL_SAFE.encode(&*padded)] {
            let bytes = Zeroizing::new(text.as_bytes()[inner.clone()].to_vec());
            encodings.push(Encoding { bytes, with_neighbours: true });
            text.zeroize();
        }
    }
    encodings
}

fn unicode_escaped(c: char) -> String {
    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// Returns the text with percent escapes in lower case: `%2F` becomes `%2f`.
fn lower_escapes(text: &str) -> String {
    let mut parts = text.split('%');
    let mut lower = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at(part.len().min(2));
        lower += "%";
        lower += &digits.to_ascii_lowercase();
        lower += rest;
    }
    lower
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[test]
    fn every_encoding_of_a_secret_is_redacted() {
        let text = "canary of \"the\" häuse/1+2=?&";
        let _secret = Secret::from(text);
        for Encoding { bytes, with_neighbours } in encodings(text) {
            let encoded = String::from_utf8(bytes.to_vec()).unwrap();
            assert_eq!(redact(&format!("a line: {encoded}, and more")), "a line: ***, and more", "{encoded}");
            assert_eq!(redact(&encoded), "***");
            assert_eq!(redact(&format!("\u{e4}:{encoded}:{encoded}")), "\u{e4}:***:***", "{with_neighbours}");
        }
        for before in ["", "u", "us", "user:"] {
            let basic = BASE64_STANDARD.encode(format!("{before}{text}"));
            assert_eq!(redact(&format!("Authorization: Basic {basic}\n")), "Authorization: Basic ***\n");
        }
        assert!(matches!(redact("a line without a secret: canary of the mine"), Cow::Borrowed(_)));
    }

    #[test]
    fn short_secrets_and_other_words_are_not_redacted() {
        let _short = Secret::from("seven77");
        assert_eq!(redact("seven77 eight888"), "seven77 eight888");
        let _eight = Secret::from("eight888");
        assert_eq!(redact("seven77 eight888"), "seven77 ***");
        let _longer = Secret::from("eight888-and-more");
        assert_eq!(redact("eight888-and-more eight888"), "*** ***");
    }

    #[test]
    fn secrets_in_use_are_always_redacted() {
        let used = Secret::from("canary that is in use");
        for number in 0..5 * MAX_UNUSED {
            drop(Secret::from(format!("canary number {number:08}.")));
        }
        assert_eq!(redact("canary that is in use"), "***");
        let latest = format!("canary number {:08}.", 5 * MAX_UNUSED - 1);
        assert_eq!(redact(&latest), "***", "the latest secrets are redacted after their last use");
        assert_eq!(redact("canary number 00000000."), "canary number 00000000.");
        assert!(REDACTOR.lock().unwrap().known.len() <= 4 * MAX_UNUSED);
        assert_eq!(used.expose(), "canary that is in use");
    }
}
