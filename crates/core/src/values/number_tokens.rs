//! The numbers of a JSON text, where they are, and whether a value can keep them.

use std::{borrow::Cow, ops::Range};

use crate::values::{
    memory::{DEPTH, end_of_string},
    number::lossy_number,
    pointer::pointer_part,
};

/// A number as it is written.
pub(crate) struct NumberToken<'a> {
    /// Its offset in bytes.
    pub(crate) offset: usize,
    pub(crate) text: &'a str,
    /// Why it cannot be kept.
    pub(crate) reason: Option<&'static str>,
}

/// The numbers of a JSON text, in order. The text need not be valid. They end at a container that is too deep for every
/// reader: no memory is spent on those inside.
pub(crate) struct NumberTokens<'a> {
    json: &'a [u8],
    at: usize,
    open: Vec<Container>,
}

/// A list or object around a value: the index that the value has, or the place of the string that is its name.
enum Container {
    List(usize),
    Object(Range<usize>),
}

impl<'a> NumberTokens<'a> {
    pub(crate) fn new(json: &'a [u8]) -> Self {
        NumberTokens { json, at: 0, open: Vec::new() }
    }

    /// Returns the JSON pointer of the number that was read last.
    pub(crate) fn pointer(&self) -> String {
        self.open.iter().map(|container| format!("/{}", self.part(container))).collect()
    }

    /// Returns whether the number that was read last is at a place, in which `*` stands for each item or member. It
    /// begins at the last part, in which most places differ, and makes no pointer: a page has thousands of numbers.
    pub(crate) fn is_at(&self, place: &str) -> bool {
        let mut parts = place.rsplit('/');
        let mut around = self.open.iter().rev();
        around.all(|container| parts.next().is_some_and(|part| part == "*" || part == self.part(container)))
            && parts.eq([""])
    }

    /// Returns the part of a pointer that leads into a container.
    fn part(&self, container: &Container) -> Cow<'a, str> {
        let name = match container {
            Container::List(index) => return index.to_string().into(),
            Container::Object(name) => &self.json[name.clone()],
        };
        let bare = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or_default();
        match std::str::from_utf8(bare) {
            Ok(bare) if !bare.contains(['\\', '~', '/']) => bare.into(),
            _ => pointer_part(&serde_json::from_slice::<String>(name).unwrap_or_default()).into(),
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
                b'{' | b'[' if self.open.len() == DEPTH => return None,
                b'{' => self.open.push(Container::Object(0..0)),
                b'[' => self.open.push(Container::List(0)),
                b'}' | b']' => drop(self.open.pop()),
                b',' => {
                    if let Some(Container::List(index)) = self.open.last_mut() {
                        *index += 1;
                    }
                }
                b'"' => {
                    end = end_of_string(self.json, self.at);
                    // The last string before a value is its name. A value that is a string is followed by another name.
                    if let Some(Container::Object(name)) = self.open.last_mut() {
                        *name = self.at..end;
                    }
                }
                b'-' | b'0'..=b'9' => {
                    end = self.end_of_number();
                    let text = std::str::from_utf8(&self.json[self.at..end]).unwrap_or_default();
                    let found = NumberToken { offset: self.at, text, reason: lossy_number(text) };
                    self.at = end;
                    return Some(found);
                }
                _ => {}
            }
            self.at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_at_its_pointer_and_at_no_other() {
        let json = br#"{"a": [1, {"b/c": 2, "~": [[3]]}], "\u0064": {"": 4, "q\"": 5}, "*": 6}"#;
        let mut tokens = NumberTokens::new(json);
        let pointers = ["/a/0", "/a/1/b~1c", "/a/1/~0/0/0", "/d/", "/d/q\"", "/*"];
        for expected in pointers {
            tokens.next().unwrap();
            assert_eq!(tokens.pointer(), expected);
            for place in pointers.into_iter().filter(|place| *place != "/*") {
                assert_eq!(tokens.is_at(place), place == expected, "{expected} {place}");
            }
            let last = expected.rfind('/').unwrap();
            assert!(tokens.is_at(&format!("{}/*", &expected[..last])), "{expected}");
            assert!(!tokens.is_at(&format!("/x{expected}")) && !tokens.is_at(""), "{expected}");
        }
        assert!(tokens.next().is_none());
    }

    #[test]
    fn containers_that_no_reader_accepts_take_no_memory() {
        let json = [vec![b'['; 1 << 20], b"1".to_vec()].concat();
        let mut tokens = NumberTokens::new(&json);
        assert!(tokens.next().is_none() && tokens.open.capacity() <= DEPTH);
        let deepest = [vec![b'['; DEPTH], b"1".to_vec()].concat();
        assert!(NumberTokens::new(&deepest).next().is_some());
    }
}
