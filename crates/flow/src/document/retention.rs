//! How long the runs of a flow are kept.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::steps::parse_duration_up_to;

/// The longest time that can be written: a hundred years.
const LONGEST: Duration = Duration::from_secs(36_525 * DAY);
/// The shortest time after which ended runs may be removed.
const SHORTEST: Duration = Duration::from_secs(HOUR);
const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// How long runs are kept after they have ended, written as `90d` or `forever`.
///
/// ```
/// use trunkline_flow::Retention;
///
/// let kept: Retention = "12 weeks".parse().unwrap();
/// assert_eq!(kept.to_string(), "84d");
/// assert!("5m".parse::<Retention>().unwrap_err().contains("at least an hour"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Without a limit.
    Forever,
    /// For this long.
    For(Duration),
}

impl Retention {
    /// What a new store begins with: 90 days.
    pub const DEFAULT: Retention = Retention::For(Duration::from_secs(90 * DAY));
}

/// Reads an age such as `90d` or `2h`; a day has 24 hours.
///
/// # Errors
///
/// A sentence for the user.
pub fn age(text: &str) -> Result<Duration, String> {
    parse_duration_up_to(text, LONGEST)
}

impl FromStr for Retention {
    type Err = String;

    fn from_str(text: &str) -> Result<Retention, String> {
        match text {
            "forever" => Ok(Retention::Forever),
            _ => match age(text).map_err(|fault| format!("{fault}; write it like 90d, or forever"))? {
                short if short < SHORTEST => Err(format!("{text} is too short: runs are kept for at least an hour")),
                length => Ok(Retention::For(length)),
            },
        }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Retention::Forever => f.write_str("forever"),
            Retention::For(length) => match length.as_secs() {
                days if days % DAY == 0 => write!(f, "{}d", days / DAY),
                hours if hours % HOUR == 0 => write!(f, "{}h", hours / HOUR),
                seconds => write!(f, "{seconds}s"),
            },
        }
    }
}

impl Serialize for Retention {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Retention, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
