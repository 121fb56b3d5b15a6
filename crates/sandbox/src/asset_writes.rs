//! Changes of assets that exist: JSON Patch, keywords, categories, attributes, deletion.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::App;
use crate::asset::Asset;
use crate::http::Call;
use crate::mediavalet::{Gate, Outcome, Refusal, Reply, guid};
use crate::mediavalet_rows::{asset_row, attribute};
use crate::state::{Event, now};
use crate::uploads::check_filename;

/// Changes an asset under the lock and records it. Soft-deleted assets are not found.
pub(crate) fn change<R>(
    app: &App,
    id: Uuid,
    act: impl FnOnce(&mut Asset) -> Result<R, Refusal>,
) -> Result<(R, Asset), Refusal> {
    app.state.with(|world| {
        let found = world.asset(id).filter(|asset| asset.deleted_at.is_none());
        let mut asset = found.cloned().ok_or_else(|| Refusal::not_found("The asset"))?;
        let result = act(&mut asset)?;
        asset.modified_at = now();
        world.record(Event::Asset(Box::new(asset.clone())));
        Ok((result, asset))
    })
}

fn size(app: &App, asset: &Asset) -> Option<u64> {
    let file = asset.current.as_ref()?;
    app.state.with(|world| world.blobs.get(&file.id)?.content.as_ref().map(|content| content.size))
}

/// The array of strings a body has to be.
pub(crate) fn strings(body: &Value) -> Result<Vec<String>, Refusal> {
    let wrong = || Refusal::new(400, "The body has to be an array of strings");
    let items = body.as_array().ok_or_else(wrong)?;
    items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

/// Ids of a body, parted into known and unknown categories.
pub(crate) fn category_ids(app: &App, body: &Value) -> Result<(Vec<Uuid>, Vec<Uuid>), Refusal> {
    let ids = strings(body)?.iter().map(|text| guid(text)).collect::<Result<Vec<_>, _>>()?;
    Ok(app.state.with(|world| ids.into_iter().partition(|id| world.categories.contains_key(id))))
}

/// Adds what is not there yet.
pub(crate) fn add<T: PartialEq>(list: &mut Vec<T>, more: Vec<T>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

/// Attribute values, and a sentence for each that was skipped.
type Attributes = (Vec<(Uuid, String)>, Vec<String>);

/// The attribute values of a body, which is an array of maps.
pub(crate) fn attribute_values(body: &Value) -> Result<Attributes, Refusal> {
    let wrong = || Refusal::new(400, "The body has to be an array of maps from attribute ids to strings");
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for map in body.as_array().ok_or_else(wrong)? {
        for (id, value) in map.as_object().ok_or_else(wrong)? {
            let value = value.as_str().ok_or_else(wrong)?;
            match attribute(guid(id)?) {
                Some(false) => values.push((guid(id)?, value.to_owned())),
                Some(true) => errors.push(format!("The attribute {id} belongs to the system and was skipped")),
                None => return Err(Refusal::new(400, format!("There is no attribute {id}"))),
            }
        }
    }
    Ok((values, errors))
}

pub(crate) fn add_keywords(app: &App, id: Uuid, body: &Value) -> Outcome {
    let words = strings(body)?;
    if words.iter().any(|word| word.trim().is_empty()) {
        return Err(Refusal::new(400, "A keyword is empty"));
    }
    let ((), asset) = change(app, id, |asset| {
        add(&mut asset.keywords, words);
        Ok(())
    })?;
    Ok(Reply::new(202, json!({ "assetId": id, "keywords": asset.keywords, "permissions": [] })))
}

pub(crate) fn remove_keyword(app: &App, id: Uuid, keyword: &str) -> Outcome {
    change(app, id, |asset| {
        let before = asset.keywords.len();
        asset.keywords.retain(|word| word != keyword);
        if asset.keywords.len() == before { Err(Refusal::not_found("The keyword")) } else { Ok(()) }
    })?;
    Ok(Reply::new(202, Value::Null))
}

/// 202 when all categories were accepted, 200 when only some were.
pub(crate) fn add_categories(app: &App, id: Uuid, body: &Value) -> Outcome {
    let (known, unknown) = category_ids(app, body)?;
    let ((), asset) = change(app, id, |asset| {
        add(&mut asset.categories, known);
        Ok(())
    })?;
    let errors = unknown.iter().map(|id| format!("There is no category {id}")).collect();
    let payload = json!({ "assetId": id, "categoryIds": asset.categories, "permissions": [] });
    Ok(Reply { errors, ..Reply::new(if unknown.is_empty() { 202 } else { 200 }, payload) })
}

pub(crate) fn replace_categories(app: &App, id: Uuid, body: &Value) -> Outcome {
    let (known, unknown) = category_ids(app, body)?;
    let ((), asset) = change(app, id, |asset| {
        asset.categories.clear();
        add(&mut asset.categories, known);
        Ok(())
    })?;
    let errors = unknown.iter().map(|id| format!("There is no category {id}")).collect();
    Ok(Reply { errors, ..Reply::new(200, json!({ "assetId": id, "categoryIds": asset.categories })) })
}

pub(crate) fn remove_category(app: &App, id: Uuid, category: Uuid) -> Outcome {
    change(app, id, |asset| {
        let before = asset.categories.len();
        asset.categories.retain(|other| *other != category);
        if asset.categories.len() == before { Err(Refusal::not_found("The category")) } else { Ok(()) }
    })?;
    Ok(Reply::new(202, Value::Null))
}

pub(crate) fn set_attributes(app: &App, gate: &Gate, id: Uuid, body: &Value) -> Outcome {
    let (values, errors) = attribute_values(body)?;
    let ((), asset) = change(app, id, |asset| {
        asset.attributes.extend(values);
        Ok(())
    })?;
    Ok(Reply { errors, ..Reply::new(200, asset_row(app, gate, &asset, size(app, &asset))) })
}

/// Soft, unless `isHardDelete=true`.
pub(crate) fn delete(app: &App, call: &Call, id: Uuid) -> Outcome {
    let hard = match call.query_any_case("isHardDelete") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Refusal::new(400, "isHardDelete is neither true nor false")),
    };
    app.state.with(|world| {
        let found = world.asset(id).filter(|asset| hard || asset.deleted_at.is_none());
        let mut asset = found.cloned().ok_or_else(|| Refusal::not_found("The asset"))?;
        if hard {
            world.record(Event::AssetGone(id));
        } else {
            asset.deleted_at = Some(now());
            world.record(Event::Asset(Box::new(asset)));
        }
        Ok(Reply::new(200, Value::Null))
    })
}

/// JSON Patch in MediaValet's reading: what is not understood is skipped, with an entry in `errors` on a 200.
pub(crate) fn patch(app: &App, gate: &Gate, id: Uuid, body: &Value) -> Outcome {
    let operations = body.as_array().ok_or_else(|| Refusal::new(400, "The body has to be an array of operations"))?;
    let (errors, asset) = change(app, id, |asset| {
        let mut errors = Vec::new();
        for (number, operation) in operations.iter().enumerate() {
            match step(asset, operation) {
                Ok(()) => {}
                Err(Step::Skip(reason)) => errors.push(format!("Operation {number} was skipped: {reason}")),
                Err(Step::Refuse(refusal)) => return Err(refusal),
            }
        }
        Ok(errors)
    })?;
    Ok(Reply { errors, ..Reply::new(200, asset_row(app, gate, &asset, size(app, &asset))) })
}

enum Step {
    Skip(String),
    Refuse(Refusal),
}

impl From<String> for Step {
    fn from(reason: String) -> Step {
        Step::Skip(reason)
    }
}

fn step(asset: &mut Asset, operation: &Value) -> Result<(), Step> {
    let path = operation["path"].as_str().ok_or_else(|| "there is no path".to_owned())?;
    let value = || -> Result<String, Step> {
        match &operation["value"] {
            Value::String(text) => Ok(text.clone()),
            Value::Null => Err("there is no value".to_owned().into()),
            other => Ok(other.to_string()),
        }
    };
    let from = |asset: &Asset| -> Result<String, Step> {
        let from = operation["from"].as_str().ok_or_else(|| "there is no from".to_owned())?;
        Ok(read(asset, from)?)
    };
    match operation["op"].as_str().unwrap_or_default() {
        "add" | "replace" => write(asset, path, value()?),
        "remove" => {
            read(asset, path)?;
            clear(asset, path)
        }
        "test" if read(asset, path)? == value()? => Ok(()),
        "test" => Err("the test failed".to_owned().into()),
        "copy" => {
            let value = from(asset)?;
            write(asset, path, value)
        }
        "move" => {
            let value = from(asset)?;
            write(asset, path, value)?;
            clear(asset, operation["from"].as_str().unwrap_or_default())
        }
        other => Err(format!("the operation {other:?} is not known").into()),
    }
}

fn attribute_of(path: &str) -> Result<Uuid, String> {
    let id = path.strip_prefix("/attributes/").and_then(|id| guid(id).ok());
    let id = id.ok_or_else(|| format!("there is no field {path}"))?;
    match attribute(id) {
        Some(false) => Ok(id),
        Some(true) => Err("an attribute of the system is set by its own path".to_owned()),
        None => Err(format!("there is no attribute {id}")),
    }
}

fn read(asset: &Asset, path: &str) -> Result<String, String> {
    Ok(match path {
        "/title" => asset.title.clone(),
        "/description" => asset.description.clone(),
        "/altText" => asset.alt_text.clone(),
        "/filename" => asset.filename().to_owned(),
        other => asset.attributes.get(&attribute_of(other)?).cloned().unwrap_or_default(),
    })
}

fn clear(asset: &mut Asset, path: &str) -> Result<(), Step> {
    match path {
        "/description" | "/altText" => write(asset, path, String::new()),
        other => {
            let id = attribute_of(other)?;
            asset.attributes.remove(&id);
            Ok(())
        }
    }
}

fn write(asset: &mut Asset, path: &str, value: String) -> Result<(), Step> {
    match path {
        "/title" => asset.title = value,
        "/description" => asset.description = value,
        "/altText" => asset.alt_text = value,
        "/filename" => {
            check_filename(&value).map_err(Step::Refuse)?;
            if let Some(file) = asset.current.as_mut().or(asset.pending.as_mut()) {
                file.filename = value;
            }
        }
        other => {
            let id = attribute_of(other)?;
            asset.attributes.insert(id, value);
        }
    }
    Ok(())
}
