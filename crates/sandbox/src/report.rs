//! The account of what happened: did every file arrive once, unchanged, and how often was a token fetched.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::App;
use crate::asset::Content;

/// What happened so far; also at `GET /_sandbox/report`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Files in the Mediaflow library.
    pub source_files: u64,
    /// Assets in MediaValet that are finalised and not deleted.
    pub assets: u64,
    /// Those of them that were there from the beginning.
    pub preexisting: u64,
    /// Those of them that were uploaded.
    pub uploaded: u64,
    /// Bytes of the uploaded assets.
    pub bytes: u64,
    /// Uploaded assets whose SHA-256 differs from that of the source file of the same file name.
    pub digest_mismatches: u64,
    /// Assets beyond the first of the same file name.
    pub duplicates: u64,
    /// Uploads that were begun and not finalised.
    pub unfinished_uploads: u64,
    /// Token answers to refresh tokens, and repeated password or client credentials grants, of both login servers,
    /// without the first one of each connection.
    pub token_refreshes: u64,
    /// Requests to all services.
    pub requests: u64,
    /// Faults by kind (`429`, `500`, `503`, `cut`, `lost`), and `credential_leak` for credentials that were sent to a
    /// host they do not belong to.
    pub faults: BTreeMap<String, u64>,
}

pub(crate) fn report(app: &App) -> Report {
    let mut to_compare: Vec<(String, Content)> = Vec::new();
    let mut report = app.state.with(|world| {
        let mut report = Report {
            source_files: app.library.files,
            assets: 0,
            preexisting: 0,
            uploaded: 0,
            bytes: 0,
            digest_mismatches: 0,
            duplicates: 0,
            unfinished_uploads: 0,
            token_refreshes: world.refreshes,
            requests: world.requests,
            faults: world.faults.clone(),
        };
        let mut names: HashMap<&str, u64> = HashMap::new();
        for asset in world.assets.values().filter(|asset| asset.deleted_at.is_none()) {
            report.unfinished_uploads += u64::from(asset.pending.is_some());
            let Some(file) = &asset.current else { continue };
            report.assets += 1;
            *names.entry(file.filename.as_str()).or_default() += 1;
            let content = world.blobs.get(&file.id).and_then(|blob| blob.content.as_ref());
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
