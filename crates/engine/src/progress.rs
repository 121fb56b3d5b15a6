//! How far a list is: how many items there are, how many have ended, how many a second do, and how long the rest may take.

use serde::Serialize;
use trunkline_core::Timestamp;

use crate::time::milliseconds;

/// A rate is that of the last minute, counted in parts of five seconds.
const PART: u64 = 5_000;
const PARTS: usize = 12;

/// How many a second, over the last minute. All times of one rate come from the same clock.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    since: Option<Timestamp>,
    parts: [(u64, u64); PARTS],
}

impl Rate {
    /// Begins to count, if it has not begun.
    pub fn begin(&mut self, at: Timestamp) {
        self.since.get_or_insert(at);
    }

    /// So many more.
    pub fn add(&mut self, count: u64, at: Timestamp) {
        self.begin(at);
        let number = at.as_millis() / PART;
        let part = &mut self.parts[number as usize % PARTS];
        match part.0 == number {
            true => part.1 += count,
            false => *part = (number, count),
        }
    }

    /// How many a second; nothing until there was one.
    pub fn per_second(&self, now: Timestamp) -> Option<f64> {
        let first = (now.as_millis() / PART).saturating_sub(PARTS as u64 - 1);
        let count: u64 = self.parts.iter().filter(|(number, _)| *number >= first).map(|(_, count)| count).sum();
        let since = self.since?.max(Timestamp::from_millis(first * PART));
        (count > 0).then(|| count as f64 / (milliseconds(now.since(since)).max(1) as f64 / 1e3))
    }
}

/// How far a list is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListProgress {
    /// How many items it has, as far as it has been read.
    pub listed: u64,
    /// Whether it has been read to its end: else there may be more.
    pub complete: bool,
    /// How many items have an outcome.
    pub ended: u64,
    /// How many a second got one in the last minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// How long the others may take, in milliseconds; at least that long, while the list is not `complete`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
}

impl ListProgress {
    /// With the time left, reckoned by the rate.
    pub fn new(listed: u64, complete: bool, ended: u64, per_second: Option<f64>) -> ListProgress {
        let listed = listed.max(ended);
        let left = match (listed - ended, complete) {
            (0, true) => Some(0),
            (left, _) => per_second.map(|rate| (left as f64 / rate * 1e3) as u64),
        };
        ListProgress { listed, complete, ended, per_second: per_second.map(|rate| (rate * 1e3).round() / 1e3), left }
    }
}

/// What the events of an `each` say of that.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    listed: u64,
    complete: bool,
    ended: u64,
    rate: Rate,
}

impl Listed {
    /// The list has so many items as far as it has been read. Whether that was not known before.
    pub(crate) fn is_news(&self, items: u64, last: bool) -> bool {
        items > self.listed || (last && !self.complete)
    }

    pub(crate) fn known(&mut self, items: u64, last: bool, at: Timestamp) {
        self.listed = self.listed.max(items);
        self.complete |= last;
        self.rate.begin(at);
    }

    /// How many items have an outcome.
    pub(crate) fn count(&self) -> u64 {
        self.ended
    }

    pub(crate) fn ended(&mut self, at: Timestamp) {
        self.ended += 1;
        self.rate.add(1, at);
    }

    /// It goes on after a while in which nothing could end.
    pub(crate) fn again(&mut self) {
        self.rate = Rate::default();
    }

    /// `through`: whether all pages have been dealt with, so that nothing is listed any more.
    pub(crate) fn progress(&self, through: bool, now: Timestamp) -> ListProgress {
        ListProgress::new(self.listed, self.complete || through, self.ended, self.rate.per_second(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let at = Timestamp::from_millis;
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(at(5)), None);
        // A hundred in the first ten seconds, then two a second.
        rate.add(100, at(1_000_000));
        for second in 10..200 {
            rate.add(2, at(1_000_000 + second * 1000));
        }
        let now = rate.per_second(at(1_200_000)).unwrap();
        assert!((1.9..2.2).contains(&now), "{now}");
        assert_eq!(rate.per_second(at(1_300_000)), None, "nothing in the last minute");
    }

    #[test]
    fn time_left_is_reckoned_only_from_what_is_known() {
        let left = |listed, complete, ended, rate| ListProgress::new(listed, complete, ended, rate).left;
        assert_eq!(left(100, true, 40, Some(2.0)), Some(30_000));
        assert_eq!(left(100, true, 40, None), None, "no rate, no time");
        assert_eq!(left(100, false, 40, Some(2.0)), Some(30_000), "at least");
        assert_eq!((left(100, true, 100, None), left(100, false, 100, None)), (Some(0), None));
    }
}
