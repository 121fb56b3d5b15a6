//! Finds the prose of a file: comments, texts, titles and descriptions, as passages that know their lines.
//!
//! The idea: a passage is what a person reads in one go, such as a paragraph or a message. Its lines are joined, so
//! that a form which spans a line break is found, and the line of each part is kept.

use regex::Regex;

use super::rust::{Token, tokens};

/// A paragraph, a message or a name.
#[derive(Debug, Default)]
pub struct Passage {
    /// The text on one line. Code in backticks and placeholders such as `{name}` are blanked.
    pub text: String,
    /// The text as written, of the same length.
    pub written: String,
    /// Where in the text each line of the file begins.
    starts: Vec<(usize, usize)>,
}

impl Passage {
    fn new<'a>(lines: impl IntoIterator<Item = (usize, &'a str)>) -> Passage {
        let mut passage = Passage::default();
        for (line, text) in lines {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            if text.is_empty() {
                continue;
            }
            if !passage.written.is_empty() {
                passage.written.push(' ');
            }
            passage.starts.push((passage.written.len(), line));
            passage.written += &text;
        }
        passage.text = blank_code(&passage.written);
        passage
    }

    /// Returns the line of the file at an offset of the text.
    pub fn line(&self, offset: usize) -> usize {
        let before = self.starts.iter().take_while(|(start, _)| *start <= offset);
        before.last().map_or(0, |(_, line)| *line)
    }
}

/// Replaces code in backticks and placeholders by as many backticks.
fn blank_code(text: &str) -> String {
    static CODE: std::sync::LazyLock<Regex> =
        std::sync::LazyLock::new(|| Regex::new(r"`[^`]*`|\{\w*(:[^{}]*)?\}").unwrap());
    CODE.replace_all(text, |found: &regex::Captures<'_>| "`".repeat(found[0].len())).into_owned()
}

/// Returns the passages of a file by its name, and `None` for a file without prose.
pub fn passages(name: &str, content: &str) -> Option<Vec<Passage>> {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        "rs" => Some(rust(content, 0)),
        "md" => {
            // The tables of the style page name what they ban.
            let lines = content.lines().zip(1..).map(|(text, line)| (line, text));
            Some(markdown(lines.filter(|(_, text)| name != "docs/style.md" || !text.starts_with('|'))))
        }
        "toml" => Some(marked(content, &Syntax { line: "#", block: false, quotes: "\"'", titles: true })),
        "sql" => Some(marked(content, &Syntax { line: "--", block: true, quotes: "'", titles: false })),
        "mjs" => Some(marked(content, &Syntax { line: "//", block: true, quotes: "\"'`", titles: false })),
        "json" if name.starts_with("schemas/") => Some(descriptions(content)),
        _ => None,
    }
}

/// The prose of Rust source whose first line is `above + 1`: comments, texts of two words or more, and names of tests.
fn rust(content: &str, above: usize) -> Vec<Passage> {
    let mut found = Vec::new();
    let mut comment: Vec<(usize, String)> = Vec::new();
    let mut comment_marker = "";
    let mut attribute = Attribute::default();
    let mut previous_word = String::new();
    for token in tokens(content) {
        if let Token::Comment { line, marker, text } = &token {
            if *marker != comment_marker || comment.last().is_none_or(|(last, _)| last + 1 != line + above) {
                finish_comment(&mut comment, &mut found);
            }
            comment_marker = marker;
            comment.push((line + above, text.clone()));
            continue;
        }
        finish_comment(&mut comment, &mut found);
        attribute.read(&token);
        match token {
            Token::Text(lines) => {
                let passage = Passage::new(lines.iter().map(|(line, text)| (line + above, text.as_str())));
                if passage.text.contains(' ') {
                    found.push(passage);
                }
                previous_word.clear();
            }
            Token::Word { line, text } => {
                if previous_word == "fn" && std::mem::take(&mut attribute.of_test) {
                    found.push(Passage::new([(line + above, text.replace('_', " ").as_str())]));
                }
                previous_word = text;
            }
            _ => previous_word.clear(),
        }
    }
    finish_comment(&mut comment, &mut found);
    found
}

fn finish_comment(comment: &mut Vec<(usize, String)>, found: &mut Vec<Passage>) {
    found.extend(markdown(comment.iter().map(|(line, text)| (*line, text.as_str()))));
    comment.clear();
}

/// Follows attributes, to know whether the next function is a test: the path of the attribute ends in `test`.
#[derive(Default)]
struct Attribute {
    after_hash: bool,
    depth: usize,
    /// The last word of the path, while it is read.
    path: Option<String>,
    of_test: bool,
}

impl Attribute {
    fn read(&mut self, token: &Token) {
        match token {
            Token::Mark('[') if self.after_hash || self.depth > 0 => {
                if self.depth == 0 {
                    self.path = Some(String::new());
                }
                self.depth += 1;
            }
            Token::Mark(mark) if self.depth > 0 => {
                if *mark != ':' && self.path.take().is_some_and(|path| path == "test") {
                    self.of_test = true;
                }
                self.depth -= usize::from(*mark == ']');
            }
            Token::Word { text, .. } if self.path.is_some() => self.path = Some(text.clone()),
            Token::Mark(';' | '{' | '}') => self.of_test = false,
            _ => {}
        }
        self.after_hash = *token == Token::Mark('#');
    }
}

/// The paragraphs of Markdown or of a comment: lists, headings and tables are split, and fenced code is left out but
/// for the prose of Rust examples.
fn markdown<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<Passage> {
    let mut found = Vec::new();
    let mut paragraph: Vec<(usize, &str)> = Vec::new();
    let mut fence: Option<(usize, bool, String)> = None;
    for (line, text) in lines {
        let trimmed = text.trim();
        if let Some(language) = trimmed.strip_prefix("```") {
            found.push(Passage::new(paragraph.drain(..)));
            match fence.take() {
                Some((above, true, code)) => found.extend(rust(&code, above)),
                Some(_) => {}
                None => fence = Some((line, is_rust(language), String::new())),
            }
        } else if let Some((.., code)) = &mut fence {
            *code += text;
            code.push('\n');
        } else {
            if trimmed.is_empty() || begins_block(trimmed) {
                found.push(Passage::new(paragraph.drain(..)));
            }
            paragraph.push((line, text));
        }
    }
    found.push(Passage::new(paragraph));
    found.retain(|passage| !passage.text.is_empty());
    found
}

fn is_rust(language: &str) -> bool {
    let language = language.split(',').next().unwrap_or_default().trim();
    ["", "rust", "no_run", "should_panic", "compile_fail", "ignore"].contains(&language)
}

/// A list item, a heading or a row of a table.
fn begins_block(line: &str) -> bool {
    let number = line.trim_start_matches(|digit: char| digit.is_ascii_digit());
    ["- ", "* ", "#", "|", "> "].iter().any(|marker| line.starts_with(marker))
        || (number.len() < line.len() && number.starts_with(". "))
}

/// How a language other than Rust writes comments and strings.
struct Syntax {
    line: &'static str,
    /// Comments between `/*` and `*/`.
    block: bool,
    quotes: &'static str,
    /// Strings that are assigned to `title` or `description` are prose.
    titles: bool,
}

/// The comments of a file, and its titles and descriptions where the syntax has them.
fn marked(content: &str, syntax: &Syntax) -> Vec<Passage> {
    let mut comments: Vec<Vec<(usize, &str)>> = Vec::new();
    let mut found = Vec::new();
    let mut key = "";
    let mut at = 0;
    let starts: Vec<_> = content.match_indices('\n').map(|(at, _)| at).collect();
    let line_at = |offset: usize| starts.partition_point(|start| *start < offset) + 1;
    let line_start = |offset: usize| content[..offset].rfind('\n').map_or(0, |end| end + 1);
    while let Some(first) = content[at..].chars().next() {
        let rest = &content[at..];
        if rest.starts_with(syntax.line) {
            let text = rest.lines().next().unwrap_or_default();
            let (line, prose) = (line_at(at), &text[syntax.line.len()..]);
            let alone = content[line_start(at)..at].trim().is_empty();
            match comments.last_mut() {
                Some(block) if alone && block.last().is_some_and(|(last, _)| last + 1 == line) => {
                    block.push((line, prose))
                }
                _ => comments.push(vec![(line, prose)]),
            }
            at += text.len();
        } else if syntax.block && rest.starts_with("/*") {
            let end = rest.find("*/").unwrap_or(rest.len());
            comments.push((line_at(at)..).zip(rest[2..end].lines()).collect());
            at += (end + 2).min(rest.len());
        } else if syntax.quotes.contains(first) {
            let (text, length) = quoted(rest, first);
            if syntax.titles && ["title", "description"].contains(&key) {
                found.push(Passage::new((line_at(at)..).zip(text.lines())));
            }
            at += length;
            key = "";
        } else if first.is_alphanumeric() || first == '_' {
            let word = rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(rest.len());
            key = &rest[..word];
            at += word;
        } else {
            if !first.is_whitespace() && first != '=' {
                key = "";
            }
            at += first.len_utf8();
        }
    }
    found.extend(comments.into_iter().flat_map(|block| markdown(block.into_iter())));
    found
}

/// Returns the text of a quoted string and the length of the whole.
fn quoted(rest: &str, quote: char) -> (&str, usize) {
    let three = [quote; 3].iter().collect::<String>();
    if let Some(after) = rest.strip_prefix(&three) {
        let end = after.find(&three).unwrap_or(after.len());
        return (&after[..end], (end + 6).min(rest.len()));
    }
    let mut escaped = false;
    for (at, next) in rest.char_indices().skip(1) {
        if next == quote && !escaped {
            return (&rest[1..at], at + 1);
        }
        escaped = next == '\\' && !escaped && quote != '\'';
    }
    (&rest[1..], rest.len())
}

/// The titles and descriptions of a JSON Schema.
fn descriptions(content: &str) -> Vec<Passage> {
    let expression = Regex::new(r#""(?:title|description)"\s*:\s*("(?:[^"\\]|\\.)*")"#).unwrap();
    let all = expression.captures_iter(content).map(|found| {
        let text: String = serde_json::from_str(&found[1]).unwrap();
        let line = content[..found.get(0).unwrap().start()].matches('\n').count() + 1;
        Passage::new(text.lines().map(|text| (line, text)))
    });
    all.collect()
}

/// The paragraphs of a help text: each option and command has its own.
pub fn help(content: &str) -> Vec<Passage> {
    let entry = Regex::new(r"^ {2,8}(-|\S+ {2,})").unwrap();
    let mut found = Vec::new();
    let mut paragraph = Vec::new();
    for (line, text) in (1..).zip(content.lines()) {
        if text.trim().is_empty() || entry.is_match(text) {
            found.push(Passage::new(paragraph.drain(..)));
        }
        paragraph.push((line, text));
    }
    found.push(Passage::new(paragraph));
    found.retain(|passage| !passage.text.is_empty());
    found
}

#[cfg(test)]
fn shown(name: &str, content: &str) -> Vec<(usize, String)> {
    passages(name, content).unwrap().into_iter().map(|one| (one.line(0), one.text)).collect()
}

#[test]
fn rust_has_prose_in_comments_texts_and_names_of_tests() {
    let source = "//! One\n//! two.\n//!\n//! - three\n//! ```\n//! code(); // four\n//! ```\n// five\n\n// six\n\
        fn no_test() { \"word\"; \"two words\"; \"a {b} `c`\" }\n#[tokio::test(flavor = \"x\")]\nasync fn it_runs() {}\nfn other_one() {}";
    let expected = [
        (1, "One two."),
        (4, "- three"),
        (6, "four"),
        (8, "five"),
        (10, "six"),
        (11, "two words"),
        (11, "a ``` ```"),
        (13, "it runs"),
    ];
    assert_eq!(shown("x.rs", source), expected.map(|(line, text)| (line, text.to_owned())));
}

#[test]
fn other_files_have_prose_in_comments_titles_and_paragraphs() {
    for (name, content, expected) in [
        ("x.toml", "# a\n# b\nx = \"# no\" # c\ntitle = \"d e\"\nname.title = '''f\ng'''", "4d e|5f g|1a b|3c"),
        ("x.toml", "[[a]]\nb = { type = \"no\", title = \"c\", other = \"no\" }", "2c"),
        ("x.sql", "-- a\nselect '-- no' -- b\n/* c\nd */", "1a|2b|3c d"),
        ("x.mjs", "// a\nconst b = `// no` // c", "1a|2c"),
        ("x.md", "a\nb `no`\n\n1. c\n```sh\n# no\n```\n| d | e |", "1a b ````|4c|8| d | e |"),
        ("docs/style.md", "a\n\n| no | no |", "1a"),
        ("schemas/x.json", "{\n\"description\": \"a \\\"b\\\"\",\n\"default\": \"no\"}", "2a \"b\""),
    ] {
        let all =
            shown(name, content).into_iter().map(|(line, text)| format!("{line}{}", text.trim_start_matches("1. ")));
        assert_eq!(all.collect::<Vec<_>>().join("|"), expected, "{name}: {content}");
    }
    assert!(passages("tests/fixtures/x.json", "{}").is_none());
}

#[test]
fn a_passage_keeps_the_lines_of_its_parts() {
    let passage = &passages("x.md", "one\ntwo\n  three").unwrap()[0];
    let line = |part: &str| passage.line(passage.text.find(part).unwrap());
    assert_eq!(["one", "two", "three"].map(line), [1, 2, 3]);
}

#[test]
fn help_is_split_by_its_options() {
    let help = help("Does a\nthing\n\nOptions:\n      --a  First\n           part\n  -b       Second");
    let text: Vec<_> = help.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(text, ["Does a thing", "Options:", "--a First part", "-b Second"]);
}
