//! The bytes of files as responses.

use axum::body::Body;
use uuid::Uuid;

use super::App;
use crate::http::{Call, HttpResponse, ranged};
use crate::library::SourceFile;

/// Returns a response with generated content, or with the requested range of it.
pub(crate) fn content(
    app: &App,
    call: &Call,
    file: &SourceFile,
    variant: u64,
    size: u64,
    media_type: &str,
) -> HttpResponse {
    let etag = if variant == 0 { file.etag() } else { format!("\"{:x}-{variant}\"", file.key) };
    ranged(call, size, &etag, media_type, |start, end| {
        Body::from_stream(app.library.content(file.key, variant, start, end))
    })
}

/// Returns the source file that has the same bytes as the blob.
pub(crate) fn source_file(app: &App, media: Uuid) -> Option<SourceFile> {
    let (content, filename) = app.state.with(|state| {
        let content = state.blobs.get(&media)?.content.clone()?;
        let asset = state.media.get(&media).and_then(|id| state.asset(*id));
        Some((content, asset.map(|asset| asset.filename().to_owned()).unwrap_or_default()))
    })?;
    if let Some(index) = content.same_as {
        return Some(app.library.file(index));
    }
    app.library
        .by_filename(&filename)
        .filter(|file| file.size == content.size && app.library.digest(file.index) == content.sha256)
}
