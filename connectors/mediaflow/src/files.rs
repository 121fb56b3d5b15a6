//! Renditions of a file (the original, a preset or a custom size) and the links to their bytes.
//!
//! A link expires after some minutes, so a [`Rendition`] holds what is needed to request a link, never the link itself.

use futures::FutureExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Context, Error, ErrorKind, FileStream, Position, Result};
use trunkline_rest::{Client, generic};
use url::Url;

/// The format id of the original as it was uploaded.
pub(crate) const ORIGINAL: i64 = 0;
/// The format id of a custom size or crop.
const CUSTOM: i64 = -1;

/// A file in one format. It is the source of a file reference.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Rendition {
    pub(crate) id: i64,
    pub(crate) format: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) custom: Option<Custom>,
}

/// A picture in a custom size, crop or file type.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Custom {
    /// # Width
    /// In pixels; needs the height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    width: Option<u32>,
    /// # Height
    /// In pixels; needs the width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    height: Option<u32>,
    /// # Stretch
    /// Fills width and height exactly, as Mediaflow's own picker always does. The result without it is not documented.
    #[serde(default = "yes")]
    stretch: bool,
    /// # File type
    /// If absent, Mediaflow chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<FileType>,
    /// # Crop
    /// The part of the picture to use; the whole picture if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crop: Option<Crop>,
}

/// The file types of a custom size.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileType {
    Jpg,
    Png,
    Webp,
}

/// A rectangle, in the pixels of the reference picture that it was drawn on, such as the medium preview.
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
    /// # Width of the reference picture
    reference_width: u32,
    /// # Height of the reference picture
    reference_height: u32,
}

fn yes() -> bool {
    true
}

impl FileType {
    /// Returns the extension and the media type.
    pub(crate) fn names(self) -> (&'static str, &'static str) {
        match self {
            FileType::Jpg => ("jpg", "image/jpeg"),
            FileType::Png => ("png", "image/png"),
            FileType::Webp => ("webp", "image/webp"),
        }
    }
}

impl Rendition {
    /// Returns a rendition, after checking that format and custom size fit together. Fails with `invalid_input`.
    pub(crate) fn new(id: i64, format: i64, custom: Option<Custom>) -> Result<Rendition> {
        let invalid = |why: &str| Err(Error::new(ErrorKind::InvalidInput, format!("file {id}: {why}")));
        let Some(size) = &custom else { return Ok(Rendition { id, format, custom }) };
        if ![ORIGINAL, CUSTOM].contains(&format) {
            return invalid("a preset has its own size: give either `format` or `custom`");
        }
        if size.width.is_some() != size.height.is_some() || size.width == Some(0) || size.height == Some(0) {
            return invalid("a custom size needs both width and height, each at least 1");
        }
        if size.crop.as_ref().is_some_and(|crop| !crop.is_inside()) {
            return invalid("the crop has no area or exceeds its reference picture");
        }
        Ok(Rendition { id, format: CUSTOM, custom })
    }

    /// Requests a new link to the bytes. Fails with `not_found` if the file does not have the format.
    pub(crate) async fn link(&self, client: &Client, cx: &Context) -> Result<Url> {
        let download = client.call("file.get_download", json!({ "id": self.id, "formatId": self.format }), cx).await?;
        if download.is_null() {
            let message = format!("Mediaflow has no download of file {} in format {}", self.id, self.format);
            return Err(Error::new(ErrorKind::NotFound, message).hint("`file.list_downloads` lists the formats"));
        }
        let url = download.get("downloadURL").and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
        let mut url =
            url.ok_or_else(|| Error::new(ErrorKind::Unexpected, "Mediaflow's response has no download link"))?;
        for (name, value) in self.custom.iter().flat_map(Custom::parameters) {
            // The link already has a query, to which the parameters are added.
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

/// Opens a file that one of the connector's actions returned.
pub(crate) async fn open(client: &Client, source: &Value, from: Position, cx: &Context) -> Result<FileStream> {
    if source.get("path").is_some() {
        return generic::open(client, source, from, cx).await;
    }
    let wanted: Rendition = serde_json::from_value(source.clone()).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("this is not a file of Mediaflow: {error}"))
            .hint("pass the `file` of a `file.download` step unchanged")
    })?;
    let link = client.clone();
    let locate = move |cx: Context| {
        let (client, wanted) = (link.clone(), wanted.clone());
        async move { wanted.link(&client, &cx).await }.boxed()
    };
    client.download(locate, from, cx).await
}
