//! The callback of sign-ins: a browser comes back from the login server, and is sent to a page with the outcome.
//!
//! The URL of that page has no code and no `state`, so it can be in the history of the browser and can be reloaded. The
//! sign-in ends even if the browser closes its connection.

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use trunkline::FinishedSignIn;
use trunkline_core::{Error, ErrorKind, Result};

use crate::{app::App, response::page};

/// The path that browsers are redirected to after a sign-in. It is part of the redirect URI registered at the vendors.
pub const CALLBACK: &str = "/rest/v1/oauth2/callback";
/// The path of the page with the outcome of a sign-in, see [`trunkline::Runtime::receive_callback`].
pub(crate) const OUTCOME: &str = "/rest/v1/oauth2/callback/{outcome}";

/// Returns the URL under which a browser reaches the callback of sign-ins.
pub(crate) fn url(app: &App) -> String {
    format!("{}{CALLBACK}", app.base_url)
}

/// Begins to end the sign-in that the request belongs to, and sends the browser to the page with its outcome.
pub(crate) async fn callback(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    // The URL in the address bar of the browser is not known here: there may be a proxy in front of the server.
    let Some(outcome) = app.runtime.receive_callback(&format!("?{}", query.unwrap_or_default())) else {
        return outcome_page(&app, Ok(None));
    };
    to_outcome(&outcome)
}

/// Returns the response that sends a browser from the callback to the page with an outcome.
pub(crate) fn to_outcome(outcome: &str) -> Response {
    let mut response = page(StatusCode::SEE_OTHER, "The outcome of the sign-in is on another page.");
    // A proxy may have a path before that of the callback, so the reference is relative to it.
    let location = HeaderValue::try_from(format!("callback/{outcome}"));
    response.headers_mut().extend(location.ok().map(|location| (header::LOCATION, location)));
    response
}

/// Waits until a sign-in has ended, and returns the page with its outcome.
pub(crate) async fn outcome(State(app): State<Arc<App>>, Path(outcome): Path<String>) -> Response {
    outcome_page(&app, app.runtime.sign_in_outcome(&outcome).await)
}

fn outcome_page(app: &App, outcome: Result<Option<FinishedSignIn>>) -> Response {
    let error = match outcome {
        Ok(Some(finished)) => {
            let text = format!("{} is signed in. You can close this page.", finished.authorized);
            return page(StatusCode::OK, &text);
        }
        Ok(None) => Error::new(
            ErrorKind::NotFound,
            "this does not belong to a sign-in that was started here in the last ten minutes",
        )
        .hint("start the sign-in again, and complete it in the same browser"),
        Err(error) => error,
    };
    let next = error.advice().map(|advice| format!(" Next: {advice}.")).unwrap_or_default();
    let text = format!("Not signed in: {error}.{next}");
    page(StatusCode::BAD_REQUEST, &app.runtime.redactor().redact(&text))
}
