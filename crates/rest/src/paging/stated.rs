//! What a response states about its list beside the items: totals, flags, errors, and the announcement of a next page.
//!
//! The idea: a value that is there and cannot be read is an error. It is never taken for its absence, since an absent
//! value may end a list.

use serde_json::{Map, Value};
use trunkline_core::{kind_of, pointer_names, pointer_part};

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
pub(super) fn flag(value: &Value) -> Result<Option<bool>, &'static str> {
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
        if let Some(name) = error_in(members, is_empty) {
            return Some(format!("{path}/{name}"));
        }
        let heads = members.iter().filter(|(name, _)| {
            is_empty && ["meta", "response", "status", "responsestatus"].contains(&plain(name).as_str())
        });
        for (head, members) in heads {
            if let Some(name) = members.as_object().and_then(|members| error_in(members, true)) {
                return Some(format!("{path}/{}/{name}", pointer_part(head)));
            }
        }
        let name = names.next()?;
        value = members.get(&name)?;
        path += &format!("/{}", pointer_part(&name));
    }
}

/// Returns the name of the first member that reports an error, as a part of a pointer.
fn error_in(members: &Map<String, Value>, is_empty: bool) -> Option<String> {
    let mut found = members.iter().filter(|(name, member)| reports_error(&plain(name), member, is_empty));
    found.next().map(|(name, _)| pointer_part(name).to_string())
}

/// Returns whether a member beside a list reports an error. A status may belong to what is listed: it counts only if
/// nothing is.
fn reports_error(name: &str, member: &Value, is_empty: bool) -> bool {
    match name {
        "error" | "errors" | "fault" | "faultstring" | "exception" | "exceptions" | "failures" | "errormessage"
        | "errorcode" | "errordetails" | "haserror" | "iserror" | "err" | "errcode" | "errmsg" => !is_blank(member),
        "ok" | "success" | "succeeded" | "issuccess" => flag(member) == Ok(Some(false)),
        "status" | "stat" | "statuscode" | "code" | "result" | "responsestatus" if is_empty => match member {
            Value::String(text)
                if ["error", "fail", "failed", "failure"].contains(&text.trim().to_ascii_lowercase().as_str()) =>
            {
                true
            }
            member => whole(member).ok().flatten().is_some_and(|status| (400..600).contains(&status)),
        },
        _ => false,
    }
}

/// Returns whether a value means "none".
pub(super) fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => {
            ["", "0", "false", "none", "null", "ok", "success"].contains(&text.trim().to_ascii_lowercase().as_str())
        }
        Value::Array(items) => items.iter().all(is_blank),
        Value::Object(members) => members.values().all(is_blank),
    }
}

/// Returns a name without case, separators and the prefix of OData.
pub(super) fn plain(name: &str) -> String {
    let name = name.trim_start_matches("@odata.").trim_start_matches("odata.");
    name.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect()
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
            (with("errcode", json!(40001)), "/errcode"),
            (with("has_error", json!(true)), "/has_error"),
            (json!({ "data": { "items": [] }, "code": "429" }), "/code"),
            (json!({ "data": { "items": [] }, "result": "failure" }), "/result"),
            (json!({ "data": { "items": [] }, "meta": { "code": 500 } }), "/meta/code"),
            (json!({ "data": { "items": [] }, "responseStatus": { "errorCode": "X" } }), "/responseStatus/errorCode"),
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
            json!({ "data": { "items": [1] }, "errcode": 0, "errmsg": "ok", "code": 404, "meta": { "code": 404 } }),
            json!({ "data": { "items": [] }, "code": 200, "meta": { "code": 200, "status": "ok" } }),
            json!({ "data": { "items": [{ "error": "x" }] } }),
            json!([{ "error": "x" }]),
        ] {
            assert_eq!(found(none.clone()), None, "{none}");
        }
        let own = row("errors = ['/meta/problem']");
        assert_eq!(reported_error(&own, &json!({ "error": "x", "meta": { "problem": null } })), None);
        assert_eq!(reported_error(&own, &json!({ "meta": { "problem": "x" } })).as_deref(), Some("/meta/problem"));
    }
}
