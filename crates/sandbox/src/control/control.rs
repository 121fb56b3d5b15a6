//! The sandbox's control pages: a description, the report, the request log and the fault switches, for programs in
//! other processes.

use std::sync::PoisonError;

use serde_json::json;

use super::report;
use crate::app::App;
use crate::config;
use crate::http::{self, Call, HttpResponse, Service};
use crate::mediaflow;
use crate::state::{Event, TARGET_CATEGORY};

/// Serves the control pages.
pub(crate) async fn serve(app: &App, mut call: Call) -> HttpResponse {
    let path = call.path.clone();
    let (method, _) = call.route();
    match (method, path.as_str()) {
        ("GET", "/") => http::json(200, &about(app)),
        ("GET", "/_sandbox/report") => http::json(200, &json!(report::report(app))),
        ("GET", "/_sandbox/settings") => http::json(200, &config::settings(&app.endpoints, &app.credentials).into()),
        ("GET", "/_sandbox/requests") => {
            let requests = app.fault_injector.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
            http::json(200, &json!(requests))
        }
        ("PUT", "/_sandbox/faults") => {
            let faults = call.json().await.and_then(|body| serde_json::from_value(body).map_err(|e| e.to_string()));
            match faults {
                Ok(faults) => {
                    app.fault_injector.set(faults);
                    http::empty(204)
                }
                Err(text) => http::json(400, &json!({ "error": text })),
            }
        }
        ("POST", "/_sandbox/expire-tokens") => {
            app.state.with(|state| state.record(Event::ExpireAccess));
            http::empty(204)
        }
        _ => http::empty(404),
    }
}

fn about(app: &App) -> serde_json::Value {
    let bases: serde_json::Map<_, _> = Service::BASES
        .iter()
        .map(|(base, service)| {
            (json!(service).as_str().unwrap_or_default().to_owned(), format!("{}{base}", app.base).into())
        })
        .collect();
    json!({
        "about": "Simulators of MediaValet and Mediaflow for demos and tests. Nothing here is a real service.",
        "bases": bases,
        "endpoints": app.endpoints,
        "rootFolder": mediaflow::ROOT_FOLDER,
        "category": TARGET_CATEGORY,
        "control": [
            "GET /_sandbox/report", "GET /_sandbox/requests", "GET /_sandbox/settings",
            "PUT /_sandbox/faults", "POST /_sandbox/expire-tokens",
        ],
    })
}
