//! The log of the last requests, for tests in other processes.
//!
//! It contains no secret: of headers only the names, of the query no values of secret parameters, and of bodies only
//! the grant type of a token request.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axum::extract::Request;
use serde::Serialize;

use super::{Service, form};

/// How many requests the log holds.
const CAPACITY: usize = 10_000;

/// Query parameters whose values are masked.
const SECRET_PARAMETERS: [&str; 9] = [
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

/// The grant type of a token request. The token endpoint puts it into the extensions of its response.
#[derive(Clone)]
pub(crate) struct GrantType(pub String);

/// One request of the log.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RecordedRequest {
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

/// Returns the entry for a request that has not been handled yet: status, fault and grant type are still missing.
pub(crate) fn describe(service: Service, request: &Request) -> RecordedRequest {
    let pairs = request.uri().query().map(form).unwrap_or_default();
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in &pairs {
        let secret = SECRET_PARAMETERS.iter().any(|secret| name.eq_ignore_ascii_case(secret));
        query.append_pair(name, if secret { "***" } else { value });
    }
    RecordedRequest {
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

/// Appends a request to the log and drops the oldest one if the log is full.
pub(crate) fn append(log: &Mutex<VecDeque<RecordedRequest>>, request: RecordedRequest) {
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    if log.len() == CAPACITY {
        log.pop_front();
    }
    log.push_back(request);
}
