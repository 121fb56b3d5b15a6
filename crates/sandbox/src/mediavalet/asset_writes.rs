//! Changes of existing assets: JSON Patch, keywords, categories, attributes, deletion.

use serde_json::{Value, json};
use uuid::Uuid;

use super::response::{ApiResponse, ApiResult, AuthContext, guid};
use super::rows::{asset_row, attribute};
use super::uploads::check_filename;
use crate::app::App;
use crate::http::{ApiError, Call};
use crate::state::{Asset, Event, now};

/// Changes an asset under the lock and records the change. A soft-deleted asset is not found. If `act` fails, nothing
/// changes.
pub(crate) fn change<R>(
    app: &App,
    id: Uuid,
    act: impl FnOnce(&mut Asset) -> Result<R, ApiError>,
) -> Result<(R, Asset), ApiError> {
    app.state.with(|state| {
        let found = state.asset(id).filter(|asset| asset.deleted_at.is_none());
        let mut asset = found.cloned().ok_or_else(|| ApiError::not_found("The asset"))?;
        let result = act(&mut asset)?;
        asset.modified_at = now();
        state.record(Event::Asset(Box::new(asset.clone())));
        Ok((result, asset))
    })
}

/// Changes an asset in a way that does not fail, and returns it.
fn edit(app: &App, id: Uuid, act: impl FnOnce(&mut Asset)) -> Result<Asset, ApiError> {
    change(app, id, |asset| {
        act(asset);
        Ok(())
    })
    .map(|((), asset)| asset)
}

/// Returns the size of the current file of the asset, in bytes.
fn size(app: &App, asset: &Asset) -> Option<u64> {
    let file = asset.current.as_ref()?;
    app.state.with(|state| state.blobs.get(&file.id)?.content.as_ref().map(|content| content.size))
}

/// Parses a body that has to be an array of strings.
pub(crate) fn strings(body: &Value) -> Result<Vec<String>, ApiError> {
    let wrong = || ApiError::new(400, "The body has to be an array of strings");
    let items = body.as_array().ok_or_else(wrong)?;
    items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

/// The category ids of a body.
pub(crate) struct CategoryIds {
    /// Ids of existing categories.
    pub known: Vec<Uuid>,
    /// Ids without a category.
    pub unknown: Vec<Uuid>,
}

impl CategoryIds {
    /// Parses a body that has to be an array of GUIDs.
    pub(crate) fn parse(app: &App, body: &Value) -> Result<CategoryIds, ApiError> {
        let ids = strings(body)?.iter().map(|text| guid(text)).collect::<Result<Vec<_>, _>>()?;
        let (known, unknown) =
            app.state.with(|state| ids.into_iter().partition(|id| state.categories.contains_key(id)));
        Ok(CategoryIds { known, unknown })
    }

    /// Returns a sentence for each unknown category.
    fn errors(&self) -> Vec<String> {
        self.unknown.iter().map(|id| format!("There is no category {id}")).collect()
    }
}

/// Appends the items that the list does not contain yet.
pub(crate) fn add<T: PartialEq>(list: &mut Vec<T>, more: Vec<T>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

/// The attribute values of a body.
pub(crate) struct AttributeValues {
    pub values: Vec<(Uuid, String)>,
    /// A sentence for each value that was skipped.
    pub errors: Vec<String>,
}

/// Parses a body that has to be an array of maps from attribute ids to strings.
pub(crate) fn attribute_values(body: &Value) -> Result<AttributeValues, ApiError> {
    let wrong = || ApiError::new(400, "The body has to be an array of maps from attribute ids to strings");
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for map in body.as_array().ok_or_else(wrong)? {
        for (id, value) in map.as_object().ok_or_else(wrong)? {
            let value = value.as_str().ok_or_else(wrong)?;
            match attribute(guid(id)?) {
                Some(attribute) if !attribute.system => values.push((guid(id)?, value.to_owned())),
                Some(_) => errors.push(format!("The system attribute {id} was skipped")),
                None => return Err(ApiError::new(400, format!("There is no attribute {id}"))),
            }
        }
    }
    Ok(AttributeValues { values, errors })
}

/// Adds keywords to an asset.
pub(crate) fn add_keywords(app: &App, id: Uuid, body: &Value) -> ApiResult {
    let words = strings(body)?;
    if words.iter().any(|word| word.trim().is_empty()) {
        return Err(ApiError::new(400, "A keyword is empty"));
    }
    let asset = edit(app, id, |asset| add(&mut asset.keywords, words))?;
    Ok(ApiResponse::new(202, json!({ "assetId": id, "keywords": asset.keywords, "permissions": [] })))
}

/// Removes a keyword from an asset.
pub(crate) fn remove_keyword(app: &App, id: Uuid, keyword: &str) -> ApiResult {
    change(app, id, |asset| {
        let before = asset.keywords.len();
        asset.keywords.retain(|word| word != keyword);
        if asset.keywords.len() == before { Err(ApiError::not_found("The keyword")) } else { Ok(()) }
    })?;
    Ok(ApiResponse::new(202, Value::Null))
}

/// Adds categories to an asset. The status is 202 if all categories exist, and 200 if only some do.
pub(crate) fn add_categories(app: &App, id: Uuid, body: &Value) -> ApiResult {
    let categories = CategoryIds::parse(app, body)?;
    let status = if categories.unknown.is_empty() { 202 } else { 200 };
    let errors = categories.errors();
    let asset = edit(app, id, |asset| add(&mut asset.categories, categories.known))?;
    let payload = json!({ "assetId": id, "categoryIds": asset.categories, "permissions": [] });
    Ok(ApiResponse { errors, ..ApiResponse::new(status, payload) })
}

/// Replaces the categories of an asset.
pub(crate) fn replace_categories(app: &App, id: Uuid, body: &Value) -> ApiResult {
    let categories = CategoryIds::parse(app, body)?;
    let errors = categories.errors();
    let asset = edit(app, id, |asset| {
        asset.categories.clear();
        add(&mut asset.categories, categories.known);
    })?;
    Ok(ApiResponse { errors, ..ApiResponse::new(200, json!({ "assetId": id, "categoryIds": asset.categories })) })
}

/// Removes an asset from a category.
pub(crate) fn remove_category(app: &App, id: Uuid, category: Uuid) -> ApiResult {
    change(app, id, |asset| {
        let before = asset.categories.len();
        asset.categories.retain(|other| *other != category);
        if asset.categories.len() == before { Err(ApiError::not_found("The category")) } else { Ok(()) }
    })?;
    Ok(ApiResponse::new(202, Value::Null))
}

/// Sets attributes of an asset.
pub(crate) fn set_attributes(app: &App, auth: &AuthContext, id: Uuid, body: &Value) -> ApiResult {
    let AttributeValues { values, errors } = attribute_values(body)?;
    let asset = edit(app, id, |asset| asset.attributes.extend(values))?;
    Ok(ApiResponse { errors, ..ApiResponse::new(200, asset_row(app, auth, &asset, size(app, &asset))) })
}

/// Soft-deletes an asset, or removes it if `isHardDelete=true`.
pub(crate) fn delete(app: &App, call: &Call, id: Uuid) -> ApiResult {
    let hard = match call.query_any_case("isHardDelete") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(ApiError::new(400, "isHardDelete has to be true or false")),
    };
    app.state.with(|state| {
        let found = state.asset(id).filter(|asset| hard || asset.deleted_at.is_none());
        let mut asset = found.cloned().ok_or_else(|| ApiError::not_found("The asset"))?;
        if hard {
            state.record(Event::AssetGone(id));
        } else {
            asset.deleted_at = Some(now());
            state.record(Event::Asset(Box::new(asset)));
        }
        Ok(ApiResponse::new(200, Value::Null))
    })
}

/// Applies a JSON Patch (RFC 6902) as MediaValet does: an operation that is not possible is skipped, and the response
/// has status 200 with an entry in `errors`.
pub(crate) fn patch(app: &App, auth: &AuthContext, id: Uuid, body: &Value) -> ApiResult {
    let operations = body.as_array().ok_or_else(|| ApiError::new(400, "The body has to be an array of operations"))?;
    let (errors, asset) = change(app, id, |asset| {
        let mut errors = Vec::new();
        for (number, operation) in operations.iter().enumerate() {
            match apply(asset, operation) {
                Ok(()) => {}
                Err(PatchError::Skip(reason)) => errors.push(format!("Operation {number} was skipped: {reason}")),
                Err(PatchError::Reject(error)) => return Err(error),
            }
        }
        Ok(errors)
    })?;
    Ok(ApiResponse { errors, ..ApiResponse::new(200, asset_row(app, auth, &asset, size(app, &asset))) })
}

/// The reason why an operation of a patch is not applied.
enum PatchError {
    /// Only this operation is skipped, for the given reason.
    Skip(String),
    /// The whole patch fails.
    Reject(ApiError),
}

impl From<String> for PatchError {
    fn from(reason: String) -> PatchError {
        PatchError::Skip(reason)
    }
}

/// Applies one operation of a patch.
fn apply(asset: &mut Asset, operation: &Value) -> Result<(), PatchError> {
    let path = operation["path"].as_str().ok_or_else(|| "the path is missing".to_owned())?;
    let value = || -> Result<String, PatchError> {
        match &operation["value"] {
            Value::String(text) => Ok(text.clone()),
            Value::Null => Err("the value is missing".to_owned().into()),
            other => Ok(other.to_string()),
        }
    };
    let from = |asset: &Asset| -> Result<String, PatchError> {
        let from = operation["from"].as_str().ok_or_else(|| "from is missing".to_owned())?;
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
        other => Err(format!("unknown operation {other:?}").into()),
    }
}

/// Returns the attribute id of a path `/attributes/ID`. The error is the reason to skip the operation.
fn attribute_of(path: &str) -> Result<Uuid, String> {
    let id = path.strip_prefix("/attributes/").and_then(|id| guid(id).ok());
    let id = id.ok_or_else(|| format!("there is no field {path}"))?;
    match attribute(id) {
        Some(attribute) if !attribute.system => Ok(id),
        Some(_) => Err("a system attribute has a path of its own".to_owned()),
        None => Err(format!("there is no attribute {id}")),
    }
}

/// Returns the value at a path.
fn read(asset: &Asset, path: &str) -> Result<String, String> {
    Ok(match path {
        "/title" => asset.title.clone(),
        "/description" => asset.description.clone(),
        "/altText" => asset.alt_text.clone(),
        "/filename" => asset.filename().to_owned(),
        other => asset.attributes.get(&attribute_of(other)?).cloned().unwrap_or_default(),
    })
}

/// Removes the value at a path.
fn clear(asset: &mut Asset, path: &str) -> Result<(), PatchError> {
    match path {
        "/description" | "/altText" => write(asset, path, String::new()),
        other => {
            let id = attribute_of(other)?;
            asset.attributes.remove(&id);
            Ok(())
        }
    }
}

/// Sets the value at a path.
fn write(asset: &mut Asset, path: &str, value: String) -> Result<(), PatchError> {
    match path {
        "/title" => asset.title = value,
        "/description" => asset.description = value,
        "/altText" => asset.alt_text = value,
        "/filename" => {
            check_filename(&value).map_err(PatchError::Reject)?;
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
