//! The report on a migration: did every file arrive once and unchanged, and how often were tokens refreshed?

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::state::Content;

/// The counts so far. They are also served at `GET /_sandbox/report`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The number of files in the Mediaflow library.
    pub source_files: u64,
    /// The number of MediaValet assets that are finalised and not deleted.
    pub assets: u64,
    /// How many of `assets` were there from the start.
    pub preexisting: u64,
    /// How many of `assets` were uploaded.
    pub uploaded: u64,
    /// The total size of the uploaded assets, in bytes.
    pub bytes: u64,
    /// The number of uploaded assets whose SHA-256 differs from that of the source file with the same file name.
    pub digest_mismatches: u64,
    /// The number of assets with a file name that another asset has too, not counting the first one of each name.
    pub duplicates: u64,
    /// The number of uploads that were started and not finalised.
    pub unfinished_uploads: u64,
    /// The number of token responses of both login servers to refresh tokens and to repeated password or client
    /// credentials grants. The first one of each connection is not counted.
    pub token_refreshes: u64,
    /// The number of requests to all services.
    pub requests: u64,
    /// The number of injected faults by kind (`429`, `500`, `503`, `cut`, `lost`), and as `credential_leak` the number
    /// of requests that sent credentials to a host that must not get them.
    pub faults: BTreeMap<String, u64>,
}

/// Computes the report.
pub(crate) fn report(app: &App) -> Report {
    let mut to_compare: Vec<(String, Content)> = Vec::new();
    let mut report = app.state.with(|state| {
        let mut report = Report {
            source_files: app.library.files,
            token_refreshes: state.refreshes,
            requests: state.requests,
            faults: state.faults.clone(),
            ..Report::default()
        };
        let mut names: HashMap<&str, u64> = HashMap::new();
        for asset in state.assets.values().filter(|asset| asset.deleted_at.is_none()) {
            report.unfinished_uploads += u64::from(asset.pending.is_some());
            let Some(file) = &asset.current else { continue };
            report.assets += 1;
            *names.entry(file.filename.as_str()).or_default() += 1;
            let content = state.blobs.get(&file.id).and_then(|blob| blob.content.as_ref());
            let replaced = content.is_some_and(|content| !content.sha256.is_empty());
            if asset.preexisting && !replaced {
                report.preexisting += 1;
                continue;
            }
            report.uploaded += 1;
            report.bytes += content.map_or(0, |content| content.size);
            if let Some(content) = content {
                to_compare.push((file.filename.clone(), content.clone()));
            }
        }
        report.duplicates = names.values().map(|count| count - 1).sum();
        report
    });
    for (filename, content) in to_compare {
        let Some(file) = app.library.by_filename(&filename) else { continue };
        let equal = content.same_as == Some(file.index)
            || (content.size == file.size && app.library.digest(file.index) == content.sha256);
        report.digest_mismatches += u64::from(!equal);
    }
    report
}
