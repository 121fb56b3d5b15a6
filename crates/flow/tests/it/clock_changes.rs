//! Schedules on the days on which clocks change, against a walk over every minute with the time zones of Python: see
//! `clock_changes.py`.
#![allow(clippy::unwrap_used)]

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use croner::Cron;
use jiff::tz::TimeZone;
use serde_json::json;
use trunkline_core::Timestamp;
use trunkline_flow::{Flow, Schedule, Trigger};
use trunkline_testkit::dice::Dice;

/// Clocks change by an hour, by half an hour (Lord Howe), by two (Troll) or three (Casey), at midnight (Santiago, Beirut,
/// Cairo, Havana, Tehran, Asuncion), at the end of a day (Nuuk), around a month (Casablanca, Gaza), once for good (Sao
/// Paulo, Pyongyang), and not at all (Kolkata, UTC).
const ZONES: [&str; 22] = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Asuncion",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kolkata",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Europe/Stockholm",
    "Pacific/Apia",
    "Pacific/Chatham",
    "UTC",
];
/// The ten years, which have ended: an older or newer database of time zones does not change them.
const YEARS: std::ops::Range<i16> = 2016..2026;

const MINUTES: [&str; 10] = ["0", "30", "0,30", "*/15", "*/20", "5-50/15", "59", "0,1,59", "45-50", "7"];
const HOURS: [&str; 15] =
    ["0", "1", "2", "3", "23", "0,23", "2,3", "1-3", "0-4/2", "*/2", "*/3", "22-23", "0-22", "*", "0-23"];
const DAYS: [&str; 8] =
    ["* * *", "1-7 * *", "*/2 * 0", "* 3,4,10,11 *", "* * 0", "* * 5-7", "25-31 3-4,9-11 *", "1,15 * 1-5/2"];

fn flow(cron: &str, zone: &str) -> Flow {
    let trigger = json!({ "schedule": { "cron": cron, "timezone": zone, "missed": "all" } });
    Flow::from_value(json!({ "name": "nightly", "steps": [], "trigger": trigger })).unwrap()
}

fn schedule(flow: &Flow) -> &Schedule {
    match flow.trigger() {
        Some(Trigger::Schedule(schedule)) => schedule,
        other => panic!("{other:?}"),
    }
}

fn at(minute: u64) -> Timestamp {
    Timestamp::from_millis(minute * 60_000)
}

fn minute(at: Timestamp) -> u64 {
    at.as_millis() / 60_000
}

/// Returns the due minutes from `from` on, before `to`, searched forwards.
fn forwards(schedule: &Schedule, from: u64, to: u64) -> Vec<u64> {
    let first = schedule.next(at(from - 1));
    let times = std::iter::successors(first, |time| schedule.next(*time));
    times.map(minute).take_while(|time| *time < to).collect()
}

/// Like [`forwards`], searched backwards by the looks of a scheduler that finds at most the last hundred times.
fn backwards(schedule: &Schedule, from: u64, to: u64) -> Vec<u64> {
    let mut found = Vec::new();
    let mut end = to;
    loop {
        let due = schedule.due(at(from - 1), at(end - 1));
        found.extend(due.iter().rev().copied().map(minute));
        match due.first() {
            Some(first) => end = minute(*first),
            None => break,
        }
    }
    found.reverse();
    found
}

/// The walk, in a process of its own.
struct Walk {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Walk {
    /// Starts Python; `None`, with the reason printed, if it or its time zones are missing.
    fn start() -> Option<Walk> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clock_changes.py");
        let mut python = Command::new("python3");
        let started = python.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let walk = started.ok().map(|mut process| {
            let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
            Walk { process, input, output: BufReader::new(output) }
        });
        let works = walk.and_then(|mut walk| walk.due("Europe/Stockholm", 0, 1, &["* * * * *"]).map(|_| walk));
        if works.is_none() {
            let why = "there is no python3 (3.9 or newer) with time zones";
            let required = env::var_os("TRUNKLINE_REQUIRE_PEERS").is_some_and(|value| value == "1");
            assert!(!required, "{why}");
            println!("skipped: {why}");
        }
        works
    }

    /// Returns the due minutes of each expression from `from` on, before `to`; `None` if Python cannot say it.
    fn due(&mut self, zone: &str, from: u64, to: u64, crons: &[&str]) -> Option<Vec<Vec<u64>>> {
        let period = json!({ "zone": zone, "from": from, "to": to, "crons": crons });
        writeln!(self.input, "{period}").ok()?;
        let lines = crons.iter().map(|_| {
            let mut line = String::new();
            self.output.read_line(&mut line).ok()?;
            serde_json::from_str(&line).ok()
        });
        lines.collect()
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Returns the minutes in which a year of UTC begins and ends.
fn year(year: i16) -> (u64, u64) {
    let begins = |year| jiff::civil::date(year, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp().as_second() / 60;
    (begins(year).try_into().unwrap(), begins(year + 1).try_into().unwrap())
}

/// Returns expressions with lists, ranges and steps.
fn expressions(dice: &mut Dice, count: usize) -> Vec<String> {
    let mut pick = |from: &[&str]| from[usize::try_from(dice.roll(0, from.len() as u64)).unwrap()].to_owned();
    (0..count).map(|_| format!("{} {} {}", pick(&MINUTES), pick(&HOURS), pick(&DAYS))).collect()
}

/// Compares the schedules of a zone with the walk.
fn compare(walk: &mut Walk, zone: &str, of: i16, crons: &[String]) {
    let (from, to) = year(of);
    let texts: Vec<_> = crons.iter().map(String::as_str).collect();
    let expected = walk.due(zone, from, to, &texts).unwrap();
    for (cron, expected) in crons.iter().zip(expected) {
        let flow = flow(cron, zone);
        for (way, got) in
            [("forwards", forwards(schedule(&flow), from, to)), ("backwards", backwards(schedule(&flow), from, to))]
        {
            let wrong = expected.iter().filter(|one| !got.contains(one)).map(|one| ("lost", at(*one)));
            let more = got.iter().filter(|one| !expected.contains(one)).map(|one| ("too many", at(*one)));
            let wrong: Vec<_> = if got == expected { Vec::new() } else { wrong.chain(more).take(5).collect() };
            assert!(got == expected, "{cron} in {zone}, {of}, {way}: {wrong:?}");
        }
    }
}

#[test]
fn a_sample_of_schedules_is_due_as_a_walk_over_every_minute_finds() {
    let Some(mut walk) = Walk::start() else { return };
    let mut dice = Dice::default();
    for _ in 0..4 {
        let zone = ZONES[usize::try_from(dice.roll(0, ZONES.len() as u64)).unwrap()];
        let of = YEARS.start + i16::try_from(dice.roll(0, 10)).unwrap();
        let crons = expressions(&mut dice, 8);
        compare(&mut walk, zone, of, &crons);
    }
    // A day that a zone skipped as a whole: 30 December.
    compare(&mut walk, "Pacific/Apia", 2011, &["0 12 * * *", "0,30 9-11 30 12 *", "15 * * * 5"].map(String::from));
}

/// Ten years of all zones; takes ten minutes or more.
#[test]
#[ignore = "takes ten minutes or more"]
fn all_schedules_are_due_as_a_walk_over_every_minute_finds() {
    let Some(mut walk) = Walk::start() else { return };
    let mut dice = Dice::default();
    for zone in ZONES {
        for of in YEARS {
            let mut crons = expressions(&mut dice, 16);
            crons.extend(
                ["*/15 2 * * *", "0,30 2 * * *", "30 0-23 * * *", "*/15 * * * *", "0 0,23 * * *"].map(Into::into),
            );
            compare(&mut walk, zone, of, &crons);
        }
    }
}

/// Expressions with their due times in a time zone, in a day or two around a change of its clocks.
const CASES: &[(&str, &str, &str, &[&str])] = &[
    // Sweden: on 29 March 2026, 02:00 is 03:00; on 25 October, 03:00 is 02:00 again.
    ("30 2 * * *", "Europe/Stockholm", "2026-03-29", &["03:00+02"]),
    ("0,30 2 * * *", "Europe/Stockholm", "2026-03-29", &["03:00+02"]),
    ("*/15 2 * * *", "Europe/Stockholm", "2026-03-29", &["03:00+02"]),
    ("30 2-3 * * *", "Europe/Stockholm", "2026-03-29", &["03:00+02", "03:30+02"]),
    ("0 */2 * * *", "Europe/Stockholm", "2026-03-29", &["00:00+01", "03:00+02", "04:00+02"]),
    ("30 2 * * 1-5", "Europe/Stockholm", "2026-03-29", &[]),
    ("30 * * * *", "Europe/Stockholm", "2026-03-29", &["00:30+01", "01:30+01", "03:30+02", "04:30+02", "23:30+02"]),
    ("30 2 * * *", "Europe/Stockholm", "2026-10-25", &["02:30+02"]),
    ("0,30 2 * * *", "Europe/Stockholm", "2026-10-25", &["02:00+02", "02:30+02"]),
    ("0 2,3 * * *", "Europe/Stockholm", "2026-10-25", &["02:00+02", "03:00+01"]),
    ("15 2-3 * * *", "Europe/Stockholm", "2026-10-25", &["02:15+02", "03:15+01"]),
    ("0 */2 * * *", "Europe/Stockholm", "2026-10-25", &["00:00+02", "02:00+02", "04:00+01"]),
    (
        "30 * * * *",
        "Europe/Stockholm",
        "2026-10-25",
        &["00:30+02", "01:30+02", "02:30+02", "02:30+01", "03:30+01", "04:30+01", "23:30+01"],
    ),
    // Half an hour.
    ("*/10 2 * * *", "Australia/Lord_Howe", "2025-10-05", &["02:30+11", "02:40+11", "02:50+11"]),
    ("45 1-2 * * *", "Australia/Lord_Howe", "2025-04-06", &["01:45+11", "02:45+10:30"]),
    // Midnight is skipped, or the hour before it comes twice.
    ("0,30 0 * * *", "America/Santiago", "2025-09-07", &["01:00-03"]),
    ("30 0-1 * * 0", "Asia/Beirut", "2025-03-30", &["01:00+03", "01:30+03"]),
    ("0,59 23 * * 4", "Africa/Cairo", "2025-10-30", &["23:00+03", "23:59+03"]),
    // The last hour of Saturday is skipped: it is due when Sunday begins.
    ("0,30 23 * * 6", "America/Nuuk", "2025-03-30", &["00:00-01"]),
    ("0 2 * * *", "Asia/Kolkata", "2025-03-30", &["02:00+05:30"]),
];

/// Returns the due times of the first five hours of a day, and of the last hour.
fn on(flow: &Flow, zone: &str, day: &str) -> Vec<String> {
    let zone = TimeZone::get(zone).unwrap();
    let day: jiff::civil::Date = day.parse().unwrap();
    let begins = Timestamp::from(day.to_zoned(zone.clone()).unwrap().timestamp()).as_millis() / 60_000;
    let ends =
        Timestamp::from(day.tomorrow().unwrap().to_zoned(zone.clone()).unwrap().timestamp()).as_millis() / 60_000;
    let show = |minute: u64| jiff::Timestamp::from(at(minute)).to_zoned(zone.clone());
    let times = forwards(schedule(flow), begins, ends).into_iter().map(show);
    times.filter(|time| !(5..23).contains(&time.hour())).map(|time| text(&time)).collect()
}

fn text(time: &jiff::Zoned) -> String {
    time.strftime("%H:%M%:z").to_string().trim_end_matches(":00").to_owned()
}

#[test]
fn times_of_the_day_are_neither_lost_nor_repeated_when_clocks_change() {
    for (cron, zone, day, expected) in CASES {
        assert_eq!(on(&flow(cron, zone), zone, day), *expected, "{cron} in {zone} on {day}");
    }
}

/// The sabotage twin: with the rules of croner alone, the walk finds lost and repeated times.
#[test]
fn without_the_rule_for_lists_times_are_lost_and_repeated() {
    let Some(mut walk) = Walk::start() else { return };
    let crons = ["0,30 2 * * *", "*/15 2 * * *", "0 2,3 * * *", "30 1-3 * * *", "0 */2 * * *"];
    let (from, to) = year(2025);
    let expected = walk.due("Europe/Stockholm", from, to, &crons).unwrap();
    let zone = TimeZone::get("Europe/Stockholm").unwrap();
    for (cron, expected) in crons.iter().zip(expected) {
        let start = jiff::Timestamp::from(at(from - 1)).to_zoned(zone.clone());
        let times = cron.parse::<Cron>().unwrap().iter_after(start).map(|time| minute(time.timestamp().into()));
        let got: Vec<_> = times.take_while(|time| *time < to).collect();
        assert_ne!(got, expected, "{cron}");
    }
}
