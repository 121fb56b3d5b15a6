//! Splits Rust source into comments, string literals, words and punctuation.
//!
//! The idea: a line expression cannot know whether `"// no comment"` is code, so the source is read once, character by
//! character, by a small state machine that knows strings, raw strings, characters, lifetimes and nested comments.

use std::{iter::Peekable, str::Chars};

/// A piece of source.
#[derive(Debug, PartialEq, Eq)]
pub enum Token {
    /// A line of a comment without its marker: `//`, `///`, `//!` or `/*`.
    Comment { line: usize, marker: &'static str, text: String },
    /// The text of a string literal, line by line, without its escapes.
    Text(Vec<(usize, String)>),
    /// An identifier, a keyword or a number.
    Word { line: usize, text: String },
    /// Any other character; a character literal is `'`.
    Mark(char),
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
    tokens: Vec<Token>,
}

/// Returns the tokens of a source in their order.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut reader = Reader { rest: source.chars().peekable(), line: 1, tokens: Vec::new() };
    while let Some(next) = reader.take() {
        reader.token(next);
    }
    reader.tokens
}

impl Reader<'_> {
    fn take(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    /// Takes the next character if it is this one.
    fn takes(&mut self, wanted: char) -> bool {
        let found = self.rest.peek() == Some(&wanted);
        if found {
            self.take();
        }
        found
    }

    fn token(&mut self, first: char) {
        match first {
            '/' if self.takes('/') => self.line_comment(),
            '/' if self.takes('*') => self.block_comment(),
            '"' => self.text(),
            '\'' => self.character(),
            _ if first.is_alphanumeric() || first == '_' => self.word(first),
            _ if first.is_whitespace() => {}
            _ => self.tokens.push(Token::Mark(first)),
        }
    }

    fn line_comment(&mut self) {
        let line = self.line;
        let mut text = String::new();
        while let Some(next) = self.rest.next_if(|next| *next != '\n') {
            text.push(next);
        }
        let (marker, text) = match text.strip_prefix('/') {
            Some(text) => ("///", text),
            None => text.strip_prefix('!').map_or(("//", text.as_str()), |text| ("//!", text)),
        };
        self.tokens.push(Token::Comment { line, marker, text: text.trim().to_owned() });
    }

    fn block_comment(&mut self) {
        let (mut line, mut depth, mut text) = (self.line, 1, String::new());
        while let Some(next) = self.take() {
            match next {
                '*' if self.takes('/') => depth -= 1,
                '/' if self.takes('*') => depth += 1,
                '\n' => {
                    self.comment_line(line, &text);
                    (line, text) = (self.line, String::new());
                }
                _ => text.push(next),
            }
            if depth == 0 {
                break;
            }
        }
        self.comment_line(line, &text);
    }

    fn comment_line(&mut self, line: usize, text: &str) {
        let text = text.trim().trim_start_matches(['*', '!']).trim().to_owned();
        self.tokens.push(Token::Comment { line, marker: "/*", text });
    }

    /// A string literal after its opening quote.
    fn text(&mut self) {
        let mut lines = vec![(self.line, String::new())];
        while let Some(next) = self.take() {
            match next {
                '"' => break,
                '\n' => lines.push((self.line, String::new())),
                '\\' => match self.take() {
                    // The text continues on the next line.
                    Some('\n') => lines.push((self.line, String::new())),
                    Some('n' | 't' | 'r') => push(&mut lines, ' '),
                    Some(escaped) => push(&mut lines, escaped),
                    None => break,
                },
                _ => push(&mut lines, next),
            }
        }
        self.tokens.push(Token::Text(lines));
    }

    /// A raw string after its `r`, or a raw identifier.
    fn raw(&mut self, prefix: String) {
        let mut hashes = 0;
        while self.takes('#') {
            hashes += 1;
        }
        if !self.takes('"') {
            let first = if hashes == 0 { None } else { self.take() };
            return match first {
                Some(first) => self.word(first),
                None => self.tokens.push(Token::Word { line: self.line, text: prefix }),
            };
        }
        let mut lines = vec![(self.line, String::new())];
        while let Some(next) = self.take() {
            if next == '\n' {
                lines.push((self.line, String::new()));
            } else if next == '"' {
                let mut found = 0;
                while found < hashes && self.takes('#') {
                    found += 1;
                }
                if found == hashes {
                    break;
                }
                push(&mut lines, '"');
                (0..found).for_each(|_| push(&mut lines, '#'));
            } else {
                push(&mut lines, next);
            }
        }
        self.tokens.push(Token::Text(lines));
    }

    /// A character literal or a lifetime after its quote.
    fn character(&mut self) {
        self.tokens.push(Token::Mark('\''));
        match self.take() {
            Some('\\') => {
                self.take();
                while self.take().is_some_and(|next| next != '\'') {}
            }
            // The name of a lifetime stays as a word, unless the quote is closed.
            Some(first) if !self.takes('\'') && (first.is_alphanumeric() || first == '_') => self.word(first),
            _ => {}
        }
    }

    fn word(&mut self, first: char) {
        let line = self.line;
        let mut text = String::from(first);
        while let Some(next) = self.rest.next_if(|next| next.is_alphanumeric() || *next == '_') {
            text.push(next);
        }
        match (text.as_str(), self.rest.peek()) {
            ("r" | "br" | "cr", Some('"' | '#')) => self.raw(text),
            ("b" | "c", Some('"')) => {
                self.take();
                self.text();
            }
            ("b", Some('\'')) => {
                self.take();
                self.character();
            }
            _ => self.tokens.push(Token::Word { line, text }),
        }
    }
}

fn push(lines: &mut [(usize, String)], next: char) {
    if let Some((_, text)) = lines.last_mut() {
        text.push(next);
    }
}

/// Returns the names of public types: `pub struct`, `enum`, `trait` and `type`, at any depth.
pub fn public_types(source: &str) -> Vec<String> {
    let words: Vec<_> = tokens(source).into_iter().filter(|token| !matches!(token, Token::Comment { .. })).collect();
    let text = |token: &Token| match token {
        Token::Word { text, .. } => text.clone(),
        _ => String::new(),
    };
    let declared = words.windows(3).filter_map(|three| {
        let kind = text(&three[1]);
        let public = text(&three[0]) == "pub" && ["struct", "enum", "trait", "type"].contains(&kind.as_str());
        public.then(|| text(&three[2]))
    });
    declared.filter(|name| !name.is_empty()).collect()
}

#[test]
fn the_tokenizer_separates_comments_and_strings_from_code() {
    let words = |source: &str| {
        let all = tokens(source).into_iter();
        let names = all.map(|token| match token {
            Token::Comment { line, marker, text } => format!("{line}{marker}{text}"),
            Token::Text(lines) => format!("{lines:?}"),
            Token::Word { text, .. } => text,
            Token::Mark(mark) => mark.to_string(),
        });
        names.collect::<Vec<_>>().join(" ")
    };
    for (source, expected) in [
        (r#"a("// b") // c"#, r#"a ( [(1, "// b")] ) 1//c"#),
        ("/// a\n//! b\n// c", "1///a 2//!b 3//c"),
        ("/* a /* b */\n * c */ d", "1/*a  b 2/*c d"),
        (r#"'"' "'" b"#, r#"' [(1, "'")] b"#),
        (r#"<'a> '\'' "b""#, r#"< ' a > ' [(1, "b")]"#),
        (r#"'\u{1F600}' b'"' "c\"d""#, r#"' ' [(1, "c\"d")]"#),
        ("r#\"a\"b// c\"# d", r#"[(1, "a\"b// c")] d"#),
        ("r\"a\\\" b\"c\"", r#"[(1, "a\\")] [(1, "c")]"#),
        ("r#fn r br\"x\" c\"y\"", r#"fn r [(1, "x")] [(1, "y")]"#),
        ("\"a \\\n   b\" c", r#"[(1, "a "), (2, "   b")] c"#),
        ("\"a\n\nb\" // c", r#"[(1, "a"), (2, ""), (3, "b")] 3//c"#),
    ] {
        assert_eq!(words(source), expected, "{source}");
    }
}

#[test]
fn public_types_are_found_at_any_depth_and_not_in_texts() {
    let source = "pub struct A; pub(crate) enum No {} mod m { pub\n  trait B { type No; } pub type C<T> = T; }\n// pub enum No\n\
        const X: &str = \"pub struct No\";";
    assert_eq!(public_types(source), ["A", "B", "C"]);
}
