//! The time that a step has left.
//!
//! A deadline is a time of the clock and a longest duration: setting the clock back never makes a wait longer.

use std::time::Duration;

use trunkline_core::{Error, ErrorKind, Result, StepPath, Timestamp};

use crate::run::time::Timer;

/// The time limit of a step: the earliest deadline of the timeouts around it.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// The deadline.
    pub(crate) until: Timestamp,
    /// The step whose timeout it is; the empty path for the run.
    of: StepPath,
    /// The length of that timeout.
    length: Duration,
}

/// The context key under which an error names the step that it ends. Only that step, or one around it, may handle it.
const ENDS: &str = "ends";
/// The value for an error that ends the run. No path has this form.
const THE_RUN: &str = "the run";

impl Bounds {
    /// Returns the limit of a whole run.
    pub(crate) fn of_run(until: Timestamp, length: Duration) -> Bounds {
        Bounds { until, of: StepPath::default(), length }
    }

    /// Returns this limit, or that of a step inside if its deadline is earlier.
    pub(crate) fn within(&self, of: &StepPath, until: Timestamp, length: Duration) -> Bounds {
        match until < self.until {
            true => Bounds { until, of: of.clone(), length },
            false => self.clone(),
        }
    }

    /// Returns the error for a deadline that has passed.
    pub(crate) fn error(&self) -> Error {
        let message = |what: &str| format!("{what} took longer than its timeout of {:?}", self.length);
        match self.of.as_str() {
            "" => ends_the_run(Error::new(ErrorKind::Timeout, message(THE_RUN))),
            step => Error::new(ErrorKind::Timeout, message(&format!("step {step}"))).with(ENDS, step),
        }
    }

    /// Returns a timer that ends at the deadline.
    pub(crate) fn timer(&self) -> Timer {
        Timer { until: self.until, longest: self.length }
    }

    /// Returns the time left.
    pub(crate) fn left(&self, now: Timestamp) -> Duration {
        self.until.since(now).min(self.length)
    }

    /// Returns this limit, extended where needed so that at least `length` is left.
    pub(crate) fn at_least(&self, now: Timestamp, length: Duration) -> Bounds {
        let until = self.until.max(now + length);
        Bounds::of_run(until, self.length.max(length))
    }

    /// Returns an error if the deadline has passed.
    pub(crate) fn check(&self, now: Timestamp) -> Result<()> {
        if now < self.until { Ok(()) } else { Err(self.error()) }
    }
}

/// Marks an error as one that ends the whole run.
pub(crate) fn ends_the_run(error: Error) -> Error {
    error.with(ENDS, THE_RUN)
}

/// Returns whether an error ends more than the step or item at this path.
pub(crate) fn ends_more_than(error: &Error, path: &StepPath) -> bool {
    error.context(ENDS).is_some_and(|of| of == THE_RUN || !StepPath::from(of).is_within(path))
}
