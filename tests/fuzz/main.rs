//! Fuzz targets: readers of documents and of headers keep their promises for every input.
//!
//! A run takes two seconds for each target, or as many as `FUZZ_SECONDS` says. See `engine` for how a run is repeated.
#![allow(clippy::unwrap_used)]

mod engine;
mod mutate;
mod targets;

use std::time::Duration;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use trunkline as _;

use engine::{Fault, Fuzz};

#[test]
fn flows_are_read_and_checked() {
    Fuzz::new("flow", &["docs/cookbook", "tests/fixtures/flows"], targets::flow).check();
}

#[test]
fn expressions_are_evaluated() {
    Fuzz::new("expression", &[], targets::expression).check();
}

#[test]
fn rows_of_connectors_are_read() {
    let folders = ["connectors/mediaflow/operations", "connectors/mediavalet/operations"];
    Fuzz::new("row", &folders, targets::row).check();
}

#[test]
fn settings_of_connections_are_checked() {
    Fuzz::new("connection", &[], targets::connection).check();
}

#[test]
fn deliveries_of_webhooks_are_read() {
    assert!(targets::SIGNATURES.len() >= 20, "{} signatures", targets::SIGNATURES.len());
    Fuzz::new("webhook", &[], targets::webhook).check();
}

#[test]
fn headers_of_responses_are_read() {
    Fuzz::new("headers", &[], targets::headers).check();
}

// The sabotage twins: targets with a fault, of each kind that there is.

/// Runs a target with a fault for as long as it takes, at most half a minute. Returns the kind of the fault.
fn find(name: &'static str, most_memory: u64, target: fn(&[u8])) -> Option<Fault> {
    let fuzz = Fuzz::new("flow", &[], target);
    let found = Fuzz { name, most_memory, time: Duration::from_secs(30), ..fuzz }.run();
    found.map(|found| found.fault)
}

/// Whether an input has been changed to one that no input of the corpus is: a flow in which a text has two quotes.
fn is_rare(input: &[u8]) -> bool {
    input.windows(3).any(|part| part == b"\"\"\"")
}

#[test]
fn a_panic_at_a_rare_input_is_found() {
    let planted = |input: &[u8]| {
        targets::flow(input);
        assert!(!is_rare(input), "planted");
    };
    assert_eq!(find("planted-panic", u64::MAX, planted), Some(Fault::Panic));
}

#[test]
fn an_input_that_takes_too_long_is_found() {
    let planted = |input: &[u8]| {
        if is_rare(input) {
            std::thread::sleep(Duration::from_millis(1_100));
        }
    };
    assert_eq!(find("planted-sleep", u64::MAX, planted), Some(Fault::Slow));
}

#[test]
#[ignore = "runs in a process of its own, as a part of the next test"]
fn planted_memory() {
    let planted = |input: &[u8]| {
        if is_rare(input) {
            std::hint::black_box(vec![1_u8; 600 << 20]);
        }
    };
    println!("found {:?}", find("planted-memory", 600 << 10, planted));
}

#[test]
#[cfg(target_os = "linux")]
fn an_input_that_needs_too_much_memory_is_found() {
    let mut this = std::process::Command::new(std::env::current_exe().unwrap());
    let output = this.args(["--exact", "planted_memory", "--ignored", "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("found Some(Memory)"), "{text}");
}

#[test]
fn a_valid_signature_fails_the_property_of_the_webhook_target() {
    const KNOWN: &str = "It's a Secret to All";
    let body = r#"{"zen":"Keep it logically awesome."}"#;
    let mac = Hmac::<Sha256>::new_from_slice(KNOWN.as_bytes()).unwrap().chain_update(body);
    let signature = HEXLOWER.encode(&mac.finalize().into_bytes());
    let input = format!("POST /hook github\nx-hub-signature-256: sha256={signature}\n\n{body}");
    let fuzz = Fuzz::new("webhook", &[], |input| targets::delivery(input, KNOWN));
    let forged = Fuzz { name: "planted-signature", corpus: vec![input.into_bytes()], time: Duration::ZERO, ..fuzz };
    let found = forged.run().unwrap();
    assert_eq!((found.fault, found.why.as_str()), (Fault::Panic, "a forged signature of github is valid"));
}
