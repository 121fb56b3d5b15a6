//! What the user can do next, in the words of the HTTP API: each step with its data, a sentence, and the request that does
//! it, if the API has one.

use serde_json::{Value, json};
use trunkline_core::{Error, NextStep};
use trunkline_rest::Url;

/// Returns an error as the API shows it. `next` has all that can be done, and `hint` the same as one text.
pub(super) fn error_json(error: &Error) -> Value {
    let mut shown = serde_json::to_value(error).unwrap_or_default();
    let next: Vec<_> = error.next_steps().iter().map(worded).collect();
    if !next.is_empty() {
        shown["next"] = next.into();
    }
    shown
}

/// Returns a step with the members `type`, `text`, those of its data, and `request`.
fn worded(step: &NextStep) -> Value {
    let mut shown = serde_json::to_value(step).unwrap_or_default();
    shown["text"] = step.to_string().into();
    if let Some(request) = request(step) {
        shown["request"] = json!(request);
    }
    shown
}

/// Returns the request of the API that takes a step, as method and path. There is none for what the API cannot do, or if
/// the step does not name its object.
fn request(step: &NextStep) -> Option<String> {
    match step {
        NextStep::ListConnectors => Some("GET /rest/v1/connectors".to_owned()),
        NextStep::ListConnections => Some("GET /rest/v1/connections".to_owned()),
        NextStep::CheckConnection { connection: Some(connection) } => {
            Some(format!("POST {}", path(&["connections", connection, "check"])))
        }
        NextStep::SignIn { connection } => Some(format!("POST {}", path(&["connections", connection, "authorize"]))),
        NextStep::ListFlows => Some("GET /rest/v1/flows".to_owned()),
        NextStep::ListRuns => Some("GET /rest/v1/runs".to_owned()),
        NextStep::ListItems { run, status } => Some(format!("GET {}?status={status}", path(&["runs", run, "items"]))),
        NextStep::ResumeRun { run: Some(run) } => Some(format!("POST {}", path(&["runs", run, "resume"]))),
        NextStep::CancelRun { run: Some(run) } => Some(format!("POST {}", path(&["runs", run, "cancel"]))),
        NextStep::RerunRun { run, .. } => Some(format!("POST {}", path(&["runs", run, "rerun"]))),
        NextStep::ResolveStep { run, .. } => Some(format!("POST {}", path(&["runs", run, "resolve"]))),
        NextStep::ResumeRun { run: None }
        | NextStep::CancelRun { run: None }
        | NextStep::Text { .. }
        | NextStep::ListActions { .. }
        | NextStep::ShowActionSchema { .. }
        | NextStep::ShowConnectionSchema { .. }
        | NextStep::CheckConnection { connection: None }
        | NextStep::ForceRemove { .. }
        | NextStep::AddConnection { .. }
        | NextStep::BindConnection { .. }
        | NextStep::SaveFlow
        | NextStep::SaveFlowInactive
        | NextStep::ActivateFlow { .. }
        | NextStep::DeactivateFlow { .. }
        | NextStep::SetWebhookSecret { .. }
        | NextStep::ReplaceExisting
        | NextStep::SetOption { .. } => None,
    }
}

/// Returns a path of the API. Each part is one percent-encoded segment.
fn path(parts: &[&str]) -> String {
    let Ok(mut url) = Url::parse("http://localhost/rest/v1") else { return String::new() };
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.extend(parts);
    }
    url.path().to_owned()
}

#[cfg(test)]
mod tests {
    use trunkline_core::ErrorKind;

    use super::*;

    #[test]
    fn every_step_has_its_data_and_a_sentence_without_a_command() {
        for step in NextStep::samples() {
            let shown = worded(&step);
            println!("{shown}");
            let text = shown["text"].as_str().unwrap();
            assert!(shown["type"].is_string() && !text.is_empty() && !text.ends_with('.'), "{shown}");
            assert!(!text.contains("trunkline ") && !text.contains("--") && !text.contains('`'), "{shown}");
            let mut data = shown.clone();
            data.as_object_mut()
                .unwrap()
                .retain(|name, _| name != "request" && (name != "text" || shown["type"] == "text"));
            assert_eq!(serde_json::from_value::<NextStep>(data).unwrap(), step, "{shown}");
        }
    }

    #[test]
    fn an_error_has_its_steps_and_one_hint() {
        let resolve = NextStep::ResolveStep { run: "7d".to_owned(), step: Some("copy".to_owned()) };
        let sign_in = NextStep::SignIn { connection: "the dam/1".to_owned() };
        let error = Error::new(ErrorKind::Conflict, "not now").hint("look there").next(resolve).next(sign_in);
        let shown = error_json(&error);
        assert_eq!(
            shown["hint"],
            "look there; resolve copy of run 7d as done, retry or fail: that records its outcome; sign in to the dam/1 in \
             the browser"
        );
        assert_eq!(shown["next"][0], json!({ "type": "text", "text": "look there" }));
        assert_eq!(shown["next"][1]["request"], "POST /rest/v1/runs/7d/resolve");
        assert_eq!(shown["next"][2]["request"], "POST /rest/v1/connections/the%20dam%2F1/authorize");
    }
}
