//! The redactor: it replaces secrets in texts that are about to be shown or stored, such as log lines and errors.
//!
//! [`Secret`] does not print itself, but it has to leave its type to become a header or a form, and a library may then
//! quote it in a message. The redactor is the second protection. It knows the secrets that were added to it while they
//! are in use and for some time after, and finds each as it is or in one of the common encodings.
//!
//! Nothing is added by itself: the code through which a secret enters adds it. The settings of a connection are added by
//! [`Registry::connect`](crate::Registry::connect), the content of the vault by
//! [`ConnectionContext`](crate::ConnectionContext), and tokens by the client that receives them.
//!
//! ```
//! use trunkline_core::{Redactor, Secret};
//! let (redactor, secret) = (Redactor::default(), Secret::from("correct horse"));
//! redactor.add(&secret);
//! let text = "Sent: correct horse; correct%20horse; Y29ycmVjdCBob3JzZQ==";
//! assert_eq!(redactor.redact(text), "Sent: ***; ***; ***");
//! assert_eq!(Redactor::default().redact(text), text, "another redactor does not know it");
//! ```

use std::{
    borrow::{Borrow, Cow},
    collections::HashMap,
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE},
};
use data_encoding::{HEXLOWER, HEXUPPER};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use crate::Secret;

/// The minimum length in bytes of a secret to look for. Shorter ones would be found in ordinary words.
const MIN_LENGTH: usize = 8;
/// The number of secrets that are still looked for after their last use. All secrets in use are looked for.
const MAX_UNUSED: usize = 256;
const MASK: &[u8] = b"***";

/// Replaces the secrets that were added to it in texts. Clones share the secrets.
///
/// Each host has one and passes it to its connections. What is added to one is unknown to all others, so two hosts in
/// one process learn nothing of each other's secrets.
#[derive(Clone, Default)]
pub struct Redactor(Arc<Mutex<KnownSecrets>>);

#[derive(Default)]
struct KnownSecrets {
    known: HashMap<KnownText, KnownSecret>,
    /// The number of the latest addition.
    last: u64,
    /// The number of known secrets above which unused ones are removed.
    capacity: usize,
    /// Secrets that are not in the index yet. Their encodings are computed at the next redaction, which in most
    /// processes never happens.
    unindexed: Vec<Arc<SecretString>>,
    index: Index,
}

/// A secret as text. This copy lives until the secret is removed.
struct KnownText(Arc<SecretString>);

/// What is known of a secret.
struct KnownSecret {
    /// The number of its latest addition.
    last: u64,
    /// Its users: as long as one of them exists, the secret is in use.
    users: Vec<Weak<SecretString>>,
}

impl KnownSecret {
    fn is_used(&self) -> bool {
        self.users.iter().any(|user| user.strong_count() > 0)
    }
}

impl Borrow<str> for KnownText {
    fn borrow(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for KnownText {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for KnownText {}

impl Hash for KnownText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.expose_secret().hash(state);
    }
}

impl KnownSecrets {
    fn add(&mut self, secret: &Secret) {
        self.last += 1;
        let (last, user) = (self.last, Arc::downgrade(&secret.0));
        if let Some(known) = self.known.get_mut(secret.expose()) {
            known.last = last;
            known.users.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&user));
            known.users.push(user);
            return;
        }
        let text = Arc::new(SecretString::from(secret.expose()));
        self.unindexed.push(text.clone());
        self.known.insert(KnownText(text), KnownSecret { last, users: vec![user] });
        if self.known.len() > self.capacity.max(2 * MAX_UNUSED) {
            self.remove_unused();
        }
    }

    /// Removes the secrets that are no longer in use, except the latest [`MAX_UNUSED`].
    fn remove_unused(&mut self) {
        let unused = self.known.values().filter(|known| !known.is_used());
        let mut numbers: Vec<_> = unused.map(|known| known.last).collect();
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        if let Some(oldest) = numbers.get(MAX_UNUSED) {
            self.known.retain(|_, known| known.is_used() || known.last > *oldest);
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

impl Redactor {
    /// Adds a secret, so that it is looked for from now on: as long as a clone of it exists, and for some time after.
    /// Secrets of fewer than 8 bytes are not looked for.
    pub fn add(&self, secret: &Secret) {
        if secret.expose().len() >= MIN_LENGTH {
            self.lock().add(secret);
        }
    }

    /// Adds all secrets that another redactor knows.
    pub fn add_all(&self, other: &Redactor) {
        if Arc::ptr_eq(&self.0, &other.0) {
            return;
        }
        // The two locks are never held together.
        let users = |(text, known): (&KnownText, &KnownSecret)| {
            let mut users: Vec<_> = known.users.iter().filter_map(Weak::upgrade).map(Secret).collect();
            users.push(Secret(text.0.clone()));
            users
        };
        let all: Vec<_> = other.lock().known.iter().flat_map(users).collect();
        all.iter().for_each(|secret| self.add(secret));
    }

    /// Returns the text with `***` in place of every secret that was added and is in use or was used lately. A secret is
    /// found as it is and in its common encodings: escaped for JSON, Rust or URLs, in hex and in base64.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.redact_bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// Returns the bytes with `***` in place of every secret, as [`Redactor::redact`] does. `text` has to consist of
    /// whole lines, because a secret that is split over two calls is not found.
    pub fn redact_bytes<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let mut secrets = self.lock();
        let unindexed = std::mem::take(&mut secrets.unindexed);
        unindexed.iter().for_each(|secret| secrets.index.add(secret.expose_secret()));
        if secrets.index.encodings.is_empty() {
            return Cow::Borrowed(text);
        }
        let (mut redacted, mut copied, mut at) = (Vec::new(), 0, 0);
        while at < text.len() {
            let Some(encoding) = secrets.index.at(&text[at..]) else {
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

    /// Returns a value as JSON with all secrets redacted. Each text is redacted by itself: in the serialized JSON a
    /// secret would be escaped, and not be found.
    pub fn redact_json(&self, value: &impl Serialize) -> Value {
        let mut value = serde_json::to_value(value).unwrap_or_default();
        self.redact_texts(&mut value);
        value
    }

    fn redact_texts(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.redact_in_place(text),
            Value::Array(all) => all.iter_mut().for_each(|one| self.redact_texts(one)),
            Value::Object(all) => {
                all.values_mut().for_each(|one| self.redact_texts(one));
                if all.keys().any(|name| matches!(self.redact(name), Cow::Owned(_))) {
                    let members = std::mem::take(all);
                    all.extend(members.into_iter().map(|(name, one)| (self.redact(&name).into_owned(), one)));
                }
            }
            _ => {}
        }
    }

    pub(crate) fn redact_in_place(&self, text: &mut String) {
        if let Cow::Owned(clean) = self.redact(text) {
            *text = clean;
        }
    }

    fn lock(&self) -> MutexGuard<'_, KnownSecrets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
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

    fn known(secrets: &[&Secret]) -> Redactor {
        let redactor = Redactor::default();
        secrets.iter().for_each(|secret| redactor.add(secret));
        redactor
    }

    #[test]
    fn every_encoding_of_a_secret_is_redacted() {
        let text = "canary of \"the\" häuse/1+2=?&";
        let redactor = known(&[&Secret::from(text)]);
        let redact = |text: &str| redactor.redact(text).into_owned();
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
        assert!(matches!(redactor.redact("a line without a secret: canary of the mine"), Cow::Borrowed(_)));
    }

    #[test]
    fn short_secrets_and_other_words_are_not_redacted() {
        let redactor = known(&[&Secret::from("seven77")]);
        assert_eq!(redactor.redact("seven77 eight888"), "seven77 eight888");
        redactor.add(&Secret::from("eight888"));
        assert_eq!(redactor.redact("seven77 eight888"), "seven77 ***");
        redactor.add(&Secret::from("eight888-and-more"));
        assert_eq!(redactor.redact("eight888-and-more eight888"), "*** ***");
    }

    #[test]
    fn secrets_in_use_are_always_redacted() {
        let used = Secret::from("canary that is in use");
        let redactor = known(&[&used]);
        // Another user of the same text that ends does not end the use.
        redactor.add(&Secret::from("canary that is in use"));
        for number in 0..5 * MAX_UNUSED {
            redactor.add(&Secret::from(format!("canary number {number:08}.")));
        }
        assert_eq!(redactor.redact("canary that is in use"), "***");
        let latest = format!("canary number {:08}.", 5 * MAX_UNUSED - 1);
        assert_eq!(redactor.redact(&latest), "***", "the latest secrets are redacted after their last use");
        assert_eq!(redactor.redact("canary number 00000000."), "canary number 00000000.");
        assert!(redactor.lock().known.len() <= 4 * MAX_UNUSED);
        assert_eq!(used.expose(), "canary that is in use");
    }

    #[test]
    fn a_redactor_knows_only_what_was_added_to_it() {
        let (mine, yours) = (Secret::from("canary of mine"), Secret::from("canary of yours"));
        let (one, other) = (known(&[&mine]), known(&[&yours]));
        assert_eq!(one.redact("canary of mine, canary of yours"), "***, canary of yours");
        assert_eq!(other.redact("canary of mine, canary of yours"), "canary of mine, ***");
        one.add_all(&other);
        assert_eq!(one.redact("canary of mine, canary of yours"), "***, ***");
        assert_eq!(one.redact_json(&["canary of mine", "\"canary of yours\""]).to_string(), r#"["***","\"***\""]"#);
    }
}
