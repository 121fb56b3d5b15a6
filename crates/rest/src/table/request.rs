//! Requests of operations: each input goes into the part of the request that its row gives, and nothing else is sent.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Map, Value};
use trunkline_core::{Error, ErrorKind, Result};
use url::{Url, form_urlencoded};

use super::{
    compiled_row::CompiledRow,
    input::{Input, InputLocation},
    plain_text::{Lists, plain_texts},
};
use crate::transport::{Body, encoded, url_policy};

/// The request of an operation, before the client adds its own headers.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

impl CompiledRow {
    /// Checks that each required input is there and that there is no unknown one.
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
            Some(missing) => Err(refuse(format!("the input {} is missing", missing.name))
                .with("input", format_args!("/{}", missing.name))),
            None => Ok(input),
        }
    }

    /// Makes the request for this input. An absent input takes its default; without one, it is not sent.
    ///
    /// # Errors
    ///
    /// `invalid_input` for a value that cannot go where its row puts it.
    pub(crate) fn request(&self, base: &Url, input: &Map<String, Value>) -> Result<Request> {
        let given = |one: &Input| input.get(&one.name).filter(|value| !value.is_null());
        let value = |name: &str| {
            let one = self.inputs.iter().find(|one| one.name == name)?;
            given(one).or(one.default.as_ref())
        };
        let refuse = |one: &Input, why: &str| {
            Error::new(ErrorKind::InvalidInput, format!("{} {why}", one.name))
                .with("input", format_args!("/{}", one.name))
        };
        // The texts of an input for this part of the request; none if it is not sent.
        let texts = |one: &Input, part: &str| {
            let Some(value) = given(one).or(one.default.as_ref()) else { return Ok(Vec::new()) };
            let texts = plain_texts(value, one.lists).map_err(|not| not.to_error(&one.name, part))?;
            // Without its list, a request could mean everything instead of nothing.
            match one.required && texts.is_empty() {
                true => Err(refuse(one, &format!("is required, and an empty list is not sent in a {part}"))
                    .hint("skip the step if the list is empty; nothing was sent")),
                false => Ok(texts),
            }
        };
        let slashes = |name: &str| self.inputs.iter().find(|one| one.name == name).map(|one| one.slashes);
        let path = self.path.fill(base, |name| (value(name), slashes(name).unwrap_or_default()));
        let mut url = path.map_err(|error| error.with("action", self.name()))?;
        let mut headers = HeaderMap::new();
        let mut members = self.inputs.iter().any(|one| one.location == InputLocation::Body).then(Map::new);
        let mut query = form_urlencoded::Serializer::new(String::new());
        let mut has_query = false;
        for one in &self.inputs {
            match one.location {
                InputLocation::Path => {}
                InputLocation::Query => {
                    for text in texts(one, "query")? {
                        query.append_pair(&one.wire_name, &text);
                        has_query = true;
                    }
                }
                InputLocation::Header => {
                    for text in texts(one, "header")? {
                        let name: HeaderName =
                            one.wire_name.parse().map_err(|_| refuse(one, "is not a valid header name"))?;
                        let text =
                            HeaderValue::from_str(&text).map_err(|_| refuse(one, "does not fit into a header"))?;
                        headers.insert(name, text);
                    }
                }
                // A null that the caller gives is sent: it may mean "clear this".
                InputLocation::Body => {
                    if is_form(&self.content) && one.required {
                        texts(one, "form")?;
                    }
                    let value = input.get(&one.name).or(one.default.as_ref());
                    if let (Some(members), Some(value)) = (&mut members, value) {
                        members.insert(one.wire_name.clone(), value.clone());
                    }
                }
            }
        }
        if has_query {
            url.set_query(Some(&query.finish()));
        }
        let has_body = members.is_some();
        // The input that is the whole body, or else an object of the inputs that go into the body.
        let content = match &self.body {
            Some(name) => value(name).cloned(),
            None => members.map(Value::Object),
        };
        let in_body = |one: &&Input, member: &str| match &self.body {
            Some(body) => one.name == *body,
            None => one.location == InputLocation::Body && one.wire_name == member,
        };
        let lists = |member: &str| self.inputs.iter().find(|one| in_body(one, member)).map(|one| one.lists);
        let lists = |member: &str| lists(member).unwrap_or_default();
        let body = content.map(|content| encode(self.name(), &self.content, &content, lists)).transpose()?;
        let body = body.unwrap_or_default();
        if !body.is_empty() || has_body {
            let content = HeaderValue::from_str(&self.content)
                .map_err(|_| Error::new(ErrorKind::Config, format!("{} has no valid content type", self.name())))?;
            headers.insert(header::CONTENT_TYPE, content);
        }
        Ok(Request { method: self.method.clone(), url, headers, body: Body::Bytes(body) })
    }
}

fn media_type(content: &str) -> String {
    content.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Returns whether a body of this content type is a form whose members are names and texts.
pub(super) fn is_form(content: &str) -> bool {
    media_type(content) == "application/x-www-form-urlencoded"
}

/// Encodes a body for its content type: JSON, a form, or a text unchanged. `name` is the action's, for messages; `lists`
/// says how the list of a member of a form is sent.
///
/// # Errors
///
/// `invalid_input` if the content type needs a text and the value is not one, if a text does not fit into its charset, or if a
/// member does not fit into a form.
pub(crate) fn encode(name: &str, content: &str, value: &Value, lists: impl Fn(&str) -> Lists) -> Result<Bytes> {
    let kind = media_type(content);
    if kind == "application/json" || kind.ends_with("+json") {
        return Ok(value.to_string().into());
    }
    match value {
        Value::String(text) => encoded(text, content).map_err(|why| {
            Error::new(ErrorKind::InvalidInput, format!("the body of {name} cannot be sent as {content}: {why}"))
                .hint("declare charset=utf-8, if the service takes it; nothing was sent")
        }),
        Value::Object(members) if is_form(content) => {
            let mut form = form_urlencoded::Serializer::new(String::new());
            for (name, value) in members {
                for text in plain_texts(value, lists(name)).map_err(|not| not.to_error(name, "form"))? {
                    form.append_pair(name, &text);
                }
            }
            Ok(form.finish().into())
        }
        _ => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("the body of {name} has to be a text, since its content type is {content}"),
        )),
    }
}

/// Makes the request for the next page from the URL that the current page returned.
///
/// # Errors
///
/// `unexpected` if the URL leaves the server or the path of the endpoint.
pub(crate) fn follow(base: &Url, current: &Url, link: &str) -> Result<Request> {
    let refuse = |why: &str| {
        Error::new(ErrorKind::Unexpected, format!("the URL of the next page {why}"))
            .hint("it was not followed, since that would send the credentials there; report it to the vendor")
    };
    let url = current.join(link).map_err(|_| refuse("is not a valid URL"))?;
    if !url_policy::same_origin(&url, base) {
        return Err(refuse("is on another server").with("host", url_policy::host(&url)));
    }
    let below = format!("{}/", base.path().trim_end_matches('/'));
    let path = url.path().to_ascii_lowercase();
    if !url.path().starts_with(&below) || ["%2f", "%5c", "%2e", "%25"].iter().any(|odd| path.contains(odd)) {
        return Err(refuse("leaves the endpoint's path"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("has a user name"));
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
            _ => unreachable!("the body of a row is bytes"),
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
    fn query_values_are_encoded() {
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
    fn bodies_follow_the_content_type() {
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
    fn members_that_do_not_fit_into_a_form_or_a_query_are_refused() {
        let form = "route = 'POST /a'\ncontent = 'application/x-www-form-urlencoded; charset=utf-8'\n";
        let members = format!("{form}input.a = {{}}\ninput.b = {{ lists = 'repeat', as = 'c[]' }}");
        let whole = format!("{form}body = 'a'\ninput.a = {{}}");
        let query = "route = 'GET /a'\ninput.a = {}\ninput.b = { lists = 'repeat', as = 'c[]' }".to_owned();
        for row in [&members, &query] {
            let sent = |input: Value| {
                request(row, input).map(|one| match one.url.query() {
                    Some(query) => query.to_owned(),
                    None => String::from_utf8(text(Ok(one)).to_vec()).unwrap(),
                })
            };
            assert_eq!(sent(json!({ "a": ["x", 1], "b": ["x,y", "z"] })).unwrap(), "a=x%2C1&c%5B%5D=x%2Cy&c%5B%5D=z");
            assert_eq!(sent(json!({ "a": null, "b": [] })).unwrap(), "");
            for bad in [
                json!({ "colour": "red" }),
                json!([{ "id": 1 }]),
                json!([["x"]]),
                json!(["x", null]),
                json!(["x,y", "z"]),
            ] {
                let error = sent(json!({ "a": bad, "b": ["kept"] })).unwrap_err();
                assert_eq!(
                    (error.kind(), error.facts().next()),
                    (ErrorKind::InvalidInput, Some(("input", "/a"))),
                    "{bad}"
                );
                assert!(error.message().contains("a does not fit into a ") && error.advice().is_some(), "{error:?}");
            }
            assert!(sent(json!({ "b": [{ "id": 1 }] })).is_err());
            // An input that may be absent is absent; one that is required is not dropped.
            let required = row.replace("input.a = {", "input.a = { required = true");
            let error = request(&required, json!({ "a": [], "b": ["x"] })).err().unwrap();
            assert_eq!((error.kind(), error.facts().next()), (ErrorKind::InvalidInput, Some(("input", "/a"))));
            assert!(error.message().starts_with("a is required, and an empty list is not sent in a "), "{error:?}");
            assert!(request(&required, json!({ "a": [""], "b": [] })).is_ok());
        }
        let json = request("route = 'POST /a'\ninput.a = { required = true }", json!({ "a": [] }));
        assert_eq!(text(json), "{\"a\":[]}", "JSON has empty lists");
        let error = request(&whole, json!({ "a": { "x": 1, "meta": { "colour": "red" } } })).unwrap_err();
        assert!(error.message().starts_with("meta does not fit into a form"), "{error:?}");
        assert_eq!(text(request(&whole, json!({ "a": { "x": 1, "y": null, "z": ["p", "q"] } }))), "x=1&z=p%2Cq");
    }

    #[test]
    fn an_input_with_slashes_goes_where_its_row_says() {
        let url = |slashes: &str, value: &str| {
            let row = format!("route = 'GET /files/{{id}}/data'\ninput.id = {{ {slashes} }}");
            request(&row, json!({ "id": value })).map(|request| request.url.path().to_owned())
        };
        assert_eq!(url("slashes = 'keep'", "8/6/boat.jpg").unwrap(), "/1/files/8/6/boat.jpg/data");
        assert_eq!(url("slashes = 'encode'", "8/6/boat.jpg").unwrap(), "/1/files/8%2F6%2Fboat.jpg/data");
        for slashes in ["", "slashes = 'refuse'"] {
            assert!(url(slashes, "8/6/boat.jpg").unwrap_err().advice().unwrap().contains("`slashes`"));
        }
        assert!(url("slashes = 'keep'", "8/../boat.jpg").is_err());
    }

    #[test]
    fn headers_cannot_be_split() {
        let row = "route = 'GET /a'\ninput.h = { in = 'header', as = 'X-H' }";
        let error = request(row, json!({ "h": "a\r\nX-Evil: 1" })).unwrap_err();
        assert_eq!((error.kind(), error.facts().next()), (ErrorKind::InvalidInput, Some(("input", "/h"))));
    }

    #[test]
    fn missing_and_unknown_inputs_are_refused() {
        let row = "route = 'GET /a/{id}'\ninput.id = {}\ninput.q = { required = true }";
        assert!(request(row, json!({ "q": 1 })).unwrap_err().message().contains("id is missing"));
        assert!(request(row, json!({ "id": 1, "q": null })).unwrap_err().message().contains("q is missing"));
        assert!(request(row, json!({ "id": 1, "q": 1, "z": 1 })).unwrap_err().message().contains("no input z"));
        assert!(request(row, json!([])).is_err());
    }

    #[test]
    fn links_cannot_leave_the_endpoint() {
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
