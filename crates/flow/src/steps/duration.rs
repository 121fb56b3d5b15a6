//! Durations and times as flows write them.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result, Timestamp};

/// The longest timeout and the longest wait: a leap year.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Parses a duration such as `90s`, `10m` or `3d`; a day has 24 hours. The error is a sentence for the user.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    parse_up_to(text, LONGEST)
}

/// As [`parse`], with another limit.
pub(crate) fn parse_up_to(text: &str, longest: Duration) -> Result<Duration, String> {
    let span: Span = text.parse().map_err(|_| format!("\"{text}\" is not a duration"))?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok();
    let length = length.and_then(|length| Duration::try_from(length).ok());
    match length.ok_or_else(|| format!("\"{text}\" is not a duration of a fixed length"))? {
        Duration::ZERO => Err("a duration must be longer than zero".to_owned()),
        long if long > longest => {
            Err(format!("{text} is longer than {} days, the limit", longest.as_secs() / (24 * 60 * 60)))
        }
        length => Ok(length),
    }
}

/// Reads a time from an RFC 3339 text or from milliseconds since 1970.
///
/// # Errors
///
/// `invalid_input` if the value is neither.
pub fn moment(value: &Value) -> Result<Timestamp> {
    serde_json::from_value(value.clone()).map_err(|_| {
        Error::new(ErrorKind::InvalidInput, format!("{value} is not a time"))
            .hint("write it like 2026-11-21T08:00:00Z, or as milliseconds since 1970")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_read_as_users_write_them() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("3d", 259_200), ("1h 30m", 5400), ("2 weeks", 1_209_600)] {
            assert_eq!(parse(text).ok(), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("250ms").ok(), Some(Duration::from_millis(250)));
        for text in ["", "10", "0s", "-5m", "soon", "1 month", "2 years", "367d", "10m x"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("400d").unwrap_err().contains("366 days"));
    }

    #[test]
    fn times_are_read_in_both_forms() {
        assert_eq!(moment(&json!("1970-01-01T00:00:02.5Z")).unwrap().as_millis(), 2500);
        assert_eq!(moment(&json!("1970-01-01T01:00:02+01:00")).unwrap().as_millis(), 2000);
        assert_eq!(moment(&json!(2500)).unwrap().as_millis(), 2500);
        for value in [json!("tomorrow"), json!(-1), json!(null), json!("1970-01-01"), json!(1.5)] {
            assert_eq!(moment(&value).unwrap_err().kind(), ErrorKind::InvalidInput, "{value}");
        }
    }
}
