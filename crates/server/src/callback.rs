//! The callback of sign-ins: a browser comes back from the login server and gets a page.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
};
use trunkline_core::{Error, ErrorKind};

use crate::{app::App, response::page};

/// The path that browsers are redirected to after a sign-in. It is part of the redirect URI registered at the vendors.
pub const CALLBACK: &str = "/rest/v1/oauth2/callback";

/// Ends the sign-in that the request belongs to.
pub(crate) async fn callback(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    // The URL in the address bar of the browser is not known here: there may be a proxy in front of the server.
    let finished = app.runtime.finish_sign_in(&format!("?{}", query.unwrap_or_default())).await;
    let error = match finished {
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
