//! The filter `date`. Time zones come from the compiled-in database: no file of the machine is read.

use std::{borrow::Cow, sync::LazyLock};

use jiff::{
    SignedDuration, Timestamp, Zoned,
    civil::DateTime,
    fmt::{
        rfc2822,
        strtime::{self, BrokenDownTime},
        temporal::{DateTimeParser, Pieces},
    },
    tz::{Offset, TimeZone, TimeZoneDatabase},
};
use minijinja::{Error, Value};

use crate::filters::call::{FilterCall, brief};

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The longest date, and the longest form of a date, in bytes.
pub(super) const MAX_LENGTH: usize = 256;
/// Numbers below this are seconds since 1970, all others milliseconds. As seconds, it is in the year 5138.
const FIRST_MILLISECONDS: i64 = 100_000_000_000;

/// A time that was read.
pub(super) enum Time {
    Instant(Zoned),
    /// The civil time in the wanted zone, at the very end of the calendar, where the library of time has no instants.
    Civil(DateTime),
}

pub(super) fn date(call: &FilterCall<'_>) -> Result<Value, Error> {
    for text in [call.text_at(0), call.text_at(2)].into_iter().flatten() {
        bounded(call, text)?;
    }
    let named = call.text_at(1).map(zone).transpose().map_err(|reason| call.error(reason))?;
    let time = match (time(call, &call.value, call.text_at(2), named.as_ref())?, named) {
        (Time::Instant(time), Some(zone)) => BrokenDownTime::from(&time.with_time_zone(zone)),
        (Time::Instant(time), None) => BrokenDownTime::from(&time),
        (Time::Civil(time), zone) => {
            let mut civil = BrokenDownTime::from(time);
            civil.set_offset(Some(edge_offset(&zone.unwrap_or(TimeZone::UTC), time)));
            civil
        }
    };
    let format = call.text_at(0).unwrap_or_default();
    written(format, time).map(Value::from).map_err(|error| call.error(error))
}

/// Fails if a date, or its form, is too long.
fn bounded(call: &FilterCall<'_>, text: &str) -> Result<(), Error> {
    match text.len() > MAX_LENGTH {
        true => Err(call.error(format!("a date or its form is longer than {MAX_LENGTH} bytes"))),
        false => Ok(()),
    }
}

/// Reads a value as a time: a text, or a number of seconds or milliseconds since 1970, or its digits in a form.
pub(super) fn time(
    call: &FilterCall<'_>,
    value: &Value,
    form: Option<&str>,
    zone: Option<&TimeZone>,
) -> Result<Time, Error> {
    let text: Cow<'_, str> = match (value.as_str(), form) {
        (Some(text), _) => text.into(),
        // The digits of a number have the form: 20240501 and %Y%m%d.
        (None, Some(_)) => i64::try_from(value.clone())?.to_string().into(),
        (None, None) => {
            let number = i64::try_from(value.clone())?;
            let since_1970 = match number.unsigned_abs() < FIRST_MILLISECONDS.unsigned_abs() {
                true => SignedDuration::from_secs(number),
                false => SignedDuration::from_millis(number),
            };
            let time = DateTime::constant(1970, 1, 1, 0, 0, 0, 0).checked_add(since_1970);
            let time = time.map_err(|_| call.error(OUT_OF_RANGE))?;
            let wanted = zone.cloned().unwrap_or(TimeZone::UTC);
            return at_offset(time, Offset::UTC, &wanted).map_err(|reason| call.error(reason));
        }
    };
    bounded(call, &text)?;
    read(&text, form, zone).map_err(|error| {
        let form = form.map_or_else(String::new, |form| format!(" of the form {form:?}"));
        call.error(format!("{text:?} is not a date{form}: {error}"))
    })
}

/// Returns a time in this form. A form without directives, such as YYYY-MM-DD, would be the same text for every time.
fn written(form: &str, time: BrokenDownTime) -> Result<String, String> {
    if !form.contains('%') {
        return Err(format!("the form {form:?} has no directive of strftime, such as %Y-%m-%d"));
    }
    no_locale(form)?;
    strtime::format(form, time).map_err(|error| format!("the form {form:?}: {error}"))
}

/// Fails on directives whose text depends on the language of a machine.
fn no_locale(form: &str) -> Result<(), String> {
    match has_directive(form, &['c', 'x']) {
        true => Err(format!("the form {form:?}: %c and %x differ between machines; write %F %T or %m/%d/%y")),
        false => Ok(()),
    }
}

/// Fails if a date cannot be read by this form.
fn readable(form: &str) -> Result<(), String> {
    no_locale(form)?;
    match has_directive(form, &['I', 'l']) && !has_directive(form, &['p', 'P']) {
        true => Err(format!("the form {form:?} has an hour of twelve without AM or PM: add %p, or write %H")),
        false => Ok(()),
    }
}

pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    ZONES.get(name).map_err(|_| format!("there is no time zone {:?}", brief(name)))
}

/// Fails if the form of the date, or its time zone, is known before a run and cannot work.
pub(crate) fn check(arguments: &[Option<&str>]) -> Result<(), String> {
    let argument = |index: usize| arguments.get(index).copied().flatten();
    if let Some(form) = argument(0).filter(|form| form.len() <= MAX_LENGTH) {
        written(form, BrokenDownTime::from(&Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC)))?;
    }
    argument(2).map_or(Ok(()), readable)?;
    argument(1).map_or(Ok(()), |name| zone(name).map(drop))
}

/// Reads a text as a time. Without a form: a time of RFC 3339, RFC 9557 or RFC 2822 (and so of RFC 9110), or a date or
/// a date and a time of day of ISO 8601. A text without an offset or zone is in `zone`, or else in UTC.
fn read(text: &str, form: Option<&str>, zone: Option<&TimeZone>) -> Result<Time, String> {
    let wanted = zone.cloned().unwrap_or(TimeZone::UTC);
    let words = |error: jiff::Error| error.to_string();
    if let Some(form) = form {
        readable(form)?;
        let read = BrokenDownTime::parse(form, text).map_err(words)?;
        if read.iana_time_zone().is_some() {
            return read.to_zoned_with(&ZONES).map(Time::Instant).map_err(words);
        }
        if let Some(time) = read.timestamp() {
            return Ok(Time::Instant(time.to_zoned(TimeZone::UTC)));
        }
        let time = read.to_datetime().map_err(words)?;
        return match read.offset().or_else(|| ends_in_utc(form).then_some(Offset::UTC)) {
            Some(offset) => at_offset(time, offset, &wanted),
            None => Ok(in_zone(time, wanted)),
        };
    }
    let text = nanoseconds(text);
    let text = &*text;
    // A time in a zone: 2024-05-01T12:00:00[Europe/Stockholm]. Annotations with = are not zones.
    if text
        .split_once('[')
        .is_some_and(|(_, annotation)| !annotation.split(']').next().unwrap_or_default().contains('='))
    {
        let at_edge = || Pieces::parse(text).is_ok_and(|pieces| pieces.date().year().abs() == 9999);
        let zoned = DateTimeParser::new().parse_zoned_with(&ZONES, text).map(Time::Instant);
        return zoned.map_err(|error| if at_edge() { OUT_OF_RANGE.to_owned() } else { words(error) });
    }
    if let Ok(time) = text.parse::<Timestamp>().or_else(|_| rfc2822::DateTimeParser::new().parse_timestamp(text)) {
        return Ok(Time::Instant(time.to_zoned(TimeZone::UTC)));
    }
    if let Ok(pieces) = Pieces::parse(text)
        && let (Some(time), Some(offset)) = (pieces.time(), pieces.to_numeric_offset())
    {
        return at_offset(pieces.date().to_datetime(time), offset, &wanted);
    }
    let of_form = |(form, length): &(&str, usize)| {
        (text.len() == *length)
            .then(|| BrokenDownTime::parse(form, text).and_then(|read| read.to_date()).ok())
            .flatten()
    };
    match (text.parse::<DateTime>(), WEEK_AND_ORDINAL_DATES.iter().find_map(of_form)) {
        (Ok(time), _) => Ok(in_zone(time, wanted)),
        (Err(_), Some(date)) => Ok(in_zone(date.into(), wanted)),
        (Err(error), None) => Err(words(error)),
    }
}

fn in_zone(time: DateTime, zone: TimeZone) -> Time {
    time.to_zoned(zone).map_or(Time::Civil(time), Time::Instant)
}

/// A time with an offset, at the end of the calendar only if the wanted zone is as UTC then.
fn at_offset(time: DateTime, offset: Offset, wanted: &TimeZone) -> Result<Time, String> {
    match offset.to_timestamp(time) {
        Ok(time) => Ok(Time::Instant(time.to_zoned(TimeZone::UTC))),
        Err(_) if edge_offset(wanted, time) != Offset::UTC => Err(OUT_OF_RANGE.to_owned()),
        Err(_) => time
            .checked_sub(SignedDuration::from_secs(offset.seconds().into()))
            .map(Time::Civil)
            .map_err(|_| OUT_OF_RANGE.to_owned()),
    }
}

/// The offset of a zone at the end, or at the beginning, of the calendar.
fn edge_offset(zone: &TimeZone, time: DateTime) -> Offset {
    zone.to_offset(if time.year() > 0 { Timestamp::MAX } else { Timestamp::MIN })
}

/// Returns whether a form has a time of day, and after it the letters Z, GMT or UTC as a text.
fn ends_in_utc(form: &str) -> bool {
    let before = ["Z", "GMT", "UTC"].iter().find_map(|name| form.trim_end().strip_suffix(name));
    before.is_some_and(|before| {
        !before.ends_with(['%', '^', '#']) && has_directive(before, &['H', 'I', 'k', 'l', 'T', 'R', 'r', 'X'])
    })
}

/// The dates of ISO 8601 with a week or with the day of the year, and their lengths: 2024-W18-3 and 2024-122.
const WEEK_AND_ORDINAL_DATES: [(&str, usize); 3] = [("%G-W%V-%u", 10), ("%GW%V%u", 8), ("%Y-%j", 8)];

pub(super) const OUT_OF_RANGE: &str =
    "such a time must be from -9999-01-03 to 9999-12-30T22:00:00Z; only times in UTC may be later";

/// Returns whether a form has one of these directives.
fn has_directive(form: &str, letters: &[char]) -> bool {
    let form = form.replace("%%", "");
    let mut directives = form.split('%').skip(1);
    let is_flag = |letter: char| matches!(letter, '-' | '_' | '^' | '#') || letter.is_ascii_digit();
    directives.any(|rest| rest.trim_start_matches(is_flag).starts_with(letters))
}

/// Returns the text without digits beyond nanoseconds: RFC 3339 allows any number of them, and no form shows them.
fn nanoseconds(text: &str) -> Cow<'_, str> {
    let Some((whole, fraction)) = text.split_once(['.', ',']) else { return text.into() };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if digits <= 9 { text.into() } else { format!("{whole}.{}{}", &fraction[..9], &fraction[digits..]).into() }
}
