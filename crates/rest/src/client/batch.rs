//! Batches: many calls in one request to a service's batch endpoint.
//!
//! The body is `multipart/mixed` with a whole HTTP request in each part (RFC 2046 section 5.1, RFC 9112 section 10.1).
//! Each call has an outcome of its own, and the batch is retried only where each of its calls could be.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use trunkline_core::{Context, Effect, Error, ErrorKind, Result, TextPlaces};

use super::{
    handle::Client,
    layers::unknown,
    response::{self, RequestInfo, Response},
};
use crate::{
    table::{Call, CompiledRow, ExpectedBody, Request, Target},
    transport::{Body, RawResponse, url_policy},
};

impl Client {
    /// Makes several calls in one request to `path`, the service's batch endpoint. Each call is the name of a row of
    /// the table and its input. Returns the outcome of each call, its result or its own error, in the order of the
    /// calls.
    ///
    /// # Errors
    ///
    /// Before anything is sent: `not_found` for an unknown row, `invalid_input` for a wrong input or a row that lists
    /// page by page; the error's facts `call` (from 1) and `action` name the call. Afterwards: the error of the request
    /// as a whole. It is `unknown_outcome` if the outcome is unclear and a call creates something, or if the response
    /// has another number of parts than there were calls.
    pub async fn batch(&self, path: &str, calls: &[(String, Value)], cx: &Context) -> Result<Vec<Result<Value>>> {
        let mut parts = Vec::new();
        for (index, (name, input)) in calls.iter().enumerate() {
            let numbered = |error: Error| error.with("call", index + 1).with("action", name);
            let operation = self.0.table.operation(name).map_err(numbered)?;
            if operation.lists() {
                let message = format!("{name} lists page by page and cannot be part of a batch");
                return Err(numbered(Error::new(ErrorKind::InvalidInput, message).hint("call it on its own")));
            }
            let request = operation.accept(input.clone()).and_then(|input| operation.request(&self.0.base, &input));
            parts.push((operation, request.map_err(numbered)?));
        }
        let boundary = format!("{:032x}", rand::random::<u128>());
        let kind = HeaderValue::from_str(&format!("multipart/mixed; boundary={boundary}")).map_err(|error| {
            Error::new(ErrorKind::Internal, "a boundary cannot be written as a header").source(error)
        })?;
        let requests: Vec<_> = parts.iter().map(|(_, request)| request.clone()).collect();
        let body = Body::Signed(Arc::new(move |credentials| write_parts(&requests, &boundary, credentials)));
        let request = Request {
            method: Method::POST,
            url: Target::path(path).url(&self.0.base)?,
            headers: HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]),
            body,
        };
        let effect = effect_of(parts.iter().map(|(operation, _)| operation.effect()));
        let route = format!("POST {path}");
        let call = Call {
            name: "bulk",
            route: &route,
            effect,
            expects: ExpectedBody::Bytes,
            ends: &[],
            inputs: &[],
            texts: &TextPlaces::default(),
        };
        let accepted = self.execute(&call, request, cx).await?;
        let text = accepted.body.as_str().unwrap_or_default();
        let responses = read_parts(text);
        if responses.len() != parts.len() {
            let message = format!(
                "{} returned {} responses to a batch of {} calls: {}",
                self.0.service,
                responses.len(),
                parts.len(),
                self.excerpt(text.as_bytes())
            );
            return Err(unknown(Error::new(ErrorKind::Unexpected, message).with("service", &self.0.service)));
        }
        let outcomes =
            parts.iter().zip(responses).map(|((operation, request), raw)| self.outcome(operation, request, raw));
        Ok(outcomes.collect())
    }

    /// The outcome of one call of a batch.
    fn outcome(&self, operation: &CompiledRow, request: &Request, raw: RawResponse) -> Result<Value> {
        let host = url_policy::host(&request.url);
        let info = RequestInfo { call: operation.call(), service: &self.0.service, host: &host };
        let response = Response::new(&info, &raw, self.secrets(), &self.0.redactor);
        if raw.status.is_success() && response.body.is_none() && !raw.body.is_empty() {
            // The call took effect; only its result is damaged. An error would invite a repetition.
            return Ok(String::from_utf8_lossy(&raw.body).into());
        }
        let failure = match response::interpret(&info, response, raw, self.0.classify) {
            Ok(mut accepted) => {
                return Ok(accepted.body.pointer_mut(&operation.result).map(Value::take).unwrap_or_default());
            }
            Err(failure) => failure,
        };
        let error = self.at_request(failure.error, operation.route(), request);
        match operation.effect() == Effect::Create && !failure.refused {
            true => Err(unknown(error)),
            false => Err(error),
        }
    }
}

/// The effect of a batch: that of its most careful call.
fn effect_of(mut effects: impl Iterator<Item = Effect> + Clone) -> Effect {
    if effects.clone().all(|effect| effect == Effect::Read) {
        Effect::Read
    } else if effects.all(Effect::repeatable) {
        Effect::Idempotent
    } else {
        Effect::Create
    }
}

/// Writes the parts. Each one is a request of its own to the service, so each carries the credentials.
fn write_parts(requests: &[Request], boundary: &str, credentials: &HeaderMap) -> Bytes {
    let mut bytes = Vec::new();
    for request in requests {
        let url = &request.url;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut head = format!(
            "--{boundary}\r\nContent-Type: application/http; msgtype=request\r\n\r\n{} {}{query} HTTP/1.1\r\nhost: {}\r\n",
            request.method,
            url.path(),
            url_policy::host(url)
        )
        .into_bytes();
        for (name, value) in credentials.iter().chain(&request.headers) {
            head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend(head);
        bytes.extend(b"\r\n");
        if let Body::Bytes(body) = &request.body {
            bytes.extend(body);
        }
        bytes.extend(b"\r\n");
    }
    bytes.extend(format!("--{boundary}--\r\n").bytes());
    bytes.into()
}

/// Reads the responses in a multipart text. It is lenient: the text may be quoted as a JSON string, lines may end in LF
/// or CRLF, and text around the responses is ignored.
fn read_parts(text: &str) -> Vec<RawResponse> {
    let unwrapped: Option<String> = serde_json::from_str(text.trim()).ok();
    let text = unwrapped.as_deref().unwrap_or(text).replace("\r\n", "\n");
    let Some(boundary) = text.lines().find(|line| line.starts_with("--")).map(|line| line.trim_end().to_owned()) else {
        return Vec::new();
    };
    text.split(&*boundary).filter_map(read_part).collect()
}

fn read_part(text: &str) -> Option<RawResponse> {
    let start = if text.trim_start().starts_with("HTTP/") { text.find("HTTP/")? } else { text.find("\nHTTP/")? + 1 };
    let (head, body) = text[start..].split_once("\n\n").unwrap_or((&text[start..], ""));
    let mut lines = head.lines();
    let status = lines.next()?.split_whitespace().nth(1)?.parse().ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
    };
    let body = body.trim();
    Some(RawResponse {
        status: StatusCode::from_u16(status).ok()?,
        headers: lines.filter_map(header).collect(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        _held: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn responses(text: &str) -> Vec<(u16, String)> {
        let read = |raw: RawResponse| (raw.status.as_u16(), String::from_utf8(raw.body.to_vec()).unwrap());
        read_parts(text).into_iter().map(read).collect()
    }

    #[test]
    fn responses_are_read_leniently() {
        let part = |status: &str, body: &str| {
            format!("--b\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {status}\r\nx-a: 1\r\n\r\n{body}\r\n")
        };
        let text = part("200 OK", "{\"a\":1}") + &part("409 Conflict", "") + "--b--\r\n";
        let expected = [(200, "{\"a\":1}".to_owned()), (409, String::new())];
        assert_eq!(responses(&text), expected);
        assert_eq!(responses(&text.replace("\r\n", "\n")), expected, "lines that end in LF");
        assert_eq!(responses(&serde_json::to_string(&text).unwrap()), expected, "in a JSON string");
        assert_eq!(responses(&format!("preamble\r\n{text}")), expected);
        assert_eq!(responses("--b\nHTTP/1.1 201\n--b--"), [(201, String::new())], "the shortest possible form");
        for nothing in ["", "{}", "<html>", "--b\r\n--b--", "HTTP/1.1 200 OK"] {
            assert!(responses(nothing).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn a_batch_is_as_careful_as_its_most_careful_call() {
        let of = |effects: &[Effect]| effect_of(effects.iter().copied());
        assert_eq!(of(&[Effect::Read, Effect::Read]), Effect::Read);
        assert_eq!(of(&[Effect::Read, Effect::Delete]), Effect::Idempotent);
        assert_eq!(of(&[Effect::Idempotent, Effect::Create]), Effect::Create);
    }
}
