//! From an operation and its input to the request: every input goes to the place its row gives it, and nothing else goes.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Map, Value};
use trunkline_core::{Error, ErrorKind, Result};
use url::{Url, form_urlencoded};

use crate::{
    operation::{Input, Operation, Spot},
    payload::Body,
    url_policy,
};

/// A request as the operation means it, before the client adds its own headers.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

impl Operation {
    /// Checks that the input has what is required and nothing unknown.
    pub(crate) fn accept(&self, input: Value) -> Result<Map<String, Value>> {
        let refuse = |message: String| {
            Error::new(ErrorKind::InvalidInput, format!("{}: {message}", self.name())).with("action", self.name())
        };
        let input = match input {
            Value::Object(input) => input,
            Value::Null => Map::new(),
            _ => return Err(refuse("the input is not an object".into())),
        };
        if let Some(unknown) = input.keys().find(|name| !self.inputs.iter().any(|one| one.name == **name)) {
            let known: Vec<_> = self.inputs.iter().map(|one| one.name.as_str()).collect();
            return Err(refuse(format!("there is no input {unknown}")).hint(format!("it takes {}", known.join(", "))));
        }
        let missing =
            |one: &&Input| one.required && one.default.is_none() && input.get(&one.name).is_none_or(Value::is_null);
        match self.inputs.iter().find(missing) {
            Some(missing) => Err(refuse(format!("the input {} is missing", missing.name)).with("input", &missing.name)),
            None => Ok(input),
        }
    }

    /// The request for this input. Inputs that are absent take their default; absent without one, they are not sent.
    pub(crate) fn request(&self, base: &Url, input: &Map<String, Value>) -> Result<Request> {
        let value = |one: &Input| input.get(&one.name).filter(|value| !value.is_null()).cloned();
        let refuse = |one: &Input, why: &str| {
            Error::new(ErrorKind::InvalidInput, format!("{} {why}", one.name)).with("input", &one.name)
        };
        let of = |name: &str| {
            let one = self.inputs.iter().find(|one| one.name == name)?;
            input.get(name).filter(|value| !value.is_null()).or(one.default.as_ref())
        };
        let mut url = self.path.fill(base, of).map_err(|error| error.with("action", self.name()))?;
        let mut headers = HeaderMap::new();
        let mut members = Map::new();
        let mut query = form_urlencoded::Serializer::new(String::new());
        let (mut has_query, mut has_body) = (false, false);
        for one in &self.inputs {
            match one.spot {
                Spot::Path => {}
                Spot::Query => {
                    if let Some(value) = value(one).or_else(|| one.default.clone())
                        && let Some(text) = plain(&value).ok_or_else(|| refuse(one, "does not fit into a query"))?
                    {
                        query.append_pair(&one.wire, &text);
                        has_query = true;
                    }
                }
                Spot::Header => {
                    if let Some(value) = value(one).or_else(|| one.default.clone())
                        && let Some(text) = plain(&value).ok_or_else(|| refuse(one, "does not fit into a header"))?
                    {
                        let name: HeaderName = one.wire.parse().map_err(|_| refuse(one, "is no header"))?;
                        let text =
                            HeaderValue::from_str(&text).map_err(|_| refuse(one, "does not fit into a header"))?;
                        headers.insert(name, text);
                    }
                }
                // A null that is given on purpose is sent: it may mean "clear this".
                Spot::Body => {
                    has_body = true;
                    if let Some(value) = input.get(&one.name).cloned().or_else(|| one.default.clone()) {
                        members.insert(one.wire.clone(), value);
                    }
                }
            }
        }
        if has_query {
            url.set_query(Some(&query.finish()));
        }
        let mut body = Bytes::new();
        if let Some(name) = &self.body {
            if let Some(value) = of(name) {
                body = encode(self.name(), &self.content, value)?;
            }
        } else if has_body {
            body = encode(self.name(), &self.content, &Value::Object(members))?;
        }
        if !body.is_empty() || has_body {
            let content = HeaderValue::from_str(&self.content)
                .map_err(|_| Error::new(ErrorKind::Config, format!("{} has no valid content type", self.name())))?;
            headers.insert(header::CONTENT_TYPE, content);
        }
        Ok(Request { method: self.method.clone(), url, headers, body: Body::Bytes(body) })
    }
}

/// A body in a content type: JSON, a form, or a text as it is. `name` is the action's.
pub(crate) fn encode(name: &str, content: &str, value: &Value) -> Result<Bytes> {
    let kind = content.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || kind.ends_with("+json") {
        return Ok(value.to_string().into());
    }
    match value {
        Value::String(text) => Ok(text.clone().into()),
        Value::Object(members) if kind == "application/x-www-form-urlencoded" => {
            let mut form = form_urlencoded::Serializer::new(String::new());
            for (name, value) in members {
                if let Some(text) = plain(value).flatten() {
                    form.append_pair(name, &text);
                }
            }
            Ok(form.finish().into())
        }
        _ => Err(Error::new(ErrorKind::InvalidInput, format!("the body of {name} has to be a text for {content}"))),
    }
}

/// A value as one text, arrays with commas: `None` if it cannot be one, `Some(None)` if there is nothing to send.
pub(crate) fn plain(value: &Value) -> Option<Option<String>> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    };
    match value {
        Value::Null => Some(None),
        Value::Array(elements) if elements.is_empty() => Some(None),
        Value::Array(elements) => Some(Some(elements.iter().map(one).collect::<Option<Vec<_>>>()?.join(","))),
        other => one(other).map(Some),
    }
}

/// The request for a page whose address the page before gave: it has to stay where the list began.
pub(crate) fn follow(base: &Url, current: &Url, link: &str) -> Result<Request> {
    let refuse = |why: &str| {
        Error::new(ErrorKind::Unexpected, format!("the address of the next page {why}"))
            .hint("it was not followed, for the credentials would have gone along; report it to the vendor")
    };
    let url = current.join(link).map_err(|_| refuse("is no address"))?;
    if !url_policy::same_origin(&url, base) {
        return Err(refuse("is on another server").with("host", url_policy::host(&url)));
    }
    let below = format!("{}/", base.path().trim_end_matches('/'));
    let path = url.path().to_ascii_lowercase();
    if !url.path().starts_with(&below) || ["%2f", "%5c", "%2e", "%25"].iter().any(|odd| path.contains(odd)) {
        return Err(refuse("leaves the endpoint's path"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("holds a user name"));
    }
    Ok(Request { method: Method::GET, url, headers: HeaderMap::new(), body: Body::Bytes(Bytes::new()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Table;
    use serde_json::json;

    fn text(request: Result<Request>) -> Bytes {
        match request.unwrap().body {
            Body::Bytes(bytes) => bytes,
            _ => unreachable!("rows have bodies of bytes"),
        }
    }

    fn base() -> Url {
        Url::parse("https://api.example.com/1").unwrap()
    }

    fn request(row: &str, input: Value) -> Result<Request> {
        let text = format!("[[operation]]\nname = 'a.do'\ntitle = 'A'\n{row}");
        let table = Table::parse("t", &[("t.toml".into(), text)]).unwrap();
        let operation = table.operation("a.do")?;
        operation.request(&base(), &operation.accept(input)?)
    }

    #[test]
    fn inputs_go_where_the_row_says() {
        let row = "route = 'PUT /assets/{id}/x'\ninput.id = {}\ninput.name = { as = 'Nmae' }\n\
                   input.dry = { in = 'query', type = 'boolean' }\ninput.lang = { in = 'header', as = 'X-Lang' }";
        let request = request(row, json!({ "id": 7, "name": "n", "dry": true, "lang": "sv" })).unwrap();
        assert_eq!(
            (request.method.as_str(), request.url.as_str()),
            ("PUT", "https://api.example.com/1/assets/7/x?dry=true")
        );
        assert_eq!(request.headers["x-lang"], "sv");
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(text(Ok(request)), r#"{"Nmae":"n"}"#);
    }

    #[test]
    fn queries() {
        let row = "route = 'GET /a'\ninput.fields = {}\ninput.n = { default = 5 }\ninput.q = {}";
        let url = |input| request(row, input).unwrap().url.to_string();
        assert_eq!(url(json!({ "fields": ["id", "name"] })), "https://api.example.com/1/a?fields=id%2Cname&n=5");
        assert_eq!(
            url(json!({ "fields": [], "n": null, "q": "a&b=c #" })),
            "https://api.example.com/1/a?n=5&q=a%26b%3Dc+%23"
        );
        assert!(request(row, json!({ "q": { "a": 1 } })).is_err());
        assert!(request("route = 'GET /a'", json!({})).unwrap().headers.is_empty());
    }

    #[test]
    fn bodies() {
        let whole = "route = 'DELETE /a'\nbody = 'ids'\ninput.ids = {}";
        assert_eq!(text(request(whole, json!({ "ids": ["x"] }))), r#"["x"]"#);
        let plain = "route = 'POST /a'\nbody = 'name'\ncontent = 'text/plain'\ninput.name = {}";
        assert_eq!(text(request(plain, json!({ "name": "plain" }))), "plain");
        let quoted = "route = 'POST /a'\nbody = 'name'\ninput.name = {}";
        assert_eq!(text(request(quoted, json!({ "name": "plain" }))), "\"plain\"");
        let form = "route = 'POST /a'\ncontent = 'application/x-www-form-urlencoded'\ninput.a = {}\ninput.b = {}";
        assert_eq!(text(request(form, json!({ "a": "x y", "b": 1 }))), "a=x+y&b=1");
        let members = "route = 'PATCH /a'\ncontent = 'application/json-patch+json'\ninput.a = {}\ninput.b = {}";
        let patch = request(members, json!({ "b": null })).unwrap();
        assert_eq!(patch.headers["content-type"], "application/json-patch+json");
        assert_eq!(text(Ok(patch)), "{\"b\":null}");
        assert_eq!(text(request(members, json!({}))), "{}");
        assert!(request("route = 'POST /a'", json!({})).unwrap().body.is_empty());
    }

    #[test]
    fn headers_cannot_be_split() {
        let row = "route = 'GET /a'\ninput.h = { in = 'header', as = 'X-H' }";
        let error = request(row, json!({ "h": "a\r\nX-Evil: 1" })).unwrap_err();
        assert_eq!((error.kind(), error.context("input")), (ErrorKind::InvalidInput, Some("h")));
    }

    #[test]
    fn refuses_what_is_missing_or_unknown() {
        let row = "route = 'GET /a/{id}'\ninput.id = {}\ninput.q = { required = true }";
        assert!(request(row, json!({ "q": 1 })).unwrap_err().message().contains("id is missing"));
        assert!(request(row, json!({ "id": 1, "q": null })).unwrap_err().message().contains("q is missing"));
        assert!(request(row, json!({ "id": 1, "q": 1, "z": 1 })).unwrap_err().message().contains("no input z"));
        assert!(request(row, json!([])).is_err());
    }

    #[test]
    fn links_stay_below_the_endpoint() {
        let current = Url::parse("https://api.example.com/1/files?page=1").unwrap();
        for good in ["https://api.example.com/1/files?page=2", "?page=2", "/1/files?page=2&u=%2F"] {
            assert_eq!(follow(&base(), &current, good).unwrap().url.path(), "/1/files", "{good}");
        }
        for bad in [
            "https://evil.example/1/files",
            "//evil.example/1/files",
            "\\\\evil.example\\1\\files",
            "http://api.example.com/1/files",
            "https://api.example.com:444/1/files",
            "https://u:p@api.example.com/1/files",
            "/2/files",
            "/1/../2/files",
            "/1/%2e%2e/2",
            "/1/..%2f2",
            "/1/..%5c2",
            "/1/%252e%252e/2",
            "/10/files",
            "https://",
        ] {
            assert!(follow(&base(), &current, bad).is_err(), "{bad}");
        }
    }
}
