//! Paths whose value may be missing: before the filter `default`, and in `is defined`.
//!
//! minijinja reports a member of a missing value as an error, so `input.a.b | default(1)` would fail where `a` is
//! missing. Such a path is compiled with a filter of our own in place of each member behind the first one:
//! `input.a|__member("b")|default(1)`. The filter yields a missing value for a member of a missing value or of null.

use std::ops::Range;

use minijinja::machinery::ast::Expr;

use crate::filters::environment::MEMBER;

/// A change of an expression's source: the bytes to replace, and their replacement.
pub(super) type Edit = (Range<usize>, String);

/// Adds the changes that let any part of a path be missing.
pub(super) fn edits(expression: &Expr<'_>, source: &str, edits: &mut Vec<Edit>) {
    let (inner, name) = match expression {
        Expr::GetAttr(get) => (&get.expr, Some(get.name)),
        Expr::GetItem(get) => (&get.expr, None),
        _ => return,
    };
    if !matches!(inner, Expr::GetAttr(_) | Expr::GetItem(_)) {
        return;
    }
    self::edits(inner, source, edits);
    let (from, to) = (inner.span().end_offset as usize, expression.span().end_offset as usize);
    // Round brackets around the inner path end before the member.
    let Some(begins) = source.get(from..to).and_then(|text| text.find(['.', '['])) else { return };
    let begins = from + begins;
    match name {
        Some(name) => edits.push((begins..to, format!("|{MEMBER}('{name}')"))),
        None if source[begins..].starts_with('.') => {
            edits.push((begins..to, format!("|{MEMBER}({})", &source[begins + 1..to])));
        }
        None => edits.extend([(begins..begins + 1, format!("|{MEMBER}(")), (to - 1..to, ")".to_owned())]),
    }
}

/// Returns the source with these changes, which do not overlap.
pub(super) fn apply(source: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    edits.into_iter().fold(source.to_owned(), |mut source, (range, replacement)| {
        source.replace_range(range, &replacement);
        source
    })
}
