//! Many calls in one request: `multipart/mixed` with a whole HTTP request in each part (RFC 2046 section 5.1, RFC 9112
//! section 10.1), as services with a batch endpoint take it. Each part has an outcome of its own.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use trunkline_core::{Context, Effect, Error, ErrorKind, Result};

use crate::{
    Client, Operation,
    auth::Credentials,
    client::unknown,
    generic::Target,
    payload::Body,
    request::Request,
    response::{self, Asked, Call, Reads},
    transport::Reply,
    url_policy,
};

impl Client {
    /// Makes several calls by one request to `path`, the service's batch endpoint. What comes back has the order of the
    /// calls: the result of each, or its own error. Calls are rows of the table with their inputs; a row that lists page by
    /// page is refused.
    ///
    /// # Errors
    /// Before anything is sent: an unknown row, a wrong input. Afterwards: the request as a whole failed; of kind
    /// `unknown_outcome` if that is unclear and one of the calls creates something, or if the answer has another number of
    /// parts than there were calls.
    pub async fn batch(&self, path: &str, calls: &[(String, Value)], cx: &Context) -> Result<Vec<Result<Value>>> {
        let mut parts = Vec::new();
        for (index, (name, input)) in calls.iter().enumerate() {
            let numbered = |error: Error| error.with("call", index + 1).with("action", name);
            let operation = self.0.table.operation(name).map_err(numbered)?;
            if operation.lists() {
                let message = format!("{name} lists page by page and cannot be one of many calls");
                return Err(numbered(Error::new(ErrorKind::InvalidInput, message).hint("call it on its own")));
            }
            let request = operation.accept(input.clone()).and_then(|input| operation.request(&self.0.base, &input));
            parts.push((operation, request.map_err(numbered)?));
        }
        let boundary = format!("{:032x}", rand::random::<u128>());
        let kind = HeaderValue::from_str(&format!("multipart/mixed; boundary={boundary}"))
            .map_err(|error| Error::new(ErrorKind::Internal, "a boundary is no header").source(error))?;
        let requests: Vec<_> = parts.iter().map(|(_, request)| request.clone()).collect();
        let body = Body::Signed(Arc::new(move |credentials| write(&requests, &boundary, credentials)));
        let request = Request {
            method: Method::POST,
            url: Target::path(path).url(&self.0.base)?,
            headers: HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]),
            body,
        };
        let effect = effect_of(parts.iter().map(|(operation, _)| operation.effect()));
        let route = format!("POST {path}");
        let call = Call { name: "bulk", route: &route, effect, reads: Reads::Anything };
        let answer = self.execute(&call, request, cx).await?;
        let text = answer.body.as_str().unwrap_or_default();
        let replies = read(text);
        if replies.len() != parts.len() {
            let message = format!(
                "{} answered {} of {} calls made at once: {}",
                self.0.service,
                replies.len(),
                parts.len(),
                response::excerpt(text.as_bytes(), &self.secrets())
            );
            return Err(unknown(Error::new(ErrorKind::Unexpected, message).with("service", self.0.service)));
        }
        let judged =
            parts.iter().zip(replies).map(|((operation, request), reply)| self.part(operation, request, reply));
        Ok(judged.collect())
    }

    /// What became of one call.
    fn part(&self, operation: &Operation, request: &Request, reply: Reply) -> Result<Value> {
        let host = url_policy::host(&request.url);
        let asked = Asked { call: operation.call(), service: self.0.service, host: &host };
        let answer = response::answer(&asked, &reply, self.secrets());
        if reply.status.is_success() && answer.body.is_none() && !reply.body.is_empty() {
            // It was done; what is said about it came out damaged.
            return Ok(String::from_utf8_lossy(&reply.body).into());
        }
        match response::judge(&asked, answer, reply, self.0.classify) {
            Ok(mut accepted) => Ok(accepted.body.pointer_mut(&operation.result).map(Value::take).unwrap_or_default()),
            Err(failure) if operation.effect() == Effect::Create && !failure.refused => Err(unknown(failure.error)),
            Err(failure) => Err(failure.error),
        }
    }
}

/// What making all the calls again would do.
fn effect_of(mut effects: impl Iterator<Item = Effect> + Clone) -> Effect {
    if effects.clone().all(|effect| effect == Effect::Read) {
        Effect::Read
    } else if effects.all(Effect::repeatable) {
        Effect::Idempotent
    } else {
        Effect::Create
    }
}

/// The parts as bytes. Each is a request of its own to the service, so each has the credentials.
fn write(requests: &[Request], boundary: &str, credentials: &Credentials) -> Bytes {
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
        for (name, value) in credentials.header.iter().map(|(name, value)| (name, value)).chain(&request.headers) {
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

/// The answers in a multipart text, read leniently: it may stand in a JSON string, lines may end as they like, and what
/// surrounds the answers does not matter.
fn read(text: &str) -> Vec<Reply> {
    let unwrapped: Option<String> = serde_json::from_str(text.trim()).ok();
    let text = unwrapped.as_deref().unwrap_or(text).replace("\r\n", "\n");
    let Some(boundary) = text.lines().find(|line| line.starts_with("--")).map(|line| line.trim_end().to_owned()) else {
        return Vec::new();
    };
    text.split(&*boundary).filter_map(part).collect()
}

fn part(text: &str) -> Option<Reply> {
    let start = if text.trim_start().starts_with("HTTP/") { text.find("HTTP/")? } else { text.find("\nHTTP/")? + 1 };
    let (head, body) = text[start..].split_once("\n\n").unwrap_or((&text[start..], ""));
    let mut lines = head.lines();
    let status = lines.next()?.split_whitespace().nth(1)?.parse().ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
    };
    let body = body.trim();
    Some(Reply {
        status: StatusCode::from_u16(status).ok()?,
        headers: lines.filter_map(header).collect(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<(u16, String)> {
        let seen = |reply: Reply| (reply.status.as_u16(), String::from_utf8(reply.body.to_vec()).unwrap());
        read(text).into_iter().map(seen).collect()
    }

    #[test]
    fn answers_are_read_leniently() {
        let part = |status: &str, body: &str| {
            format!("--b\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {status}\r\nx-a: 1\r\n\r\n{body}\r\n")
        };
        let text = part("200 OK", "{\"a\":1}") + &part("409 Conflict", "") + "--b--\r\n";
        let expected = [(200, "{\"a\":1}".to_owned()), (409, String::new())];
        assert_eq!(told(&text), expected);
        assert_eq!(told(&text.replace("\r\n", "\n")), expected, "lines that end otherwise");
        assert_eq!(told(&serde_json::to_string(&text).unwrap()), expected, "in a JSON string");
        assert_eq!(told(&format!("preamble\r\n{text}")), expected);
        assert_eq!(told("--b\nHTTP/1.1 201\n--b--"), [(201, String::new())], "as short as it gets");
        for nothing in ["", "{}", "<html>", "--b\r\n--b--", "HTTP/1.1 200 OK"] {
            assert!(told(nothing).is_empty(), "{nothing}");
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
