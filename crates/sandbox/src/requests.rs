//! The memory of the last requests, for tests in other processes: what was asked, never with what. Of headers only the
//! names are kept, of bodies nothing but a token request's grant type, and of the query no value that opens anything.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axum::extract::Request;
use serde::Serialize;

use crate::Service;
use crate::http::form;

/// How many requests are remembered.
const KEPT: usize = 10_000;

/// Query parameters whose values are replaced.
const SECRET: [&str; 9] = [
    "sig",
    "access_token",
    "client_secret",
    "password",
    "refresh_token",
    "code",
    "token",
    "code_verifier",
    "signature",
];

/// Put into the extensions of an answer of a token endpoint.
#[derive(Clone)]
pub(crate) struct GrantType(pub String);

/// One remembered request.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Seen {
    pub service: Service,
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<String>,
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_type: Option<String>,
}

/// What can be said of a request before it is handled.
pub(crate) fn look(service: Service, request: &Request) -> Seen {
    let pairs = request.uri().query().map(form).unwrap_or_default();
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in &pairs {
        let secret = SECRET.iter().any(|secret| name.eq_ignore_ascii_case(secret));
        query.append_pair(name, if secret { "***" } else { value });
    }
    Seen {
        service,
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: query.finish(),
        headers: request.headers().keys().map(|name| name.as_str().to_owned()).collect(),
        status: 0,
        fault: None,
        grant_type: None,
    }
}

/// Remembers a request and forgets the oldest.
pub(crate) fn keep(seen: &Mutex<VecDeque<Seen>>, request: Seen) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.len() == KEPT {
        seen.pop_front();
    }
    seen.push_back(request);
}
