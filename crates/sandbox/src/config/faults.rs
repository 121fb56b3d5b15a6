//! The faults that a caller can switch on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which requests fail, and how. By default none does.
///
/// As JSON, every member is optional and `latency_ms` is a number of milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The share (0 to 1) of the API, blob and download requests that fail. The failures alternate between status 429
    /// (with `Retry-After`), status 503, a connection that breaks in the middle of the response, and a response that is
    /// lost after the request was carried out.
    pub rate: f64,
    /// The delay before each request is handled, also on the login servers.
    #[serde(rename = "latency_ms", alias = "latency", with = "milliseconds")]
    pub latency: Duration,
    /// Every n-th request to the two APIs is rejected with status 429 and `Retry-After: 1`.
    pub every_429: Option<u64>,
    /// Every n-th request to the two APIs is rejected with status 500.
    pub every_500: Option<u64>,
    /// Every n-th API, blob or download response breaks off in the middle of its body, or of its head if it has no
    /// body. The request was carried out.
    pub every_cut: Option<u64>,
    /// Every n-th API, blob or download request is carried out, and the connection is closed without a response.
    pub every_lost: Option<u64>,
    /// The first response to each request that makes a blob or an asset visible (the put of a blob or of its block
    /// list, the finalisation) is lost: the request is carried out, and the connection is closed without a response.
    pub lost_commits: bool,
    /// How many blocks a signed upload URL accepts before it expires. Later blocks get status 403, half of the URLs
    /// with the error code that Azure has for this (`AuthenticationFailed`), half with the one that its emulator has
    /// (`AuthorizationFailure`).
    pub address_blocks: Option<u64>,
}

/// The JSON form of a duration: a number of milliseconds. The form that serde derives for a duration is read too.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum LatencyForm {
        Milliseconds(u64),
        Duration(Duration),
    }

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        u64::try_from(value.as_millis()).unwrap_or(u64::MAX).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Ok(match LatencyForm::deserialize(deserializer)? {
            LatencyForm::Milliseconds(number) => Duration::from_millis(number),
            LatencyForm::Duration(duration) => duration,
        })
    }
}
