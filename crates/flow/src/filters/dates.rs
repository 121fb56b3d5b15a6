//! The filter `date`. Time zones come from the compiled-in database: no file of the machine is read.

use std::{borrow::Cow, sync::LazyLock};

use jiff::{
    Timestamp, Zoned,
    civil::DateTime,
    fmt::{
        strtime::{self, BrokenDownTime},
        temporal::DateTimeParser,
    },
    tz::{TimeZone, TimeZoneDatabase},
};
use minijinja::{Error, Value};

use crate::filters::call::{FilterCall, brief};

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The longest date, and the longest form of a date, in bytes.
const MAX_LENGTH: usize = 256;
/// Numbers below this are seconds since 1970, all others milliseconds. As seconds, it is in the year 5138.
const FIRST_MILLISECONDS: i64 = 100_000_000_000;

pub(super) fn date(call: &FilterCall<'_>) -> Result<Value, Error> {
    for text in [Some(call.text()?), call.text_at(0), call.text_at(2)].into_iter().flatten() {
        if text.len() > MAX_LENGTH {
            return Err(call.error(format!("a date or its form is longer than {MAX_LENGTH} bytes")));
        }
    }
    let named = call.text_at(1).map(zone).transpose().map_err(|reason| call.error(reason))?;
    let time = match call.value.as_str() {
        Some(text) => read(text, call.text_at(2), named.as_ref()).map_err(|error| {
            let form = call.text_at(2).map_or_else(String::new, |form| format!(" of the form {form:?}"));
            call.error(format!("{text:?} is not a date{form}: {error}"))
        })?,
        None => {
            let number = i64::try_from(call.value.clone())?;
            let time = match number.unsigned_abs() < FIRST_MILLISECONDS.unsigned_abs() {
                true => Timestamp::from_second(number),
                false => Timestamp::from_millisecond(number),
            };
            time.map_err(|error| call.error(error))?.to_zoned(TimeZone::UTC)
        }
    };
    let time = match named {
        Some(zone) => time.with_time_zone(zone),
        None => time,
    };
    let format = call.text_at(0).unwrap_or_default();
    written(format, &time).map(Value::from).map_err(|error| call.error(error))
}

/// Returns a time in this form. A form without directives, such as YYYY-MM-DD, would be the same text for every time.
fn written(form: &str, time: &Zoned) -> Result<String, String> {
    if !form.contains('%') {
        return Err(format!("the form {form:?} has no directive of strftime, such as %Y-%m-%d"));
    }
    strtime::format(form, time).map_err(|error| format!("the form {form:?}: {error}"))
}

fn zone(name: &str) -> Result<TimeZone, String> {
    ZONES.get(name).map_err(|_| format!("there is no time zone {:?}", brief(name)))
}

/// Fails if the form of the date, or its time zone, is known before a run and cannot work.
pub(crate) fn check(arguments: &[Option<&str>]) -> Result<(), String> {
    let argument = |index: usize| arguments.get(index).copied().flatten();
    if let Some(form) = argument(0).filter(|form| form.len() <= MAX_LENGTH)
        && let Err(error) = written(form, &Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC))
    {
        return Err(error);
    }
    if let Some(form) = argument(2)
        && has_directive(form, &['I', 'l'])
        && !has_directive(form, &['p', 'P'])
    {
        return Err(format!("the form {form:?}: {HALF_DAY}"));
    }
    argument(1).map_or(Ok(()), |name| zone(name).map(drop))
}

/// Reads a text as a time. Without a form: a time of RFC 3339 or RFC 9557, or a date or a date and a time of day of
/// ISO 8601. A text without an offset or zone is in `zone`, or else in UTC.
fn read(text: &str, form: Option<&str>, zone: Option<&TimeZone>) -> Result<Zoned, jiff::Error> {
    let zone = zone.cloned().unwrap_or(TimeZone::UTC);
    if let Some(form) = form {
        let read = BrokenDownTime::parse(form, text)?;
        if let Ok(time) = read.to_timestamp() {
            return Ok(time.to_zoned(TimeZone::UTC));
        }
        if read.iana_time_zone().is_some() {
            return read.to_zoned_with(&ZONES);
        }
        if read.hour().is_some() && read.meridiem().is_none() && has_directive(form, &['I', 'l']) {
            return Err(jiff::Error::from_args(format_args!("{HALF_DAY}")));
        }
        return read.to_datetime()?.to_zoned(zone);
    }
    let text = nanoseconds(text);
    let text = &*text;
    // A time in a zone: 2024-05-01T12:00:00[Europe/Stockholm]. Annotations with = are not zones.
    if text
        .split_once('[')
        .is_some_and(|(_, annotation)| !annotation.split(']').next().unwrap_or_default().contains('='))
    {
        return DateTimeParser::new().parse_zoned_with(&ZONES, text);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.to_zoned(TimeZone::UTC));
    }
    let of_form = |(form, length): &(&str, usize)| {
        (text.len() == *length)
            .then(|| BrokenDownTime::parse(form, text).and_then(|read| read.to_date()).ok())
            .flatten()
    };
    match (text.parse::<DateTime>(), WEEK_AND_ORDINAL_DATES.iter().find_map(of_form)) {
        (Ok(time), _) => time.to_zoned(zone),
        (Err(_), Some(date)) => date.to_zoned(zone),
        (Err(error), None) => Err(error),
    }
}

/// The dates of ISO 8601 with a week or with the day of the year, and their lengths: 2024-W18-3 and 2024-122.
const WEEK_AND_ORDINAL_DATES: [(&str, usize); 3] = [("%G-W%V-%u", 10), ("%GW%V%u", 8), ("%Y-%j", 8)];

const HALF_DAY: &str = "its form has an hour of twelve without AM or PM: add %p, or write %H";

/// Returns whether a form has one of these directives.
fn has_directive(form: &str, letters: &[char]) -> bool {
    let mut directives = form.split('%').skip(1);
    directives.any(|rest| rest.trim_start_matches(['-', '_', '0', '^', '#']).starts_with(letters))
}

/// Returns the text without digits beyond nanoseconds: RFC 3339 allows any number of them, and no form shows them.
fn nanoseconds(text: &str) -> Cow<'_, str> {
    let Some((whole, fraction)) = text.split_once(['.', ',']) else { return text.into() };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if digits <= 9 { text.into() } else { format!("{whole}.{}{}", &fraction[..9], &fraction[digits..]).into() }
}
