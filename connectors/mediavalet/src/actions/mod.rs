//! The actions of MediaValet: the rows of the operation table, calls to any path, and the actions that do not fit a
//! row.

mod bulk;
mod categories;
mod download;
mod export;
mod logo;
mod metadata;
mod package;
mod rendition;
mod transfer;
mod upload;
mod version;
mod wait;
mod webhook;

use serde_json::Value;
use trunkline_core::{ActionEntry, Error, ErrorKind, Result, submit};
use trunkline_rest::generic;

pub use bulk::Bulk;
pub use categories::SetCategories;
pub use download::AssetDownload;
pub use export::Export;
pub use logo::{SetLogo, SetPortalLogo};
pub use metadata::{SetKeywords, Update};
pub use package::Package;
pub use rendition::Rendition;
pub use upload::AssetUpload;
pub use version::UploadVersion;
pub use wait::WaitUntilProcessed;
pub use webhook::{Subscribe, Unsubscribe};

use crate::{MediaValet, OPERATIONS};

/// Returns the string with this name in a payload, such as an id.
pub(crate) fn id(payload: &Value, name: &str) -> Result<String> {
    payload
        .get(name)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| Error::new(ErrorKind::Unexpected, format!("MediaValet's response has no {name}")))
}

submit! { ActionEntry::many::<MediaValet>(|| OPERATIONS.actions()) }
submit! { ActionEntry::of::<generic::RequestAction<MediaValet>>() }
submit! { ActionEntry::of::<generic::DownloadAction<MediaValet>>() }
submit! { ActionEntry::of::<generic::UploadAction<MediaValet>>() }
