//! The instants at which a cron expression is due on the clock of a time zone, also when its clocks change.
//!
//! An expression with certain hours lists times of the day. Each is due at the first instant at which the clock shows
//! that time or a later one. So a time that clocks skip is due right after, and a time that they repeat is due once. An
//! expression with every hour is an interval: it is due whenever the clock shows one of its minutes, so that a repeated
//! hour is not a gap of two hours.
//!
//! croner has these rules too, but it takes an expression with a list, a range or a step for an interval, and loses a
//! time that is skipped at the end of a day. Therefore times of the day are searched on a clock that never changes, and
//! the time zone is applied here.

use croner::{Cron, CronIterator, Direction};
use jiff::{
    Timestamp, ToSpan, Zoned,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

/// A cron expression on the clock of a time zone.
#[derive(Debug)]
pub(super) struct Calendar {
    cron: Cron,
    zone: TimeZone,
    every_hour: bool,
}

impl Calendar {
    pub(super) fn new(cron: Cron, zone: TimeZone) -> Calendar {
        let every_hour = cron.pattern.hours.values().len() == 24;
        Calendar { cron, zone, every_hour }
    }

    /// Returns an instant as the clock shows it.
    pub(super) fn local(&self, at: Timestamp) -> Zoned {
        at.to_zoned(self.zone.clone())
    }

    /// Returns the first due instant after `after`.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let now = self.local(after);
        if self.every_hour {
            return self.cron.find_next_occurrence(&now, false).ok().map(|time| time.timestamp());
        }
        self.times(now.datetime(), Direction::Forward).filter_map(|time| self.due(time)).find(|at| *at > after)
    }

    /// Returns the due instants up to and including `now`, the latest first.
    pub(super) fn back_from(&self, now: Timestamp) -> Box<dyn Iterator<Item = Timestamp> + '_> {
        if self.every_hour {
            let times = self.cron.iter_from(self.local(now), Direction::Backward);
            return Box::new(times.map(|time| time.timestamp()));
        }
        let times = self.times(self.latest_shown(now), Direction::Backward);
        let mut last = None;
        // All times of the day that are skipped together are due at one instant.
        Box::new(times.filter_map(|time| self.due(time)).filter(move |at| last.replace(*at) != Some(*at)))
    }

    /// Returns the matching times of a clock that never changes, `from` included.
    fn times(&self, from: DateTime, direction: Direction) -> impl Iterator<Item = DateTime> + '_ {
        let from = from.to_zoned(TimeZone::UTC).ok();
        let times: Option<CronIterator<Zoned>> = from.map(|from| self.cron.iter_from(from, direction));
        times.into_iter().flatten().map(|time| time.datetime())
    }

    /// Returns the first instant at which the clock shows this time or a later one.
    fn due(&self, time: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(time).ok(),
            AmbiguousOffset::Gap { before, .. } => self.change_before(before.to_timestamp(time).ok()?),
        }
    }

    /// Returns the latest time that the clock has shown up to and including `now`. After clocks went back, it is later
    /// than the time that they show.
    fn latest_shown(&self, now: Timestamp) -> DateTime {
        let shown = self.local(now).datetime();
        let before = self.change_before(now).and_then(|change| change.checked_sub(1.second()).ok());
        before.map_or(shown, |before| shown.max(self.local(before).datetime()))
    }

    /// Returns the last change of clocks up to and including `at`.
    fn change_before(&self, at: Timestamp) -> Option<Timestamp> {
        let after = at.checked_add(1.nanosecond()).ok()?;
        self.zone.preceding(after).next().map(|change| change.timestamp())
    }
}
