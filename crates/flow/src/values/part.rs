//! A part of a list or text, for the operator `[from:to]` and the filter `slice`.

use minijinja::{Error, value::Value as Dynamic};

/// Returns the items of a list, or the characters of a text, from one position to before another one. Negative positions
/// count from the end; those that are not given are the ends.
pub(crate) fn part(value: &Dynamic, from: Option<i64>, to: Option<i64>) -> Result<Dynamic, Error> {
    let length = value.len().unwrap_or_default();
    let place = |position: i64| {
        let distance = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
        if position < 0 { length.saturating_sub(distance) } else { distance.min(length) }
    };
    let from = from.map_or(0, place);
    let taken = to.map_or(length, place).saturating_sub(from);
    Ok(match value.as_str() {
        Some(text) => text.chars().skip(from).take(taken).collect::<String>().into(),
        None => value.try_iter()?.skip(from).take(taken).collect::<Vec<_>>().into(),
    })
}
