//! New versions of assets: one user checks the asset out, uploads to a signed URL, and checks it in.
//!
//! The reference has no call that cancels a check-out, so the simulator has none either: an asset stays checked out
//! until its check-in.

use serde_json::{Value, json};
use uuid::Uuid;

use super::asset_writes::{change, strings};
use super::response::{ApiResponse, ApiResult, AuthContext, page};
use super::rows::{asset_row, find};
use super::uploads::{check_filename, make_current, size_member, upload_row, uploaded_size};
use crate::app::{App, blob_url};
use crate::http::{ApiError, Call};
use crate::state::{Asset, CheckOut, MediaFile};

/// Reserves an asset. A second check-out is rejected with status 403, even from the same user.
pub(crate) fn check_out(app: &App, auth: &AuthContext, id: Uuid, body: &Value) -> ApiResult {
    let comment = strings(body)?.join("\n");
    if comment.trim().is_empty() {
        return Err(ApiError::new(400, "A comment is required"));
    }
    let (file, _) = change(app, id, |asset| {
        let file = asset.current.clone().ok_or_else(|| ApiError::new(400, "The asset is still being uploaded"))?;
        match &asset.checked_out {
            Some(check_out) => Err(ApiError::new(403, format!("The asset is checked out by {}", check_out.user))),
            None => {
                asset.checked_out = Some(CheckOut { user: auth.user.clone(), comment });
                Ok(file)
            }
        }
    })?;
    Ok(ApiResponse::new(202, blob_url(app, &format!("/library/{}", file.id), "r").into()))
}

/// Fails if the file name is invalid or another asset has it.
fn check_unused(app: &App, id: Uuid, name: &str) -> Result<(), ApiError> {
    check_filename(name)?;
    let same = |asset: &Asset| asset.id != id && asset.is_alive() && asset.filename().eq_ignore_ascii_case(name);
    if app.state.with(|state| state.assets.values().any(same)) {
        return Err(ApiError::new(409, format!("Another asset has the file name {name}")));
    }
    Ok(())
}

/// Checks a file name for the new version.
pub(crate) fn validate(app: &App, id: Uuid, name: &str) -> ApiResult {
    if app.state.with(|state| state.asset(id).is_none_or(|asset| asset.deleted_at.is_some())) {
        return Err(ApiError::not_found("The asset"));
    }
    check_unused(app, id, name)?;
    Ok(ApiResponse::new(200, name.into()))
}

/// Fails unless the user has checked the asset out.
fn check_reserved_by(auth: &AuthContext, asset: &Asset) -> Result<(), ApiError> {
    match &asset.checked_out {
        Some(check_out) if check_out.user == auth.user => Ok(()),
        Some(check_out) => Err(ApiError::new(403, format!("The asset is checked out by {}", check_out.user))),
        None => Err(ApiError::new(403, "The asset is not checked out")),
    }
}

/// Starts a check-in. If one was started before, its upload is dropped.
pub(crate) fn start(app: &App, auth: &AuthContext, id: Uuid) -> ApiResult {
    let (file, asset) = change(app, id, |asset| {
        check_reserved_by(auth, asset)?;
        let file = MediaFile::new(asset.filename());
        asset.pending = Some(file.clone());
        Ok(file)
    })?;
    Ok(ApiResponse::new(202, upload_row(app, &asset, &file)))
}

/// Makes the uploaded file the current version if its size is the one that the body has.
pub(crate) fn finish(app: &App, auth: &AuthContext, id: Uuid, body: &Value) -> ApiResult {
    let text = |name: &str| body[name].as_str().ok_or_else(|| ApiError::new(400, format!("{name} is required")));
    let (filename, temporary) = (text("fileName")?, text("uploadFilename")?);
    let size = size_member(body)?.ok_or_else(|| ApiError::new(400, "fileSizeInBytes is required"))?;
    check_unused(app, id, filename)?;
    let uploaded = uploaded_size(app, id);
    let ((), asset) = change(app, id, |asset| {
        check_reserved_by(auth, asset)?;
        let file = asset.pending.as_mut().ok_or_else(|| ApiError::new(400, "The check-in was not started"))?;
        if file.temporary != temporary {
            return Err(ApiError::new(400, "uploadFilename is not that of the started check-in"));
        }
        file.filename = filename.to_owned();
        file.size = Some(size);
        make_current(app, asset, uploaded)?;
        asset.checked_out = None;
        asset.check_in_comment = body["comment"].as_str().unwrap_or_default().to_owned();
        Ok(())
    })?;
    Ok(ApiResponse::new(202, asset_row(app, auth, &asset, Some(size))))
}

/// Lists all versions, oldest first.
pub(crate) fn versions(app: &App, call: &Call, id: Uuid) -> ApiResult {
    let (asset, _) = find(app, call, id)?;
    let files = asset.earlier.iter().chain(&asset.current).enumerate();
    let row = |(index, file): (usize, &MediaFile)| json!({ "id": file.id, "fileName": file.filename, "sizeInBytes": file.size, "version": index + 1 });
    page(call, files.map(row).collect())
}
