//! MediaValet's packages: many assets in one zip archive, created in the background and downloaded from a signed URL.
//!
//! Nothing is created ahead. A package is ready after [`Options::processing`](crate::Options::processing), like an
//! uploaded asset, and its archive is built for each download.

use serde_json::{Value, json};
use uuid::Uuid;

use super::asset_writes::strings;
use super::response::{ApiResponse, ApiResult, AuthContext, guid};
use super::uploads::check_filename;
use crate::app::{App, blob_url};
use crate::http::ApiError;
use crate::state::{Event, Package, now, timestamp};

/// The largest size of a package, in bytes. The archive is built in memory.
const MAX_PACKAGE: u64 = 256 * 1024 * 1024;

/// Creates a package.
pub(crate) fn create(app: &App, auth: &AuthContext, body: &Value) -> ApiResult {
    let settings = &body["downloadSettingsPostDetail"];
    let ids =
        strings(&settings["ids"]).map_err(|_| ApiError::new(400, "downloadSettingsPostDetail.ids is required"))?;
    if ids.is_empty() {
        return Err(ApiError::new(400, "There is nothing to package"));
    }
    let name = settings["zipFileName"].as_str().unwrap_or("download.zip");
    check_filename(name)?;
    let mut package = Package {
        id: Uuid::new_v4(),
        name: name.to_owned(),
        files: vec![],
        created_at: now(),
        owner: auth.user.clone(),
    };
    for id in ids {
        let id = guid(&id)?;
        let file = app.state.with(|state| state.asset(id).filter(|asset| asset.is_alive())?.current.clone());
        package.files.push(file.ok_or_else(|| ApiError::not_found("An asset"))?);
    }
    let size = package.files.iter().filter_map(|file| file.size).sum::<u64>();
    if size > MAX_PACKAGE {
        return Err(ApiError::new(400, "The package is too large for the sandbox"));
    }
    let id = package.id;
    app.state.with(|state| state.record(Event::Package(package)));
    Ok(ApiResponse::new(202, json!({ "batchId": id, "permissions": [] })))
}

fn row(app: &App, package: &Package) -> Value {
    let items = package.files.len() as u64;
    let elapsed = u128::from(now().abs_diff(package.created_at));
    let processing = app.options.processing.as_millis();
    let done = if elapsed >= processing { items } else { (u128::from(items) * elapsed / processing) as u64 };
    let ready = done == items;
    json!({
        "id": package.id,
        "createdDateTime": timestamp(package.created_at),
        "fileName": package.name,
        "filePath": ready.then(|| blob_url(app, &format!("/packages/{}", package.id), "r")),
        "fileSize": if ready { package.files.iter().filter_map(|file| file.size).sum::<u64>() } else { 0 },
        "itemCount": items,
        "processedCount": done,
        "status": if ready { "Completed" } else { "Processing" },
        "permissions": [],
    })
}

/// Lists the packages of the user.
pub(crate) fn list(app: &App, auth: &AuthContext) -> ApiResponse {
    let packages: Vec<_> = app.state.with(|state| state.packages.values().cloned().collect());
    let data: Vec<_> =
        packages.iter().filter(|package| package.owner == auth.user).map(|package| row(app, package)).collect();
    ApiResponse::new(200, json!({ "hash": "", "data": data, "permissions": [] }))
}

fn find(app: &App, auth: &AuthContext, id: Uuid) -> Result<Package, ApiError> {
    let found = app.state.with(|state| state.packages.get(&id).cloned());
    found.filter(|package| package.owner == auth.user).ok_or_else(|| ApiError::not_found("The download"))
}

/// Returns one package of the user.
pub(crate) fn one(app: &App, auth: &AuthContext, id: Uuid) -> ApiResult {
    Ok(ApiResponse::new(200, row(app, &find(app, auth, id)?)))
}

/// Deletes a package of the user.
pub(crate) fn delete(app: &App, auth: &AuthContext, id: Uuid) -> ApiResult {
    find(app, auth, id)?;
    app.state.with(|state| state.record(Event::PackageGone(id)));
    Ok(ApiResponse::new(200, Value::Null))
}
