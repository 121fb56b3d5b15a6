//! A package of assets for download.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::asset::MediaFile;

/// One package.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Package {
    pub id: Uuid,
    pub name: String,
    /// The current files of the assets at the time of the request.
    pub files: Vec<MediaFile>,
    pub created_at: i64,
    /// The name of the user that created it.
    #[serde(rename = "by")]
    pub owner: String,
}
