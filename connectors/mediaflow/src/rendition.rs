//! One form of a file, the original, a preset or a custom size, and the link that leads to its bytes.
//!
//! Links end after some minutes: what is kept is what to ask for, never the link.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Context, Error, ErrorKind, Result};
use trunkline_rest::Client;
use url::Url;

/// The original as it was uploaded.
pub(crate) const ORIGINAL: i64 = 0;
/// A size and crop of one's own.
const CUSTOM: i64 = -1;

/// Which file, in which form. Together with the connection it opens the file again.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Rendition {
    pub(crate) id: i64,
    pub(crate) format: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) custom: Option<Custom>,
}

/// A picture in a size, a part or a file type of one's own.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Custom {
    /// # Width
    /// In pixels; goes with the height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    width: Option<u32>,
    /// # Height
    /// In pixels; goes with the width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    height: Option<u32>,
    /// # Stretch
    /// Fill width and height exactly, as the vendor's own picker always asks for. What Mediaflow does without is not
    /// documented.
    #[serde(default = "yes")]
    stretch: bool,
    /// # File type
    /// Mediaflow chooses if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<FileType>,
    /// # Crop
    /// The part to take; all of the picture if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crop: Option<Crop>,
}

/// File types a custom size can have.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileType {
    Jpg,
    Png,
    Webp,
}

/// A box on the picture, in the pixels of the picture it was drawn on, such as the medium preview.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Crop {
    /// # Left
    x1: u32,
    /// # Top
    y1: u32,
    /// # Right
    x2: u32,
    /// # Bottom
    y2: u32,
    /// # Width of the picture it was drawn on
    reference_width: u32,
    /// # Height of the picture it was drawn on
    reference_height: u32,
}

fn yes() -> bool {
    true
}

impl FileType {
    /// Extension and media type.
    pub(crate) fn names(self) -> (&'static str, &'static str) {
        match self {
            FileType::Jpg => ("jpg", "image/jpeg"),
            FileType::Png => ("png", "image/png"),
            FileType::Webp => ("webp", "image/webp"),
        }
    }
}

impl Rendition {
    /// Refuses what contradicts itself before anything is sent.
    pub(crate) fn new(id: i64, format: i64, custom: Option<Custom>) -> Result<Rendition> {
        let refuse = |why: &str| Err(Error::new(ErrorKind::InvalidInput, format!("file {id}: {why}")));
        let Some(own) = &custom else { return Ok(Rendition { id, format, custom }) };
        if ![ORIGINAL, CUSTOM].contains(&format) {
            return refuse("a preset has its own size: give either `format` or `custom`");
        }
        if own.width.is_some() != own.height.is_some() || own.width == Some(0) || own.height == Some(0) {
            return refuse("width and height of a custom size go together and are at least 1");
        }
        if own.crop.as_ref().is_some_and(|crop| !crop.is_inside()) {
            return refuse("the crop has no area, or is larger than the picture it was drawn on");
        }
        Ok(Rendition { id, format: CUSTOM, custom })
    }

    /// A fresh link to the bytes.
    pub(crate) async fn link(&self, client: &Client, cx: &Context) -> Result<Url> {
        let found = client.call("file.get_download", json!({ "id": self.id, "formatId": self.format }), cx).await?;
        if found.is_null() {
            let message = format!("Mediaflow has no download of file {} in format {}", self.id, self.format);
            return Err(Error::new(ErrorKind::NotFound, message).hint("`file.list_downloads` shows what there is"));
        }
        let url = found.get("downloadURL").and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
        let mut url = url.ok_or_else(|| Error::new(ErrorKind::Unexpected, "Mediaflow gave no download link"))?;
        for (name, value) in self.custom.iter().flat_map(Custom::parameters) {
            // Joined with `&`: the link has a query already.
            url.query_pairs_mut().append_pair(name, &value);
        }
        Ok(url)
    }
}

impl Custom {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let crop = self.crop.as_ref();
        let size = self.width.zip(self.height);
        let crop =
            crop.map(|c| [("x1", c.x1), ("y1", c.y1), ("x2", c.x2), ("y2", c.y2)].into_iter().chain(c.reference()));
        let size = size.map(|(w, h)| [("w", w), ("h", h)].into_iter().chain(self.stretch.then_some(("stretch", 1))));
        let numbers = crop.into_iter().flatten().map(|(name, value)| (name, value.to_string()));
        let sizes = size.into_iter().flatten().map(|(name, value)| (name, value.to_string()));
        numbers.chain(sizes).chain(self.format.map(|format| ("format", format.names().0.into()))).collect()
    }
}

impl Crop {
    fn reference(&self) -> [(&'static str, u32); 2] {
        [("sw", self.reference_width), ("sh", self.reference_height)]
    }

    fn is_inside(&self) -> bool {
        self.x1 < self.x2 && self.y1 < self.y2 && self.x2 <= self.reference_width && self.y2 <= self.reference_height
    }
}
