//! What a login server says when it issues no token: an error by RFC 6749 section 5.2, or one of the other forms that
//! login servers have.

use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::transport::{ContentType, RawResponse, text};

/// The members that hold an error code, in the order in which they are looked for.
const CODES: &[&str] = &["error", "code", "error_code", "errorCode", "errorcode", "reason", "status", "type"];

/// The members that hold words for people, in the order in which they are looked for.
const WORDS: &[&str] = &[
    "error_description",
    "errorDescription",
    "error_message",
    "errorMessage",
    "errorSummary",
    "message",
    "description",
    "detail",
    "details",
    "msg",
    "errmsg",
    "title",
    "faultstring",
    "error",
    "reason",
];

/// The members that hold the error itself: an object, or a list of errors.
const WRAPPERS: &[&str] = &["error", "errors", "fault", "detail", "data"];

/// The members that hold a number other than zero in an error, beside words.
const NUMBERS: &[&str] = &["errcode", "code", "error_code", "errorCode", "errorcode"];

/// The members of a response that grants a token.
const TOKENS: &[&str] = &["access_token", "refresh_token", "id_token", "accessToken", "token"];

/// A response without a token.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The error code, if the response is an error in JSON or in a form.
    pub(super) code: Option<String>,
    /// The words of the login server. They are neither short nor redacted.
    pub(super) words: Option<String>,
}

impl Refusal {
    /// Reads a response. A success status is a refusal only if the response is an error and has no token; its words are
    /// not returned otherwise, because they may be a token.
    pub(super) fn of(response: &RawResponse) -> Refusal {
        let body = text(&response.body, &ContentType::of(&response.headers)).unwrap_or_default();
        let is_success = response.status.is_success();
        let document = match serde_json::from_str::<Value>(&body).ok().or_else(|| form(&body)) {
            Some(document) => document,
            None if is_success => return Refusal::default(),
            None => return Refusal { code: None, words: Some(body.into_owned()).filter(|body| !body.is_empty()) },
        };
        let is_error = ["error", "errors", "fault"].iter().any(|name| document.get(name).is_some_and(is_set));
        let mut nodes = vec![&document];
        let mut at = 0;
        while let Some(node) = nodes.get(at).copied() {
            match node {
                Value::Array(items) => nodes.extend(items.first()),
                _ => nodes.extend(
                    WRAPPERS.iter().filter_map(|name| node.get(name)).filter(|one| one.is_object() || one.is_array()),
                ),
            }
            at += 1;
        }
        let find = |names: &[&str], fits: &dyn Fn(&str) -> bool| {
            let texts = nodes.iter().flat_map(|node| names.iter().filter_map(|name| node.get(name)?.as_str()));
            texts.map(str::trim).find(|text| fits(text)).map(str::to_owned)
        };
        let code = find(CODES, &is_code).map(|code| code.to_ascii_lowercase());
        // A text in the place of an object.
        let bare = || nodes.iter().find_map(|node| node.as_str()).map(str::to_owned);
        let is_words = |text: &str| {
            !text.is_empty() && !text.starts_with("http") && code.as_deref() != Some(&text.to_ascii_lowercase())
        };
        let words = find(WORDS, &is_words).or_else(bare);
        if !is_success {
            return Refusal { code, words };
        }
        let number = NUMBERS.iter().find_map(|name| document.get(name)?.as_i64().filter(|code| is_failure(*code)));
        let number = number.filter(|_| words.is_some()).map(|number| number.to_string());
        let is_no_success = ["success", "ok"].iter().any(|name| document.get(name) == Some(&Value::Bool(false)));
        let has_token = nodes.iter().any(|node| TOKENS.iter().any(|name| node.get(name).is_some_and(is_set)));
        if has_token || !(is_error || is_no_success || number.is_some()) {
            return Refusal::default();
        }
        Refusal { code: code.or(number).or_else(|| Some("error".to_owned())), words }
    }
}

/// Reads an error in a form: `error=invalid_client&error_description=no+such+client`.
fn form(body: &str) -> Option<Value> {
    let body = body.trim();
    let is_form = !body.contains(|c: char| c.is_whitespace() || c == '<');
    let members: Map<_, _> =
        form_urlencoded::parse(body.as_bytes()).map(|(name, text)| (name.into(), text.into())).collect();
    (is_form && members.get("error").is_some_and(is_set)).then_some(Value::Object(members))
}

/// Returns whether a number in the place of a code reports a failure. Some services repeat the status of a success.
fn is_failure(code: i64) -> bool {
    code != 0 && !(200..300).contains(&code)
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

/// Returns whether a text is an error code and not a sentence, a number or a URL.
fn is_code(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= 60
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode, header};
    use serde_json::json;

    use super::*;

    fn of(status: u16, kind: &'static str, body: impl Into<Bytes>) -> (Option<String>, Option<String>) {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        let response =
            RawResponse { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into(), _held: None };
        let Refusal { code, words } = Refusal::of(&response);
        (code, words)
    }

    #[test]
    fn the_code_and_the_words_are_found_in_each_form() {
        let (code, words) = ("invalid_client", "the client secret ran out");
        for body in [
            json!({ "error": code, "error_description": words }),
            json!({ "error": "Invalid_Client", "message": words, "statusCode": 401 }),
            json!({ "error": { "code": code, "message": words } }),
            json!({ "error": { "code": 401, "status": "INVALID_CLIENT", "message": words } }),
            json!({ "error": { "type": code, "errors": [{ "message": "other" }], "message": words } }),
            json!({ "errors": [{ "code": code, "detail": words }, { "code": "other" }] }),
            json!([{ "errorCode": code, "message": words }]),
            json!({ "errorCode": code, "errorSummary": words, "errorCauses": [] }),
            json!({ "fault": { "faultstring": words, "detail": { "errorcode": code } } }),
            json!({ "data": { "error": code, "msg": words } }),
            json!({ "type": "https://login.example.com/errors/7", "title": words, "status": 401, "code": code }),
        ] {
            assert_eq!(
                of(401, "application/json", body.to_string()),
                (Some(code.into()), Some(words.into())),
                "{body}"
            );
        }
        for (body, code, words) in [
            (json!({ "error": "the client secret ran out" }), None, Some(words)),
            (json!({ "errors": ["the client secret ran out"] }), None, Some(words)),
            (json!({ "message": words }), None, Some(words)),
            (json!("the client secret ran out"), None, Some(words)),
            (json!({ "error": code }), Some(code), None),
            (json!({}), None, None),
        ] {
            assert_eq!(
                of(401, "application/json", body.to_string()),
                (code.map(Into::into), words.map(Into::into)),
                "{body}"
            );
        }
    }

    #[test]
    fn a_body_that_is_not_json_is_quoted_unless_it_may_be_a_token() {
        let page = "<html>Unauthorized</html>";
        assert_eq!(of(401, "text/html", page), (None, Some(page.into())));
        let form = "error=invalid_client&error_description=it+ran+out";
        let expected = (Some("invalid_client".into()), Some("it ran out".into()));
        assert_eq!(of(400, "application/x-www-form-urlencoded", form), expected);
        assert_eq!(of(403, "text/plain; charset=iso-8859-1", &b"verk\xf6rt"[..]), (None, Some("verkört".into())));
        for body in ["access_token=canary&token_type=bearer", page, "", "canary", "{\"access_token\":\"canary\"}"] {
            assert_eq!(of(200, "text/plain", body), (None, None), "{body}");
        }
    }

    #[test]
    fn a_success_is_a_refusal_only_with_an_error_and_without_a_token() {
        for (body, code) in [
            (json!({ "error": "invalid_client" }), Some("invalid_client")),
            (json!({ "error": { "code": "invalid_client" } }), Some("invalid_client")),
            (json!({ "errors": ["it ran out"] }), Some("error")),
            (json!({ "error": true }), Some("error")),
            (json!({ "success": false, "message": "it ran out" }), Some("error")),
            (json!({ "ok": false, "error": "invalid_auth" }), Some("invalid_auth")),
            (json!({ "errcode": 40001, "errmsg": "it ran out" }), Some("40001")),
            (json!({ "code": 40001, "msg": "it ran out" }), Some("40001")),
            (json!({ "code": 40001, "reason": "it ran out" }), Some("40001")),
            (json!({ "code": 40001 }), None),
            (json!({ "code": 0, "msg": "canary" }), None),
            (json!({ "code": 200, "msg": "canary", "data": {} }), None),
            (json!({ "code": 1, "msg": "canary", "data": { "access_token": "canary" } }), None),
            (json!({ "success": false, "access_token": "canary" }), None),
            (json!({ "error": null, "message": "canary" }), None),
            (json!({ "errors": [], "access_token": "canary" }), None),
            (json!({ "error": "", "access_token": "canary" }), None),
            (json!({ "error": "deprecated", "access_token": "canary" }), None),
            (json!({ "code": "canary" }), None),
            (json!(["canary"]), None),
        ] {
            let found = of(200, "application/json", body.to_string());
            assert_eq!(found.0.as_deref(), code, "{body}");
            assert!(!format!("{found:?}").contains("canary"), "{body}");
        }
    }
}
