//! Measures how much memory other processes use, on Linux.
#![allow(clippy::unwrap_used)]

use std::{fs, time::Duration};

use tokio::task::JoinHandle;
use trunkline_sandbox::{Faults, Options};

use crate::{Cli, CommandOutput, finish, flow_input, sandbox, shipped_flow};

/// Returns a member of `/proc/PID/status` in KiB, or `None` if the process has ended; see proc_pid_status(5).
pub fn status(process: u32, member: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let value = |line: &str| line.strip_prefix(member)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse().ok();
    status.lines().find_map(value)
}

/// Watches a process until it ends, and returns the most memory that it used, in KiB.
pub fn peak(process: u32) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut peak = 0;
        while let Some(mark) = status(process, "VmHWM") {
            peak = mark.max(peak);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        peak
    })
}

/// Runs the shipped flow over a library of `files` files of `size` bytes. Returns the most memory that it used, in KiB,
/// and the output of the command.
pub async fn peak_of_copies(files: u64, size: u64) -> (u64, CommandOutput) {
    // A run without files has to last long enough to be measured.
    let faults = Faults { latency: Duration::from_millis(if files == 0 { 100 } else { 0 }), ..Faults::default() };
    let options =
        Options { files, min_size: size, max_size: size, processing: Duration::ZERO, faults, ..Options::default() };
    let sandbox = sandbox(options).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    let (flow, input) = (shipped_flow(), flow_input(&sandbox).to_string());
    let child = cli.start(&["run", flow.to_str().unwrap(), "--input", &input, "--json"]);
    let watch = peak(child.id().unwrap());
    let answer = finish(child).await.expect(0);
    let report = sandbox.report();
    assert_eq!((report.uploaded, report.bytes, report.digest_mismatches), (files, files * size, 0));
    sandbox.stop().await;
    (watch.await.unwrap(), answer)
}
