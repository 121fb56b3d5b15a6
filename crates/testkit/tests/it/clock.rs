//! Both clocks.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::process::Command;
use trunkline_core::{Clock, Timestamp};
use trunkline_testkit::clock::{ProcessClock, TestClock};

#[tokio::test(start_paused = true)]
async fn a_clock_follows_simulated_time_and_can_be_set_by_any_clone() {
    let clock = TestClock::default();
    let (other, before) = (clock.clone(), clock.now());
    let source: Arc<dyn Clock> = Arc::new(clock.clone());
    tokio::time::advance(Duration::from_secs(90)).await;
    assert_eq!(clock.now().since(before), Duration::from_secs(90));
    other.set_by(10_000);
    assert_eq!(source.now().since(before), Duration::from_secs(100));
    other.set_by(-90_000);
    assert_eq!((source.now(), clock.elapsed()), (before, Duration::from_secs(90)));
    // A clock cannot show a time before 1970.
    other.set_by(i64::MIN);
    assert_eq!(source.now(), Timestamp::EPOCH);
}

#[tokio::test]
async fn the_clock_of_a_process_is_set_while_it_runs() {
    let Some(library) = ProcessClock::library() else {
        let required = std::env::var_os("TRUNKLINE_REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(!required, "libfaketime is not installed: install the package libfaketime");
        return println!("skipped: libfaketime is not installed");
    };
    let folder = tempfile::tempdir().unwrap();
    let clock = ProcessClock::new(&library, folder.path().join("offset"));
    let shown = async || {
        let mut command = Command::new("date");
        clock.apply(command.arg("+%s"));
        let output = command.output().await.unwrap();
        let shown: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        shown.abs_diff(now)
    };
    assert!(shown().await < 60);
    clock.set("-10800");
    assert!(shown().await.abs_diff(10_800) < 60);
}
