//! The JSON rows of the MediaValet simulator, and the handlers that only return one of them.
//!
//! The reference has no numbers for the states before approval. So while an upload is not finalised, and while the
//! asset is being processed, `status` is null and `media` has no URL. Afterwards `status` is 0 (approved).

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::response::{ApiResponse, ApiResult, AuthContext, page};
use crate::app::{App, BLOB_LIFETIME, blob_url};
use crate::http::{ApiError, Call};
use crate::library::{media_type, mix};
use crate::state::{Asset, EPOCH, now, stem, timestamp};

const ORG_UNIT: Uuid = Uuid::from_u128(0x5a0d_0002_7c1e_4b3a_9f00_0000_0000_0001);
/// The id before that of the first attribute.
const ATTRIBUTE: u128 = 0x5a0d_0003_7c1e_4b3a_9f00_0000_0000_0000;
/// The id before that of the first rendition kind.
const RENDITION: u128 = 0x5a0d_0004_7c1e_4b3a_9f00_0000_0000_0000;

/// A metadata attribute of the library.
pub(crate) struct Attribute {
    name: &'static str,
    kind: &'static str,
    /// Whether the attribute is one of MediaValet's own, which are set by other members.
    pub system: bool,
    choices: &'static [&'static str],
}

const fn attribute_of_kind(name: &'static str, kind: &'static str) -> Attribute {
    Attribute { name, kind, system: false, choices: &[] }
}

const ATTRIBUTES: [Attribute; 7] = [
    Attribute { system: true, ..attribute_of_kind("Title", "Text") },
    Attribute { system: true, ..attribute_of_kind("Description", "Text") },
    attribute_of_kind("Source id", "Text"),
    attribute_of_kind("Photographer", "Text"),
    Attribute { choices: &["Spring", "Autumn", "Always on"], ..attribute_of_kind("Campaign", "List") },
    attribute_of_kind("Embargo date", "DateTime"),
    Attribute { choices: &["Open", "Done"], ..attribute_of_kind("Review", "Status") },
];

/// A kind of rendition. All are JPEG images.
struct RenditionKind {
    name: &'static str,
    width: u32,
    height: u32,
}

const RENDITIONS: [RenditionKind; 4] = [
    RenditionKind { name: "thumb", width: 160, height: 120 },
    RenditionKind { name: "small", width: 320, height: 240 },
    RenditionKind { name: "medium", width: 800, height: 600 },
    RenditionKind { name: "large", width: 1600, height: 1200 },
];

/// Returns the entry page of the API.
pub(crate) fn home() -> Value {
    let function =
        |rel: &str, href: &str| json!({ "rel": rel, "href": href, "templated": href.contains('{'), "hints": {} });
    json!({ "functions": {
        "assets": function("assets", "/assets"),
        "asset": function("asset", "/assets/{assetId}"),
        "categories": function("categories", "/categories"),
        "uploads": function("uploads", "/uploads"),
        "currentUser": function("currentUser", "/users/current"),
    } })
}

/// Returns the GUID that is derived from a user name.
pub(crate) fn user_id(user: &str) -> Uuid {
    let bits = user.bytes().fold(7u64, |hash, byte| mix(hash ^ u64::from(byte)));
    uuid::Builder::from_random_bytes((u128::from(bits) << 64 | u128::from(!bits)).to_be_bytes()).into_uuid()
}

pub(crate) fn user_permissions(may_write: bool) -> Vec<&'static str> {
    let mut permissions = vec!["asset:view", "category:view", "user:view"];
    if may_write {
        permissions.extend(["asset:upload", "asset:edit", "asset:delete", "asset:assignCategory", "category:create"]);
    }
    permissions
}

/// Returns the row of a user.
pub(crate) fn user(name: &str, may_write: bool) -> Value {
    json!({
        "id": user_id(name), "userName": name, "orgUnitId": ORG_UNIT, "firstName": "Sandbox",
        "lastName": stem(name), "emailAddress": name, "createdAt": timestamp(EPOCH), "isLockedOut": false,
        "isSuspended": false, "isApproved": true, "userType": "MediaValet", "isExternalUser": false,
        "roleId": Uuid::from_u128(ORG_UNIT.as_u128() + 1 + u128::from(may_write)),
        "permissions": user_permissions(may_write),
    })
}

pub(crate) fn attribute_id(index: usize) -> Uuid {
    Uuid::from_u128(ATTRIBUTE + 1 + index as u128)
}

/// Returns the attribute with this id.
pub(crate) fn attribute(id: Uuid) -> Option<&'static Attribute> {
    const ALL: &[Attribute] = &ATTRIBUTES;
    ALL.iter().enumerate().find(|(index, _)| attribute_id(*index) == id).map(|(_, attribute)| attribute)
}

/// Returns all attributes that a caller of this minor version sees. Status attributes need version 1.1.
pub(crate) fn attributes(version: u8) -> Vec<Value> {
    let shown = ATTRIBUTES.iter().enumerate().filter(|(_, attribute)| version >= 1 || attribute.kind != "Status");
    shown
        .map(|(index, Attribute { name, kind, system, choices })| {
            let option = |(position, text): (usize, &&str)| {
                json!({ "optionValue": text, "isDefault": position == 0, "sequence": position })
            };
            let state = |(position, text): (usize, &&str)| {
                json!({ "statusName": text, "statusValue": position, "sequence": position })
            };
            let numbered = || choices.iter().enumerate();
            json!({
                "id": attribute_id(index), "attributeType": kind, "name": name, "tagName": name,
                "displayAttribute": true, "isSystemProperty": system, "showLabel": true, "isRequired": false,
                "delimeter": ";",
                "optionsList": if *kind == "List" { numbered().map(option).collect::<Vec<_>>() } else { Vec::new() },
                "statusList": if *kind == "Status" { numbered().map(state).collect::<Vec<_>>() } else { Vec::new() },
                "attributeGroupIds": [], "permissions": [],
            })
        })
        .collect()
}

fn keyword_row(name: &str) -> Value {
    json!({
        "id": name, "keywordName": name, "isSearchable": true, "isApproved": true, "groupName": "", "groupPath": "",
        "approvalStatus": "Approved", "permissions": [],
    })
}

/// Returns the rows of all keywords of all assets.
pub(crate) fn keywords(app: &App) -> Vec<Value> {
    let names: std::collections::BTreeSet<String> =
        app.state.with(|state| state.assets.values().flat_map(|asset| asset.keywords.iter().cloned()).collect());
    names.iter().map(|name| keyword_row(name)).collect()
}

fn rendition_id(index: usize) -> Uuid {
    Uuid::from_u128(RENDITION + 1 + index as u128)
}

/// Returns the rows of all rendition kinds.
pub(crate) fn rendition_kinds() -> Vec<Value> {
    let row = |(index, RenditionKind { name, width, height }): (usize, &RenditionKind)| {
        json!({
            "renditionKindId": rendition_id(index), "code": index, "description": name, "height": height,
            "isDefault": index == 0, "mimeType": "image/jpeg", "name": name, "quality": 80,
            "targetFileExtension": "jpg", "width": width, "colorspace": "RGB", "permissions": [],
        })
    };
    RENDITIONS.iter().enumerate().map(row).collect()
}

/// Returns the member `record` of a row: its creation, last change, deletion and version.
pub(crate) fn record(
    created_at: i64,
    created_by: &str,
    modified_at: i64,
    deleted_at: Option<i64>,
    version: usize,
) -> Value {
    let person = json!({ "id": user_id(created_by), "username": created_by, "firstName": "Sandbox", "lastName": "" });
    json!({
        "createdAt": timestamp(created_at), "createdBy": person, "modifiedAt": timestamp(modified_at),
        "modifiedBy": person, "softDeletedAt": deleted_at.map(timestamp),
        "version": { "version": version, "isversionable": true, "islatestversion": true, "ismajorversion": true },
    })
}

/// Returns permissions in the form of the API version: an array of names since 1.2, an object before.
pub(crate) fn permissions(auth: &AuthContext, names: &[&str]) -> Value {
    if auth.version >= 2 {
        json!(names)
    } else {
        json!({ "all": names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>() })
    }
}

/// Returns the class of a media file, one of the values of the filter `AssetType`.
pub(crate) fn asset_type(filename: &str) -> &'static str {
    match filename.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).as_deref() {
        Some("jpg" | "jpeg" | "png" | "tif" | "tiff" | "gif" | "webp" | "bmp" | "svg") => "Image",
        Some("mp4" | "mov" | "avi" | "mkv" | "webm") => "Video",
        Some("mp3" | "wav" | "flac" | "aac") => "Audio",
        Some("psd" | "ai" | "indd") => "Adobe",
        Some("pdf" | "doc" | "docx" | "xls" | "xlsx" | "ppt" | "pptx" | "txt") => "Document",
        _ => "Other",
    }
}

/// Returns the member `media` of an asset. It has URLs once the asset is processed.
fn media(app: &App, asset: &Asset) -> Map<String, Value> {
    let mut media = Map::new();
    let filename = asset.filename();
    media.insert("type".into(), asset_type(filename).into());
    media.insert("assetId".into(), json!(asset.id));
    media.insert("watermarked".into(), false.into());
    if let Some(file) = asset.current.as_ref().filter(|_| asset.is_ready(now())) {
        let original = blob_url(app, &format!("/library/{}", file.id), "r");
        for RenditionKind { name, .. } in RENDITIONS {
            media.insert(name.into(), blob_url(app, &format!("/renditions/{}/{name}", file.id), "r").into());
        }
        media.insert("original".into(), original.as_str().into());
        media.insert("download".into(), original.into());
        media.insert("renditionItemCount".into(), RENDITIONS.len().into());
        media.insert("sasExpiry".into(), ((now() + BLOB_LIFETIME) / 1000).into());
        media.insert("sasRenewal".into(), ((now() + BLOB_LIFETIME / 2) / 1000).into());
    }
    media
}

/// Returns the row of an asset. `size` is that of its blob, in bytes.
pub(crate) fn asset_row(app: &App, auth: &AuthContext, asset: &Asset, size: Option<u64>) -> Value {
    let filename = asset.filename();
    let ready = asset.is_ready(now());
    let mut names = vec!["asset:view", "asset:download"];
    if auth.may_write {
        names.extend(["asset:edit", "asset:delete", "asset:assignCategory"]);
    }
    let attributes: Map<String, Value> =
        asset.attributes.iter().map(|(id, value)| (id.to_string(), value.as_str().into())).collect();
    json!({
        "id": asset.id,
        "title": asset.title,
        "media": media(app, asset),
        "file": {
            "id": asset.current.as_ref().or(asset.pending.as_ref()).map(|file| file.id),
            "title": asset.title,
            "fileName": filename,
            "fileType": filename.rsplit_once('.').map_or("", |(_, extension)| extension),
            "sizeInBytes": size,
            "description": asset.description,
            "uploadedAt": timestamp(asset.created_at),
            "modifiedAt": timestamp(asset.modified_at),
            "approvedAt": ready.then(|| timestamp(asset.ready_at.max(asset.created_at))),
            "mimeType": media_type(filename),
        },
        "description": asset.description,
        "altText": asset.alt_text,
        "status": if asset.checked_out.is_some() { json!(9) } else if ready { json!(0) } else { Value::Null },
        "checkedOutBy": asset.checked_out.as_ref().map(|check_out| user_id(&check_out.user)),
        "assetCheckOutComment": asset.checked_out.as_ref().map(|check_out| &check_out.comment),
        "assetCheckInComment": asset.check_in_comment,
        "rating": { "average": 0, "user": 0 },
        "attributes": attributes,
        "record": record(
            asset.created_at, &asset.created_by, asset.modified_at, asset.deleted_at, asset.earlier.len() + 1
        ),
        "categories": asset.categories,
        "keywords": asset.keywords,
        "relatedassets": [],
        "createdAt": timestamp(asset.created_at),
        "followed": false,
        "_links": { "self": format!("/assets/{}", asset.id), "functions": [] },
        "permissions": permissions(auth, &names),
    })
}

/// Returns the asset and the size of its blob. A soft-deleted asset is only found with `includeSoftDeleted=true`.
pub(crate) fn find(app: &App, call: &Call, id: Uuid) -> Result<(Asset, Option<u64>), ApiError> {
    let deleted = call.query_any_case("includeSoftDeleted") == Some("true");
    app.state
        .with(|state| {
            let asset = state.asset(id).filter(|asset| deleted || asset.deleted_at.is_none())?.clone();
            let file = asset.current.as_ref().or(asset.pending.as_ref());
            let size = file.and_then(|file| state.blobs.get(&file.id)?.content.as_ref().map(|content| content.size));
            Some((asset, size))
        })
        .ok_or_else(|| ApiError::not_found("The asset"))
}

/// Returns an asset.
pub(crate) fn asset(app: &App, auth: &AuthContext, call: &Call, id: Uuid) -> ApiResult {
    let (asset, size) = find(app, call, id)?;
    Ok(ApiResponse::new(200, asset_row(app, auth, &asset, size)))
}

/// Lists the keywords of an asset.
pub(crate) fn asset_keywords(app: &App, call: &Call, id: Uuid) -> ApiResult {
    let (asset, _) = find(app, call, id)?;
    page(call, asset.keywords.iter().map(|name| keyword_row(name)).collect())
}

/// Returns the attributes of an asset.
pub(crate) fn asset_attributes(app: &App, auth: &AuthContext, call: &Call, id: Uuid) -> ApiResult {
    let (asset, _) = find(app, call, id)?;
    let row = asset_row(app, auth, &asset, None);
    Ok(ApiResponse::new(200, json!({ "attributes": row["attributes"], "permissions": row["permissions"] })))
}

/// Lists the renditions of an asset.
pub(crate) fn asset_renditions(app: &App, call: &Call, id: Uuid) -> ApiResult {
    let (asset, _) = find(app, call, id)?;
    let rows = RENDITIONS.iter().enumerate().filter(|_| asset.is_ready(now()));
    let row = |(index, RenditionKind { width, height, .. }): (usize, &RenditionKind)| {
        json!({
            "id": Uuid::from_u128(asset.id.as_u128() ^ (index as u128 + 1)), "renditionTypeId": rendition_id(index),
            "height": height, "width": width, "length": 0, "mimeType": "image/jpeg", "watermarked": false,
            "permissions": [],
        })
    };
    page(call, rows.map(row).collect())
}

/// Returns the URLs of a rendition of an asset.
pub(crate) fn asset_rendition(app: &App, call: &Call, id: Uuid, kind: Uuid) -> ApiResult {
    let (asset, _) = find(app, call, id)?;
    let known = (0..RENDITIONS.len()).find(|index| rendition_id(*index) == kind);
    let (Some(index), Some(file)) = (known, asset.current.as_ref().filter(|_| asset.is_ready(now()))) else {
        return Err(ApiError::not_found("The rendition"));
    };
    let url = |name: &str| blob_url(app, &format!("/renditions/{}/{name}", file.id), "r");
    Ok(ApiResponse::new(
        200,
        json!({
            "renditionUrl": url(RENDITIONS[index].name), "thumbnailUrl": url("thumb"),
            "pages": { "count": 0, "offSet": 0, "renditions": [] },
            "sasExpiry": (now() + BLOB_LIFETIME) / 1000, "sasRenewal": (now() + BLOB_LIFETIME / 2) / 1000,
        }),
    ))
}
