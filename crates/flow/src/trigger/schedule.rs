//! The schedule of a flow: a cron expression on the clock of a time zone.
//!
//! A schedule does not count ticks. It lists the times that are due since the last one it handled, so a restart, a late
//! look or a clock change neither repeats nor loses a time. `missed` says what happens to times that were due while no
//! server ran.

use std::time::Duration;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_core::{Diagnostic, Timestamp};

use crate::{
    steps::reader::Reader,
    trigger::{calendar::Calendar, cron_expression},
};

/// A due time that is noticed at most this late is not missed.
const ON_TIME: Duration = Duration::from_secs(60);
/// The number of missed times that are made up for at most.
const MOST_MISSED: usize = 100;

/// When runs are started.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScheduleDocument {
    /// Minute, hour, day of the month, month and day of the week, such as `30 2 * * 1-5`. Each is `*`, a number, a range
    /// (`1-5`), a step (`*/15`, `8-18/2`), or a list of them (`0,30`). Months and weekdays may be names (`JAN`, `MON`), 0
    /// and 7 are Sunday, and L is the last day of the month. If the day of the month and the day of the week are both
    /// limited, a day that fits one of them is enough. If clocks go forward and skip a time of day, the run starts right
    /// after; if they go back and repeat one, it starts once. With every hour (`*`), a schedule is an interval instead:
    /// a run starts whenever the clock shows one of the minutes, so none in a skipped hour, and again in a repeated one.
    #[schemars(length(min = 1))]
    pub(crate) cron: String,
    /// The time zone of the clock: a name of the IANA time zone database, such as `Europe/Stockholm`.
    #[serde(default = "utc")]
    pub(crate) timezone: String,
    /// What happens to times that were due while the server was down.
    #[serde(default)]
    pub(crate) missed: Missed,
}

/// What happens to times that were due while the server was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// No run starts.
    Skip,
    /// One run starts, for the last of them.
    #[default]
    One,
    /// A run starts for each of them, at most for the last 100.
    All,
}

fn utc() -> String {
    "UTC".into()
}

/// The times at which runs of a flow start.
#[derive(Debug)]
pub struct Schedule {
    calendar: Calendar,
    missed: Missed,
}

impl Schedule {
    /// Reads a schedule; `None` if it is not valid, which is reported to the reader.
    pub(crate) fn read(document: &ScheduleDocument, reader: &mut Reader) -> Option<Schedule> {
        let cron = cron_expression::read(&document.cron).map_err(|fault| {
            let message = format!("{:?} is not a valid cron expression: {}", document.cron, fault.reason);
            Diagnostic::error("/trigger/schedule/cron", message).hint(fault.hint)
        });
        let zone = TimeZone::get(&document.timezone).map_err(|_| {
            let message = format!("there is no time zone {}", document.timezone);
            Diagnostic::error("/trigger/schedule/timezone", message)
                .hint("use a name of the IANA database, such as Europe/Stockholm, or UTC")
        });
        match (cron, zone) {
            (Ok(cron), Ok(zone)) => Some(Schedule { calendar: Calendar::new(cron, zone), missed: document.missed }),
            (cron, zone) => {
                reader.found.extend([cron.err(), zone.err()].into_iter().flatten());
                None
            }
        }
    }

    /// Returns the due times after `through`, up to and including `now`, oldest first. `missed` decides which of the
    /// times that were missed are among them.
    pub fn due(&self, through: Timestamp, now: Timestamp) -> Vec<Timestamp> {
        let times = self.calendar.back_from(now.into()).map(Timestamp::from);
        let mut times = times.take_while(|time| *time > through);
        let mut due: Vec<_> = match self.missed {
            Missed::Skip => times.next().filter(|last| now.since(*last) <= ON_TIME).into_iter().collect(),
            Missed::One => times.next().into_iter().collect(),
            Missed::All => times.take(MOST_MISSED).collect(),
        };
        due.reverse();
        due
    }

    /// Returns the first due time after `after`, if there is one.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.calendar.next(after.into()).map(Timestamp::from)
    }

    /// Returns the input of a run for this time.
    pub fn input(&self, at: Timestamp) -> Value {
        // With the offset of the zone, so that the text shows the local time.
        let at = self.calendar.local(at.into()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        json!({ "at": at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    /// Milliseconds since 1970: the tests calculate with them.
    fn at(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_millis()
    }

    fn due(schedule: &Schedule, through: u64, now: u64) -> Vec<u64> {
        let due = schedule.due(Timestamp::from_millis(through), Timestamp::from_millis(now));
        due.into_iter().map(Timestamp::as_millis).collect()
    }

    fn next(schedule: &Schedule, after: u64) -> Option<u64> {
        schedule.next(Timestamp::from_millis(after)).map(Timestamp::as_millis)
    }

    fn schedule(cron: &str, timezone: &str, missed: Missed) -> Schedule {
        let document = ScheduleDocument { cron: cron.into(), timezone: timezone.into(), missed };
        let mut reader = Reader::default();
        let schedule = Schedule::read(&document, &mut reader);
        assert!(reader.found.is_empty(), "{:?}", reader.found);
        schedule.unwrap()
    }

    fn local(schedule: &Schedule, from: &str, to: &str) -> Vec<String> {
        let due = due(schedule, at(from), at(to));
        due.into_iter()
            .map(|at| schedule.input(Timestamp::from_millis(at))["at"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_time_is_due_exactly_once() {
        for missed in [Missed::Skip, Missed::One, Missed::All] {
            let schedule = schedule("*/10 * * * *", "UTC", missed);
            let (mut through, mut found) = (at("2026-05-01T00:00:00Z"), Vec::new());
            for look in 1..=3600 {
                let now = at("2026-05-01T00:00:00Z") + look * 1000;
                for time in due(&schedule, through, now) {
                    through = time;
                    found.push(time);
                }
            }
            let expected: Vec<_> = (1..=6).map(|n| at("2026-05-01T00:00:00Z") + n * 600_000).collect();
            assert_eq!(found, expected, "{missed:?}");
            assert_eq!(next(&schedule, through), Some(through + 600_000));
        }
    }

    /// The scheduler looks at any millisecond, not on the full minute.
    #[test]
    fn a_due_time_does_not_depend_on_when_the_scheduler_looks() {
        let schedule = schedule("* * * * *", "Europe/Stockholm", Missed::All);
        let two = at("2026-05-01T02:00:00Z");
        for late in [0, 1, 499, 999, 1_000, 59_999] {
            assert_eq!(due(&schedule, two - 1, two + late), [two], "{late} ms late");
            assert_eq!(due(&schedule, two - 60_001, two + late), [two - 60_000, two], "{late} ms late");
            assert_eq!(due(&schedule, two, two + late), [0; 0], "it was handled");
        }
        assert_eq!(due(&schedule, two - 1, two - 1), [0; 0]);
        assert_eq!(next(&schedule, two - 1), Some(two));
    }

    #[test]
    fn missed_times_are_due_as_the_setting_says() {
        let times = |missed, to| local(&schedule("0 2 * * *", "UTC", missed), "2026-05-01T02:00:00Z", to);
        let late = "2026-05-04T09:00:00Z";
        assert_eq!(times(Missed::Skip, late), [""; 0]);
        assert_eq!(times(Missed::One, late), ["2026-05-04T02:00:00+00:00"]);
        let all = ["2026-05-02T02:00:00+00:00", "2026-05-03T02:00:00+00:00", "2026-05-04T02:00:00+00:00"];
        assert_eq!(times(Missed::All, late), all);
        // On time, although times before it were missed.
        assert_eq!(times(Missed::Skip, "2026-05-04T02:00:30Z"), all[2..]);
        let ages = due(&schedule("* * * * *", "UTC", Missed::All), 0, at("2026-05-04T02:00:30Z"));
        assert_eq!((ages.len(), ages[99]), (MOST_MISSED, at("2026-05-04T02:00:00Z")), "bounded, and the last ones");
        // After the clock was set back, no time is due until it has caught up.
        assert_eq!(times(Missed::All, "2026-04-01T00:00:00Z"), [""; 0]);
    }

    #[test]
    fn a_time_of_day_is_due_once_when_clocks_change() {
        // Sweden: on 29 March 2026, 02:00 is 03:00; on 25 October, 03:00 is 02:00 again.
        let nightly = schedule("30 2 * * *", "Europe/Stockholm", Missed::All);
        let spring = local(&nightly, "2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z");
        assert_eq!(spring, ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]);
        let autumn = local(&nightly, "2026-10-23T12:00:00Z", "2026-10-26T12:00:00Z");
        assert_eq!(autumn, ["2026-10-24T02:30:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]);
        // A look every minute finds the same times as one late look, and searching forwards the same as backwards.
        for (from, hours) in [("2026-03-27T12:00:00Z", 72), ("2026-10-23T12:00:00Z", 72)] {
            for cron in ["30 2 * * *", "0,30 1-3 * * *", "*/20 * * * *"] {
                let schedule = schedule(cron, "Europe/Stockholm", Missed::All);
                let (start, end) = (at(from), at(from) + hours * HOUR);
                let mut steps = Vec::new();
                let mut through = start;
                for now in (start..=end).step_by(60_000) {
                    for time in due(&schedule, through, now) {
                        through = time;
                        steps.push(time);
                    }
                }
                let forwards: Vec<_> = std::iter::successors(next(&schedule, start), |time| next(&schedule, *time))
                    .take_while(|time| *time <= end)
                    .collect();
                assert_eq!(steps, forwards, "{cron} from {from}");
                let last = forwards.len().min(MOST_MISSED);
                assert_eq!(due(&schedule, start, end), forwards[forwards.len() - last..], "{cron} from {from}");
            }
        }
    }
}
