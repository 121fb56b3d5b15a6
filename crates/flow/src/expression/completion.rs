//! Completes the expression at a place in a text.
//!
//! The expression is cut at the cursor, a word of our own is put there, and the brackets that are open are closed. So a text
//! that is half written is read by the same parser as a whole one.

use minijinja::{
    machinery::{Token, tokenize},
    syntax::SyntaxConfig,
};
use serde_json::Value;

use crate::{
    expression::template::{MAX_LENGTH, end_of_expression},
    typing::{
        completion::{CURSOR, Completion, CompletionKind, words_at_cursor},
        names::Names,
    },
};

/// Returns what the word at a place in a text can be. `offset` is the place in characters; `names` are those that exist
/// there, if they are known.
pub(crate) fn complete(text: &str, offset: usize, names: Option<&Names<'_>>) -> Vec<Completion> {
    let cursor = text.char_indices().nth(offset).map_or(text.len(), |(at, _)| at);
    let Some(start) = open_expression(text, cursor) else { return Vec::new() };
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_digit = |c: char| c.is_ascii_digit();
    let from = start + text[start..cursor].trim_end_matches(is_word).len();
    let to = text.len() - text[cursor..].trim_start_matches(is_word).len();
    let (before, typed) = (&text[start..from], text[from..cursor].to_lowercase());
    let source = Some(before).filter(|_| !typed.starts_with(is_digit)).and_then(at_cursor);
    let mut found = source.map(|source| words_at_cursor(&source, names)).unwrap_or_default();
    found.retain(|one| one.label.to_lowercase().starts_with(&typed));
    let count = |end: usize| text[..end].chars().count();
    let (first, last) = (count(from), count(to));
    for one in &mut found {
        (one.from, one.to) = (first, last);
        let is_name = one.label.chars().all(is_word) && !one.label.is_empty() && !one.label.starts_with(is_digit);
        if one.kind == CompletionKind::Member && !is_name {
            // In the place of the dot, too.
            one.from = count(start + before.trim_end().len() - 1);
            one.insert = format!("[{}]", Value::from(one.label.as_str()));
        }
    }
    found
}

/// Returns where the expression begins that the cursor is in.
fn open_expression(text: &str, cursor: usize) -> Option<usize> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find("{{")? + 2;
        if cursor < start {
            return None;
        }
        match end_of_expression(&text[start..]) {
            Some(length) if cursor > start + length => from = start + length + 2,
            _ => return Some(start),
        }
    }
}

/// Returns an expression that ends with the word at the cursor, and with the brackets that close those before it. There is
/// none inside a quoted text.
fn at_cursor(before: &str) -> Option<String> {
    let mut closing = Vec::new();
    if before.len() > MAX_LENGTH {
        return None;
    }
    for token in tokenize(before, true, SyntaxConfig::default()) {
        match token.ok()?.0 {
            Token::ParenOpen => closing.push(')'),
            Token::BracketOpen => closing.push(']'),
            Token::BraceOpen => closing.push('}'),
            Token::ParenClose | Token::BracketClose | Token::BraceClose => drop(closing.pop()),
            _ => {}
        }
    }
    Some(format!("{before}{CURSOR}{}", closing.into_iter().rev().collect::<String>()))
}

#[cfg(test)]
mod tests;
