//! Log lines of a run: each line has the run, flow, step, item and attempt it is about.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
};

use crate::support::{call, flow, slots};
use serde_json::json;
use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};
use trunkline_engine::{Engine, MemoryJournal, RunStatus};

type Fields = BTreeMap<String, String>;

/// Collects each log line with the fields of its spans.
#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Captured>>);

#[derive(Default)]
struct Captured {
    spans: Vec<(Fields, Option<u64>)>,
    lines: Vec<Fields>,
}

thread_local! {
    static ENTERED: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
}

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

fn current() -> Option<u64> {
    ENTERED.with_borrow(|entered| entered.last().copied())
}

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("trunkline_engine")
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::new();
        span.record(&mut Into(&mut fields));
        let mut captured = self.0.lock().unwrap();
        captured.spans.push((fields, span.parent().map(Id::into_u64).or_else(current)));
        Id::from_u64(captured.spans.len() as u64)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut captured = self.0.lock().unwrap();
        let (mut fields, mut around) = (Fields::new(), current());
        event.record(&mut Into(&mut fields));
        while let Some(id) = around {
            let (more, parent) = &captured.spans[id as usize - 1];
            for (name, value) in more {
                fields.entry(name.clone()).or_insert_with(|| value.clone());
            }
            around = *parent;
        }
        captured.lines.push(fields);
    }
    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }
    fn exit(&self, _: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.pop());
    }
}

fn captured() -> (Capture, (Dispatch, DefaultGuard)) {
    let capture = Capture::default();
    // With a single dispatcher, a log line stays disabled if another test, whose thread has no subscriber, reaches it
    // first.
    let second = Dispatch::new(Capture::default());
    (capture.clone(), (second, tracing::subscriber::set_default(capture)))
}

// The runtime has one thread, so the subscriber of this thread gets the lines of all tasks.
#[tokio::test(start_paused = true)]
async fn each_attempt_of_a_retried_step_is_logged_with_run_flow_step_item_and_attempt() {
    let mut look =
        call("look", "thing.look", json!({ "name": "{{ item }}", "fault": "busy 2", "items": ["canary-of-an-input"] }));
    look["retry"] = json!({ "tries": 3, "wait": "1s" });
    let each = json!({ "id": "all", "each": ["a", "b"], "key": "k{{ item }}", "concurrency": 2, "steps": [look] });
    let flow = flow(json!([{ "id": "both", "parallel": { "one": [each] } }]));
    let (capture, _guard) = captured();
    let engine = Engine::new(Arc::new(MemoryJournal::default()));
    let running = engine.start(&flow, json!({}), slots("traced")).await.unwrap();
    let id = running.id().to_string();
    assert_eq!(running.wait().await.unwrap().status, RunStatus::Succeeded);
    let captured = capture.0.lock().unwrap();
    for key in ["ka", "kb"] {
        for (attempt, message) in [("1", "failed: busy"), ("2", "failed: busy"), ("3", "done")] {
            let found = captured.lines.iter().find(|line| {
                line["message"].contains(message)
                    && line.get("item").is_some_and(|item| item == key)
                    && line.get("attempt").is_some_and(|one| one == attempt)
                    && line.contains_key("action")
            });
            let line = found.unwrap_or_else(|| panic!("{key} {attempt}: {:#?}", captured.lines));
            let field = |name: &str| line[name].as_str();
            assert_eq!((field("run"), field("flow"), field("each")), (&*id, "test", "both/all"), "{line:?}");
            assert_eq!((field("step"), field("action")), (&*format!("both/all/{key}/look"), "thing.look"), "{line:?}");
            assert_eq!(field("connection"), "shop", "{line:?}");
        }
        let again = |line: &&Fields| {
            line["message"].contains("is tried again") && line.get("item").is_some_and(|item| item == key)
        };
        let again: Vec<_> = captured.lines.iter().filter(again).map(|line| &*line["attempt"]).collect();
        assert_eq!(again, ["1", "2"], "each failed attempt");
    }
    assert!(captured.lines.iter().any(|line| line["message"].contains("the run is over") && line["run"] == id));
    assert!(!format!("{:?}", captured.lines).contains("canary"), "inputs are not logged");
}
