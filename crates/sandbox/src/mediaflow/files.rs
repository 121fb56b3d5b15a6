//! The download host that Mediaflow's download links point to.
//!
//! A link is signed and expires; it needs no credentials. A request that has credentials as well is rejected, because a
//! client must not send its token to another host than the API.

use serde_json::json;

use super::formats::FORMATS;
use crate::app::{App, content, sign};
use crate::http::{self, Call, HttpResponse};
use crate::library::SourceFile;
use crate::state::now;

/// The lifetime of a download link, in seconds.
pub(crate) const LIFETIME: i64 = 300;

/// The size of the largest rendition, in bytes.
const RENDITION: u64 = 40_000;

/// Returns a download link to a file in one format.
pub(crate) fn download_url(app: &App, file: &SourceFile, format: i64) -> String {
    link(app, file.id, format, &(now() / 1000 + LIFETIME).to_string())
}

/// Returns the link with its signature. `expires` is in seconds since 1970, or `never`.
fn link(app: &App, id: i64, format: i64, expires: &str) -> String {
    let signature = sign(app, &["file", &id.to_string(), &format.to_string(), expires]);
    format!("{}/mediaflow-files/{id}/{format}?expires={expires}&signature={signature}", app.base)
}

/// Serves the download host.
pub(crate) async fn serve(app: &App, call: Call) -> HttpResponse {
    let credentials = ["authorization", "cookie", "ocp-apim-subscription-key"];
    if credentials.iter().any(|name| call.headers.contains_key(*name)) || call.query("access_token").is_some() {
        app.count_leak();
        return http::response(400, "text/plain; charset=utf-8", "a download link must be used without credentials");
    }
    let ("GET", path) = call.route() else { return http::empty(405) };
    match path.as_slice() {
        ["preview", id, _] => match id.parse().ok().and_then(|id| app.library.by_id(id)) {
            Some(file) => content(app, &call, &file, 77, file.size.min(RENDITION), "image/jpeg"),
            None => http::empty(404),
        },
        [id, format] => download(app, &call, id, format),
        _ => http::empty(404),
    }
}

fn download(app: &App, call: &Call, id: &str, format: &str) -> HttpResponse {
    let expires = call.query("expires").unwrap_or_default();
    if call.query("signature") != Some(sign(app, &["file", id, format, expires]).as_str()) {
        return http::response(403, "text/plain; charset=utf-8", "the signature of the link is missing or wrong");
    }
    if expires != "never" && expires.parse().is_ok_and(|at: i64| at < now() / 1000) {
        return http::response(403, "text/plain; charset=utf-8", "the link has expired");
    }
    let found = id.parse().ok().and_then(|id| app.library.by_id(id));
    let known = format.parse().ok().and_then(|id: i64| FORMATS.iter().find(|format| format.id == id));
    let (Some(file), Some(format)) = (found, known) else { return http::empty(404) };
    if call.query("permalink") == Some("true") {
        return http::json(200, &json!({ "url": link(app, file.id, format.id, "never") }));
    }
    if format.id == 0 {
        content(app, call, &file, 0, file.size, file.media_type())
    } else {
        content(app, call, &file, format.id.unsigned_abs(), file.size.min(RENDITION), "image/jpeg")
    }
}
