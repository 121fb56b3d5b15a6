//! Compiled paging rules: a row is checked when its table is loaded, so that a pointer that cannot match is never taken
//! for the end of a list.

use serde_json::Value;
use trunkline_core::{check_pointer, closest, pointer_names};

use super::{
    page_row::{PageKind, PageRow},
    position::PageRequest,
    stated::is_index,
};

/// The paging of an operation, see [`PageRow`].
#[derive(Clone, Debug)]
pub(crate) struct Paging {
    pub(super) rule: Rule,
    /// Input that takes the number of items per page.
    pub(super) count: Option<String>,
    pub(super) row: PageRow,
}

/// Names are those of inputs; `next` and `key` are JSON pointers.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    Offset { offset: String },
    Number { page: String, first: u64 },
    Cursor { cursor: String, next: String },
    Link { next: Option<String> },
    Keyset { cursor: String, key: String },
}

impl Paging {
    /// Compiles the paging rule of a row. `item` is the schema of an item, `resolve` returns the name of the input that
    /// a name in the rule stands for.
    ///
    /// # Errors
    ///
    /// A message if a key of the rule is missing, has no use with its kind, or if a pointer cannot match.
    pub(crate) fn compile(
        row: &PageRow,
        item: &Value,
        mut resolve: impl FnMut(&str) -> String,
    ) -> Result<Paging, String> {
        check_keys(row)?;
        check_pointers(row)?;
        if let Some(key) = &row.key {
            check_key(key, item)?;
        }
        let needed = |key: &Option<String>, name: &str| key.clone().ok_or_else(|| format!("`{name}` is missing"));
        let rule = match row.kind {
            PageKind::Offset => Rule::Offset { offset: resolve(&needed(&row.offset, "offset")?) },
            PageKind::Number => {
                Rule::Number { page: resolve(&needed(&row.page, "page")?), first: row.first.unwrap_or(1) }
            }
            PageKind::Cursor => {
                Rule::Cursor { cursor: resolve(&needed(&row.cursor, "cursor")?), next: needed(&row.next, "next")? }
            }
            PageKind::Link => Rule::Link { next: row.next.clone() },
            PageKind::Keyset => {
                Rule::Keyset { cursor: resolve(&needed(&row.cursor, "cursor")?), key: needed(&row.key, "key")? }
            }
        };
        Ok(Paging { rule, count: row.count.as_deref().map(resolve), row: row.clone() })
    }

    /// Returns the statuses of an error that mean "no more items" in the response for a page.
    pub(crate) fn end_status(&self, request: &PageRequest) -> &[u16] {
        // An error in place of the first page is an error. So is one in place of an item that has arrived already: that
        // page cannot be after the end.
        if request.number() == 1 || request.overlaps() { &[] } else { &self.row.end_status }
    }
}

/// Checks that no key is there that its kind does not use.
fn check_keys(row: &PageRow) -> Result<(), String> {
    use PageKind::{Cursor, Keyset, Link, Number, Offset};
    for (name, is_there, kinds) in [
        ("offset", row.offset.is_some(), &[Offset][..]),
        ("page", row.page.is_some(), &[Number]),
        ("first", row.first.is_some(), &[Number]),
        ("last", row.last.is_some(), &[Number]),
        ("cursor", row.cursor.is_some(), &[Cursor, Keyset]),
        ("next", row.next.is_some(), &[Cursor, Link]),
        ("key", row.key.is_some(), &[Keyset]),
        ("total", row.total.is_some(), &[Offset, Number]),
        ("multiples", row.multiples, &[Offset]),
    ] {
        if is_there && !kinds.contains(&row.kind) {
            return Err(format!("`{name}` has no use with this kind of paging"));
        }
    }
    if row.trust_total && row.total.is_none() {
        return Err("`trustTotal` goes with `total`".into());
    }
    if row.size == Some(0) || (row.size.is_some() && row.count.is_none()) {
        return Err("`size` is at least 1 and goes with `count`".into());
    }
    if row.multiples && (row.size.is_none() || !(row.more.is_some() || row.trust_total)) {
        return Err("`multiples` goes with `count`, `size`, and `more` or `trustTotal`".into());
    }
    let counts = [Offset, Number].contains(&row.kind);
    let is_end = |status: &u16| match status {
        204 => true,
        401 | 403 | 407 | 408 | 425 | 429 => false,
        status => counts && (400..500).contains(status),
    };
    match row.end_status.iter().find(|status| !is_end(status)) {
        Some(status) => Err(format!("the status {status} never means that a list of this kind has ended")),
        None => Ok(()),
    }
}

/// Checks the pointers into a response: each for itself, and whether they can match together.
fn check_pointers(row: &PageRow) -> Result<(), String> {
    let values = [("total", &row.total), ("last", &row.last), ("next", &row.next), ("more", &row.more)];
    let values: Vec<_> = values.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
    let others = row.errors.iter().flatten().chain(&row.ignore).map(String::as_str);
    for pointer in values.iter().map(|(_, pointer)| *pointer).chain(others).chain([row.items.as_str()]) {
        check_pointer(pointer)?;
    }
    for (name, pointer) in &values {
        if let Some(inside) = inside(pointer, &row.items)
            && !inside.split('/').next().is_some_and(is_index)
        {
            return Err(format!("`{name}` cannot match: there is a list at `{}`", row.items));
        }
        let holds = values.iter().map(|(_, other)| *other).chain([row.items.as_str()]).find(|other| {
            inside(other, pointer).is_some_and(|_| !pointer.is_empty()) || (pointer.is_empty() && !other.is_empty())
        });
        if let Some(other) = holds {
            return Err(format!("`{name}` cannot match: `{other}` is inside of `{pointer}`"));
        }
        if *pointer == row.items {
            return Err(format!("`{name}` cannot match: there is a list at `{pointer}`"));
        }
    }
    Ok(())
}

/// Returns the rest of a pointer that leads into the value at another one.
fn inside<'a>(pointer: &'a str, outer: &str) -> Option<&'a str> {
    pointer.strip_prefix(outer)?.strip_prefix('/')
}

/// Checks that items of this schema can have a text or a number at the pointer.
fn check_key(key: &str, item: &Value) -> Result<(), String> {
    check_pointer(key)?;
    let mut schema = item;
    for name in pointer_names(key) {
        if !allows(schema, &["object"]) {
            return Err(format!("`key` cannot match: by its output, an item has nothing at `{key}`"));
        }
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
        let is_open = schema.get("additionalProperties").is_some_and(|others| *others != Value::Bool(false));
        match properties.get(&name) {
            Some(property) => schema = property,
            None if is_open || schema.get("patternProperties").is_some() => return Ok(()),
            None => {
                let advice = closest(&name, properties.keys().map(String::as_str));
                let advice = advice.map_or_else(String::new, |known| format!("; did you mean {known}?"));
                return Err(format!("`key` cannot match: by its output, an item has no {name}{advice}"));
            }
        }
    }
    match allows(schema, &["string", "number", "integer"]) {
        true => Ok(()),
        false => Err(format!("`key` cannot match: by its output, an item has no text or number at `{key}`")),
    }
}

/// Returns whether a schema allows values of one of these types.
fn allows(schema: &Value, types: &[&str]) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => types.contains(&one.as_str()),
        Some(Value::Array(all)) => all.iter().any(|one| one.as_str().is_some_and(|one| types.contains(&one))),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compile(row: &str, item: &Value) -> Result<Paging, String> {
        Paging::compile(&toml::from_str(row).unwrap(), item, str::to_owned)
    }

    #[test]
    fn a_pointer_that_cannot_match_is_refused_when_the_row_is_loaded() {
        let offset = "kind = 'offset'\noffset = 'o'\n";
        let cursor = "kind = 'cursor'\ncursor = 'c'\n";
        for (row, words) in [
            (format!("{offset}items = 'data'"), "is not a JSON pointer"),
            (format!("{offset}items = '/a~2'"), "is not a JSON pointer"),
            (format!("{offset}items = '/a'\nmore = 'b'"), "is not a JSON pointer"),
            (format!("{offset}items = '/a'\nerrors = ['b']"), "is not a JSON pointer"),
            (format!("{offset}items = '/a'\nignore = ['b']"), "is not a JSON pointer"),
            (format!("{cursor}items = ''\nnext = '/next'"), "`next` cannot match: there is a list at ``"),
            (format!("{cursor}items = '/a'\nnext = '/a/next'"), "`next` cannot match"),
            (format!("{cursor}items = '/a'\nnext = '/a/-/next'"), "`next` cannot match"),
            (format!("{cursor}items = '/a'\nnext = '/a/01/next'"), "`next` cannot match"),
            (format!("{cursor}items = '/a'\nnext = '/a'"), "`next` cannot match"),
            (format!("{cursor}items = '/a/b'\nnext = '/a'"), "`/a/b` is inside of `/a`"),
            (format!("{cursor}items = '/a'\nnext = ''"), "`/a` is inside of ``"),
            (format!("{cursor}items = '/a'\nnext = '/m'\nmore = '/m/more'"), "`/m/more` is inside of `/m`"),
            (format!("{offset}items = ''\ntotal = '/total'"), "`total` cannot match"),
        ] {
            let error = compile(&row, &json!(true)).expect_err(&row);
            assert!(error.contains(words), "{row}: {error}");
        }
        for good in ["items = ''\nnext = '/0/next'", "items = '/a'\nnext = '/ab'", "items = '/a'\nnext = '/m/n'"] {
            compile(&format!("{cursor}{good}"), &json!(true)).unwrap();
        }
    }

    #[test]
    fn a_key_is_compared_with_the_output() {
        let row = |key: &str| format!("kind = 'keyset'\ncursor = 'after'\nitems = '/items'\nkey = '{key}'");
        let closed = json!({ "type": "object", "properties": {
            "id": { "type": ["integer", "null"] }, "owner": { "type": "object", "properties": { "id": {} } },
            "tags": { "type": "array" } } });
        let open = json!({ "properties": { "id": {} }, "additionalProperties": true });
        for (key, item, words) in [
            ("/uid", &closed, "has no uid; did you mean id?"),
            ("/owner/name", &closed, "has no name"),
            ("/owner", &closed, "no text or number"),
            ("/tags/0", &closed, "nothing at"),
            ("", &closed, "no text or number"),
            ("/id", &json!({ "type": "string" }), "nothing at"),
            ("id", &open, "not a JSON pointer"),
        ] {
            let error = compile(&row(key), item).expect_err(key);
            assert!(error.contains(words), "{key}: {error}");
        }
        for (key, item) in [
            ("/id", &closed),
            ("/owner/id", &closed),
            ("/uid", &open),
            ("/uid", &json!(true)),
            ("", &json!({ "type": "string" })),
        ] {
            compile(&row(key), item).unwrap();
        }
    }

    #[test]
    fn keys_that_a_kind_does_not_use_are_refused() {
        for (row, words) in [
            ("kind = 'offset'", "`offset` is missing"),
            ("kind = 'number'", "`page` is missing"),
            ("kind = 'cursor'\ncursor = 'c'", "`next` is missing"),
            ("kind = 'keyset'\ncursor = 'c'", "`key` is missing"),
            ("kind = 'keyset'\nkey = '/id'", "`cursor` is missing"),
            ("kind = 'link'\ntotal = '/total'", "`total` has no use"),
            ("kind = 'offset'\noffset = 'o'\npage = 'p'", "`page` has no use"),
            ("kind = 'offset'\noffset = 'o'\nlast = '/pages'", "`last` has no use"),
            ("kind = 'offset'\noffset = 'o'\ntrustTotal = true", "`trustTotal` goes with `total`"),
            ("kind = 'offset'\noffset = 'o'\nsize = 5", "`size`"),
            ("kind = 'offset'\noffset = 'o'\nmultiples = true", "`multiples` goes with `count`"),
            ("kind = 'offset'\noffset = 'o'\ncount = 'n'\nmultiples = true", "`multiples` goes with `count`"),
            ("kind = 'offset'\noffset = 'o'\ncount = 'n'\nsize = 5\nmultiples = true", "`multiples` goes with"),
            ("kind = 'number'\npage = 'p'\ncount = 'n'\nsize = 5\nmultiples = true", "`multiples` has no use"),
            ("kind = 'offset'\noffset = 'o'\nendStatus = [429]", "429"),
            ("kind = 'offset'\noffset = 'o'\nendStatus = [400, 500]", "500"),
            ("kind = 'link'\nendStatus = [404]", "404"),
        ] {
            let error = compile(&format!("items = '/items'\n{row}"), &json!(true)).expect_err(row);
            assert!(error.contains(words), "{row}: {error}");
        }
    }
}
