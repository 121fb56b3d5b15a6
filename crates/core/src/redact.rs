//! The second net: texts of secrets are found and replaced in what is about to be said, whoever put them there.
//!
//! [`Secret`](crate::Secret) is the first: it does not print. But a secret leaves its type to become a header or a form, and
//! what a library then says of it is nobody's choice. So every secret that is made is known here, as long as anybody has
//! it and some time after, and [`redact`] looks for it, written as it is or in one of the common ways to encode it.
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
use secrecy::{ExposeSecret, SecretString};
use zeroize::{Zeroize, Zeroizing};

/// Shorter ones are not looked for: they would be found in innocent words.
const SHORTEST: usize = 8;
/// How many secrets that nobody has any more are still looked for. Those that somebody has are all looked for.
const REMEMBERED: usize = 256;
const MASK: &[u8] = b"***";

static NET: LazyLock<Mutex<Net>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Net {
    /// With the number of their last making.
    known: HashMap<Known, u64>,
    last: u64,
    /// At how many to look for those that can be forgotten.
    full: usize,
    /// Those whose forms are not in the index yet: it is made when something is said, in most processes never.
    fresh: Vec<Arc<SecretString>>,
    index: Index,
}

struct Known(Arc<SecretString>);

impl Borrow<str> for Known {
    fn borrow(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.expose_secret().hash(state);
    }
}

/// Keeps the text of a secret, and has it looked for from now on.
pub(crate) fn remember(mut text: String) -> Arc<SecretString> {
    if text.len() < SHORTEST {
        return Arc::new(text.into());
    }
    let mut net = NET.lock().unwrap_or_else(PoisonError::into_inner);
    net.last += 1;
    let last = net.last;
    let same = net.known.get_key_value(text.as_str()).map(|(known, _)| known.0.clone());
    if let Some(same) = same {
        net.known.insert(Known(same.clone()), last);
        text.zeroize();
        return same;
    }
    let secret: Arc<SecretString> = Arc::new(text.into());
    net.known.insert(Known(secret.clone()), last);
    net.fresh.push(secret.clone());
    if net.known.len() > net.full.max(2 * REMEMBERED) {
        net.forget();
    }
    secret
}

impl Net {
    /// Forgets those that nobody has, but for the latest.
    fn forget(&mut self) {
        // The net itself has each of them once while they are not among the fresh.
        self.fresh.clear();
        let dead = |known: &Known| Arc::strong_count(&known.0) == 1;
        let mut numbers: Vec<_> = self.known.iter().filter(|(known, _)| dead(known)).map(|(_, last)| *last).collect();
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        if let Some(oldest) = numbers.get(REMEMBERED) {
            self.known.retain(|known, last| !dead(known) || *last > *oldest);
        }
        self.full = self.known.len() + REMEMBERED;
        self.index = Index::default();
        self.fresh = self.known.keys().map(|known| known.0.clone()).collect();
    }
}

/// All forms by their first bytes.
#[derive(Default)]
struct Index {
    forms: HashMap<[u8; SHORTEST], Vec<Form>>,
    /// Whether some form begins with these two bytes: most places in a text are passed over with one look.
    begins: Vec<bool>,
}

struct Form {
    bytes: Zeroizing<Vec<u8>>,
    /// Whether what stands around it belongs to it, too: the ends of a secret within a longer text in base64.
    with_neighbours: bool,
}

impl Index {
    fn add(&mut self, secret: &str) {
        self.begins.resize(1 << 16, false);
        for (bytes, with_neighbours) in forms(secret) {
            let Some(start) = bytes.first_chunk::<SHORTEST>() else { continue };
            self.begins[two(start)] = true;
            let same_start = self.forms.entry(*start).or_default();
            if same_start.iter().all(|known| known.bytes != bytes) {
                same_start.push(Form { bytes, with_neighbours });
                // The longest first: what is left of it would else be seen.
                same_start.sort_by_key(|form| std::cmp::Reverse(form.bytes.len()));
            }
        }
    }

    /// Where the form ends that begins here.
    fn at(&self, text: &[u8]) -> Option<(usize, bool)> {
        let start = text.first_chunk::<SHORTEST>().filter(|start| self.begins[two(start)])?;
        let form = self.forms.get(start)?.iter().find(|form| text.starts_with(&form.bytes))?;
        Some((form.bytes.len(), form.with_neighbours))
    }
}

fn two(start: &[u8; SHORTEST]) -> usize {
    usize::from(start[0]) << 8 | usize::from(start[1])
}

/// A text with `***` in place of every secret that this process knows, see [the net](self).
pub fn redact(text: &str) -> Cow<'_, str> {
    match redact_bytes(text.as_bytes()) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// The same for bytes on their way out; they have to hold whole lines.
pub fn redact_bytes(text: &[u8]) -> Cow<'_, [u8]> {
    let mut net = NET.lock().unwrap_or_else(PoisonError::into_inner);
    let fresh = std::mem::take(&mut net.fresh);
    fresh.iter().for_each(|secret| net.index.add(secret.expose_secret()));
    if net.index.forms.is_empty() {
        return Cow::Borrowed(text);
    }
    let (mut said, mut copied, mut at) = (Vec::new(), 0, 0);
    while at < text.len() {
        let Some((length, with_neighbours)) = net.index.at(&text[at..]) else {
            at += 1;
            continue;
        };
        let (mut from, mut to) = (at, at + length);
        if with_neighbours {
            from -= text[copied..from].iter().rev().take_while(|byte| is_base64(**byte)).count();
            to += text[to..].iter().take_while(|byte| is_base64(**byte)).count();
        }
        said.extend_from_slice(&text[copied..from]);
        said.extend_from_slice(MASK);
        (copied, at) = (to, to);
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    said.extend_from_slice(&text[copied..]);
    Cow::Owned(said)
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte)
}

/// The ways a text may be written: as it is, escaped for JSON, Rust and URLs, in hex, and in base64.
fn forms(secret: &str) -> Vec<(Zeroizing<Vec<u8>>, bool)> {
    let bytes = secret.as_bytes();
    let mut all = vec![secret.to_owned()];
    if let Ok(mut json) = serde_json::to_string(secret) {
        all.push(json[1..json.len() - 1].to_owned());
        // As some others write it.
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
    all.push(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
    all.push(bytes.iter().map(|byte| format!("{byte:02X}")).collect());
    let mut forms: Vec<_> = all.into_iter().map(|text| (Zeroizing::new(text.into_bytes()), false)).collect();
    // In base64 it looks different at each of three offsets; at its ends, neighbours show through.
    for offset in 0..3 {
        let mut padded = Zeroizing::new(vec![0; offset]);
        padded.extend_from_slice(bytes);
        let inner = if offset == 0 { 0 } else { 4 }..padded.len() / 3 * 4;
        for mut text in [BASE64_STANDARD.encode(&*padded), BASE64_URL_SAFE.encode(&*padded)] {
            forms.push((Zeroizing::new(text.as_bytes()[inner.clone()].to_vec()), true));
            text.zeroize();
        }
    }
    forms
}

fn unicode_escaped(c: char) -> String {
    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// `%2F` as `%2f`; what is not an escape stays.
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
    fn every_form_of_a_secret_is_replaced() {
        let text = "canary of \"the\" häuse/1+2=?&";
        let _secret = Secret::from(text);
        for (form, with_neighbours) in forms(text) {
            let form = String::from_utf8(form.to_vec()).unwrap();
            assert_eq!(redact(&format!("a line: {form}, and more")), "a line: ***, and more", "{form}");
            assert_eq!(redact(&form), "***");
            assert_eq!(redact(&format!("\u{e4}:{form}:{form}")), "\u{e4}:***:***", "{with_neighbours}");
        }
        for before in ["", "u", "us", "user:"] {
            let basic = BASE64_STANDARD.encode(format!("{before}{text}"));
            assert_eq!(redact(&format!("Authorization: Basic {basic}\n")), "Authorization: Basic ***\n");
        }
        assert!(matches!(redact("nothing of the kind: canary of nobody"), Cow::Borrowed(_)));
    }

    #[test]
    fn short_ones_and_what_is_no_secret_stay() {
        let _short = Secret::from("seven77");
        assert_eq!(redact("seven77 eight888"), "seven77 eight888");
        let _eight = Secret::from("eight888");
        assert_eq!(redact("seven77 eight888"), "seven77 ***");
        let _longer = Secret::from("eight888-and-more");
        assert_eq!(redact("eight888-and-more eight888"), "*** ***");
    }

    #[test]
    fn what_somebody_has_is_never_forgotten() {
        let held = Secret::from("canary that is held");
        for number in 0..5 * REMEMBERED {
            drop(Secret::from(format!("canary number {number:08}.")));
        }
        assert_eq!(redact("canary that is held"), "***");
        let latest = format!("canary number {:08}.", 5 * REMEMBERED - 1);
        assert_eq!(redact(&latest), "***", "and the latest are known after they are gone");
        assert_eq!(redact("canary number 00000000."), "canary number 00000000.");
        assert!(NET.lock().unwrap().known.len() <= 4 * REMEMBERED);
        assert_eq!(held.expose(), "canary that is held");
    }
}
