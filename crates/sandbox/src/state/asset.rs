//! The data of the MediaValet simulator: assets, their media files, categories and blobs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The root of the category tree.
pub(crate) const ROOT_CATEGORY: Uuid = Uuid::from_u128(0x5a0d_0001_7c1e_4b3a_9f00_0000_0000_0001);
/// The category that demos and tests migrate to.
pub(crate) const TARGET_CATEGORY: Uuid = Uuid::from_u128(0x5a0d_0001_7c1e_4b3a_9f00_0000_0000_0002);
/// The creation time of the initial data, in milliseconds since 1970.
pub(crate) const EPOCH: i64 = 1_735_689_600_000;

/// One media file of an asset: a version, or the file that is being uploaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MediaFile {
    /// The id of the file and of its blob.
    pub id: Uuid,
    /// The temporary name in the response that starts an upload.
    pub temporary: String,
    pub filename: String,
    /// The size that the client has declared, in bytes.
    pub size: Option<u64>,
}

impl MediaFile {
    /// Returns a file that will be uploaded, with a new id and temporary name.
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
    /// The name of the user that has reserved the asset.
    #[serde(rename = "by")]
    pub user: String,
    pub comment: String,
}

/// One asset, or the placeholder of one whose upload is not finalised. Times are in milliseconds since 1970.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    /// The end of the processing of the current file.
    pub ready_at: i64,
    pub deleted_at: Option<i64>,
    pub preexisting: bool,
    #[serde(default)]
    pub checked_out: Option<CheckOut>,
    #[serde(default)]
    pub check_in_comment: String,
    /// Earlier versions, oldest first.
    #[serde(default)]
    pub earlier: Vec<MediaFile>,
    /// Lower-case copies of the texts that a search looks through.
    #[serde(skip)]
    pub search_text: SearchText,
}

/// The texts that a search looks through, in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct SearchText {
    pub filename: String,
    pub title: String,
    pub description: String,
    pub keywords: String,
}

impl Asset {
    /// Returns a placeholder for an asset that is being uploaded.
    pub(crate) fn placeholder(id: Uuid, pending: MediaFile, user: &str, now: i64) -> Asset {
        Asset {
            id,
            title: stem(&pending.filename).to_owned(),
            pending: Some(pending),
            created_at: now,
            created_by: user.to_owned(),
            modified_at: now,
            ..Asset::default()
        }
    }

    /// Updates [`Asset::search_text`].
    pub(crate) fn index(&mut self) {
        self.search_text = SearchText {
            filename: self.filename().to_lowercase(),
            title: self.title.to_lowercase(),
            description: self.description.to_lowercase(),
            keywords: self.keywords.join("\n").to_lowercase(),
        };
    }

    /// Returns the name of the current file, or of the one that is being uploaded.
    pub(crate) fn filename(&self) -> &str {
        self.current.as_ref().or(self.pending.as_ref()).map_or("", |file| &file.filename)
    }

    /// Returns whether the asset is finalised and not deleted.
    pub(crate) fn is_alive(&self) -> bool {
        self.current.is_some() && self.deleted_at.is_none()
    }

    /// Returns whether the current file has been processed.
    pub(crate) fn is_ready(&self, now: i64) -> bool {
        self.current.is_some() && self.ready_at <= now
    }
}

/// Returns a file name without its extension.
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

/// The size and digest of the bytes of a media file. The bytes themselves are not stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Blob {
    pub id: Uuid,
    /// The committed content, if any.
    pub content: Option<Content>,
    /// Ids and sizes of the committed blocks, in order.
    pub committed: Vec<(String, u64)>,
    /// Ids and sizes of the blocks that are not committed.
    pub staged: BTreeMap<String, u64>,
}

/// Committed content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Content {
    pub size: u64,
    /// The digest in hexadecimal digits. Empty for content that was not uploaded.
    pub sha256: String,
    /// The number of the source file with the same bytes, if a comparison has found one.
    pub same_as: Option<u64>,
}

impl Blob {
    pub(crate) fn new(id: Uuid) -> Blob {
        Blob { id, ..Blob::default() }
    }
}
