//! The progress of a list: how many items it has, how many have ended and at which rate, and how long the rest may
//! take.
//!
//! It is derived from the times of events, so a process that only reads the journal computes the same figures.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::Serialize;
use trunkline_core::Timestamp;

use crate::run::{QuotaShare, time::milliseconds};

/// The length of one interval of a [`Rate`], in milliseconds.
const INTERVAL: u64 = 5_000;
/// The number of intervals in a minute.
const MINUTE: u64 = 60_000 / INTERVAL;
/// The number of intervals that a [`Rate`] keeps: two minutes, and the current one.
const INTERVALS: usize = 2 * MINUTE as usize + 1;
/// By how much two minutes may differ of which a forecast is made.
const STEADY: f64 = 0.1;

/// A rate per second over the last minute, and a forecast from it. All times of one rate must come from the same clock.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    began: Option<Timestamp>,
    /// The number of each interval since 1970, and the count in it.
    intervals: [(u64, u64); INTERVALS],
}

impl Rate {
    /// Starts counting at this time, unless counting has started.
    pub fn begin(&mut self, at: Timestamp) {
        self.began.get_or_insert(at);
    }

    /// Counts this many more at this time.
    pub fn add(&mut self, count: u64, at: Timestamp) {
        self.begin(at);
        let number = at.as_millis() / INTERVAL;
        let interval = &mut self.intervals[number as usize % INTERVALS];
        match interval.0 == number {
            true => interval.1 += count,
            false => *interval = (number, count),
        }
    }

    /// Returns the count in these intervals.
    fn count(&self, intervals: RangeInclusive<u64>) -> u64 {
        self.intervals.iter().filter(|(number, _)| intervals.contains(number)).map(|(_, count)| count).sum()
    }

    /// Returns the rate per second; nothing if there was nothing to count in the last minute.
    pub fn per_second(&self, now: Timestamp) -> Option<f64> {
        let first = (now.as_millis() / INTERVAL).saturating_sub(MINUTE - 1);
        let count = self.count(first..=u64::MAX);
        let began = self.began?.max(Timestamp::from_millis(first * INTERVAL));
        (count > 0).then(|| count as f64 / (milliseconds(now.since(began)).max(1) as f64 / 1e3))
    }

    /// Returns the time that this many more are likely to take, in milliseconds.
    ///
    /// A service whose limits are not known is fast until it throttles. So a forecast needs two minutes that differ by
    /// no more than a tenth. Before there are two minutes, it looks no further ahead than back.
    fn time_for(&self, more: u64, now: Timestamp) -> Option<u64> {
        let began = self.began?;
        let current = now.as_millis() / INTERVAL;
        let at = |rate: f64| (more as f64 / rate * 1e3) as u64;
        let first = current.checked_sub(2 * MINUTE).filter(|first| began.as_millis() <= first * INTERVAL);
        let Some(first) = first else {
            let elapsed = milliseconds(now.since(began));
            let rate = self.count(0..=current) as f64 / (elapsed.max(1) as f64 / 1e3);
            return (rate > 0.0).then(|| at(rate)).filter(|left| *left <= elapsed);
        };
        let older = self.count(first..=current - MINUTE - 1) as f64;
        let newer = self.count(current - MINUTE..=current - 1) as f64;
        let steady = (older - newer).abs() <= STEADY * older.max(newer) + 1.0;
        (steady && older + newer > 0.0).then(|| at((older + newer) / (2.0 * MINUTE as f64 * INTERVAL as f64 / 1e3)))
    }
}

/// The progress of a list.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ListProgress {
    /// The number of items read so far.
    pub listed: u64,
    /// Whether the list has been read to its end; otherwise, it may have more items.
    pub complete: bool,
    /// The number of items that have an outcome.
    pub ended: u64,
    /// The number of items per second that got an outcome in the last minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// The estimated time for the other items, in milliseconds, if the rate is steady; a lower bound while the list is
    /// not `complete`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// The share of a quota that the other items take, if the service states a quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaShare>,
}

impl ListProgress {
    /// Returns the progress with the time left as the rate of the ended items suggests.
    pub fn new(listed: u64, complete: bool, ended: u64, rate: &Rate, now: Timestamp) -> ListProgress {
        let listed = listed.max(ended);
        let left = match (listed - ended, complete) {
            (0, true) => Some(0),
            (left, _) => rate.time_for(left, now),
        };
        let per_second = rate.per_second(now).map(|rate| (rate * 1e3).round() / 1e3);
        ListProgress { listed, complete, ended, per_second, left, quota: None }
    }
}

/// The progress of an `each` step as its events report it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProgressCounter {
    listed: u64,
    complete: bool,
    ended: u64,
    rate: Rate,
}

impl ProgressCounter {
    /// Returns whether it is new that the list has at least this many items, or that it ends there.
    pub(crate) fn is_news(&self, items: u64, last: bool) -> bool {
        items > self.listed || (last && !self.complete)
    }

    pub(crate) fn listed(&mut self, items: u64, last: bool, at: Timestamp) {
        self.listed = self.listed.max(items);
        self.complete |= last;
        self.rate.begin(at);
    }

    /// Returns the number of items that have an outcome.
    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }

    pub(crate) fn item_ended(&mut self, at: Timestamp) {
        self.ended += 1;
        self.rate.add(1, at);
    }

    /// Restarts the rate after a pause in which nothing could end.
    pub(crate) fn restart(&mut self) {
        self.rate = Rate::default();
    }

    /// `finished` says that all pages are finished, so no more items will be listed.
    pub(crate) fn progress(&self, finished: bool, now: Timestamp) -> ListProgress {
        ListProgress::new(self.listed, self.complete || finished, self.ended, &self.rate, now)
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

    /// Returns the time left for 1,000 more after `minutes` in which this many ended in each second.
    fn left_after(minutes: &[u64]) -> Option<u64> {
        let mut rate = Rate::default();
        let at = |second: u64| Timestamp::from_millis(1_000_000 + second * 1000);
        rate.begin(at(0));
        for (second, count) in minutes.iter().flat_map(|count| [count; 60]).enumerate() {
            rate.add(*count, at(second as u64));
        }
        ListProgress::new(1000, false, 0, &rate, at(minutes.len() as u64 * 60)).left
    }

    #[test]
    fn time_left_is_estimated_from_two_minutes_that_are_alike() {
        assert_eq!(left_after(&[2, 2]), Some(500_000));
        assert_eq!(left_after(&[50, 2, 2]), Some(500_000), "what was before does not count");
        assert_eq!(left_after(&[50, 2]), None, "fast, and then throttled");
        assert_eq!(left_after(&[2, 50]), None);
        assert_eq!(left_after(&[0, 0]), None);
        // One minute is enough for less than a minute.
        assert_eq!((left_after(&[2]), left_after(&[20])), (None, Some(50_000)));
        let new = |listed, complete, ended| {
            ListProgress::new(listed, complete, ended, &Rate::default(), Timestamp::EPOCH).left
        };
        assert_eq!((new(100, true, 40), new(100, true, 100), new(100, false, 100)), (None, Some(0), None));
    }
}
