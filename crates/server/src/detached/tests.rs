//! Callers that go away at every point of a request at which the server waits for something.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use axum::{extract::Request, http::Method};
use serde_json::json;
use trunkline_engine::RunStatus;

mod operation_tests;
mod step_tests;

use super::*;
use crate::{brake::Brake, test_app::TestApp};

/// The most points at which a request of these tests waits.
const MOST_POINTS: usize = 400;

/// Sends a request, whose caller goes away when the server has waited `points` times. Returns the status if the response
/// came before.
async fn status_unless_gone(app: &TestApp, request: Request, points: usize) -> Option<u16> {
    let mut call = pin!(app.call(request));
    for _ in 0..points {
        if let Poll::Ready(response) = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
            return Some(response.status().as_u16());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    None
}

/// Returns how many runs are stored, and how many of them do not end.
async fn runs(app: &TestApp) -> (usize, usize) {
    for _ in 0..30 {
        let runs = app.app.runtime.journal().runs().await.unwrap();
        let unfinished = runs.iter().filter(|run| run.status == RunStatus::Running).count();
        if unfinished == 0 {
            return (runs.len(), 0);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let runs = app.app.runtime.journal().runs().await.unwrap();
    (runs.len(), runs.iter().filter(|run| run.status == RunStatus::Running).count())
}

/// Which request is sent.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Start,
    Webhook,
}

/// Repeats a request whose caller goes away, each time at a later point, until a caller gets the response. Returns how
/// many runs are stored, and how many of them do not end.
async fn runs_of_callers_that_went_away(sent: Sent) -> (usize, usize) {
    let app = TestApp::new(Brake::default());
    let flow = json!({
        "name": "note",
        "trigger": { "webhook": {} },
        "steps": [{ "id": "all", "each": "{{ [1] }}", "steps": [{ "id": "bad", "fail": "on purpose" }] }],
    });
    let path = app.save(&flow).await.webhook.unwrap();
    let start = || TestApp::request(Method::POST, "/rest/v1/flows/note/runs", &json!({}));
    for points in 1..MOST_POINTS {
        let request = match sent {
            Sent::Start => start(),
            Sent::Webhook => TestApp::request(Method::POST, &path, &json!({ "number": points })),
        };
        if let Some(status) = status_unless_gone(&app, request, points).await {
            assert_eq!(status, 202, "{sent:?}");
            assert!(points > 1, "no caller went away");
            return runs(&app).await;
        }
    }
    panic!("{sent:?} waits more than {MOST_POINTS} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_run_that_is_stored_is_started_even_if_the_caller_goes_away() {
    for sent in [Sent::Start, Sent::Webhook] {
        let (stored, lost) = runs_of_callers_that_went_away(sent).await;
        assert!(stored > 1 && lost == 0, "{sent:?}: {lost} of {stored} runs are lost");
        // The sabotage twin.
        let (stored, lost) = ATTACHED.scope((), runs_of_callers_that_went_away(sent)).await;
        assert!(lost > 0, "{sent:?}: {lost} of {stored} runs are lost");
    }
}
