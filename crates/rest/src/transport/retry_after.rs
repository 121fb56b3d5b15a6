//! The wait that a response asks for, in the forms that services use.
//!
//! The idea: a wait that is not understood is a wait that is ignored, and then the service throttles harder. So all
//! forms that are seen in practice are read here and nowhere else, and in doubt the longer wait counts. The table in
//! `docs/connections.md` lists them for users.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use jiff::{SpanRelativeTo, fmt::rfc2822};
use serde_json::Value;
use trunkline_core::Quota;

/// The longest wait that is believed. A larger value is a mistake that would block the connection for years, or a
/// monthly quota: then the service is asked again once a day.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The wait after a throttle with a `Retry-After` that cannot be read.
const UNREADABLE: Duration = Duration::from_secs(60);

/// Numbers from here on are seconds since 1970, and no duration: 31 years.
const EPOCH_SECONDS: f64 = 1e9;

/// Numbers from here on are milliseconds since 1970.
const EPOCH_MILLISECONDS: f64 = 1e11;

/// Waits in milliseconds, as services on Azure send them. They are more precise and take precedence.
const IN_MILLISECONDS: [&str; 3] = ["retry-after-ms", "x-ms-retry-after-ms", "x-retry-after-ms"];

/// Waits in seconds or as a date. The first is RFC 9110 section 10.2.3.
const IN_SECONDS: [&str; 4] =
    ["retry-after", "x-retry-after", "x-ratelimit-retry-after", "x-rate-limit-retry-after-seconds"];

/// The end of a quota's window. It counts only for a throttle without one of the headers above.
const RESETS: [&str; 7] = [
    "ratelimit-reset",
    "x-ratelimit-reset",
    "x-rate-limit-reset",
    "x-ratelimit-reset-after",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-limit-reset",
];

/// The number of requests of a quota.
const LIMITS: [&str; 3] = ["ratelimit-limit", "x-ratelimit-limit", "x-rate-limit-limit"];

/// What is left of a quota.
const REMAINING: [&str; 3] = ["ratelimit-remaining", "x-ratelimit-remaining", "x-rate-limit-remaining"];

/// The words before a wait in the body of a throttle. The last two are those of Azure API Management, for its rate
/// limit and its quota.
const WORDS: [&str; 7] =
    ["retry after", "retry in", "please wait", "available in", "resets in", "try again in", "be replenished in"];

/// Members of a JSON body that hold a wait, and whether it is in milliseconds.
const MEMBERS: [(&str, Unit); 6] = [
    ("retry_after", Unit::Seconds),
    ("retryAfter", Unit::Seconds),
    ("retryAfterSeconds", Unit::Seconds),
    ("retry_after_seconds", Unit::Seconds),
    ("retry_after_ms", Unit::Milliseconds),
    ("retryAfterMs", Unit::Milliseconds),
];

/// The length of a body in which words are looked for, in bytes.
const MAX_WORDS: usize = 4096;

/// The unit of a number without one.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Seconds,
    Milliseconds,
}

/// Returns the wait that a response asks for, at most one day; `None` if it asks for none. `body` is its text.
///
/// Times are compared with the `Date` of the same response, because the clock of this machine may be wrong. A time in
/// the past means no wait. Of several values, the longest counts. A 429 or 503 with a `Retry-After` that is empty or
/// cannot be read asks for a minute.
pub(crate) fn retry_after(status: StatusCode, headers: &HeaderMap, body: &str) -> Option<Duration> {
    let now = date_of(headers);
    let asked = named(headers, now).or_else(|| {
        let is_throttle = status == StatusCode::TOO_MANY_REQUESTS;
        if !is_throttle && ![StatusCode::SERVICE_UNAVAILABLE, StatusCode::FORBIDDEN].contains(&status) {
            return None;
        }
        // Many services send these headers with every response. A 503 or 403 is a throttle only if nothing is left.
        let is_spent = || texts(headers, &REMAINING).any(|left| left.parse::<f64>().is_ok_and(|left| left <= 0.0));
        let quota = if is_throttle || is_spent() { quota(headers, now) } else { None };
        let asked = quota.or_else(|| in_body(body, now));
        // A 403 without a wait that can be read is about permissions.
        if status == StatusCode::FORBIDDEN { asked } else { asked.or_else(|| unreadable(headers)) }
    });
    asked.map(|asked| asked.min(LONGEST))
}

/// Returns whether a response names its wait in a header of its own. A 503 that does was refused, and had no effect.
pub(crate) fn names_wait(headers: &HeaderMap) -> bool {
    named(headers, date_of(headers)).is_some()
}

/// Returns the wait of a header that holds nothing else.
fn named(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    longest(headers, &IN_MILLISECONDS, Unit::Milliseconds, now)
        .or_else(|| longest(headers, &IN_SECONDS, Unit::Seconds, now))
}

fn texts<'a>(headers: &'a HeaderMap, names: &'static [&'static str]) -> impl Iterator<Item = &'a str> {
    names.iter().flat_map(|name| headers.get_all(*name)).filter_map(|value| value.to_str().ok()).map(str::trim)
}

fn date_of(headers: &HeaderMap) -> SystemTime {
    let date = texts(headers, &["date"]).find_map(|date| httpdate::parse_http_date(date).ok());
    date.unwrap_or_else(SystemTime::now)
}

/// Returns the longest wait in these headers.
fn longest(headers: &HeaderMap, names: &'static [&'static str], unit: Unit, now: SystemTime) -> Option<Duration> {
    texts(headers, names).flat_map(parts).filter_map(|text| wait(&text, unit, now)).max()
}

/// Returns the wait after a throttle whose `Retry-After` cannot be read, and reports the header in the log.
fn unreadable(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?;
    tracing::warn!(?value, wait = ?UNREADABLE, "the Retry-After of a throttle cannot be read: waiting a minute");
    Some(UNREADABLE)
}

/// Returns the wait until a quota is filled up again: by a header of its own, or by `RateLimit` and `RateLimit-Policy`
/// in one of their forms (draft-ietf-httpapi-ratelimit-headers).
fn quota(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let parameter = |names, key: &'static str| {
        texts(headers, names).flat_map(|text| text.split([';', ','])).filter_map(move |one| {
            let (name, value) = one.split_once('=')?;
            name.trim().eq_ignore_ascii_case(key).then(|| wait(value, Unit::Seconds, now)).flatten()
        })
    };
    let reset = longest(headers, &RESETS, Unit::Seconds, now);
    let reset = reset.into_iter().chain(parameter(&["ratelimit"], "t")).chain(parameter(&["ratelimit"], "reset")).max();
    // Without an end of the window, its length.
    reset.or_else(|| parameter(&["ratelimit-policy"], "w").max())
}

/// Returns the quota that a response states: of several, the one that ends last. A quota without its size, its rest or
/// its end is none.
pub(crate) fn stated_quota(headers: &HeaderMap) -> Option<Quota> {
    let now = date_of(headers);
    let number = |text: &str| text.split([',', ';']).next()?.trim().parse::<u64>().ok();
    let mut found = Vec::new();
    let named = |names| texts(headers, names).find_map(number);
    found.push((named(&LIMITS), named(&REMAINING), longest(headers, &RESETS, Unit::Seconds, now)));
    // `"daily";r=50;t=30` with the policy `"daily";q=100;w=86400`, or `limit=100, remaining=50, reset=30`.
    let stated: Vec<_> = texts(headers, &["ratelimit"]).collect();
    let policies: Vec<_> = texts(headers, &["ratelimit-policy"]).flat_map(|text| text.split(',')).collect();
    let member = |text: &str, key: &str| {
        let mut pairs = text.split([';', ',']).filter_map(|one| one.split_once('='));
        pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case(key)).map(|(_, value)| value.trim().to_owned())
    };
    let count = |text: &str, key: &str| member(text, key)?.parse::<u64>().ok();
    let span = |text: &str, key: &str| wait(&member(text, key)?, Unit::Seconds, now);
    for text in &stated {
        found.push((count(text, "limit"), count(text, "remaining"), span(text, "reset")));
    }
    let name = |text: &str| text.split(';').next().unwrap_or_default().trim().to_owned();
    for one in stated.iter().flat_map(|text| text.split(',')) {
        let policy = policies.iter().find(|policy| name(policy) == name(one)).copied().unwrap_or_default();
        found.push((count(policy, "q"), count(one, "r"), span(one, "t").or_else(|| span(policy, "w"))));
    }
    let quotas = found.into_iter().filter_map(|(limit, left, ends_in)| {
        let (limit, left, ends_in) = (limit?, left?, ends_in?);
        (limit > 0 && left <= limit && !ends_in.is_zero()).then_some(Quota { limit, left, ends_in })
    });
    quotas.max_by_key(|quota| quota.ends_in)
}

/// Returns the wait in the body of a throttle.
fn in_body(body: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(document) = serde_json::from_str::<Value>(body) {
        let nodes = [Some(&document), document.get("error")];
        let found = nodes.into_iter().flatten().find_map(|node| {
            MEMBERS.iter().find_map(|(name, unit)| match node.get(name)? {
                Value::Number(number) => wait(&number.to_string(), *unit, now),
                Value::String(text) => wait(text, *unit, now),
                _ => None,
            })
        });
        if found.is_some() {
            return found;
        }
    }
    let text = body.get(..MAX_WORDS).unwrap_or(body).to_lowercase();
    WORDS.iter().filter_map(|words| words_wait(text.split_once(words)?.1)).max()
}

/// Returns the duration at the beginning of a text: `25 seconds.`, `00:12:34."`, `2 hours`.
fn words_wait(text: &str) -> Option<Duration> {
    let text = text.trim_start_matches([':', ' ', '"']);
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, ' ' | ':' | '.'))).unwrap_or(text.len());
    let words: Vec<&str> = text[..end].split_whitespace().take(2).map(|word| word.trim_end_matches('.')).collect();
    (1..=words.len()).rev().find_map(|count| match words.get(..count)? {
        [one] => span(one).or_else(|| one.parse().ok().map(Duration::from_secs)),
        more => span(&more.join(" ")),
    })
}

/// Splits a list of values. A comma also stands in a date.
fn parts(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in text.split(',').map(|part| part.trim().trim_matches('"').to_owned()) {
        match parts.last_mut() {
            Some(day) if day.len() <= 9 && is_weekday(day) => {
                *day += &format!(", {part}");
            }
            _ => parts.push(part),
        }
    }
    parts
}

fn is_weekday(text: &str) -> bool {
    let start = text.get(..3).unwrap_or_default();
    ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].iter().any(|day| start.eq_ignore_ascii_case(day))
}

/// Returns the wait that one value means.
fn wait(text: &str, unit: Unit, now: SystemTime) -> Option<Duration> {
    let text = text.trim().trim_matches('"').trim();
    if let Ok(number) = text.parse::<f64>() {
        return number_wait(number, unit, now);
    }
    if let Some(span) = span(text) {
        return Some(span);
    }
    let date = httpdate::parse_http_date(text).ok();
    let date = date.or_else(|| Some(rfc2822::parse(text).ok()?.timestamp().into()));
    let until: SystemTime = date.or_else(|| Some(text.parse::<jiff::Timestamp>().ok()?.into()))?;
    Some(until.duration_since(now).unwrap_or_default())
}

/// Returns the wait that a number means: a duration, or a time since 1970. A negative duration is over.
fn number_wait(number: f64, unit: Unit, now: SystemTime) -> Option<Duration> {
    if !number.is_finite() {
        return None;
    }
    let since_epoch = match (unit, number) {
        (_, number) if number >= EPOCH_MILLISECONDS => Some(Duration::from_millis(number as u64)),
        (Unit::Seconds, number) if number >= EPOCH_SECONDS => Some(Duration::from_millis((number * 1e3) as u64)),
        _ => None,
    };
    let Some(since_epoch) = since_epoch else {
        let seconds = if unit == Unit::Milliseconds { number / 1e3 } else { number };
        return Duration::try_from_secs_f64(seconds.max(0.0)).ok();
    };
    let Some(until) = SystemTime::UNIX_EPOCH.checked_add(since_epoch) else { return Some(LONGEST) };
    match now.duration_since(until) {
        Err(ahead) => Some(ahead.duration()),
        // A time that is over for long is another number.
        Ok(over) => (over <= LONGEST).then_some(Duration::ZERO),
    }
}

/// Reads a duration with a unit: `30s`, `1 min 30 s`, `PT30S`, `00:12:34`, and `1.02:03:04` with days as .NET writes
/// it.
fn span(text: &str) -> Option<Duration> {
    let text = match text.split_once(':') {
        Some((days, rest)) if days.contains('.') => {
            let (days, hours) = days.split_once('.')?;
            format!("{days}d {hours}:{rest}")
        }
        _ => text.to_owned(),
    };
    let span: jiff::Span = text.to_ascii_lowercase().parse().ok()?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Some(Duration::try_from(length).unwrap_or_default())
}

#[cfg(test)]
#[path = "retry_after_tests.rs"]
mod tests;
