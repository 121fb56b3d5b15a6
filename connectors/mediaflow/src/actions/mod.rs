//! The actions of Mediaflow: the rows of the operation table, calls to any path, and the actions that do not fit a row.

mod changes;
mod download;
mod may_publish;
mod permalink;
mod report_usage;

use trunkline_core::{ActionEntry, submit};
use trunkline_rest::generic;

pub use changes::Changes;
pub use download::FileDownload;
pub use may_publish::MayPublish;
pub use permalink::Permalink;
pub use report_usage::ReportUsage;

use crate::{Mediaflow, OPERATIONS};

submit! { ActionEntry::many::<Mediaflow>(|| OPERATIONS.actions()) }
submit! { ActionEntry::of::<generic::RequestAction<Mediaflow>>() }
submit! { ActionEntry::of::<generic::DownloadAction<Mediaflow>>() }
submit! { ActionEntry::of::<generic::UploadAction<Mediaflow>>() }
