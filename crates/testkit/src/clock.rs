//! Clocks that a test can move.
//!
//! [`TestClock`] is the clock of code in the process of the test: it follows tokio's time, so with `start_paused` an
//! hour passes at once, and it can be set forwards and back as an operator or a time server sets a system clock.
//! [`ProcessClock`] does the same to the system clock of another process.
//!
//! ```
//! use std::time::Duration;
//! use trunkline_core::Clock;
//! use trunkline_testkit::clock::TestClock;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let clock = TestClock::default();
//! let before = clock.now();
//! tokio::time::sleep(Duration::from_secs(3600)).await;
//! assert_eq!(clock.now().since(before), Duration::from_secs(3600));
//! // Somewhere, the clock is set back by two hours: an hour before `before`.
//! clock.set_by(-2 * 3_600_000);
//! assert_eq!(before.since(clock.now()), Duration::from_secs(3600));
//! assert_eq!(clock.elapsed(), Duration::from_secs(3600));
//! # }
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::{process::Command, time::Instant};
use trunkline_core::{Clock, Timestamp};

/// The time of a new clock in milliseconds since 1970: in November 2023.
const START: i64 = 1_700_000_000_000;

/// A clock that follows tokio's time and can be set. Its clones are the same clock.
#[derive(Clone, Debug)]
pub struct TestClock {
    began: Instant,
    moved: Arc<AtomicI64>,
}

impl Default for TestClock {
    fn default() -> Self {
        TestClock { began: Instant::now(), moved: Arc::default() }
    }
}

impl TestClock {
    /// Returns the time that has really passed since the clock was made, however it was set.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Sets the clock to this many milliseconds ahead of the true time, or behind it.
    pub fn set_by(&self, milliseconds: i64) {
        self.moved.store(milliseconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.elapsed().as_millis()).unwrap_or(i64::MAX);
        let shown = START.saturating_add(elapsed).saturating_add(self.moved.load(Ordering::SeqCst));
        Timestamp::from_millis(u64::try_from(shown).unwrap_or_default())
    }
}

/// The system clock of other processes, by libfaketime: it can be set while they run. Timers of the processes, which
/// follow the monotonic clock, stay true.
#[derive(Debug)]
pub struct ProcessClock {
    library: PathBuf,
    file: PathBuf,
}

impl ProcessClock {
    /// Returns the path of libfaketime, or `None` if the machine does not have it (package `libfaketime`).
    pub fn library() -> Option<PathBuf> {
        let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
        folders.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|path| path.exists())
    }

    /// Creates a clock that is true until it is set. Its offset is in a new file at `file`.
    ///
    /// # Panics
    ///
    /// If the file cannot be written.
    pub fn new(library: &Path, file: PathBuf) -> ProcessClock {
        let clock = ProcessClock { library: library.to_owned(), file };
        clock.set("+0");
        clock
    }

    /// Gives the clock to a command that is not started yet.
    pub fn apply(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }

    /// Sets the clock ahead of the true time, or behind it, in seconds: `+10800`, `-10800`.
    ///
    /// # Panics
    ///
    /// If the file cannot be written.
    pub fn set(&self, seconds: &str) {
        fs::write(&self.file, seconds).expect("the file of the clock can be written");
    }
}
