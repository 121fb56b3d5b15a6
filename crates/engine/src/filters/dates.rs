//! The filter `date`. Time zones are those compiled in: no file of the machine is read.

use std::sync::LazyLock;

use jiff::{
    Timestamp, Zoned,
    civil::{Date, DateTime},
    fmt::strtime::{self, BrokenDownTime},
    tz::{TimeZone, TimeZoneDatabase},
};
use minijinja::{Error, Value};

use super::{Call, brief};

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// How long a text may be that is read as a date, or says the form of one.
const LONGEST: usize = 256;
/// Numbers below are seconds since 1970, numbers above milliseconds: the seconds of the year 5138.
const SECONDS: i64 = 100_000_000_000;

pub(super) fn date(call: &Call<'_>) -> Result<Value, Error> {
    for text in [Some(call.text()?), call.text_at(0), call.text_at(2)].into_iter().flatten() {
        if text.len() > LONGEST {
            return Err(call.refused(format!("a date and its form are no longer than {LONGEST} bytes")));
        }
    }
    let named = call.text_at(1).map(zone).transpose().map_err(|why| call.refused(why))?;
    let time = match call.value.as_str() {
        Some(text) => read(text, call.text_at(2), named.as_ref()).map_err(|why| {
            let form = call.text_at(2).map_or_else(String::new, |form| format!(" of the form {form:?}"));
            call.refused(format!("{text:?} is no date{form}: {why}"))
        })?,
        None => {
            let number = i64::try_from(call.value.clone())?;
            let time = match number.unsigned_abs() < SECONDS.unsigned_abs() {
                true => Timestamp::from_second(number),
                false => Timestamp::from_millisecond(number),
            };
            time.map_err(|why| call.refused(why))?.to_zoned(TimeZone::UTC)
        }
    };
    let time = match named {
        Some(zone) => time.with_time_zone(zone),
        None => time,
    };
    let format = call.text_at(0).unwrap_or_default();
    let text = strtime::format(format, &time).map_err(|why| call.refused(format!("the form {format:?}: {why}")))?;
    Ok(text.into())
}

fn zone(name: &str) -> Result<TimeZone, String> {
    ZONES.get(name).map_err(|_| format!("there is no time zone {:?}", brief(name)))
}

/// What is wrong with the form of a date and its zone, or nothing.
pub(crate) fn fault(arguments: &[Option<&str>]) -> Option<String> {
    let argument = |index: usize| arguments.get(index).copied().flatten();
    if let Some(form) = argument(0).filter(|form| form.len() <= LONGEST)
        && let Err(why) = strtime::format(form, &Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC))
    {
        return Some(format!("the form {form:?}: {why}"));
    }
    argument(1).and_then(|name| zone(name).err())
}

/// A text as a time. Without a form of its own: RFC 3339 and its kin, a date, or a date and a time.
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
