//! Filters that compute with dates and times.

use jiff::{Span, Zoned, civil::Date, tz::TimeZone};
use minijinja::{Error, Value};
use rust_decimal::{Decimal, prelude::FromPrimitive};

use crate::filters::{
    call::{FilterCall, brief},
    dates::{self, MAX_LENGTH},
    totals::written,
};

/// The units of a difference, with their lengths in seconds.
const UNITS: [(&str, i64); 5] =
    [("seconds", 1), ("minutes", 60), ("hours", 3600), ("days", 24 * 3600), ("weeks", 7 * 24 * 3600)];

/// Returns a duration that is written in words or as in ISO 8601.
fn duration(text: &str) -> Result<Span, String> {
    let read = if text.len() > MAX_LENGTH { None } else { text.trim().parse::<Span>().ok() };
    read.ok_or_else(|| {
        format!(
            "{:?} is not a duration; write it as '3 days', '-1 month', '2h 30m' or as in ISO 8601 (P1M)",
            brief(text)
        )
    })
}

/// Returns whether a duration has no part that is shorter than a day.
fn has_only_days(duration: &Span) -> bool {
    let short = [duration.get_hours().into(), duration.get_minutes(), duration.get_seconds()];
    let fraction = [duration.get_milliseconds(), duration.get_microseconds(), duration.get_nanoseconds()];
    short.iter().chain(&fraction).all(|part: &i64| *part == 0)
}

/// Fails if the duration or the time zone is known before a run and cannot work.
pub(super) fn check_duration_and_zone(arguments: &[Option<&str>]) -> Result<(), String> {
    let argument = |index: usize| arguments.get(index).copied().flatten();
    argument(0).map_or(Ok(()), |text| duration(text).map(drop))?;
    argument(1).map_or(Ok(()), |name| dates::zone(name).map(drop))
}

/// Returns the length of a unit in seconds.
fn unit(name: &str) -> Result<i64, String> {
    let found = UNITS.iter().find(|(known, _)| *known == name).map(|(_, seconds)| *seconds);
    found.ok_or_else(|| {
        let known: Vec<_> = UNITS.iter().map(|(name, _)| *name).collect();
        format!("{:?} is not a unit of a difference; the units are {}", brief(name), known.join(", "))
    })
}

/// Fails if a difference has no such unit.
pub(super) fn check_unit(name: &str) -> Result<(), String> {
    unit(name).map(drop)
}

/// Returns the time that a value has.
fn instant(call: &FilterCall<'_>, value: &Value, zone: &TimeZone) -> Result<Zoned, Error> {
    match dates::time(call, value, None, Some(zone))? {
        dates::Time::Instant(time) => Ok(time.with_time_zone(zone.clone())),
        dates::Time::Civil(_) => Err(call.error(dates::OUT_OF_RANGE)),
    }
}

pub(super) fn date_add(call: &FilterCall<'_>) -> Result<Value, Error> {
    let words = |reason: String| call.error(reason);
    let duration = duration(call.text_at(0).unwrap_or_default()).map_err(words)?;
    let zone = call.text_at(1).map_or(Ok(TimeZone::UTC), dates::zone).map_err(words)?;
    let too_far = |error: jiff::Error| call.error(format!("the result is not in the calendar: {error}"));
    let date = call.value.as_str().filter(|text| text.len() == "2024-05-01".len());
    if let Some(date) = date.and_then(|text| text.parse::<Date>().ok())
        && has_only_days(&duration)
    {
        return Ok(date.checked_add(duration).map_err(too_far)?.to_string().into());
    }
    let time = instant(call, &call.value, &zone)?.checked_add(duration).map_err(too_far)?;
    Ok(match zone == TimeZone::UTC {
        true => time.timestamp().to_string(),
        false => time.timestamp().display_with_offset(time.offset()).to_string(),
    }
    .into())
}

pub(super) fn date_diff(call: &FilterCall<'_>) -> Result<Value, Error> {
    let seconds = unit(call.text_at(1).unwrap_or_default()).map_err(|reason| call.error(reason))?;
    let [end, start] = [&call.value, &call.arguments[0]].map(|value| instant(call, value, &TimeZone::UTC));
    let nanoseconds = end?.timestamp().as_nanosecond() - start?.timestamp().as_nanosecond();
    let difference = Decimal::from_i128(nanoseconds)
        .and_then(|number| number.checked_div(Decimal::from(seconds).checked_mul(Decimal::from(1_000_000_000))?));
    difference.and_then(written).ok_or_else(|| call.error("the difference has too many digits"))
}
