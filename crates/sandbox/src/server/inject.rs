//! The fault injector.
//!
//! One middleware in front of all services counts and logs each request, decides whether it fails, and makes the
//! failure happen on the connection.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use futures::StreamExt;
use serde_json::json;

use super::throttled_stream::ByteLimit;
use crate::app::App;
use crate::blob;
use crate::faults::FaultKind;
use crate::http::request_log::{self, GrantType};
use crate::http::{self, HttpResponse, Service};
use crate::state::Event;

/// The middleware: logs the request and injects the fault that hits it.
pub(crate) async fn inject(
    State(app): State<Arc<App>>,
    ConnectInfo(limit): ConnectInfo<ByteLimit>,
    request: Request,
    next: Next,
) -> HttpResponse {
    let service = Service::of(request.uri().path());
    if service == Service::Sandbox {
        return next.run(request).await;
    }
    let mut entry = request_log::describe(service, &request);
    let (latency, fault) = {
        let mut generator = app.fault_injector.generator.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = match service.is_faultable() {
            true if generator.is_first_commit(service, &request) => Some(FaultKind::Lost),
            true => generator.next_fault(service),
            false => None,
        };
        (generator.faults.latency, fault)
    };
    app.state.with(|state| {
        state.record(Event::Request);
        if let Some(fault) = fault {
            state.record(Event::Fault(fault.name().to_owned()));
        }
    });
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let head_only = request.method() == Method::HEAD;
    let response = match fault {
        Some(kind @ (FaultKind::TooManyRequests | FaultKind::Internal | FaultKind::Unavailable)) => {
            drop(request);
            error_response(service, kind)
        }
        _ => next.run(request).await,
    };
    entry.status = response.status().as_u16();
    entry.fault = fault.map(FaultKind::name);
    entry.grant_type = response.extensions().get::<GrantType>().map(|grant| grant.0.clone());
    request_log::append(&app.fault_injector.requests, entry);
    match fault {
        Some(FaultKind::Lost) => {
            limit.allow(0);
            http::empty(502)
        }
        Some(FaultKind::Truncated) => truncate(response, &limit, head_only),
        _ => response,
    }
}

/// Returns the error response in the form of the service.
fn error_response(service: Service, fault: FaultKind) -> HttpResponse {
    let (status, text) = match fault {
        FaultKind::TooManyRequests => (429, "Rate limit is exceeded. Try again in 1 seconds."),
        FaultKind::Unavailable => (503, "The service is unavailable."),
        _ => (500, "Unspecified database error"),
    };
    let mut response = match service {
        Service::Mediaflow => http::json(status, &json!({ "status": status, "error": text })),
        Service::Mediavalet if status == 500 => http::empty(status),
        Service::Mediavalet => http::json(status, &json!({ "statusCode": status, "message": text })),
        Service::Blob => blob::error(status, "ServerBusy", "The server is busy."),
        _ => http::response(status, "text/plain; charset=utf-8", text),
    };
    if status == 429 {
        http::set(&mut response, "retry-after", "1");
    }
    response
}

/// Sends the head and half of the body, then breaks the connection. Without a body, it breaks in the head.
fn truncate(response: HttpResponse, limit: &ByteLimit, head_only: bool) -> HttpResponse {
    let declared = response.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let length = declared.or(response.body().size_hint().exact()).unwrap_or(0);
    if head_only || length < 2 {
        limit.allow(20);
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.insert("content-length", length.into());
    let half = length / 2;
    let broken = futures::stream::unfold((body.into_data_stream(), half), |(mut body, left)| async move {
        if left == 0 {
            // Without the pause, the error would discard bytes that the connection has not flushed yet.
            tokio::time::sleep(Duration::from_millis(5)).await;
            return Some((Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)), (body, 0)));
        }
        let mut chunk = match body.next().await {
            Some(Ok(chunk)) => chunk,
            _ => return Some((Err(std::io::ErrorKind::ConnectionReset.into()), (body, 0))),
        };
        chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let rest = left - chunk.len() as u64;
        Some((Ok(chunk), (body, rest)))
    });
    HttpResponse::from_parts(parts, Body::from_stream(broken))
}
