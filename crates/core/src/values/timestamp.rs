//! A moment in time. Types use [`Timestamp`] instead of a bare number, and JSON shows it as RFC 3339.

use std::{
    borrow::Cow,
    fmt,
    ops::{Add, Sub},
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment in time with a precision of one millisecond, from 1970 to the end of the year 9999 (UTC).
///
/// It is written as an RFC 3339 text, `2026-11-30T02:29:00.000Z`, and read from such a text or from a number of
/// milliseconds since 1970, which is how versions up to 0.1 stored it. What lies outside the range is moved to its end.
///
/// ```
/// use std::time::Duration;
/// use trunkline_core::Timestamp;
///
/// let accepted: Timestamp = "2026-11-30T02:29:00Z".parse().unwrap();
/// let due = accepted + Duration::from_secs(90);
/// assert_eq!(due.to_string(), "2026-11-30T02:30:30.000Z");
/// assert_eq!(due.since(accepted), Duration::from_secs(90));
/// assert_eq!(serde_json::from_str::<Timestamp>("1796005740000").unwrap(), accepted);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Timestamp = Timestamp(0);
    /// The last moment that can be written, at the end of the year 9999. A deadline at this moment is no limit.
    pub const MAX: Timestamp = Timestamp(253_402_207_200_999);

    /// Returns the current time of the system's clock.
    pub fn now() -> Timestamp {
        SystemTime::now().into()
    }

    /// Returns the moment this many milliseconds after 1970, at most [`Timestamp::MAX`].
    pub const fn from_millis(milliseconds: u64) -> Timestamp {
        Timestamp(if milliseconds < Timestamp::MAX.0 { milliseconds } else { Timestamp::MAX.0 })
    }

    /// Returns the milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the time that has passed since an earlier moment, or zero if that moment is later.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, duration: Duration) -> Timestamp {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(self.0.saturating_add(milliseconds))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;

    fn sub(self, duration: Duration) -> Timestamp {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_sub(milliseconds))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        Timestamp::EPOCH + time.duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(time: jiff::Timestamp) -> Timestamp {
        Timestamp::from_millis(u64::try_from(time.as_millisecond()).unwrap_or_default())
    }
}

impl From<Timestamp> for jiff::Timestamp {
    fn from(time: Timestamp) -> jiff::Timestamp {
        let milliseconds = i64::try_from(time.0).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(jiff::Timestamp::MAX)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", jiff::Timestamp::from(*self))
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Timestamp, jiff::Error> {
        text.parse::<jiff::Timestamp>().map(Timestamp::from)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time such as 2026-11-30T02:29:00Z, or milliseconds since 1970")
    }

    fn visit_u64<E: de::Error>(self, milliseconds: u64) -> Result<Timestamp, E> {
        Ok(Timestamp::from_millis(milliseconds))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
        text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}
