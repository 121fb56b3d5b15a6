//! The archive of a package of assets.

use std::collections::HashSet;

use axum::body::Body;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::zip;
use crate::app::{App, source_file};
use crate::http::{Call, HttpResponse, ranged};
use crate::state::stem;

/// Returns a response with a zip archive, or with the requested range of it.
pub(crate) fn zip_content(call: &Call, zip: Bytes) -> HttpResponse {
    let size = zip.len() as u64;
    let etag = format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(&zip)));
    ranged(call, size, &etag, "application/zip", |start, end| Body::from(zip.slice(start as usize..end as usize)))
}

/// Builds the archive. Returns `None` if the package or the bytes of one of its files are not available.
pub(crate) fn archive(app: &App, id: Uuid) -> Option<Bytes> {
    let package = app.state.with(|state| state.packages.get(&id).cloned())?;
    let mut names = HashSet::new();
    let mut files = Vec::new();
    for file in &package.files {
        let mut name = file.filename.clone();
        let mut number = 1;
        while !names.insert(name.to_lowercase()) {
            number += 1;
            let extension = file.filename.strip_prefix(stem(&file.filename)).unwrap_or_default();
            name = format!("{} ({number}){extension}", stem(&file.filename));
        }
        files.push((name, app.library.bytes(&source_file(app, file.id)?)));
    }
    Some(zip::stored(&files).into())
}
