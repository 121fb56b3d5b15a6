//! Uploads, step by step: a holder with an upload URL, its facts, its categories, and the final patch that checks the
//! lot. An asset that exists takes a new version by the same steps.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::App;
use crate::asset::{Asset, MediaFile, stem};
use crate::asset_writes::{add, attribute_values, category_ids, change, strings};
use crate::mediavalet::{Gate, Outcome, Refusal, Reply, guid};
use crate::signature::blob_url;
use crate::state::{Event, now};

/// Refuses names that cannot be a file's.
pub(crate) fn check_filename(name: &str) -> Result<(), Refusal> {
    let bad = |c: char| c.is_control() || "\\/:*?\"<>|".contains(c);
    let ok = !name.trim().is_empty() && name.len() <= 255 && !name.contains(bad) && !matches!(name, "." | "..");
    if ok { Ok(()) } else { Err(Refusal::new(400, format!("{name:?} is no file name"))) }
}

pub(crate) fn size_member(body: &Value) -> Result<Option<u64>, Refusal> {
    match &body["fileSizeInBytes"] {
        Value::Null => Ok(None),
        value => value.as_u64().map(Some).ok_or_else(|| Refusal::new(400, "fileSizeInBytes is no size")),
    }
}

fn new_file(body: &Value) -> Result<MediaFile, Refusal> {
    let filename = body["filename"].as_str().ok_or_else(|| Refusal::new(400, "filename is needed"))?;
    check_filename(filename)?;
    Ok(MediaFile { size: size_member(body)?, ..MediaFile::new(filename) })
}

pub(crate) fn upload_row(app: &App, asset: &Asset, file: &MediaFile) -> Value {
    json!({
        "id": asset.id,
        "uploadUrl": blob_url(app, &format!("/library/{}", file.id), "rcw"),
        "uploadFileName": file.temporary,
        "mediaFileId": file.id,
        "permissions": [],
    })
}

pub(crate) fn create(app: &App, gate: &Gate, body: &Value) -> Outcome {
    let file = new_file(body)?;
    let id = body["id"].as_str().map_or_else(|| Ok(Uuid::new_v4()), guid)?;
    let asset = Asset::holder(id, file.clone(), &gate.user, now());
    app.state.with(|world| {
        if world.asset(id).is_some() {
            return Err(Refusal::new(409, "The id is taken"));
        }
        world.record(Event::Asset(Box::new(asset.clone())));
        Ok(())
    })?;
    Ok(Reply::new(201, upload_row(app, &asset, &file)))
}

pub(crate) fn new_version(app: &App, _gate: &Gate, id: Uuid, body: &Value) -> Outcome {
    let file = new_file(body)?;
    let ((), asset) = change(app, id, |asset| {
        if asset.current.is_none() {
            return Err(Refusal::new(400, "The asset is still being uploaded"));
        }
        if asset.checked_out.is_some() {
            return Err(Refusal::new(403, "The asset is checked out"));
        }
        asset.pending = Some(file.clone());
        Ok(())
    })?;
    let mut row = upload_row(app, &asset, &file);
    row["title"] = asset.title.into();
    row["description"] = asset.description.into();
    row["fileSizeInBytes"] = json!(file.size);
    Ok(Reply::new(202, row))
}

/// Changes an asset that is being uploaded.
fn change_upload<R>(
    app: &App,
    id: Uuid,
    act: impl FnOnce(&mut Asset) -> Result<R, Refusal>,
) -> Result<(R, Asset), Refusal> {
    change(app, id, |asset| match (&asset.pending, &asset.checked_out) {
        // The file of an asset that is checked out goes in by its check-in.
        (Some(_), None) => act(asset),
        _ => Err(Refusal::not_found("The upload")),
    })
}

/// Sets one fact of an upload. The temporary name is taken for "no other name": the vendor's sample sends it.
fn set(asset: &mut Asset, name: &str, value: &Value) -> Result<(), Refusal> {
    let text = || value.as_str().ok_or_else(|| Refusal::new(400, format!("{name} has to be a string")));
    match name {
        "title" => asset.title = text()?.to_owned(),
        "description" => asset.description = text()?.to_owned(),
        "fileSizeInBytes" => {
            let size = value.as_u64().ok_or_else(|| Refusal::new(400, "fileSizeInBytes is no size"))?;
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

const FACTS: [&str; 4] = ["filename", "title", "description", "fileSizeInBytes"];

pub(crate) fn describe(app: &App, id: Uuid, body: &Value) -> Outcome {
    let members = body.as_object().ok_or_else(|| Refusal::new(400, "The body has to be an object"))?;
    let (warnings, asset) = change_upload(app, id, |asset| {
        if body["id"].as_str().is_some_and(|other| !other.eq_ignore_ascii_case(&id.to_string())) {
            return Err(Refusal::new(400, "The id of the body is another one"));
        }
        for name in FACTS {
            if let Some(value) = members.get(name).filter(|value| !value.is_null()) {
                set(asset, name, value)?;
            }
        }
        let extra = members.keys().filter(|name| !FACTS.contains(&name.as_str()) && *name != "id");
        Ok(extra.map(|name| format!("The member {name} was not used")).collect::<Vec<_>>())
    })?;
    let mut row = asset.pending.as_ref().map(|file| upload_row(app, &asset, file)).unwrap_or_default();
    row["title"] = asset.title.as_str().into();
    row["description"] = asset.description.as_str().into();
    row["fileSizeInBytes"] = json!(asset.pending.as_ref().and_then(|file| file.size));
    Ok(Reply { warnings, ..Reply::new(200, row) })
}

pub(crate) fn associate(app: &App, id: Uuid, what: &str, body: &Value) -> Outcome {
    let mut errors = Vec::new();
    match what {
        "categories" => {
            let (known, unknown) = category_ids(app, body)?;
            if !unknown.is_empty() {
                return Err(Refusal::not_found("A category"));
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
            let (values, skipped) = attribute_values(body)?;
            errors = skipped;
            change_upload(app, id, |asset| {
                asset.attributes.extend(values);
                Ok(())
            })?;
        }
    }
    Ok(Reply { errors, ..Reply::new(201, body.clone()) })
}

/// How many bytes have arrived for the file that is being uploaded.
pub(crate) fn sent(app: &App, id: Uuid) -> Option<u64> {
    app.state.with(|world| {
        let file = world.asset(id)?.pending.as_ref()?;
        Some(world.blobs.get(&file.id)?.content.as_ref()?.size)
    })
}

/// Patches an upload; `/status` with value 1 finalises it.
pub(crate) fn patch(app: &App, id: Uuid, body: &Value) -> Outcome {
    let operations = body.as_array().ok_or_else(|| Refusal::new(400, "The body has to be an array of operations"))?;
    let finished =
        app.state.with(|world| world.asset(id).is_some_and(|asset| asset.is_alive() && asset.pending.is_none()));
    let (mut finalise, mut errors) = (false, Vec::new());
    let mut facts = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        let path = operation["path"].as_str().unwrap_or_default();
        let name = path.strip_prefix('/').unwrap_or_default();
        match operation["op"].as_str().unwrap_or_default() {
            "add" | "replace" if name == "status" && operation["value"] == json!(1) => finalise = true,
            "add" | "replace" if FACTS.contains(&name) && !operation["value"].is_null() => {
                facts.push((name, &operation["value"]));
            }
            op => errors.push(format!("Operation {number} was skipped: {op:?} of {path:?}")),
        }
    }
    if finished && finalise && facts.is_empty() {
        let warnings = vec!["The upload was finalised before".to_owned()];
        return Ok(Reply { warnings, errors, ..Reply::new(200, json!({ "permissions": [] })) });
    }
    let size = sent(app, id);
    change_upload(app, id, |asset| {
        for (name, value) in facts {
            set(asset, name, value)?;
        }
        if finalise { complete(app, asset, size) } else { Ok(()) }
    })?;
    Ok(Reply { errors, ..Reply::new(200, json!({ "permissions": [] })) })
}

/// The checks of the last step of an upload.
fn complete(app: &App, asset: &mut Asset, size: Option<u64>) -> Result<(), Refusal> {
    if asset.categories.is_empty() {
        return Err(Refusal::new(400, "The asset needs at least one category"));
    }
    take_over(app, asset, size)
}

/// The file that was sent becomes the asset's, if it has the size that was given.
pub(crate) fn take_over(app: &App, asset: &mut Asset, size: Option<u64>) -> Result<(), Refusal> {
    let Some(file) = asset.pending.clone() else { return Err(Refusal::not_found("The upload")) };
    check_filename(&file.filename)?;
    match size {
        None => return Err(Refusal::new(404, "Nothing has been uploaded yet")),
        Some(size) if file.size != Some(size) => {
            let given = file.size.map_or("not given".to_owned(), |size| size.to_string());
            return Err(Refusal::new(404, format!("The size of the blob is {size}, the size of the upload {given}")));
        }
        Some(_) => {}
    }
    let processing = i64::try_from(app.options.processing.as_millis()).unwrap_or(i64::MAX);
    asset.earlier.extend(asset.current.replace(file));
    asset.pending = None;
    asset.ready_at = now().saturating_add(processing);
    Ok(())
}
