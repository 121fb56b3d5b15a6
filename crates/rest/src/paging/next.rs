//! Where the next page of a list begins, for each kind of paging.

use serde_json::Value;

use trunkline_core::kind_of;

use super::{
    list_changes::{fingerprint, item_identity, page_identity, remove_overlap, remove_tail, tail, total_changed},
    page_row::PageRow,
    position::PageRequest,
    stated::{Stated, look},
};

/// What a page says about the one after it.
#[derive(Default)]
pub(super) struct Next {
    /// Offset, number, cursor or URL of the next page; null at the end of the list.
    pub(super) at: Value,
    pub(super) last: Option<String>,
    pub(super) tail: Vec<String>,
    pub(super) previous: Option<String>,
    pub(super) total: Option<u64>,
    /// The reason why items may be missing.
    pub(super) maybe_incomplete: Option<String>,
}

impl Next {
    pub(super) fn at(at: Value) -> Next {
        Next { at, ..Next::default() }
    }
}

/// Reads the cursor of the next page.
///
/// # Errors
///
/// A message if there is a value that is not a cursor.
pub(super) fn cursor(body: &Value, pointer: &str) -> Result<Value, String> {
    match look(body, pointer)? {
        None | Some(Value::Null | Value::Bool(false)) => Ok(Value::Null),
        Some(Value::String(next)) if next.is_empty() => Ok(Value::Null),
        Some(next @ (Value::String(_) | Value::Number(_))) => Ok(next.clone()),
        Some(other) => Err(format!("has {} at `{pointer}`, and not a cursor", kind_of(other))),
    }
}

/// Reads the URL of the next page from the body.
///
/// # Errors
///
/// A message if there is a value that is not a text.
pub(super) fn url(body: &Value, pointer: &str) -> Result<Value, String> {
    match cursor(body, pointer)? {
        Value::Number(_) => Err(format!("has a number at `{pointer}`, and not a URL")),
        url => Ok(url),
    }
}

impl PageRequest {
    /// Finds the next page of a list whose pages have the cursor or URL of the next one at a pointer, by `read`.
    pub(super) fn after_cursor(
        &self,
        items: &[Value],
        body: &Value,
        pointer: &str,
        read: fn(&Value, &str) -> Result<Value, String>,
    ) -> Result<Next, String> {
        let at = read(body, pointer)?;
        let received = items.len() as u64;
        let is_full = received > 0 && self.count.is_some_and(|count| received >= count);
        // At the end of a list the member may be left out. Then the first page shows whether the pointer is right.
        let is_doubtful = is_full && self.number() == 1 && look(body, pointer)?.is_none();
        let maybe_incomplete = is_doubtful.then(|| format!("its first page is full and has nothing at `{pointer}`"));
        Ok(Next { at, maybe_incomplete, ..Next::default() })
    }

    /// Finds the next page of a list with offsets. Items that this page shares with the one before it are removed.
    ///
    /// The offset advances by the items that have arrived, and never by those that were asked for, so a page that is
    /// capped costs requests and no items. If the service counts hidden items, too, the next page begins with items of
    /// this one, which are recognized.
    pub(super) fn after_offset(&self, items: &mut Vec<Value>, stated: &Stated, row: &PageRow) -> Result<Next, String> {
        let trusted = row.trust_total;
        let received = items.len() as u64;
        // A service that takes only whole pages decides by itself what is on each of them.
        let end = self.at().saturating_add(if row.multiples { self.lacks(0).max(received) } else { received });
        let before = &self.cursor;
        let total = stated.proven_total(received, trusted);
        let tail = tail(items, self.lacks(received).saturating_add(1));
        let last = items.last().filter(|_| received > 1 && !row.multiples).map(item_identity);
        let moved = match &before.last {
            Some(last) => remove_overlap(items, last, &before.tail),
            None => {
                remove_tail(items, &before.tail);
                let moved = before.leapt || items.iter().any(|item| before.tail.contains(&fingerprint([item])));
                moved.then(|| "items of it came again in another place".to_owned())
            }
        };
        let mut maybe_incomplete = total_changed(before.total, stated.total).or(moved);
        let listed = before.listed.saturating_add(items.len() as u64);
        if received == 0 && before.longest == 0 && stated.more == Some(true) {
            maybe_incomplete.get_or_insert("its first page is empty, and more items follow".to_owned());
        }
        let is_reached = total.is_some_and(|total| total == listed || (trusted && end >= total));
        let at = match stated.more {
            Some(false) => Value::Null,
            Some(true) if received == 0 => self.beyond_empty(row)?.into(),
            None if is_reached => Value::Null,
            None if received == 0 => {
                let listed_all = |total: &u64| *total <= self.at();
                let missing = total.or(before.total).filter(|total| !listed_all(total));
                if let Some(total) = missing {
                    maybe_incomplete.get_or_insert(format!("it has {total} items, and none from {end} on arrived"));
                }
                // All items of this page may be hidden.
                let beyond = self.beyond_empty(row).ok().filter(|beyond| missing.is_some_and(|total| *beyond < total));
                beyond.map_or(Value::Null, Value::from)
            }
            // The next page begins with the last item of this one, as a check that no item has moved.
            _ => (end - u64::from(last.is_some())).into(),
        };
        if row.multiples && received > 0 && self.lacks(received) > 0 && !at.is_null() {
            let reason = format!("a page of it has {received} items, fewer than asked for, and more follow");
            maybe_incomplete.get_or_insert(reason);
        }
        Ok(Next { at, last, tail, total: total.or(before.total), maybe_incomplete, ..Next::default() })
    }

    /// Returns the offset after a page on which nothing is seen. It advances by the longest page so far: the service
    /// may cap pages, and an advance by the number that was asked for would skip items.
    fn beyond_empty(&self, row: &PageRow) -> Result<u64, String> {
        let longest = Some(self.cursor.longest).filter(|longest| *longest > 0 && !row.multiples);
        let step = longest.or(self.count).filter(|count| *count > 0);
        let step = step.ok_or("is an empty page with more items after it, and its size is not known")?;
        Ok(self.at().saturating_add(step))
    }

    /// Finds the next page of a list with page numbers. `previous` has the items of the page before, if it was read
    /// again.
    ///
    /// A page that is shorter than asked for does not end the list: the service may cap pages, or hide items.
    pub(super) fn after_number(
        &self,
        items: &[Value],
        stated: &Stated,
        trusted: bool,
        previous: Option<&[Value]>,
    ) -> Next {
        let (received, number, before) = (items.len() as u64, self.at(), &self.cursor);
        let total = stated.proven_total(received, trusted);
        let listed = before.listed.saturating_add(received);
        let changed = match (previous, &before.previous) {
            (Some(now), Some(before)) => page_identity(now) != *before,
            _ => false,
        };
        let ends = match (stated.more, stated.last) {
            (Some(more), _) => !more,
            // A last page before this one is not the last page.
            (None, Some(last)) if last >= number && (last > 0 || received == 0) => last == number,
            _ if received > 0 => total.is_some_and(|total| total == listed || (trusted && listed > total)),
            // All items of this page may be hidden.
            _ => {
                let longest = before.longest.max(if before.longest == 0 { self.count.unwrap_or(0) } else { 0 });
                let places = (before.page + 1).saturating_mul(longest);
                total.or(before.total).is_none_or(|total| longest == 0 || places >= total)
            }
        };
        Next {
            at: if ends { Value::Null } else { number.saturating_add(1).into() },
            previous: (!ends && received > 0).then(|| page_identity(items)),
            total: total.or(before.total),
            maybe_incomplete: changed.then(|| "a page of it changed while the next one was read".to_owned()),
            ..Next::default()
        }
    }

    /// Finds the next page of a list that is read by the key of the last item. Items that this page shares with the one
    /// before it are removed: some services begin with the item of the cursor.
    pub(super) fn after_keyset(&self, items: &mut Vec<Value>, key: &str) -> Result<Next, String> {
        let keys = items.iter().map(|item| key_of(item, key)).collect::<Result<Vec<_>, _>>()?;
        let Some(last) = keys.last() else {
            return Ok(Next { maybe_incomplete: self.key_is_shared(0), ..Next::default() });
        };
        let same = keys.iter().rev().take_while(|one| *one == last).count();
        let tail = items.iter().rev().take(same).map(|item| fingerprint([item])).collect();
        let known = remove_tail(items, &self.cursor.tail);
        let mut maybe_incomplete = self.key_is_shared(known);
        if !items.is_empty() {
            return Ok(Next { at: last.clone(), tail, maybe_incomplete, ..Next::default() });
        }
        // Only items with the key of the cursor came: the list has ended, unless they fill a page.
        if known as u64 >= self.cursor.longest {
            maybe_incomplete = Some(format!("{known} items with one key came again, and nothing after them"));
        }
        Ok(Next { maybe_incomplete, ..Next::default() })
    }

    /// Returns a message if the last items of the page before have one key, and this page did not begin with them: then
    /// further items with that key may be missing.
    fn key_is_shared(&self, known: usize) -> Option<String> {
        let shared = self.cursor.tail.len() > 1 && known == 0;
        shared.then(|| format!("its key does not identify one item: {} items had the same one", self.cursor.tail.len()))
    }
}

/// Returns the key of an item.
fn key_of(item: &Value, key: &str) -> Result<Value, String> {
    match look(item, key)? {
        Some(Value::String(text)) if text.is_empty() => {}
        Some(found @ (Value::String(_) | Value::Number(_))) => return Ok(found.clone()),
        _ => {}
    }
    Err(format!("has an item without a text or number at `{key}`, the key of the list"))
}
