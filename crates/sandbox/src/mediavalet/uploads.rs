//! MediaValet's uploads.
//!
//! An upload has four steps: create a placeholder with an upload URL, set its properties, add categories, and finalise
//! it with a patch that checks everything. An existing asset gets a new version by the same steps.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::asset_writes::{CategoryIds, add, attribute_values, change, strings};
use super::response::{ApiResponse, ApiResult, AuthContext, guid};
use super::webhooks;
use crate::app::{App, blob_url};
use crate::http::ApiError;
use crate::state::{Asset, Event, MediaFile, now, stem};

/// Fails if the text is not a valid file name.
pub(crate) fn check_filename(name: &str) -> Result<(), ApiError> {
    let bad = |c: char| c.is_control() || "\\/:*?\"<>|".contains(c);
    let ok = !name.trim().is_empty() && name.len() <= 255 && !name.contains(bad) && !matches!(name, "." | "..");
    if ok { Ok(()) } else { Err(ApiError::new(400, format!("{name:?} is not a file name"))) }
}

/// Returns the member `fileSizeInBytes` of a body.
pub(crate) fn size_member(body: &Value) -> Result<Option<u64>, ApiError> {
    match &body["fileSizeInBytes"] {
        Value::Null => Ok(None),
        value => value.as_u64().map(Some).ok_or_else(|| ApiError::new(400, "fileSizeInBytes is not a size")),
    }
}

/// Parses the body of a request to start an upload.
fn new_file(body: &Value) -> Result<MediaFile, ApiError> {
    let filename = body["filename"].as_str().ok_or_else(|| ApiError::new(400, "filename is required"))?;
    check_filename(filename)?;
    Ok(MediaFile { size: size_member(body)?, ..MediaFile::new(filename) })
}

/// Returns the row of an upload, with a new upload URL.
pub(crate) fn upload_row(app: &App, asset: &Asset, file: &MediaFile) -> Value {
    json!({
        "id": asset.id,
        "uploadUrl": blob_url(app, &format!("/library/{}", file.id), "rcw"),
        "uploadFileName": file.temporary,
        "mediaFileId": file.id,
        "permissions": [],
    })
}

/// Starts the upload of a new asset.
pub(crate) fn create(app: &App, auth: &AuthContext, body: &Value) -> ApiResult {
    let file = new_file(body)?;
    let id = body["id"].as_str().map_or_else(|| Ok(Uuid::new_v4()), guid)?;
    let asset = Asset::placeholder(id, file.clone(), &auth.user, now());
    app.state.with(|state| {
        if state.asset(id).is_some() {
            return Err(ApiError::new(409, "The id is in use"));
        }
        state.record(Event::Asset(Box::new(asset.clone())));
        Ok(())
    })?;
    Ok(ApiResponse::new(201, upload_row(app, &asset, &file)))
}

/// Starts the upload of a new version.
pub(crate) fn new_version(app: &App, _gate: &AuthContext, id: Uuid, body: &Value) -> ApiResult {
    let file = new_file(body)?;
    let ((), asset) = change(app, id, |asset| {
        if asset.current.is_none() {
            return Err(ApiError::new(400, "The asset is still being uploaded"));
        }
        if asset.checked_out.is_some() {
            return Err(ApiError::new(403, "The asset is checked out"));
        }
        asset.pending = Some(file.clone());
        Ok(())
    })?;
    let mut row = upload_row(app, &asset, &file);
    row["title"] = asset.title.into();
    row["description"] = asset.description.into();
    row["fileSizeInBytes"] = json!(file.size);
    Ok(ApiResponse::new(202, row))
}

/// Changes an asset that is being uploaded and not checked out.
fn change_upload<R>(
    app: &App,
    id: Uuid,
    act: impl FnOnce(&mut Asset) -> Result<R, ApiError>,
) -> Result<(R, Asset), ApiError> {
    change(app, id, |asset| match (&asset.pending, &asset.checked_out) {
        // A checked-out asset gets its new file from the check-in.
        (Some(_), None) => act(asset),
        _ => Err(ApiError::not_found("The upload")),
    })
}

/// Sets one property of an upload. The temporary name leaves the file name unchanged, because the vendor's sample sends
/// it.
fn set(asset: &mut Asset, name: &str, value: &Value) -> Result<(), ApiError> {
    let text = || value.as_str().ok_or_else(|| ApiError::new(400, format!("{name} has to be a string")));
    match name {
        "title" => asset.title = text()?.to_owned(),
        "description" => asset.description = text()?.to_owned(),
        "fileSizeInBytes" => {
            let size = value.as_u64().ok_or_else(|| ApiError::new(400, "fileSizeInBytes is not a size"))?;
            if let Some(file) = &mut asset.pending {
                file.size = Some(size);
            }
        }
        _ => {
            let filename = text()?;
            check_filename(filename)?;
            if let Some(file) = asset.pending.as_mut().filter(|file| file.temporary != filename) {
                if asset.title == stem(&file.filename) {
                    asset.title = stem(filename).to_owned();
                }
                file.filename = filename.to_owned();
            }
        }
    }
    Ok(())
}

/// The properties of an upload that a client can set.
const PROPERTIES: [&str; 4] = ["filename", "title", "description", "fileSizeInBytes"];

/// Sets properties of an upload.
pub(crate) fn describe(app: &App, id: Uuid, body: &Value) -> ApiResult {
    let members = body.as_object().ok_or_else(|| ApiError::new(400, "The body has to be an object"))?;
    let (warnings, asset) = change_upload(app, id, |asset| {
        if body["id"].as_str().is_some_and(|other| !other.eq_ignore_ascii_case(&id.to_string())) {
            return Err(ApiError::new(400, "The id of the body differs from that of the path"));
        }
        for name in PROPERTIES {
            if let Some(value) = members.get(name).filter(|value| !value.is_null()) {
                set(asset, name, value)?;
            }
        }
        let extra = members.keys().filter(|name| !PROPERTIES.contains(&name.as_str()) && *name != "id");
        Ok(extra.map(|name| format!("The member {name} was ignored")).collect::<Vec<_>>())
    })?;
    let mut row = asset.pending.as_ref().map(|file| upload_row(app, &asset, file)).unwrap_or_default();
    row["title"] = asset.title.as_str().into();
    row["description"] = asset.description.as_str().into();
    row["fileSizeInBytes"] = json!(asset.pending.as_ref().and_then(|file| file.size));
    Ok(ApiResponse { warnings, ..ApiResponse::new(200, row) })
}

/// Adds categories, keywords or attributes to an upload, as `kind` says.
pub(crate) fn associate(app: &App, id: Uuid, kind: &str, body: &Value) -> ApiResult {
    let mut errors = Vec::new();
    match kind {
        "categories" => {
            let CategoryIds { known, unknown } = CategoryIds::parse(app, body)?;
            if !unknown.is_empty() {
                return Err(ApiError::not_found("A category"));
            }
            change_upload(app, id, |asset| {
                add(&mut asset.categories, known);
                Ok(())
            })?;
        }
        "keywords" => {
            let words = strings(body)?;
            change_upload(app, id, |asset| {
                add(&mut asset.keywords, words);
                Ok(())
            })?;
        }
        _ => {
            let attributes = attribute_values(body)?;
            errors = attributes.errors;
            change_upload(app, id, |asset| {
                asset.attributes.extend(attributes.values);
                Ok(())
            })?;
        }
    }
    Ok(ApiResponse { errors, ..ApiResponse::new(201, body.clone()) })
}

/// Returns the size of the committed content of the file that is being uploaded, in bytes.
pub(crate) fn uploaded_size(app: &App, id: Uuid) -> Option<u64> {
    app.state.with(|state| {
        let file = state.asset(id)?.pending.as_ref()?;
        Some(state.blobs.get(&file.id)?.content.as_ref()?.size)
    })
}

/// Patches an upload. The value 1 for `/status` finalises it.
pub(crate) fn patch(app: &App, id: Uuid, body: &Value) -> ApiResult {
    let operations = body.as_array().ok_or_else(|| ApiError::new(400, "The body has to be an array of operations"))?;
    let finished =
        app.state.with(|state| state.asset(id).is_some_and(|asset| asset.is_alive() && asset.pending.is_none()));
    let (mut finalise, mut errors) = (false, Vec::new());
    let mut properties = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        let path = operation["path"].as_str().unwrap_or_default();
        let name = path.strip_prefix('/').unwrap_or_default();
        match operation["op"].as_str().unwrap_or_default() {
            "add" | "replace" if name == "status" && operation["value"] == json!(1) => finalise = true,
            "add" | "replace" if PROPERTIES.contains(&name) && !operation["value"].is_null() => {
                properties.push((name, &operation["value"]));
            }
            op => errors.push(format!("Operation {number} was skipped: {op:?} of {path:?}")),
        }
    }
    if finished && finalise && properties.is_empty() {
        let warnings = vec!["The upload is already finalised".to_owned()];
        return Ok(ApiResponse { warnings, errors, ..ApiResponse::new(200, json!({ "permissions": [] })) });
    }
    let size = uploaded_size(app, id);
    change_upload(app, id, |asset| {
        for (name, value) in properties {
            set(asset, name, value)?;
        }
        if finalise { complete(app, asset, size) } else { Ok(()) }
    })?;
    if finalise {
        let asset = id.to_string();
        webhooks::send(app, "Asset.MediaFileAdded", &asset, &json!({}), Duration::ZERO);
        webhooks::send(app, "Asset.StatusUpdated", &asset, &json!({ "Status": 0 }), app.options.processing);
    }
    Ok(ApiResponse { errors, ..ApiResponse::new(200, json!({ "permissions": [] })) })
}

/// Finalises an upload.
fn complete(app: &App, asset: &mut Asset, size: Option<u64>) -> Result<(), ApiError> {
    if asset.categories.is_empty() {
        return Err(ApiError::new(400, "The asset needs at least one category"));
    }
    make_current(app, asset, size)
}

/// Makes the uploaded file the current version if its size is the declared one.
pub(crate) fn make_current(app: &App, asset: &mut Asset, size: Option<u64>) -> Result<(), ApiError> {
    let Some(file) = asset.pending.clone() else { return Err(ApiError::not_found("The upload")) };
    check_filename(&file.filename)?;
    match size {
        None => return Err(ApiError::new(404, "Nothing has been uploaded yet")),
        Some(size) if file.size != Some(size) => {
            let declared = file.size.map_or("not given".to_owned(), |size| size.to_string());
            return Err(ApiError::new(
                404,
                format!("The size of the blob is {size}, the size of the upload is {declared}"),
            ));
        }
        Some(_) => {}
    }
    let processing = i64::try_from(app.options.processing.as_millis()).unwrap_or(i64::MAX);
    asset.earlier.extend(asset.current.replace(file));
    asset.pending = None;
    asset.ready_at = now().saturating_add(processing);
    Ok(())
}
