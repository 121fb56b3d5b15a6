//! Packages: many assets as one zip, made in the background and fetched at a signed URL.
//!
//! Nothing is really made ahead: a package is ready some time after it was asked for, as an asset is after its upload,
//! and its zip is put together whenever it is fetched.

use std::collections::HashSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::asset::{MediaFile, stem};
use crate::asset_writes::strings;
use crate::mediavalet::{Gate, Outcome, Refusal, Reply, guid};
use crate::signature::blob_url;
use crate::state::{Event, now, timestamp};
use crate::uploads::check_filename;
use crate::{App, blob, zip};

/// Most bytes of a package: a zip is put together in memory.
const MAX_PACKAGE: u64 = 256 * 1024 * 1024;

/// One package.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Package {
    pub id: Uuid,
    pub name: String,
    /// The files as they were when the package was asked for.
    pub files: Vec<MediaFile>,
    pub created_at: i64,
    /// Name of the user whose it is.
    pub by: String,
}

pub(crate) fn create(app: &App, gate: &Gate, body: &Value) -> Outcome {
    let settings = &body["downloadSettingsPostDetail"];
    let ids = strings(&settings["ids"]).map_err(|_| Refusal::new(400, "downloadSettingsPostDetail.ids is needed"))?;
    if ids.is_empty() {
        return Err(Refusal::new(400, "There is nothing to package"));
    }
    let name = settings["zipFileName"].as_str().unwrap_or("download.zip");
    check_filename(name)?;
    let mut package =
        Package { id: Uuid::new_v4(), name: name.to_owned(), files: vec![], created_at: now(), by: gate.user.clone() };
    for id in ids {
        let id = guid(&id)?;
        let file = app.state.with(|world| world.asset(id).filter(|asset| asset.is_alive())?.current.clone());
        package.files.push(file.ok_or_else(|| Refusal::not_found("An asset"))?);
    }
    let size = package.files.iter().filter_map(|file| file.size).sum::<u64>();
    if size > MAX_PACKAGE {
        return Err(Refusal::new(400, "The package would be too large for the sandbox"));
    }
    let id = package.id;
    app.state.with(|world| world.record(Event::Package(package)));
    Ok(Reply::new(202, json!({ "batchId": id, "permissions": [] })))
}

fn row(app: &App, package: &Package) -> Value {
    let (items, since) = (package.files.len() as u64, u128::from(now().abs_diff(package.created_at)));
    let processing = app.options.processing.as_millis();
    let done = if since >= processing { items } else { (u128::from(items) * since / processing) as u64 };
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

pub(crate) fn list(app: &App, gate: &Gate) -> Reply {
    let packages: Vec<_> = app.state.with(|world| world.packages.values().cloned().collect());
    let data: Vec<_> =
        packages.iter().filter(|package| package.by == gate.user).map(|package| row(app, package)).collect();
    Reply::new(200, json!({ "hash": "", "data": data, "permissions": [] }))
}

fn find(app: &App, gate: &Gate, id: Uuid) -> Result<Package, Refusal> {
    let found = app.state.with(|world| world.packages.get(&id).cloned());
    found.filter(|package| package.by == gate.user).ok_or_else(|| Refusal::not_found("The download"))
}

pub(crate) fn one(app: &App, gate: &Gate, id: Uuid) -> Outcome {
    Ok(Reply::new(200, row(app, &find(app, gate, id)?)))
}

pub(crate) fn delete(app: &App, gate: &Gate, id: Uuid) -> Outcome {
    find(app, gate, id)?;
    app.state.with(|world| world.record(Event::PackageGone(id)));
    Ok(Reply::new(200, Value::Null))
}

/// The zip, unless the package or the bytes of one of its files are not there.
pub(crate) fn bytes(app: &App, id: Uuid) -> Option<Bytes> {
    let package = app.state.with(|world| world.packages.get(&id).cloned())?;
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
        files.push((name, app.library.bytes(&blob::source(app, file.id)?)));
    }
    Some(zip::stored(&files).into())
}
