//! The numbers of a JSON text, where they are, and whether a value can keep them.

use std::ops::Range;

use crate::values::{number::lossy_number, pointer::pointer_part};

/// A number as it is written.
pub(crate) struct NumberToken<'a> {
    /// Its offset in bytes.
    pub(crate) offset: usize,
    /// Its JSON pointer.
    pub(crate) pointer: String,
    pub(crate) text: &'a str,
    /// Why it cannot be kept.
    pub(crate) reason: Option<&'static str>,
}

/// The numbers of a JSON text, in order: all, or those that cannot be kept. The text need not be valid.
pub(crate) struct NumberTokens<'a> {
    json: &'a [u8],
    all: bool,
    at: usize,
    open: Vec<Container>,
}

/// A list or object around a value: the index that the value has, or the place of the string that is its name.
enum Container {
    List(usize),
    Object(Range<usize>),
}

impl<'a> NumberTokens<'a> {
    pub(crate) fn all(json: &'a [u8]) -> Self {
        NumberTokens { all: true, ..NumberTokens::lossy(json) }
    }

    pub(crate) fn lossy(json: &'a [u8]) -> Self {
        NumberTokens { json, all: false, at: 0, open: Vec::new() }
    }

    fn pointer(&self) -> String {
        let part = |container: &Container| match container {
            Container::Object(name) => {
                let name: String = serde_json::from_slice(&self.json[name.clone()]).unwrap_or_default();
                format!("/{}", pointer_part(&name))
            }
            Container::List(index) => format!("/{index}"),
        };
        self.open.iter().map(part).collect()
    }

    /// Returns the offset after the string that begins here.
    fn end_of_string(&self) -> usize {
        let mut at = self.at + 1;
        loop {
            match self.json.get(at) {
                None => return self.json.len(),
                Some(b'"') => return at + 1,
                Some(b'\\') => at += 2,
                Some(_) => at += 1,
            }
        }
    }

    fn end_of_number(&self) -> usize {
        let more = |byte: &&u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
        self.at + self.json[self.at..].iter().take_while(more).count()
    }
}

impl<'a> Iterator for NumberTokens<'a> {
    type Item = NumberToken<'a>;

    fn next(&mut self) -> Option<NumberToken<'a>> {
        loop {
            let mut end = self.at + 1;
            match self.json.get(self.at)? {
                b'{' => self.open.push(Container::Object(0..0)),
                b'[' => self.open.push(Container::List(0)),
                b'}' | b']' => drop(self.open.pop()),
                b',' => {
                    if let Some(Container::List(index)) = self.open.last_mut() {
                        *index += 1;
                    }
                }
                b'"' => {
                    end = self.end_of_string();
                    // The last string before a value is its name. A value that is a string is followed by another name.
                    if let Some(Container::Object(name)) = self.open.last_mut() {
                        *name = self.at..end;
                    }
                }
                b'-' | b'0'..=b'9' => {
                    end = self.end_of_number();
                    let text = std::str::from_utf8(&self.json[self.at..end]).unwrap_or_default();
                    let reason = lossy_number(text);
                    if self.all || reason.is_some() {
                        let found = NumberToken { offset: self.at, pointer: self.pointer(), text, reason };
                        self.at = end;
                        return Some(found);
                    }
                }
                _ => {}
            }
            self.at = end;
        }
    }
}
