//! The actions of the connector `http`: calls, downloads and uploads at any path. It has no rows.

use trunkline_core::{ActionEntry, submit};
use trunkline_rest::generic;

use crate::Http;

submit! { ActionEntry::of::<generic::RequestAction<Http>>() }
submit! { ActionEntry::of::<generic::DownloadAction<Http>>() }
submit! { ActionEntry::of::<generic::UploadAction<Http>>() }
