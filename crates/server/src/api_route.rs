//! A row of the API: a method and a path, and the operation that they carry out.

use axum::routing::MethodFilter;
use trunkline::operations::{AnyOperation, operations};

/// A request of the API that carries out an operation. A member of the operation's input that the path does not name is
/// a parameter of the query in a GET or DELETE, and a member of the body in a POST, PUT or PATCH. What the caller expects
/// of a document stands in headers, see `api_input`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRoute {
    /// The method, such as `POST`.
    pub method: &'static str,
    /// The path; a parameter is written `{name}`.
    pub path: &'static str,
    /// The name of the operation.
    pub operation: &'static str,
    /// The status of the response if the operation succeeds.
    pub status: u16,
    /// The URL of what the output is about, see [`ApiRoute::located`].
    pub(crate) location: Option<&'static str>,
    /// The value of the header `Link` of a deprecated route, which names the path that replaces it.
    pub(crate) successor: Option<&'static str>,
    /// Parameters of the path that stand for a member of another name: the parameter, and the member.
    pub(crate) renamed: Option<(&'static str, &'static str)>,
    /// The member that is the whole body.
    pub(crate) body_member: Option<&'static str>,
    /// The member that is the URL of the callback of sign-ins.
    pub(crate) callback_member: Option<&'static str>,
    /// Whether the work ends if the caller goes away. The operation itself completes what must not be left half done.
    pub(crate) ends_with_caller: bool,
    /// The content type of the response, if the output is a text that is not sent as JSON.
    pub(crate) text: Option<&'static str>,
}

impl ApiRoute {
    const fn new(method: &'static str, path: &'static str, operation: &'static str) -> ApiRoute {
        ApiRoute {
            method,
            path,
            operation,
            status: 200,
            location: None,
            successor: None,
            renamed: None,
            body_member: None,
            callback_member: None,
            ends_with_caller: false,
            text: None,
        }
    }

    /// Returns a row that reads.
    pub(crate) const fn get(path: &'static str, operation: &'static str) -> ApiRoute {
        ApiRoute::new("GET", path, operation)
    }

    /// Returns a row with a body.
    pub(crate) const fn post(path: &'static str, operation: &'static str) -> ApiRoute {
        ApiRoute::new("POST", path, operation)
    }

    /// Returns a row that saves a document in place of another one.
    pub(crate) const fn put(path: &'static str, operation: &'static str) -> ApiRoute {
        ApiRoute::new("PUT", path, operation)
    }

    /// Returns a row that changes a part of a document.
    pub(crate) const fn patch(path: &'static str, operation: &'static str) -> ApiRoute {
        ApiRoute::new("PATCH", path, operation)
    }

    /// Returns a row that removes.
    pub(crate) const fn delete(path: &'static str, operation: &'static str) -> ApiRoute {
        ApiRoute::new("DELETE", path, operation)
    }

    /// Sets the status of a success: 202 if the work goes on after the response.
    pub(crate) const fn accepted(self) -> ApiRoute {
        ApiRoute { status: 202, ..self }
    }

    /// Says that a parameter of the path is the member of another name.
    pub(crate) const fn renamed(self, parameter: &'static str, member: &'static str) -> ApiRoute {
        ApiRoute { renamed: Some((parameter, member)), ..self }
    }

    /// Says that the whole body is this member.
    pub(crate) const fn body_is(self, member: &'static str) -> ApiRoute {
        ApiRoute { body_member: Some(member), ..self }
    }

    /// Says that this member is the URL of the callback of sign-ins. The caller cannot set it.
    pub(crate) const fn callback_is(self, member: &'static str) -> ApiRoute {
        ApiRoute { callback_member: Some(member), ..self }
    }

    /// Says that the work ends if the caller goes away, as that of an operation that reads always does.
    pub(crate) const fn ends_with_caller(self) -> ApiRoute {
        ApiRoute { ends_with_caller: true, ..self }
    }

    /// Says that the output is the body itself, of this content type.
    pub(crate) const fn text(self, content_type: &'static str) -> ApiRoute {
        ApiRoute { text: Some(content_type), ..self }
    }

    /// Says that another path has replaced the one of this row, which the header `Link` of its responses names.
    pub(crate) const fn replaced_by(self, link: &'static str) -> ApiRoute {
        ApiRoute { successor: Some(link), ..self }
    }

    /// Returns whether another path has replaced the one of this row.
    pub fn is_deprecated(&self) -> bool {
        self.successor.is_some()
    }

    /// Returns the parameters of the path: the name of each, and the member of the input that it is.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let names = self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let renamed = self.renamed;
        names.map(move |name| (name, renamed.filter(|(from, _)| *from == name).map_or(name, |(_, to)| to)))
    }

    /// Returns whether its requests have a body.
    pub(crate) fn has_body(&self) -> bool {
        ["POST", "PUT", "PATCH"].contains(&self.method)
    }

    /// Sets the URL of what the output is about, which the header `Location` of the response names. `{member}` stands for
    /// a member of the output.
    pub(crate) const fn located(self, location: &'static str) -> ApiRoute {
        ApiRoute { location: Some(location), ..self }
    }

    /// Returns the operation.
    pub(crate) fn operation(&self) -> Option<&'static dyn AnyOperation> {
        let found = operations().binary_search_by_key(&self.operation, |one| one.spec().name).ok()?;
        Some(&*operations()[found])
    }

    pub(crate) fn filter(&self) -> MethodFilter {
        match self.method {
            "POST" => MethodFilter::POST,
            "PUT" => MethodFilter::PUT,
            "PATCH" => MethodFilter::PATCH,
            "DELETE" => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        }
    }
}
