//! What a response states about its list beside the items: totals, flags, errors, and the announcement of a next page.
//!
//! The idea: a value that is there and cannot be read is an error. It is never taken for its absence, since an absent
//! value may end a list.

use serde_json::Value;
use trunkline_core::{pointer_names, pointer_part};

use super::page_row::PageRow;

/// What a page states about its list.
#[derive(Default)]
pub(super) struct Stated {
    /// Number of items in the list.
    pub(super) total: Option<u64>,
    /// Number of the last page.
    pub(super) last: Option<u64>,
    /// Whether there are more items.
    pub(super) more: Option<bool>,
}

impl Stated {
    /// Reads what the rule has pointers to.
    ///
    /// # Errors
    ///
    /// A message if one of the values cannot be read.
    pub(super) fn read(row: &PageRow, body: &Value) -> Result<Stated, String> {
        Ok(Stated {
            total: at(body, row.total.as_deref(), whole)?,
            last: at(body, row.last.as_deref(), whole)?,
            more: at(body, row.more.as_deref(), flag)?,
        })
    }

    /// Returns the total, if it certainly counts more than this page. Some services report a total of 0 beside items,
    /// which is not a total.
    pub(super) fn proven_total(&self, received: u64, trusted: bool) -> Option<u64> {
        self.total.filter(|total| *total > received || (trusted && *total > 0))
    }
}

fn at<T>(
    body: &Value,
    pointer: Option<&str>,
    read: fn(&Value) -> Result<Option<T>, &'static str>,
) -> Result<Option<T>, String> {
    let Some(pointer) = pointer else { return Ok(None) };
    let Some(value) = look(body, pointer)? else { return Ok(None) };
    read(value).map_err(|wanted| format!("has {} at `{pointer}`, and not {wanted}", kind_of(value)))
}

/// Returns the value at a pointer; nothing if a member on the way is absent or null.
///
/// # Errors
///
/// A message if the pointer leads into a value that has no members.
pub(super) fn look<'a>(body: &'a Value, pointer: &str) -> Result<Option<&'a Value>, String> {
    let (mut value, mut path) = (body, String::new());
    for name in pointer_names(pointer) {
        let member = match value {
            Value::Null => None,
            Value::Object(members) => members.get(&name),
            Value::Array(items) if is_index(&name) => name.parse().ok().and_then(|index: usize| items.get(index)),
            other => return Err(format!("has {} at `{path}`, so nothing can be at `{pointer}`", kind_of(other))),
        };
        let Some(member) = member else { return Ok(None) };
        value = member;
        path += &format!("/{}", pointer_part(&name));
    }
    Ok(Some(value))
}

/// Returns whether a name in a pointer can stand for an element of an array (RFC 6901 section 4).
pub(super) fn is_index(name: &str) -> bool {
    name == "0" || (!name.starts_with('0') && !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()))
}

/// Names the type of a value, with its article.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Reads a whole number, also one in a text. A negative one stands for an unknown number, as null does.
pub(super) fn whole(value: &Value) -> Result<Option<u64>, &'static str> {
    const WANTED: &str = "a whole number";
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => Ok(Some(whole)),
            (_, Some(number)) if number < 0.0 => Ok(None),
            // `120.0`, as some services write whole numbers.
            _ => number.to_string().strip_suffix(".0").and_then(|whole| whole.parse().ok()).map(Some).ok_or(WANTED),
        },
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) => text.trim().parse().map(Some).map_err(|_| WANTED),
        _ => Err(WANTED),
    }
}

/// Reads a flag, also one that is written as 1 or 0, or in a text.
fn flag(value: &Value) -> Result<Option<bool>, &'static str> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::Bool(flag) => return Ok(Some(*flag)),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_ascii_lowercase(),
        _ => String::new(),
    };
    match text.as_str() {
        "true" | "1" | "yes" | "y" => Ok(Some(true)),
        "false" | "0" | "no" | "n" => Ok(Some(false)),
        _ => Err("true or false"),
    }
}

/// Returns the pointer to a member that reports an error, in a response whose status reports success.
pub(super) fn reported_error(row: &PageRow, body: &Value) -> Option<String> {
    if let Some(pointers) = &row.errors {
        // A pointer that leads nowhere finds no error.
        let reports = |pointer: &&String| look(body, pointer).ok().flatten().is_some_and(|value| !is_blank(value));
        return pointers.iter().find(reports).cloned();
    }
    let is_empty = look(body, &row.items).ok().flatten().and_then(Value::as_array).is_none_or(Vec::is_empty);
    let (mut value, mut path) = (body, String::new());
    let mut names = pointer_names(&row.items);
    loop {
        let members = value.as_object()?;
        let found = members.iter().find(|(name, member)| reports_error(&plain(name), member, is_empty));
        if let Some((name, _)) = found {
            return Some(format!("{path}/{}", pointer_part(name)));
        }
        let name = names.next()?;
        value = members.get(&name)?;
        path += &format!("/{}", pointer_part(&name));
    }
}

/// Returns whether a member beside a list reports an error. A status may belong to what is listed: it counts only if
/// nothing is.
fn reports_error(name: &str, member: &Value, is_empty: bool) -> bool {
    match name {
        "error" | "errors" | "fault" | "exception" | "errormessage" => !is_blank(member),
        "ok" | "success" | "succeeded" | "issuccess" => flag(member) == Ok(Some(false)),
        "status" | "stat" | "statuscode" if is_empty => match member {
            Value::String(text) => {
                ["error", "fail", "failed", "failure"].contains(&text.trim().to_ascii_lowercase().as_str())
            }
            member => member.as_u64().is_some_and(|status| (400..600).contains(&status)),
        },
        _ => false,
    }
}

/// Returns whether a value means "none".
fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => {
            ["", "0", "false", "none", "null", "ok"].contains(&text.trim().to_ascii_lowercase().as_str())
        }
        Value::Array(items) => items.iter().all(is_blank),
        Value::Object(members) => members.values().all(is_blank),
    }
}

/// Returns a name without case, separators and the prefix of OData.
fn plain(name: &str) -> String {
    let name = name.trim_start_matches("@odata.").trim_start_matches("odata.");
    name.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect()
}

/// How deep an announcement may stand in the objects around a list.
const DEPTH: usize = 3;

/// Returns the pointer to a member that announces a next page, beside the items and what the rule reads. The names are
/// those in common use.
pub(super) fn announced(row: &PageRow, body: &Value) -> Option<String> {
    announced_in(row, body, "", DEPTH)
}

fn announced_in(row: &PageRow, value: &Value, path: &str, depth: usize) -> Option<String> {
    for (name, member) in value.as_object()? {
        let pointer = format!("{path}/{}", pointer_part(name));
        if pointer == row.items || row.next.as_ref() == Some(&pointer) || row.ignore.contains(&pointer) {
            continue;
        }
        let found = match plain(name).as_str() {
            "next"
            | "nextpage"
            | "nextpageid"
            | "nextpagenumber"
            | "nexturl"
            | "nexturi"
            | "nextlink"
            | "nexthref"
            | "nextpageurl"
            | "nextpageuri"
            | "nextpagelink"
            | "nextcursor"
            | "nextpagecursor"
            | "nexttoken"
            | "nextpagetoken"
            | "nextcontinuationtoken"
            | "continuationtoken"
            | "continuation"
            | "continue"
            | "nextmarker"
            | "nextkey"
            | "nextoffset"
            | "nextstart"
            | "nextindex"
            | "nextbatch"
            | "nextrecordsurl" => !is_blank(member),
            "more" | "hasmore" | "hasnext" | "hasnextpage" | "hasmorepages" | "hasmoreresults" | "hasmoreitems"
            | "hasmorerecords" | "hasmoredata" | "moreresults" | "moreitems" | "moreavailable" | "istruncated"
            | "truncated" => flag(member) == Ok(Some(true)),
            "links" => member.as_array().is_some_and(|links| links.iter().any(is_next_link)),
            _ => false,
        };
        if found {
            return Some(pointer);
        }
        if depth > 0
            && let Some(found) = announced_in(row, member, &pointer, depth - 1)
        {
            return Some(found);
        }
    }
    None
}

/// Returns whether an element of a list of links leads to a next page: `{"rel": "next", "href": ..}`.
fn is_next_link(link: &Value) -> bool {
    let is_next = |rel: &Value| rel.as_str().is_some_and(|rel| rel.eq_ignore_ascii_case("next"));
    let rel =
        link.get("rel").is_some_and(|rel| is_next(rel) || rel.as_array().is_some_and(|all| all.iter().any(is_next)));
    let target = ["href", "url", "uri"].iter().find_map(|name| link.get(name));
    rel && target.is_some_and(|target| !is_blank(target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(rest: &str) -> PageRow {
        toml::from_str(&format!("kind = 'offset'\noffset = 'o'\nitems = '/data/items'\n{rest}")).unwrap()
    }

    #[test]
    fn a_value_that_cannot_be_read_is_not_an_absent_one() {
        let row = row("total = '/meta/total'\nlast = '/meta/pages'\nmore = '/meta/more'");
        let read =
            |meta: Value| Stated::read(&row, &json!({ "meta": meta })).map(|one| (one.total, one.last, one.more));
        assert_eq!(read(json!({ "total": 7, "pages": "3", "more": 1 })), Ok((Some(7), Some(3), Some(true))));
        assert_eq!(read(json!({ "total": 7.0, "pages": " 3 ", "more": "False" })), Ok((Some(7), Some(3), Some(false))));
        for absent in [json!({ "total": null }), json!({ "total": -1, "pages": "" }), Value::Null] {
            assert_eq!(read(absent), Ok((None, None, None)));
        }
        for bad in [
            json!({ "total": "many" }),
            json!({ "total": { "value": 7 } }),
            json!({ "total": 7.5 }),
            json!({ "pages": [3] }),
            json!({ "pages": true }),
            json!({ "more": "maybe" }),
            json!({ "more": {} }),
            json!({ "more": 2 }),
            json!("text"),
            json!(7),
            json!([{ "total": 7 }]),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_in_a_response_with_a_list_are_found() {
        let found = |body: Value| reported_error(&row(""), &body);
        let with = |name: &str, value: Value| {
            let mut body = json!({ "data": { "items": [1] } });
            body[name] = value;
            body
        };
        for (body, pointer) in [
            (with("error", json!("x")), "/error"),
            (with("error", json!({ "code": 42 })), "/error"),
            (with("errors", json!([{ "message": "x" }])), "/errors"),
            (with("Fault", json!(1)), "/Fault"),
            (with("error_message", json!("x")), "/error_message"),
            (with("@odata.error", json!({ "code": "x" })), "/@odata.error"),
            (with("ok", json!(false)), "/ok"),
            (with("isSuccess", json!("false")), "/isSuccess"),
            (json!({ "data": { "items": [1], "error": "x" } }), "/data/error"),
            (json!({ "data": { "items": [] }, "status": "error" }), "/status"),
            (json!({ "statusCode": 503 }), "/statusCode"),
            (json!({ "data": null, "errors": ["x"] }), "/errors"),
        ] {
            assert_eq!(found(body.clone()).as_deref(), Some(pointer), "{body}");
        }
        for none in [
            with("error", Value::Null),
            with("error", json!("")),
            with("error", json!({ "code": 0, "message": "" })),
            with("error", json!("none")),
            with("errors", json!([])),
            with("errors", json!(0)),
            with("success", json!(true)),
            with("ok", json!(1)),
            with("status", json!("failed")),
            with("errorsFound", json!(3)),
            json!({ "data": { "items": [{ "error": "x" }] } }),
            json!([{ "error": "x" }]),
        ] {
            assert_eq!(found(none.clone()), None, "{none}");
        }
        let own = row("errors = ['/meta/problem']");
        assert_eq!(reported_error(&own, &json!({ "error": "x", "meta": { "problem": null } })), None);
        assert_eq!(reported_error(&own, &json!({ "meta": { "problem": "x" } })).as_deref(), Some("/meta/problem"));
    }

    #[test]
    fn announcements_of_a_next_page_are_found() {
        let found = |body: Value| announced(&row("ignore = ['/nextPage']"), &body);
        for (body, pointer) in [
            (json!({ "next": "x" }), "/next"),
            (json!({ "next_page": 2 }), "/next_page"),
            (json!({ "@odata.nextLink": "https://a" }), "/@odata.nextLink"),
            (json!({ "meta": { "next-cursor": "x" } }), "/meta/next-cursor"),
            (json!({ "_links": { "next": { "href": "/2" } } }), "/_links/next"),
            (json!({ "links": [{ "rel": "self", "href": "/1" }, { "rel": ["Next"], "href": "/2" }] }), "/links"),
            (json!({ "data": { "pageInfo": { "hasNextPage": true }, "items": [] } }), "/data/pageInfo/hasNextPage"),
            (json!({ "IsTruncated": "true" }), "/IsTruncated"),
            (json!({ "continue": { "offset": "x" } }), "/continue"),
        ] {
            assert_eq!(found(body.clone()).as_deref(), Some(pointer), "{body}");
        }
        for none in [
            json!({ "next": null, "next_page": 0, "nextCursor": "", "has_more": false, "truncated": 0 }),
            json!({ "nextPage": 2 }),
            json!({ "_links": { "next": {}, "prev": { "href": "/1" } } }),
            json!({ "links": [{ "rel": "next", "href": null }, { "rel": "last", "href": "/9" }] }),
            json!({ "data": { "items": [{ "next": "x" }] } }),
            json!({ "nextReview": "2026-01-31", "nextSyncToken": "x", "more_info": true }),
            json!([{ "next": "x" }]),
        ] {
            assert_eq!(found(none.clone()), None, "{none}");
        }
    }
}
