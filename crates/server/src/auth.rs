//! Middleware that checks every request: the host name that it was sent to, the time that it takes, and, for the API, its
//! token.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use trunkline::operations::{Caller, Role};
use trunkline_core::{Error, ErrorKind, NextStep};

use crate::{app::App, brake::caller_address, events::take_ticket, response::ErrorResponse};

/// The time limit of a request, until its response starts.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// Middleware for every request: rejects other hosts, and requests that exceed the time limit.
pub(crate) async fn host(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !app.guard.is_own_host(request.uri(), request.headers()) {
        let error = Error::new(ErrorKind::Permission, "the `Host` header of the request does not name this server")
            .next("use the address that the server listens on, or add this name as its public URL")
            .next(NextStep::SetOption { name: "public-url".to_owned() });
        return ErrorResponse::new(StatusCode::MISDIRECTED_REQUEST, error).into_response();
    }
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let error = Error::new(ErrorKind::Limit, "the request took too long");
            ErrorResponse::new(StatusCode::REQUEST_TIMEOUT, error).into_response()
        }
    }
}

/// Middleware for the API: rejects requests of web pages that may not use it.
pub(crate) async fn origin(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.guard.is_allowed_origin(request.headers()) {
        return next.run(request).await;
    }
    let error = Error::new(ErrorKind::Permission, "the page that sends the request may not use this server")
        .next("add the origin of the page to those that may")
        .next(NextStep::SetOption { name: "allow-origin".to_owned() });
    ErrorResponse::from(error).into_response()
}

/// Middleware for the API: rejects requests without the token, or without a ticket for a stream of events, and names the
/// caller of all others.
pub(crate) async fn token(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    // With a token, the ticket is not needed and stays valid.
    let ticket = take_ticket(&mut request);
    if app.guard.has_token(request.headers()) {
        request.extensions_mut().insert(Caller::new("api-token", Role::Owner));
        return next.run(request).await;
    }
    if let Some((ticket, run)) = &ticket
        && let Some(caller) = app.runtime.redeem_ticket(ticket, run.as_deref())
    {
        request.extensions_mut().insert(caller);
        return next.run(request).await;
    }
    // A request without any token guesses none.
    if (ticket.is_some() || request.headers().contains_key(header::AUTHORIZATION))
        && let Err(braked) = app.brake.count(caller_address(&request))
    {
        return braked.into_response();
    }
    if ticket.is_some() {
        let message = "the ticket of the stream was used, is older than a minute, or is for another stream";
        let error = Error::new(ErrorKind::Auth, message).hint("get a new one: POST /rest/v1/event-tickets");
        return ErrorResponse::new(StatusCode::UNAUTHORIZED, error).into_response();
    }
    let error = Error::new(ErrorKind::Auth, "the API token is missing or wrong")
        .hint("send it as `Authorization: Bearer TOKEN`; the server prints at its start where it is stored");
    ErrorResponse::new(StatusCode::UNAUTHORIZED, error).into_response()
}
