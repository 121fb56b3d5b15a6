//! Rows of the MediaValet look-alike: assets, their media files, categories and blobs, and what every library starts
//! with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::library::{Fate, Library, mix};
use crate::state::Event;

/// The top of the category tree.
pub(crate) const ROOT_CATEGORY: Uuid = Uuid::from_u128(0x5a0d_0001_7c1e_4b3a_9f00_0000_0000_0001);
/// The category meant as target of a migration.
pub(crate) const TARGET_CATEGORY: Uuid = Uuid::from_u128(0x5a0d_0001_7c1e_4b3a_9f00_0000_0000_0002);
/// When the seeded rows were made.
pub(crate) const EPOCH: i64 = 1_735_689_600_000;

/// One media file of an asset: the finished one, or the one being uploaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MediaFile {
    /// Names the blob.
    pub id: Uuid,
    /// The temporary name the answer to an upload carries.
    pub temporary: String,
    pub filename: String,
    /// The size the client gave.
    pub size: Option<u64>,
}

impl MediaFile {
    /// A file that is to come, with a temporary name of its own.
    pub(crate) fn new(filename: &str) -> MediaFile {
        let id = Uuid::new_v4();
        let temporary = match filename.rsplit_once('.') {
            Some((_, extension)) => format!("{id}.{extension}"),
            None => id.to_string(),
        };
        MediaFile { id, temporary, filename: filename.to_owned(), size: None }
    }
}

/// A reservation of an asset for a new version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CheckOut {
    /// Name of the user who has it.
    pub by: String,
    pub comment: String,
}

/// One asset, or the holder of one whose upload has not been finalised.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asset {
    pub id: Uuid,
    pub title: String,
    pub description: String,
    pub alt_text: String,
    pub keywords: Vec<String>,
    pub categories: Vec<Uuid>,
    pub attributes: BTreeMap<Uuid, String>,
    pub current: Option<MediaFile>,
    pub pending: Option<MediaFile>,
    pub created_at: i64,
    pub created_by: String,
    pub modified_at: i64,
    /// When the processing of the current file ends.
    pub ready_at: i64,
    pub deleted_at: Option<i64>,
    pub preexisting: bool,
    #[serde(default)]
    pub checked_out: Option<CheckOut>,
    #[serde(default)]
    pub check_in_comment: String,
    /// Files that newer versions took the place of, oldest first.
    #[serde(default)]
    pub earlier: Vec<MediaFile>,
    /// Lower-case copies for searching.
    #[serde(skip)]
    pub lower: Lower,
}

/// What a search looks through.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lower {
    pub filename: String,
    pub title: String,
    pub description: String,
    pub keywords: String,
}

impl Asset {
    /// A holder, state Uploading.
    pub(crate) fn holder(id: Uuid, pending: MediaFile, user: &str, now: i64) -> Asset {
        Asset {
            id,
            title: stem(&pending.filename).to_owned(),
            description: String::new(),
            alt_text: String::new(),
            keywords: Vec::new(),
            categories: Vec::new(),
            attributes: BTreeMap::new(),
            current: None,
            pending: Some(pending),
            created_at: now,
            created_by: user.to_owned(),
            modified_at: now,
            ready_at: 0,
            deleted_at: None,
            preexisting: false,
            checked_out: None,
            check_in_comment: String::new(),
            earlier: Vec::new(),
            lower: Lower::default(),
        }
    }

    /// Brings the copies for searching up to date.
    pub(crate) fn index(&mut self) {
        self.lower = Lower {
            filename: self.filename().to_lowercase(),
            title: self.title.to_lowercase(),
            description: self.description.to_lowercase(),
            keywords: self.keywords.join("\n").to_lowercase(),
        };
    }

    pub(crate) fn filename(&self) -> &str {
        self.current.as_ref().or(self.pending.as_ref()).map_or("", |file| &file.filename)
    }

    /// Finalised and not deleted.
    pub(crate) fn is_alive(&self) -> bool {
        self.current.is_some() && self.deleted_at.is_none()
    }

    pub(crate) fn is_ready(&self, now: i64) -> bool {
        self.current.is_some() && self.ready_at <= now
    }
}

/// A file name without its extension.
pub(crate) fn stem(filename: &str) -> &str {
    filename.rsplit_once('.').map_or(filename, |(stem, _)| stem)
}

/// One category.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Category {
    pub id: Uuid,
    pub parent: Option<Uuid>,
    pub name: String,
    pub description: String,
    pub created_at: i64,
}

/// What is known of the bytes behind a media file. The bytes themselves are not kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Blob {
    pub id: Uuid,
    /// The committed content, if any.
    pub content: Option<Content>,
    /// Committed blocks, in order.
    pub committed: Vec<(String, u64)>,
    /// Blocks that were put and not committed.
    pub staged: BTreeMap<String, u64>,
}

/// Committed content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Content {
    pub size: u64,
    /// Empty for content that was never uploaded.
    pub sha256: String,
    /// The source file all bytes were equal to, as far as it was compared.
    pub same_as: Option<u64>,
}

impl Blob {
    pub(crate) fn new(id: Uuid) -> Blob {
        Blob { id, content: None, committed: Vec::new(), staged: BTreeMap::new() }
    }
}

/// The world before anybody called: categories, and assets that are there already.
pub(crate) fn seed(library: &Library, refusals: bool) -> Vec<Event> {
    let id = |number: u128| Uuid::from_u128(ROOT_CATEGORY.as_u128() - 1 + number);
    let rows =
        [(1, None, "Library"), (2, Some(1), "Mediaflow import"), (3, Some(1), "Products"), (4, Some(3), "Spring")];
    let mut events = rows
        .map(|(number, parent, name)| {
            Event::Category(Category {
                id: id(number),
                parent: parent.map(id),
                name: name.to_owned(),
                description: String::new(),
                created_at: EPOCH,
            })
        })
        .to_vec();
    if !refusals {
        return events;
    }
    for file in library.all().filter(|file| file.fate == Fate::Preexisting) {
        let guid = |salt: u64| {
            let bits = u128::from(mix(file.key ^ salt)) << 64 | u128::from(mix(file.key ^ salt ^ 0xFF));
            uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
        };
        let media = MediaFile {
            id: guid(17),
            temporary: format!("{}.{}", guid(17), file.extension),
            filename: file.filename.clone(),
            size: Some(file.size),
        };
        let mut blob = Blob::new(media.id);
        blob.content = Some(Content { size: file.size, sha256: String::new(), same_as: Some(file.index) });
        let mut asset = Asset::holder(guid(23), media, "archive@example.com", EPOCH + file.index as i64 * 1000);
        asset.current = asset.pending.take();
        asset.categories = vec![TARGET_CATEGORY];
        asset.keywords = vec!["archive".to_owned()];
        asset.preexisting = true;
        events.push(Event::Blob(blob));
        events.push(Event::Asset(Box::new(asset)));
    }
    events
}
