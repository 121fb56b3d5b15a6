//! The events of all runs as one stream, continued after breaks and restarts, and the tickets that open streams.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};
use trunkline_testkit::dice::Dice;
use trunkline_tests::Cli;

use super::{
    Serve,
    events::{Stream, waits},
    save,
};

const ALL: &str = "/rest/v1/events";

/// Reads at most `most` events after the one with this id, on a new connection. Stops early after `enough`.
async fn read(serve: &Serve, after: Option<&str>, most: u64, enough: impl Fn(&Value) -> bool) -> Vec<(String, Value)> {
    let mut stream = Stream::from(Stream::open_at(serve, ALL, after).await);
    let mut events = Vec::new();
    while (events.len() as u64) < most {
        events.push(stream.next_event().await.unwrap());
        if enough(&events.last().unwrap().1) {
            break;
        }
    }
    events
}

/// Three runs at once, watched by a client that breaks off after a random number of events, while the server is killed.
#[tokio::test]
async fn the_events_of_all_runs_continue_after_breaks_and_a_restart() {
    let cli = Cli::default();
    let mut flow = waits();
    flow["overlap"] = "parallel".into();
    save(&cli, &flow).await;
    let serve = Serve::start(&cli).await;
    let mut dice = Dice::default();
    let begin = read(&serve, None, 1, |_| true).await;
    assert_eq!(begin[0].1, json!({ "id": begin[0].0, "of": "start" }));
    let mut last = begin[0].0.clone();
    let numbers: Vec<_> = (0..40).collect();
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(serve.run("waits", &json!({ "numbers": numbers })).await);
    }
    let (mut seen, mut waiting, mut ended) = (Vec::new(), 0, 0);
    let mut serve = Some(serve);
    while ended < 3 {
        let most = dice.roll(1, 12);
        let now = serve.as_ref().unwrap();
        let stops = |event: &Value| event["event"] == "wait_began" || event["event"] == "finished";
        for (id, event) in read(now, Some(&last), most, stops).await {
            waiting += usize::from(event["event"] == "wait_began");
            ended += usize::from(event["event"] == "finished");
            assert_eq!((&event["id"], &event["of"]), (&json!(id), &json!("run")), "{event}");
            last.clone_from(&id);
            seen.push((id, event));
        }
        if waiting == 3 {
            // Once.
            waiting += 1;
            serve.take().unwrap().kill().await;
            let again = Serve::start(&cli).await;
            for run in &runs {
                let (status, body) = again.post(&format!("/rest/v1/runs/{run}/signals/go"), &json!({})).await;
                assert_eq!(status, 202, "{body}");
            }
            serve = Some(again);
        }
    }
    let serve = serve.unwrap();
    let mut by_run: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (_, event) in &seen {
        by_run.entry(event["run"].as_str().unwrap()).or_default().push(event["seq"].as_u64().unwrap());
    }
    for run in &runs {
        let mut alone = Stream::from(Stream::open_at(&serve, &format!("/rest/v1/runs/{run}/events"), None).await);
        let mut count = 0;
        while let Some((id, event)) = alone.next_event().await {
            count += 1;
            let same = seen.iter().find(|(_, one)| one["run"] == json!(run) && one["seq"].as_u64() == id.parse().ok());
            let mut same = same.unwrap().1.clone();
            for member in ["id", "of", "run", "flow"] {
                same.as_object_mut().unwrap().remove(member);
            }
            assert_eq!(same, event);
        }
        assert_eq!(by_run[run.as_str()], (1..=count).collect::<Vec<u64>>(), "no gap, and nothing twice");
    }
    // The sabotage twins: without the last id, all events so far are missing; with an older one, one comes twice.
    assert_eq!(read(&serve, None, 1, |_| true).await[0].1["of"], "start");
    assert_eq!(read(&serve, Some(&seen[6].0), 1, |_| true).await[0], seen[7]);
    assert_eq!(read(&serve, Some(&seen[5].0), 1, |_| true).await[0], seen[6]);
    assert_eq!(Stream::open_at(&serve, ALL, Some("soon")).await.status(), 400);
    assert_eq!(Stream::open_at(&serve, &format!("{ALL}?after=1"), None).await.status(), 400);
    let path = format!("{ALL}?after={}", seen[6].0);
    let mut from = Stream::from(Stream::open_at(&serve, &path, None).await);
    assert_eq!(from.next_event().await.unwrap(), seen[7], "the query names the event, too");
    let path = format!("{ALL}?after={}&flow=other", begin[0].0);
    save(&cli, &json!({ "name": "other", "steps": [{ "id": "one", "set": {} }] })).await;
    let other = serve.run("other", &json!({})).await;
    let mut filtered = Stream::from(Stream::open_at(&serve, &path, None).await);
    let (_, event) = filtered.next_event().await.unwrap();
    assert_eq!((&event["run"], &event["event"]), (&json!(other), &json!("started")), "only those of the flow");
}

/// A place that the store does not have: it was put back to an earlier state.
#[tokio::test]
async fn a_client_that_may_have_missed_events_is_informed() {
    let serve = Serve::start(&Cli::default()).await;
    let mut stream = Stream::from(Stream::open_at(&serve, ALL, Some("999999.1.0")).await);
    assert_eq!(stream.next_event().await.unwrap().1["of"], "missed");
}

/// As the `EventSource` of a browser does it: it sends no header but `Accept`.
#[tokio::test]
async fn a_ticket_opens_a_stream_once_and_is_not_logged() {
    let cli = Cli::default();
    save(&cli, &waits()).await;
    let log = cli.home().join("log");
    let serve = Serve::logging(&cli, &["--listen", "127.0.0.1:0"], fs::File::create(&log).unwrap()).await;
    let run = serve.run("waits", &json!({ "numbers": [] })).await;
    let mut issued = Vec::new();
    let mut ticket = async |body: Value| {
        let (status, ticket) = serve.post("/rest/v1/event-tickets", &body).await;
        assert!(status == 200 && ticket["expires_at"].is_string(), "{ticket}");
        let ticket = ticket["ticket"].as_str().unwrap().to_owned();
        issued.push(ticket.clone());
        ticket
    };
    let open = async |path: String| {
        let request = serve.http.get(serve.url(&path)).header("accept", "text/event-stream");
        request.send().await.unwrap()
    };
    let one = format!("{ALL}?ticket={}", ticket(json!({})).await);
    let mut stream = Stream::from(open(one.clone()).await);
    let (id, _) = stream.next_event().await.unwrap();
    assert_eq!(open(one).await.status(), 401, "it was used");
    // A client that reconnects gets a new ticket, and names the last event in the query.
    let again = format!("{ALL}?after={id}&ticket={}", ticket(json!({})).await);
    let mut stream = Stream::from(open(again).await);
    let later = serve.run("waits", &json!({ "numbers": [] })).await;
    while stream.next_event().await.unwrap().1["run"] != json!(later) {}
    let of_run = format!("/rest/v1/runs/{run}/events");
    let path = format!("{of_run}?ticket={}", ticket(json!({ "run": run })).await);
    assert_eq!(Stream::from(open(path).await).next_event().await.unwrap().1["event"], "started");
    let refused = [
        format!("{of_run}?ticket={}", ticket(json!({})).await),
        format!("{ALL}?ticket={}", ticket(json!({ "run": run })).await),
        format!("{of_run}?ticket={}", ticket(json!({ "run": "other" })).await),
        format!("/rest/v1/runs?ticket={}", ticket(json!({})).await),
        format!("{ALL}?ticket="),
        format!("{ALL}?ticket={0}&ticket={0}x", "0".repeat(64)),
        ALL.to_owned(),
    ];
    for path in refused {
        assert_eq!(open(path.clone()).await.status(), 401, "{path}");
    }
    // The sabotage twin: the same stream with the token.
    assert_eq!(Stream::open_at(&serve, ALL, None).await.status(), 200);
    let (status, body) = serve.post("/rest/v1/event-tickets", &json!({ "runs": run })).await;
    assert_eq!(status, 400, "{body}");
    serve.stop().await.expect(0);
    let log = fs::read_to_string(&log).unwrap();
    assert!(issued.iter().all(|ticket| !log.contains(ticket)), "{log}");
}
