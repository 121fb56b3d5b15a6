//! The target of a call that no row describes.
//!
//! A target is checked like a row, since its values may come from any source.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_core::{Effect, Error, ErrorKind, Result};
use url::{Url, form_urlencoded};

use super::{
    path::Path,
    path_value::Slashes,
    plain_text::{Lists, plain_texts},
    request::Request,
};
use crate::transport::{Body, header_is_free};

/// A path below the endpoint URL, with its parameters, query and headers.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// # Path
    /// Below the endpoint URL, with a name in braces for each value: `/orders/{orderId}/lines`.
    #[schemars(regex(pattern = "^/"), extend("examples" = ["/"]))]
    pub(crate) path: String,
    /// # Parameters
    /// A value for each name in the path. It is data: it becomes one segment of the path, whatever it contains. A value
    /// with a slash is refused, unless `slashes` has its name.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) parameters: Map<String, Value>,
    /// # Slashes in parameters
    /// By name of a parameter: `keep` to send slashes as they are, `encode` to send them as `%2F`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) slashes: BTreeMap<String, Slashes>,
    /// # Query
    /// Values by name.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) query: Map<String, Value>,
    /// # Lists
    /// How the elements of a list are sent in the query, and in the body if it is a form.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) lists: Lists,
    /// # Headers
    /// Values by name. Headers of the sign-in and of HTTP itself cannot be set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
}

fn is_default(lists: &Lists) -> bool {
    *lists == Lists::default()
}

/// The method of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Verb {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    pub(crate) fn method(self) -> Method {
        match self {
            Verb::Get => Method::GET,
            Verb::Head => Method::HEAD,
            Verb::Post => Method::POST,
            Verb::Put => Method::PUT,
            Verb::Patch => Method::PATCH,
            Verb::Delete => Method::DELETE,
        }
    }

    /// Returns the effect of a call with this method (RFC 9110 section 9.2), unless the caller gives another one.
    pub(crate) fn effect(self) -> Effect {
        match self {
            Verb::Get | Verb::Head => Effect::Read,
            Verb::Put => Effect::Idempotent,
            Verb::Delete => Effect::Delete,
            Verb::Post | Verb::Patch => Effect::Create,
        }
    }
}

fn refused(input: &str, message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message).with("input", format_args!("/{input}"))
}

impl Target {
    /// Makes a target of a path, without parameters, query and headers.
    pub fn path(path: &str) -> Target {
        Target { path: path.to_owned(), ..Target::default() }
    }

    /// Sets the value for a name in the path.
    pub fn parameter(mut self, name: &str, value: impl Into<Value>) -> Target {
        self.parameters.insert(name.to_owned(), value.into());
        self
    }

    /// Makes the URL, which is always below the endpoint.
    ///
    /// # Errors
    ///
    /// `invalid_input` for a path, a parameter or a query that cannot be used.
    pub(crate) fn url(&self, base: &Url) -> Result<Url> {
        let path = Path::parse(&self.path).map_err(|(at, why)| {
            refused("path", format!("the path cannot be used: {why} (at byte {at})"))
                .hint("write values as {name} and give them in `parameters`, and a query in `query`")
        })?;
        if let Some(unknown) = self.parameters.keys().find(|name| !path.parameters().any(|known| known == **name)) {
            return Err(refused("parameters", format!("the path has no {{{unknown}}}")));
        }
        if let Some(unknown) = self.slashes.keys().find(|name| !self.parameters.contains_key(*name)) {
            return Err(refused("slashes", format!("there is no parameter {unknown}")));
        }
        let slashes = |name: &str| self.slashes.get(name).copied().unwrap_or_default();
        let mut url = path.fill(base, |name| (self.parameters.get(name), slashes(name)))?;
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.query {
            for text in plain_texts(value, self.lists).map_err(|not| not.to_error(name, "query"))? {
                query.append_pair(name, &text);
            }
        }
        match query.finish() {
            empty if empty.is_empty() => {}
            query => url.set_query(Some(&query)),
        }
        Ok(url)
    }

    /// Returns the headers; `own` are those of the client.
    ///
    /// # Errors
    ///
    /// `invalid_input` for a header that the caller may not set.
    pub(crate) fn headers(&self, own: &HeaderMap) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let invalid = || refused("headers", format!("the header {name} or its value is not valid"));
            let key: HeaderName = name.parse().map_err(|_| invalid())?;
            if !header_is_free(name) || own.contains_key(&key) {
                return Err(refused("headers", format!("the connection itself sets the header {name}"))
                    .hint("sign-in and keys belong in the settings of the connection"));
            }
            headers.insert(key, HeaderValue::from_str(value).map_err(|_| invalid())?);
        }
        Ok(headers)
    }

    /// Makes the request of a call; `base` is the endpoint, and `own` are the headers of the client.
    ///
    /// # Errors
    ///
    /// As [`Target::url`] and [`Target::headers`].
    pub(crate) fn request(&self, base: &Url, own: &HeaderMap, verb: Verb, body: Body) -> Result<Request> {
        let headers = self.headers(own)?;
        Ok(Request { method: verb.method(), url: self.url(base)?, headers, body })
    }

    /// Returns `METHOD /path/{parameter}` for logs, without any value.
    pub(crate) fn route(&self, verb: Verb) -> String {
        format!("{} {}", verb.method(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(document: Value) -> Target {
        serde_json::from_value(document).unwrap()
    }

    fn url(document: Value) -> Result<String> {
        target(document).url(&Url::parse("https://api.example.com/1").unwrap()).map(String::from)
    }

    #[test]
    fn paths_cannot_leave_the_endpoint() {
        let good = json!({ "path": "/a/{b}/", "parameters": { "b": "x y" }, "query": { "q": ["1", 2], "n": null } });
        assert_eq!(url(good).unwrap(), "https://api.example.com/1/a/x%20y/?q=1%2C2");
        for bad in [
            "a",
            "",
            "//evil.example/x",
            "/a//b",
            "/../x",
            "/a/..",
            "/%2e%2e/x",
            "/a?b=c",
            "/a#b",
            "\\\\evil.example",
            "/\\evil.example",
            "https://evil.example/",
            "/a/{b}",
            "/a/x{b}",
            "/a\r\nX: y",
        ] {
            let error = url(json!({ "path": bad })).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
        }
        let hostile = |value: &str| url(json!({ "path": "/a/{b}", "parameters": { "b": value } }));
        for bad in ["", "..", "x/y", "x%2fy", "..\\x"] {
            assert!(hostile(bad).is_err(), "{bad}");
        }
        assert!(
            url(json!({ "path": "/a", "parameters": { "b": 1 } })).is_err(),
            "a parameter that the path does not name"
        );
    }

    #[test]
    fn slashes_and_lists_are_sent_as_the_call_says() {
        let call = |slashes: Value, lists: &str| {
            url(json!({ "path": "/media/{code}/download", "parameters": { "code": "8/6/boat.jpg" }, "slashes": slashes,
                "query": { "tag": ["a,b", "c"] }, "lists": lists }))
        };
        let query = "?tag=a%2Cb&tag=c";
        let kept = call(json!({ "code": "keep" }), "repeat").unwrap();
        assert_eq!(kept, format!("https://api.example.com/1/media/8/6/boat.jpg/download{query}"));
        let encoded = call(json!({ "code": "encode" }), "repeat").unwrap();
        assert_eq!(encoded, format!("https://api.example.com/1/media/8%2F6%2Fboat.jpg/download{query}"));
        for (slashes, lists, words) in [
            (json!({}), "repeat", "has a slash"),
            (json!({ "code": "refuse" }), "repeat", "has a slash"),
            (json!({ "code": "keep", "id": "keep" }), "repeat", "no parameter id"),
            (json!({ "code": "keep" }), "commas", "tag does not fit into a query"),
        ] {
            let error = call(slashes, lists).unwrap_err();
            assert!(error.kind() == ErrorKind::InvalidInput && error.message().contains(words), "{error:?}");
        }
        // Targets in stores of earlier versions are read, and written as they were.
        let old = json!({ "path": "/a", "query": { "q": ["1"] } });
        assert_eq!(json!(target(old.clone())), old);
    }

    #[test]
    fn headers_of_the_connection_cannot_be_set() {
        let mut own = HeaderMap::new();
        own.insert("x-key", HeaderValue::from_static("k"));
        for bad in ["Authorization", "host", "Cookie", "X-Key", "content-length", "a b"] {
            assert!(target(json!({ "path": "/", "headers": { bad: "v" } })).headers(&own).is_err(), "{bad}");
        }
        assert!(target(json!({ "path": "/", "headers": { "x-a": "v\r\nx-b: w" } })).headers(&own).is_err());
        let headers = target(json!({ "path": "/", "headers": { "X-A": "v" } })).headers(&own).unwrap();
        assert_eq!(headers["x-a"], "v");
    }
}
