//! The rows the MediaValet look-alike shows, and the calls that only show one.
//!
//! The reference does not number the states before approval. So while an upload is not finalised, and while the asset is
//! being processed, `status` is null and `media` has no URL; afterwards `status` is 0 (approved).

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::App;
use crate::asset::{Asset, EPOCH, stem};
use crate::http::Call;
use crate::mediavalet::{Gate, Outcome, Refusal, Reply, page};
use crate::signature::{BLOB_LIFETIME, blob_url};
use crate::state::{now, timestamp};

const ORG_UNIT: Uuid = Uuid::from_u128(0x5a0d_0002_7c1e_4b3a_9f00_0000_0000_0001);
const ATTRIBUTE: u128 = 0x5a0d_0003_7c1e_4b3a_9f00_0000_0000_0000;
const RENDITION: u128 = 0x5a0d_0004_7c1e_4b3a_9f00_0000_0000_0000;

/// Name, type, system attribute, choices.
const ATTRIBUTES: [(&str, &str, bool, &[&str]); 7] = [
    ("Title", "Text", true, &[]),
    ("Description", "Text", true, &[]),
    ("Source id", "Text", false, &[]),
    ("Photographer", "Text", false, &[]),
    ("Campaign", "List", false, &["Spring", "Autumn", "Always on"]),
    ("Embargo date", "DateTime", false, &[]),
    ("Review", "Status", false, &["Open", "Done"]),
];

/// Name, extension, media type, width, height.
const RENDITIONS: [(&str, &str, &str, u32, u32); 4] = [
    ("thumb", "jpg", "image/jpeg", 160, 120),
    ("small", "jpg", "image/jpeg", 320, 240),
    ("medium", "jpg", "image/jpeg", 800, 600),
    ("large", "jpg", "image/jpeg", 1600, 1200),
];

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

/// A GUID that belongs to a user's name.
pub(crate) fn user_id(user: &str) -> Uuid {
    let bits = user.bytes().fold(7u64, |hash, byte| crate::library::mix(hash ^ u64::from(byte)));
    uuid::Builder::from_random_bytes((u128::from(bits) << 64 | u128::from(!bits)).to_be_bytes()).into_uuid()
}

pub(crate) fn user_permissions(may_write: bool) -> Vec<&'static str> {
    let mut permissions = vec!["asset:view", "category:view", "user:view"];
    if may_write {
        permissions.extend(["asset:upload", "asset:edit", "asset:delete", "asset:assignCategory", "category:create"]);
    }
    permissions
}

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

/// Whether there is such an attribute, and whether it belongs to the system.
pub(crate) fn attribute(id: Uuid) -> Option<bool> {
    (0..ATTRIBUTES.len()).find(|index| attribute_id(*index) == id).map(|index| ATTRIBUTES[index].2)
}

/// All attributes a caller of that version may see: status attributes came with 1.1.
pub(crate) fn attributes(version: u8) -> Vec<Value> {
    let shown = ATTRIBUTES.iter().enumerate().filter(|(_, (_, kind, ..))| version >= 1 || *kind != "Status");
    shown
        .map(|(index, (name, kind, system, choices))| {
            let option =
                |(at, text): (usize, &&str)| json!({ "optionValue": text, "isDefault": at == 0, "sequence": at });
            let state = |(at, text): (usize, &&str)| json!({ "statusName": text, "statusValue": at, "sequence": at });
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

pub(crate) fn keywords(app: &App) -> Vec<Value> {
    let names: std::collections::BTreeSet<String> =
        app.state.with(|world| world.assets.values().flat_map(|asset| asset.keywords.iter().cloned()).collect());
    names.iter().map(|name| keyword_row(name)).collect()
}

fn rendition_id(index: usize) -> Uuid {
    Uuid::from_u128(RENDITION + 1 + index as u128)
}

pub(crate) fn rendition_kinds() -> Vec<Value> {
    let row = |(index, (name, extension, media, width, height)): (usize, &(&str, &str, &str, u32, u32))| {
        json!({
            "renditionKindId": rendition_id(index), "code": index, "description": name, "height": height,
            "isDefault": index == 0, "mimeType": media, "name": name, "quality": 80,
            "targetFileExtension": extension, "width": width, "colorspace": "RGB", "permissions": [],
        })
    };
    RENDITIONS.iter().enumerate().map(row).collect()
}

/// Who made a row, and when.
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

/// Permissions in the form of the version: names from 1.2 on, before that an object.
pub(crate) fn permissions(gate: &Gate, names: &[&str]) -> Value {
    if gate.version >= 2 {
        json!(names)
    } else {
        json!({ "all": names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>() })
    }
}

/// The class of a media file, one of the values of the AssetType filter.
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

fn media_type(filename: &str) -> &'static str {
    match filename.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).as_deref() {
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("tif" | "tiff") => "image/tiff",
        Some("png") => "image/png",
        Some("pdf") => "application/pdf",
        Some("mp4") => "video/mp4",
        _ => "application/octet-stream",
    }
}

fn media(app: &App, asset: &Asset) -> Map<String, Value> {
    let mut media = Map::new();
    let filename = asset.filename();
    media.insert("type".into(), asset_type(filename).into());
    media.insert("assetId".into(), json!(asset.id));
    media.insert("watermarked".into(), false.into());
    if let Some(file) = asset.current.as_ref().filter(|_| asset.is_ready(now())) {
        let original = blob_url(app, &format!("/library/{}", file.id), "r");
        for (name, ..) in RENDITIONS {
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

/// One asset. `size` is that of the blob.
pub(crate) fn asset_row(app: &App, gate: &Gate, asset: &Asset, size: Option<u64>) -> Value {
    let filename = asset.filename();
    let ready = asset.is_ready(now());
    let mut names = vec!["asset:view", "asset:download"];
    if gate.may_write {
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
        "checkedOutBy": asset.checked_out.as_ref().map(|held| user_id(&held.by)),
        "assetCheckOutComment": asset.checked_out.as_ref().map(|held| &held.comment),
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
        "permissions": permissions(gate, &names),
    })
}

/// The asset, if it is there; soft-deleted ones only on request.
pub(crate) fn find(app: &App, call: &Call, id: Uuid) -> Result<(Asset, Option<u64>), Refusal> {
    let deleted = call.query_any_case("includeSoftDeleted") == Some("true");
    app.state
        .with(|world| {
            let asset = world.asset(id).filter(|asset| deleted || asset.deleted_at.is_none())?.clone();
            let file = asset.current.as_ref().or(asset.pending.as_ref());
            let size = file.and_then(|file| world.blobs.get(&file.id)?.content.as_ref().map(|content| content.size));
            Some((asset, size))
        })
        .ok_or_else(|| Refusal::not_found("The asset"))
}

pub(crate) fn asset(app: &App, gate: &Gate, call: &Call, id: Uuid) -> Outcome {
    let (asset, size) = find(app, call, id)?;
    Ok(Reply::new(200, asset_row(app, gate, &asset, size)))
}

pub(crate) fn asset_keywords(app: &App, call: &Call, id: Uuid) -> Outcome {
    let (asset, _) = find(app, call, id)?;
    page(call, asset.keywords.iter().map(|name| keyword_row(name)).collect())
}

pub(crate) fn asset_attributes(app: &App, gate: &Gate, call: &Call, id: Uuid) -> Outcome {
    let (asset, _) = find(app, call, id)?;
    let row = asset_row(app, gate, &asset, None);
    Ok(Reply::new(200, json!({ "attributes": row["attributes"], "permissions": row["permissions"] })))
}

pub(crate) fn asset_renditions(app: &App, call: &Call, id: Uuid) -> Outcome {
    let (asset, _) = find(app, call, id)?;
    let rows = RENDITIONS.iter().enumerate().filter(|_| asset.is_ready(now()));
    let row = |(index, (_, _, media, width, height)): (usize, &(&str, &str, &str, u32, u32))| {
        json!({
            "id": Uuid::from_u128(asset.id.as_u128() ^ (index as u128 + 1)), "renditionTypeId": rendition_id(index),
            "height": height, "width": width, "length": 0, "mimeType": media, "watermarked": false, "permissions": [],
        })
    };
    page(call, rows.map(row).collect())
}

pub(crate) fn asset_rendition(app: &App, call: &Call, id: Uuid, kind: Uuid) -> Outcome {
    let (asset, _) = find(app, call, id)?;
    let known = (0..RENDITIONS.len()).find(|index| rendition_id(*index) == kind);
    let (Some(index), Some(file)) = (known, asset.current.as_ref().filter(|_| asset.is_ready(now()))) else {
        return Err(Refusal::not_found("The rendition"));
    };
    let url = |name: &str| blob_url(app, &format!("/renditions/{}/{name}", file.id), "r");
    Ok(Reply::new(
        200,
        json!({
            "renditionUrl": url(RENDITIONS[index].0), "thumbnailUrl": url("thumb"),
            "pages": { "count": 0, "offSet": 0, "renditions": [] },
            "sasExpiry": (now() + BLOB_LIFETIME) / 1000, "sasRenewal": (now() + BLOB_LIFETIME / 2) / 1000,
        }),
    ))
}
