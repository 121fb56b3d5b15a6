//! The time that a step has left.
//!
//! A deadline is a time of the clock and a longest duration: setting the clock back never makes a wait longer.

use std::time::Duration;

use trunkline_core::{Error, ErrorDetail, ErrorKind, Result, StepPath, Timestamp};

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
            "" => Error::new(ErrorKind::Timeout, message("the run")).with_detail(ErrorDetail::EndsRun),
            step => Error::new(ErrorKind::Timeout, message(&format!("step {step}")))
                .with_detail(ErrorDetail::EndsStep { step: step.to_owned() }),
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

/// Returns whether an error ends more than the step or item at this path.
pub(crate) fn ends_more_than(error: &Error, path: &StepPath) -> bool {
    error.details().iter().any(|detail| match detail {
        ErrorDetail::EndsRun => true,
        ErrorDetail::EndsStep { step } => !StepPath::from(&**step).is_within(path),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_scope_of_an_error_is_a_detail_and_not_a_text() {
        let (inside, outside) = (StepPath::from("all/a/copy"), StepPath::from("other"));
        let late = |text: &str| Error::new(ErrorKind::Timeout, text).with("ends", "nothing");
        for text in ["step all took longer than its timeout", "the run", ""] {
            let step = late(text).with_detail(ErrorDetail::EndsStep { step: "all".to_owned() });
            assert!(ends_more_than(&step, &inside) && ends_more_than(&step, &outside), "{text}");
            assert!(!ends_more_than(&step, &StepPath::from("all")), "the step itself may handle it");
            let run = late(text).with_detail(ErrorDetail::EndsRun);
            assert!([&inside, &outside].iter().all(|path| ends_more_than(&run, path)), "{text}");
            assert!(!ends_more_than(&late(text).with("ends", "the run"), &inside), "a fact decides nothing");
        }
    }

    /// A run that an earlier version has stopped is resumed: its recorded error ends as much as before.
    #[test]
    fn a_recorded_error_of_an_earlier_version_ends_as_much_as_before() {
        let recorded = |ends: &str| -> Error {
            let old =
                json!({ "kind": "timeout", "message": "late", "context": { "ends": ends, "step": "all/a/copy" } });
            serde_json::from_value(old).unwrap()
        };
        assert!(ends_more_than(&recorded("the run"), &StepPath::from("all")));
        assert!(ends_more_than(&recorded("all"), &StepPath::from("all/a/copy")));
        assert!(!ends_more_than(&recorded("all"), &StepPath::from("all")));
        assert_eq!(recorded("all").step(), Some("all/a/copy"));
    }
}
