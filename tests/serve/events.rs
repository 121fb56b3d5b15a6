//! The events of a run as a server-sent event stream, read with the API's token.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_tests::{Cli, LONG};

use super::{Serve, save};

/// A reader of a stream, event by event, with its unread bytes.
pub(super) struct Stream {
    response: reqwest::Response,
    kept: String,
}

impl Stream {
    async fn open(serve: &Serve, run: &str, last: Option<&str>) -> reqwest::Response {
        Stream::open_at(serve, &format!("/rest/v1/runs/{run}/events"), last).await
    }

    pub(super) async fn open_at(serve: &Serve, path: &str, last: Option<&str>) -> reqwest::Response {
        let request = serve.http.get(serve.url(path)).bearer_auth(&serve.token);
        let request = last.into_iter().fold(request, |request, last| request.header("last-event-id", last));
        request.send().await.unwrap()
    }

    async fn of(serve: &Serve, run: &str, last: Option<&str>) -> Stream {
        Stream::from(Stream::open(serve, run, last).await)
    }

    /// Reads a response that has begun.
    pub(super) fn from(response: reqwest::Response) -> Stream {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Stream { response, kept: String::new() }
    }

    /// Returns the next event with its number, or `None` at the end.
    async fn next(&mut self) -> Option<(u64, Value)> {
        let (id, event) = self.next_event().await?;
        Some((id.parse().unwrap(), event))
    }

    /// Returns the next event with its id, or `None` at the end.
    pub(super) async fn next_event(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((block, rest)) = self.kept.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.kept = rest;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                // A line that begins with a colon is a heartbeat.
                let Some(data) = field("data:") else { continue };
                return Some((field("id:").unwrap().to_owned(), serde_json::from_str(data).unwrap()));
            }
            let chunk = tokio::time::timeout(LONG, self.response.chunk()).await.unwrap().unwrap()?;
            self.kept += std::str::from_utf8(&chunk).unwrap();
        }
    }

    async fn rest(mut self) -> Vec<(u64, Value)> {
        let mut all = Vec::new();
        while let Some(one) = self.next().await {
            all.push(one);
        }
        all
    }
}

pub(super) fn waits() -> Value {
    json!({
        "name": "waits", "input": { "type": "object", "properties": { "numbers": { "type": "array" } } },
        "output": { "told": "{{ steps.ok.word }}" },
        "steps": [
            { "id": "all", "each": "{{ input.numbers }}", "steps": [{ "id": "odd", "if": "{{ item % 2 == 1 }}", "skip": "odd" }] },
            { "id": "ok", "wait": { "signal": "go" } }
        ]
    })
}

#[tokio::test]
async fn several_subscribers_follow_a_run_and_one_continues_from_its_last_event() {
    let cli = Cli::default();
    save(&cli, &waits()).await;
    let serve = Serve::start(&cli).await;
    let run = serve.run("waits", &json!({ "numbers": [1, 2, 3] })).await;
    let mut first = Stream::of(&serve, &run, None).await;
    let second = Stream::of(&serve, &run[..8], None).await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(_, event): &(u64, Value)| event["event"] != "wait_began") {
        seen.push(first.next().await.unwrap());
    }
    drop(first);
    let last = seen.last().unwrap().0.to_string();
    let third = Stream::of(&serve, &run, Some(&last)).await;
    let payload = json!({ "word": "a private word" }).to_string();
    cli.run(&["runs", "signal", &run, "go", "--payload", &payload]).await.expect(0);
    let (all, rest) = tokio::join!(second.rest(), third.rest());
    assert!(
        all.iter().map(|(id, _)| *id).eq(1..=all.len() as u64) && all.iter().all(|(id, event)| event["seq"] == *id)
    );
    assert_eq!(seen.iter().chain(&rest).collect::<Vec<_>>(), all.iter().collect::<Vec<_>>());
    assert_eq!(all.last().unwrap().1["status"], "succeeded");
    let odd: Vec<_> =
        all.iter().filter(|(_, event)| event["message"] == "odd").map(|(_, event)| &event["item"]).collect();
    assert_eq!(odd, [&json!("0"), &json!("2")]);
    assert!(!json!(all).to_string().contains("a private word"), "events have neither payloads nor outputs");
    assert_eq!(serve.get(&format!("/rest/v1/runs/{run}")).await.1["output"]["told"], "a private word");

    // A subscriber that has seen the end gets no more events.
    let last = all.len().to_string();
    assert_eq!(Stream::open(&serve, &run, Some(&last)).await.status(), 204);
    assert_eq!(Stream::of(&serve, &run, None).await.rest().await, all, "after the end, all events are available");
    assert_eq!(Stream::open(&serve, &run, Some("soon")).await.status(), 400);
    assert_eq!(Stream::open(&serve, "zzz", None).await.status(), 404);
    let path = format!("/rest/v1/runs/{run}/events");
    assert_eq!(serve.http.get(serve.url(&path)).send().await.unwrap().status(), 401);
    let (status, timeline) = serve.get(&format!("/rest/v1/runs/{run}/timeline")).await;
    let (logged, log) = serve.get(&format!("/rest/v1/runs/{run}/log")).await;
    assert_eq!((logged, log), (200, json!({ "items": [], "next": null })));
    assert_eq!(serve.get(&format!("/rest/v1/runs/{run}/log?cursor=x")).await.0, 400);
    assert_eq!((status, &timeline["steps"][0]["items"]["count"]), (200, &json!({ "done": 1, "skipped": 2 })));
}

#[tokio::test]
async fn a_server_that_stops_closes_its_streams() {
    let cli = Cli::default();
    save(&cli, &waits()).await;
    let serve = Serve::start(&cli).await;
    let run = serve.run("waits", &json!({ "numbers": [] })).await;
    let one = Stream::of(&serve, &run, None).await;
    let all = Stream::from(Stream::open_at(&serve, "/rest/v1/events", None).await);
    let stopped = tokio::time::timeout(Duration::from_secs(30), serve.stop()).await;
    stopped.unwrap().expect(0);
    let events = one.rest().await;
    assert!(events.iter().any(|(_, event)| event["event"] == "wait_began"), "{events:?}");
    let mut all = all;
    while all.next_event().await.is_some() {}
}
