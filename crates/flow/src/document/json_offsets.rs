//! Finds where values of a JSON text begin: all that are wanted, in one pass over the text.

use std::collections::HashMap;

use serde_json::from_str;
use trunkline_core::pointer_names;

/// The wanted values below one value, by name or index.
#[derive(Default)]
struct Wanted {
    inside: HashMap<String, Wanted>,
    offset: Option<usize>,
}

/// Returns the byte offsets at which the values at these JSON pointers begin. If a value is missing, the nearest value
/// around it counts. The text is JSON.
pub(super) fn json_offsets<'p>(text: &str, pointers: impl Iterator<Item = &'p str> + Clone) -> HashMap<String, usize> {
    let mut wanted = Wanted::default();
    for pointer in pointers.clone() {
        pointer_names(pointer).fold(&mut wanted, |around, name| around.inside.entry(name).or_default());
    }
    let mut scanner = Scanner { text, at: 0 };
    scanner.value(Some(&mut wanted));
    let nearest = |pointer: &str| {
        let (mut around, mut offset) = (&wanted, wanted.offset);
        for name in pointer_names(pointer) {
            around = around.inside.get(&name)?;
            offset = around.offset.or(offset);
        }
        offset
    };
    pointers.filter_map(|pointer| Some((pointer.to_owned(), nearest(pointer)?))).collect()
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Returns the next byte that is not white space, a comma or a colon.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':')).count();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes a string, and returns it with its quotes.
    fn string(&mut self) -> &'a str {
        let (start, bytes) = (self.at, self.text.as_bytes());
        self.at += 1;
        while let Some(byte) = bytes.get(self.at) {
            self.at += if *byte == b'\\' { 2 } else { 1 };
            if *byte == b'"' {
                break;
            }
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Passes a value. Its depth is limited, since the text was read before.
    fn value(&mut self, mut wanted: Option<&mut Wanted>) {
        let Some(first) = self.peek() else { return };
        if let Some(wanted) = &mut wanted {
            wanted.offset = Some(self.at);
        }
        match first {
            b'"' => drop(self.string()),
            b'{' => {
                self.at += 1;
                while self.peek() == Some(b'"') {
                    let name = self.string();
                    let inner = wanted.as_mut().filter(|wanted| !wanted.inside.is_empty());
                    let inner = inner.and_then(|wanted| wanted.inside.get_mut(&from_str::<String>(name).ok()?));
                    self.value(inner);
                }
                self.at += 1;
            }
            b'[' => {
                self.at += 1;
                for index in 0.. {
                    if self.peek().is_none_or(|byte| byte == b']') {
                        break;
                    }
                    let inner = wanted.as_mut().filter(|wanted| !wanted.inside.is_empty());
                    self.value(inner.and_then(|wanted| wanted.inside.get_mut(&index.to_string())));
                }
                self.at += 1;
            }
            _ => {
                let rest = &self.text.as_bytes()[self.at..];
                self.at += rest.iter().take_while(|byte| !b",]} \t\r\n".contains(byte)).count().max(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_found_where_it_begins_or_else_the_one_around_it() {
        let text = r#" {"a": [1, {"b/c": "x\"}]", "~": null}], "d\u0065": {"": -2.5e3}, "e":[] }"#;
        let at = |part: &str| text.find(part).unwrap();
        let expected = [
            ("", at("{")),
            ("/a", at("[1")),
            ("/a/0", at("1,")),
            ("/a/1/b~1c", at("\"x")),
            ("/a/1/~0", at("null")),
            ("/de/", at("-2.5")),
            ("/e", at("[]")),
            ("/e/0", at("[]")),
            ("/a/1/none/deeper", at("{\"b/c")),
            ("/none", at("{")),
        ];
        let found = json_offsets(text, expected.iter().map(|(pointer, _)| *pointer));
        for (pointer, offset) in expected {
            assert_eq!(found.get(pointer), Some(&offset), "{pointer}");
        }
        for cut in 0..text.len() {
            if let Some(text) = text.get(..cut) {
                json_offsets(text, ["/a/1/b~1c"].into_iter());
            }
        }
    }
}
