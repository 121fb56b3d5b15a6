//! The JSON rows of the Mediaflow simulator: folders and files with all fields whose names are known, and the selection
//! of fields that a request asks for.

use serde_json::{Map, Value, json};

use crate::app::App;
use crate::library::{FileCondition, SourceFile, mix};
use crate::state::timestamp;

/// The folder that contains all files.
pub(crate) const ROOT_FOLDER: i64 = 1001;
/// A second folder, which contains some of the files.
pub(crate) const SELECTION_FOLDER: i64 = -1004;
/// One file of this many is also in the second folder.
const SELECTED: u64 = 25;
/// The number of the customer account.
pub(crate) const CUSTOMER: i64 = 4711;
/// The number of the signed-in user.
pub(crate) const USER: i64 = 9001;

/// The upload time of the first file, in milliseconds since 1970.
const UPLOADED_FIRST: i64 = 1_736_000_000_000;

/// One folder.
#[derive(Clone, Copy)]
pub(crate) struct Folder {
    pub id: i64,
    pub parent: Option<i64>,
    pub name: &'static str,
    pub depth: i64,
    pub archived: bool,
    pub separator: bool,
    pub private: bool,
}

const fn folder(id: i64, parent: Option<i64>, name: &'static str, depth: i64) -> Folder {
    Folder { id, parent, name, depth, archived: false, separator: false, private: false }
}

/// The folder tree, in display order.
pub(crate) const FOLDERS: [Folder; 7] = [
    folder(ROOT_FOLDER, None, "Media bank", 0),
    folder(1002, Some(ROOT_FOLDER), "Products", 1),
    folder(1003, Some(1002), "Spring & summer", 2),
    folder(SELECTION_FOLDER, Some(ROOT_FOLDER), "Selection", 1),
    Folder { archived: true, ..folder(1005, Some(ROOT_FOLDER), "Archive", 1) },
    Folder { separator: true, ..folder(1006, None, "---", 0) },
    Folder { private: true, ..folder(-2001, None, "My files", 0) },
];

impl Folder {
    pub(crate) fn by_id(id: i64) -> Option<Folder> {
        FOLDERS.into_iter().find(|folder| folder.id == id)
    }

    pub(crate) fn children(self) -> impl Iterator<Item = Folder> {
        FOLDERS.into_iter().filter(move |folder| folder.parent == Some(self.id))
    }

    /// Returns whether the folder contains the file.
    pub(crate) fn contains(self, file: &SourceFile) -> bool {
        self.id == ROOT_FOLDER || (self.id == SELECTION_FOLDER && file.index % SELECTED == SELECTED / 2)
    }

    fn short(self) -> Value {
        json!({
            "id": self.id, "name": self.name, "type": 0, "depth": self.depth, "parent": self.parent,
            "hasChildren": self.children().next().is_some(),
        })
    }

    pub(crate) fn row(self) -> Map<String, Value> {
        let mut parents = Vec::new();
        let mut above = self.parent.and_then(Folder::by_id);
        while let Some(folder) = above {
            parents.insert(0, folder.short());
            above = folder.parent.and_then(Folder::by_id);
        }
        object(json!({
            "id": self.id,
            "name": self.name,
            "type": 0,
            "depth": self.depth,
            "parent": self.parent,
            "created": timestamp(UPLOADED_FIRST),
            "createdBy": USER,
            "hasChildren": self.children().next().is_some(),
            "archived": self.archived,
            "viewLayout": "grid",
            "separator": self.separator,
            "parents": parents,
        }))
    }
}

/// Returns the members of an object, and none for any other value.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Returns the type of a file: its number, its class (image, video or file) and its description.
fn kind(file: &SourceFile) -> (i64, &'static str, &'static str) {
    match file.extension {
        "jpg" => (1, "image", "JPEG image"),
        "tif" => (4, "image", "TIFF image"),
        "pdf" => (201, "file", "PDF document"),
        _ => (301, "video", "MPEG-4 video"),
    }
}

/// Returns whether a file passes the filter `type`.
pub(crate) fn is_of_type(file: &SourceFile, wanted: &str) -> bool {
    wanted == "any" || kind(file).1 == wanted
}

/// Returns the row of a file with all its fields.
pub(crate) fn file_row(app: &App, file: &SourceFile) -> Map<String, Value> {
    let (type_id, class, about) = kind(file);
    let fact = |salt: u64, modulus: u64| mix(file.key ^ salt) % modulus;
    let image = class == "image";
    let uploaded = timestamp(UPLOADED_FIRST + file.index as i64 * 97_000);
    let preview = |name: &str| format!("{}/mediaflow-files/preview/{}/{name}.jpg", app.base, file.id);
    let names = ["Astrid Lund", "Jonas Ek", "Zoë Müller", ""];
    let mut row = object(json!({
        "id": file.id,
        "name": file.title,
        "filename": file.filename,
        "type": { "id": type_id, "type": class, "description": about, "extension": file.extension },
        "filesize": file.size,
        "checksum": format!("{:016x}{:016x}", mix(file.key ^ 11), mix(file.key ^ 12)),
        "width": if class == "file" { 0 } else { 1200 + fact(13, 5000) },
        "height": if class == "file" { 0 } else { 800 + fact(14, 4000) },
        "length": if class == "video" { json!(5 + fact(15, 300)) } else { Value::Null },
        "dpi": if image { 300 } else { 72 },
        "rating": fact(16, 6),
        "nrDownloads": fact(17, 40),
        "mark": fact(18, 7),
        "uploadedBy": USER,
        "uploaded": uploaded,
        "addedToFolder": uploaded,
        "photographer": names[fact(19, 4) as usize],
    }));
    row.append(&mut more_of_file(file, class, preview));
    row
}

/// Returns the descriptive and legal fields of a file, and its previews.
fn more_of_file(file: &SourceFile, class: &str, preview: impl Fn(&str) -> String) -> Map<String, Value> {
    let fact = |salt: u64, modulus: u64| mix(file.key ^ salt) % modulus;
    let campaign = ["Spring", "Autumn", "Always on"][fact(22, 3) as usize];
    let (image, denied) = (class == "image", file.denial());
    object(json!({
        "description": format!("Picture {} of the sandbox library", file.index + 1),
        "alttext": if image { format!("Sample picture number {}", file.index + 1) } else { String::new() },
        "instructions": "",
        "comment": "",
        "iccprofile": Value::Null,
        "geodata": if fact(20, 3) == 0 { json!({ "longitude": 18.0686, "latitude": 59.3293 }) } else { Value::Null },
        "processed": true,
        "hasPreview": class != "file",
        "hasVersions": false,
        "hasHistory": false,
        "locked": denied == Some("FILE_DENIED"),
        "alpha": false,
        "icon": Value::Null,
        "previews": [{ "name": "small", "size": "400x300", "url": preview("small") }],
        "smallPreview": preview("small"),
        "mediumPreview": preview("medium"),
        "thumbPreview": preview("thumb"),
        "mediaId": if class == "video" { format!("M{:010X}", fact(21, 1 << 40)) } else { String::new() },
        "poster": if class == "video" { preview("poster") } else { String::new() },
        "gdprStatus": if file.condition == FileCondition::NoConsent { no_consent(file) } else { "OK" },
        "gdprType": if file.condition == FileCondition::NoConsent { "UNKNOWN" } else { "" },
        "rights": {
            "rightsType": if denied == Some("LICENCE_RIGHTS") { "NO" } else { "" },
            "useTom": if denied == Some("DATE_DENIED") { "2025-01-31" } else { "" },
        },
        "customFields": [
            { "field": "Campaign", "value": campaign },
            { "field": "Product number", "value": format!("P-{:05}", fact(23, 100_000)) },
            { "field": "Country", "value": Value::Null },
        ],
    }))
}

fn no_consent(file: &SourceFile) -> &'static str {
    ["MISSING_CONSENT", "INVALID_CONSENT", "AWAIT_CONSENT"][(file.key % 3) as usize]
}

/// Returns the fields that the parameter `fields` selects, without regard to case, or those of `default` if it is
/// missing. The field `id` is always selected.
pub(crate) fn select(row: Map<String, Value>, fields: Option<&str>, default: &[&str]) -> Value {
    let selected: Vec<&str> = match fields {
        Some(text) => text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect(),
        None => default.to_vec(),
    };
    if selected.iter().any(|name| name.eq_ignore_ascii_case("any") || name.eq_ignore_ascii_case("all")) {
        return Value::Object(row);
    }
    let keep = |name: &str| name == "id" || selected.iter().any(|wanted| wanted.eq_ignore_ascii_case(name));
    row.into_iter().filter(|(name, _)| keep(name)).collect::<Map<_, _>>().into()
}
