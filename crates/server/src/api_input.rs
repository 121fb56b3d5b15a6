//! The input of an operation, made of a request: parameters of the path, parameters of the query, and the body.

use axum::{
    extract::Query,
    http::{HeaderMap, HeaderName, StatusCode, Uri, header},
};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use trunkline_core::{Error, ErrorKind, Result};

use crate::{
    api_route::ApiRoute,
    request::{Body, complete, header, object},
    response::ErrorResponse,
};

/// The head of a request.
pub(crate) struct RequestHead {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
}

/// The members of inputs that stand in a header, and nowhere else.
pub(crate) const HEADERS: [(&str, HeaderName); 3] = [
    ("idempotency_key", HeaderName::from_static("idempotency-key")),
    ("if_match", header::IF_MATCH),
    ("if_none_match", header::IF_NONE_MATCH),
];

/// Returns the name of the header in which a member stands.
pub(crate) fn header_of(member: &str) -> Option<HeaderName> {
    HEADERS.into_iter().find(|(name, _)| *name == member).map(|(_, header)| header)
}

/// Returns the input of a row's operation. `schema` is the schema of the input, `callback` the URL of the callback of
/// sign-ins.
pub(crate) fn read_input(
    row: &ApiRoute,
    schema: &Value,
    head: &RequestHead,
    body: Body,
    callback: impl FnOnce() -> String,
) -> Result<Value, ErrorResponse> {
    let RequestHead { uri, headers } = head;
    let mut input = Map::new();
    let query: Vec<(String, String)> = match Query::try_from_uri(uri) {
        Ok(Query(pairs)) => pairs,
        Err(error) => return Err(invalid(format!("the query cannot be read: {}", error.body_text())).into()),
    };
    if row.has_body() {
        if let (Some((name, _)), None) = (query.first(), row.body_member) {
            let message = format!("this request has no parameters in its query, but `{name}` is given");
            return Err(invalid(message).hint("put what it takes into the JSON body").into());
        }
        let body = complete(body)?;
        let is_json = |kind: &mime::Mime| kind.subtype() == mime::JSON || kind.suffix() == Some(mime::JSON);
        let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().ok().and_then(|kind| kind.parse().ok()));
        if !body.is_empty() && kind.is_some_and(|kind| !kind.as_ref().is_some_and(is_json)) {
            let error = invalid("the body is not declared as JSON".to_owned());
            let error = error.hint("send JSON with the header `Content-Type: application/json`");
            return Err(ErrorResponse::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error));
        }
        match (row.body_member, object(&body)?) {
            (Some(member), members) => drop(input.insert(member.to_owned(), members)),
            (None, Value::Object(members)) => input = members,
            (None, _) => {}
        }
    } else if !complete(body)?.is_empty() {
        let message = format!("a request of the method {} has no body here", row.method);
        return Err(invalid(message).hint("put what it takes into the query").into());
    }
    for (name, text) in query {
        let member = member(schema, schema, &name);
        let is_elsewhere =
            |name: &str| row.parameters().any(|(_, member)| member == name) || row.body_member == Some(name);
        let Some(member) = member.filter(|_| !is_elsewhere(&name)) else {
            return Err(invalid(format!("there is no parameter `{name}` here")).hint("check its spelling").into());
        };
        let value = typed(member, schema, text);
        match (input.get_mut(&name), value) {
            // A list is given by its elements.
            (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
            (Some(_), _) => return Err(invalid(format!("the parameter `{name}` is given twice")).into()),
            (None, value) => drop(input.insert(name, value)),
        }
    }
    for (name, of) in HEADERS {
        if input.contains_key(name) {
            return Err(invalid(format!("`{name}` stands in the header {of}, and nowhere else")).into());
        }
        if let (Some(_), Some(value)) = (member(schema, schema, name), header(headers, of.as_str())?) {
            input.insert(name.to_owned(), value.into());
        }
    }
    let fixed = row.callback_member.map(|member| (member, callback()));
    let path = parameters(row, uri.path())?.into_iter().chain(fixed);
    for (name, text) in path {
        let text: Value = match member(schema, schema, name) {
            Some(member) if accepts(member, schema, "array") => vec![text].into(),
            _ => text.into(),
        };
        // The document that a GET returns has its name, too.
        if input.insert(name.to_owned(), text.clone()).is_some_and(|given| row.method != "PUT" || given != text) {
            return Err(invalid(format!("`{name}` cannot be given here: the path of the request says it")).into());
        }
    }
    Ok(input.into())
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// Returns whether a path fits a template, in which `{name}` stands for one segment, and is not the template itself.
pub(crate) fn is_path(template: &str, path: &str) -> bool {
    let (parts, given) = (template.split('/'), path.split('/'));
    template != path
        && parts.clone().count() == given.clone().count()
        && parts.zip(given).all(|(part, given)| part == given || (part.starts_with('{') && !given.starts_with('{')))
}

/// Returns the members of the input that stand in the path.
fn parameters(row: &ApiRoute, path: &str) -> Result<Vec<(&'static str, String)>> {
    let parts = row.path.split('/').zip(path.split('/')).filter(|(part, _)| part.starts_with('{'));
    row.parameters()
        .zip(parts)
        .map(|((name, member), (_, value))| {
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| invalid(format!("the part `{name}` of the path is not UTF-8")))?;
            Ok((member, value.into_owned()))
        })
        .collect()
}

/// Returns the schema of a member of an object, also if the object is one of several.
pub(crate) fn member<'a>(schema: &'a Value, root: &'a Value, name: &str) -> Option<&'a Value> {
    if let Some(found) = schema["properties"].get(name) {
        return Some(resolved(found, root));
    }
    let branches = ["oneOf", "anyOf"].iter().find_map(|of| schema[*of].as_array());
    branches.into_iter().flatten().find_map(|branch| member(resolved(branch, root), root, name))
}

/// Returns the schema that a reference names.
fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let target = schema["$ref"].as_str().and_then(|name| root.pointer(name.strip_prefix('#')?));
    target.unwrap_or(schema)
}

/// Returns the value that a text of the query stands for. What does not fit the schema stays a text, which the
/// operation refuses.
fn typed(schema: &Value, root: &Value, text: String) -> Value {
    let accepts = |kind: &str| accepts(schema, root, kind);
    let number = || serde_json::from_str::<Value>(&text).ok().filter(Value::is_number);
    match &*text {
        _ if accepts("array") => vec![Value::from(text)].into(),
        "true" | "false" if accepts("boolean") => (text == "true").into(),
        _ if accepts("integer") || accepts("number") => number().unwrap_or_else(|| text.into()),
        _ => text.into(),
    }
}

fn accepts(schema: &Value, root: &Value, kind: &str) -> bool {
    let listed = schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind));
    let branches = ["oneOf", "anyOf"].iter().filter_map(|of| schema[*of].as_array()).flatten();
    schema["type"] == kind || listed || branches.into_iter().any(|one| accepts(resolved(one, root), root, kind))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_of_a_query_become_the_values_that_the_schema_takes() {
        let schema = json!({
            "properties": {
                "after": { "type": "integer" }, "force": { "type": ["boolean", "null"] }, "name": { "type": "string" },
                "kind": { "$ref": "#/$defs/Kind" }, "keys": { "type": "array", "items": { "type": "string" } }, "most": { "anyOf": [{ "$ref": "#/$defs/Count" }, { "type": "null" }] }
            },
            "$defs": { "Kind": { "enum": ["a"] }, "Count": { "type": "integer" } }
        });
        let read = |name: &str, text: &str| {
            typed(member(&schema, &schema, name).unwrap_or(&Value::Null), &schema, text.to_owned())
        };
        assert_eq!(read("after", "12"), 12);
        assert_eq!(read("after", "18446744073709551616"), json!(18446744073709551616_f64));
        assert_eq!(read("after", "twelve"), "twelve");
        assert_eq!(read("after", "[1]"), "[1]");
        assert_eq!(read("force", "true"), true);
        assert_eq!(read("force", "1"), "1");
        assert_eq!(read("name", "true"), "true");
        assert_eq!(read("name", "12"), "12");
        assert_eq!(read("kind", "12"), "12");
        assert_eq!(read("most", "12"), 12);
        assert_eq!(read("keys", "12"), json!(["12"]));
        assert_eq!(read("other", "12"), "12");
    }

    #[test]
    fn a_path_fits_templates_of_its_length() {
        assert!(is_path("/flows/{name}", "/flows/validate"));
        for (template, path) in [
            ("/flows/{name}", "/flows/{name}"),
            ("/flows/{name}", "/flows/a/b"),
            ("/flows/{name}", "/runs/a"),
            ("/a", "/b"),
        ] {
            assert!(!is_path(template, path), "{template} {path}");
        }
    }
}
