//! The filter `date`. Time zones come from the compiled-in database: no file of the machine is read.

use std::sync::LazyLock;

use jiff::{
    Timestamp, Zoned,
    civil::{Date, DateTime},
    fmt::strtime::{self, BrokenDownTime},
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
    let text = strtime::format(format, &time).map_err(|error| call.error(format!("the form {format:?}: {error}")))?;
    Ok(text.into())
}

fn zone(name: &str) -> Result<TimeZone, String> {
    ZONES.get(name).map_err(|_| format!("there is no time zone {:?}", brief(name)))
}

/// Fails if the form of the date, or its time zone, is known before a run and cannot work.
pub(crate) fn check(arguments: &[Option<&str>]) -> Result<(), String> {
    let argument = |index: usize| arguments.get(index).copied().flatten();
    if let Some(form) = argument(0).filter(|form| form.len() <= MAX_LENGTH)
        && let Err(error) = strtime::format(form, &Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC))
    {
        return Err(format!("the form {form:?}: {error}"));
    }
    argument(1).map_or(Ok(()), |name| zone(name).map(drop))
}

/// Reads a text as a time. Without a form: a time of RFC 3339 or ISO 8601, a date, or a date and a time of day. A text
/// without an offset is in `zone`, or else in UTC.
fn read(text: &str, form: Option<&str>, zone: Option<&TimeZone>) -> Result<Zoned, jiff::Error> {
    let zone = zone.cloned().unwrap_or(TimeZone::UTC);
    if let Some(form) = form {
        let read = BrokenDownTime::parse(form, text)?;
        if read.offset().is_some() || read.iana_time_zone().is_some() {
            return Ok(read.to_timestamp()?.to_zoned(TimeZone::UTC));
        }
        return match read.to_datetime() {
            Ok(time) => time.to_zoned(zone),
            Err(_) => read.to_date()?.to_zoned(zone),
        };
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.to_zoned(TimeZone::UTC));
    }
    match text.parse::<DateTime>() {
        Ok(time) => time.to_zoned(zone),
        Err(_) => text.parse::<Date>()?.to_zoned(zone),
    }
}
