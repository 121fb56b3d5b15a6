//! `kill -9` at chosen points, again and again.
//!
//! The idea: a kill suite says how its process starts, what counts as progress, and what must hold after each kill.
//! The plan says how far each process gets. A kill at a random point is repeated with the seed that
//! [`Dice`] has printed.
//!
//! ```no_run
//! use tokio::process::Command;
//! use trunkline_testkit::{kill::{KillPlan, Killed}, process::TestProcess};
//!
//! /// A program that appends lines to a file, and continues where an earlier process has stopped.
//! struct Writer;
//!
//! impl Killed for Writer {
//!     async fn start(&mut self, _kills: usize) -> TestProcess {
//!         TestProcess::spawn(Command::new("writer").arg("lines.txt"))
//!     }
//!     async fn progress(&mut self) -> u64 {
//!         std::fs::read_to_string("lines.txt").map_or(0, |text| text.lines().count() as u64)
//!     }
//!     async fn check(&mut self, kills: usize) {
//!         assert!(std::fs::read_to_string("lines.txt").unwrap().ends_with('\n'), "after kill {kills}");
//!     }
//! }
//!
//! # async fn test() {
//! let last = KillPlan { kills: 20, progress: 1..100, pause: 0..20 }.play(&mut Writer).await;
//! last.finish().await.expect(0);
//! # }
//! ```

use std::{future::Future, ops::Range, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    dice::Dice,
    process::{LONG, TestProcess},
};

/// The time between two looks at the progress of a process: short, so that every point can be hit.
const LOOK: Duration = Duration::from_millis(3);

/// The result of an attempt to kill a process.
#[derive(Debug)]
#[must_use]
pub enum Strike {
    /// The process was killed.
    Hit,
    /// The process had ended before.
    Missed(Box<TestProcess>),
}

impl TestProcess {
    /// Kills the process once `reached` returns true and `pause` has passed since then.
    ///
    /// # Panics
    ///
    /// If `reached` stays false for [`LONG`].
    pub async fn strike(mut self, pause: Duration, mut reached: impl AsyncFnMut() -> bool) -> Strike {
        let deadline = Instant::now() + LONG;
        while !reached().await {
            if self.has_ended() {
                return Strike::Missed(Box::new(self));
            }
            assert!(Instant::now() < deadline, "the process has not reached the point of its kill");
            sleep(LOOK).await;
        }
        sleep(pause).await;
        if self.has_ended() {
            return Strike::Missed(Box::new(self));
        }
        self.kill().await;
        Strike::Hit
    }
}

/// A program that survives kills: what a kill suite supplies.
pub trait Killed {
    /// Starts the program, or resumes its work after this number of kills.
    fn start(&mut self, kills: usize) -> impl Future<Output = TestProcess>;

    /// Returns a number that grows while the program makes progress, such as the requests that it has sent.
    fn progress(&mut self) -> impl Future<Output = u64>;

    /// Checks what the killed process has left, before the next one starts. `kills` counts the kill.
    fn check(&mut self, kills: usize) -> impl Future<Output = ()>;
}

/// How often and when a program is killed.
#[derive(Clone, Debug)]
pub struct KillPlan {
    /// The number of kills.
    pub kills: usize,
    /// The progress that each process makes before it is killed: a random number of this range.
    pub progress: Range<u64>,
    /// The milliseconds after that progress: a random number of this range.
    pub pause: Range<u64>,
}

impl KillPlan {
    /// Kills a program as often as planned. Returns the process that follows the last kill.
    ///
    /// # Panics
    ///
    /// If a process ends before its kill, makes no progress, or leaves what [`Killed::check`] does not accept.
    pub async fn play(&self, program: &mut impl Killed) -> TestProcess {
        let mut dice = Dice::default();
        let mut process = program.start(0).await;
        for kill in 1..=self.kills {
            let goal = program.progress().await + dice.roll(self.progress.start, self.progress.end);
            let pause = dice.pause(&self.pause);
            if let Strike::Missed(ended) = process.strike(pause, async || program.progress().await >= goal).await {
                panic!("the process ended before kill {kill}: {:?}", ended.finish().await);
            }
            program.check(kill).await;
            process = program.start(kill).await;
        }
        process
    }
}
