//! How much memory other processes need, on Linux.

use std::{fs, time::Duration};

use tokio::task::JoinHandle;

/// What `/proc/PID/status` says of a process that has not ended, in KiB; see proc_pid_status(5).
pub fn status(process: u32, member: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let value = |line: &str| line.strip_prefix(member)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse().ok();
    status.lines().find_map(value)
}

/// The most memory that a process has had when it ends, in KiB.
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
