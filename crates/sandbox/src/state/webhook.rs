//! A subscription to events.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One subscription.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Webhook {
    pub id: Uuid,
    pub events: Vec<String>,
    /// The URL that events would be sent to.
    #[serde(rename = "address")]
    pub url: String,
    /// The name of the user that created it.
    #[serde(rename = "by")]
    pub owner: String,
}
