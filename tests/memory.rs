//! Memory does not grow with the size of a file: gigabytes go through a process that needs a few megabytes more than an idle
//! one.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::{fs, time::Duration};

use trunkline_sandbox::{Faults, Options};
use trunkline_tests::{Answer, Cli, finish, flow_input, sandbox, shipped_flow};

/// What a copy may need on top of an idle process, in KiB.
const ALLOWED: u64 = 64 * 1024;
/// What it may need in all, in KiB.
const MOST: u64 = 128 * 1024;

/// The most memory a process has had so far, in KiB; `None` when it has ended.
fn high_water_mark(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

/// Runs the shipped flow over a library of so many files of one size, and tells the most memory it needed.
async fn peak(files: u64, size: u64) -> (u64, Answer) {
    // So that also the shortest run can be looked at.
    let faults = Faults { latency: Duration::from_millis(if files == 0 { 100 } else { 0 }), ..Faults::default() };
    let options =
        Options { files, min_size: size, max_size: size, processing: Duration::ZERO, faults, ..Options::default() };
    let sandbox = sandbox(options).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    let (flow, input) = (shipped_flow(), flow_input(&sandbox).to_string());
    let child = cli.start(&["run", flow.to_str().unwrap(), "--input", &input, "--json"]);
    let process = child.id().unwrap();
    let watch = tokio::spawn(async move {
        let mut peak = 0;
        while let Some(mark) = high_water_mark(process) {
            peak = mark.max(peak);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        peak
    });
    let answer = finish(child).await.expect(0);
    let report = sandbox.report();
    assert_eq!((report.uploaded, report.bytes, report.digest_mismatches), (files, files * size, 0));
    sandbox.stop().await;
    (watch.await.unwrap(), answer)
}

async fn copy(size: u64) {
    let (idle, _) = peak(0, 1).await;
    let (copying, answer) = peak(1, size).await;
    assert_eq!(answer.json()["ledger"]["files"]["done"], 1);
    println!("{size} bytes: idle {idle} KiB, copying {} KiB above", copying.saturating_sub(idle));
    assert!(idle > 1_000, "an idle process was measured: {idle} KiB");
    assert!(copying < idle + ALLOWED && copying < MOST, "{copying} KiB instead of {idle} KiB when idle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_goes_through_a_few_megabytes() {
    copy(1 << 30).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and 10 GB on the disk for the staged blocks"]
async fn ten_gigabytes_go_through_a_few_megabytes() {
    copy(10_000_000_000).await;
}
