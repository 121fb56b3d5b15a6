//! `file.download`: returns a reference to a file for later steps.
//!
//! The bytes are read when a later step opens the file. A new download link is requested each time, because links
//! expire after some minutes; none is stored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, FileRef, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{
    Mediaflow,
    files::{Custom, ORIGINAL, Rendition},
};

/// The action `file.download`.
pub struct FileDownload;

/// The file and its format.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// # File
    /// Id of the file; may be negative.
    id: i64,
    /// # Format
    /// 0 for the original, else the id of a preset from `format.list`.
    #[serde(default)]
    format: i64,
    /// # Custom size
    /// A custom size, crop or file type of a picture, instead of a preset.
    custom: Option<Custom>,
}

/// The file, for the input of another step.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # File
    file: FileRef,
}

#[async_trait]
impl Action for FileDownload {
    type Connector = Mediaflow;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "file.download";
    const TITLE: &'static str = "Download a file";
    const GROUP: &'static str = "Files";
    const ABOUT: &'static str = "Returns a reference to a file for later steps: the original, a preset or a custom \
        size. Its bytes are read when a step opens it. No copy is kept.";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let wanted = Rendition::new(input.id, input.format, input.custom)?;
        let fields = ["id", "filename", "filesize"];
        let file = client.call("file.get", json!({ "id": input.id, "fields": fields }), cx).await?;
        let Some(name) = file.get("filename").and_then(Value::as_str) else {
            return Err(missing(input.id));
        };
        let (mut name, mut media_type) = (name.to_owned(), None);
        if let Some(kind) = wanted.custom.as_ref().and_then(|custom| custom.format) {
            name = renamed(&name, kind.names().0);
            media_type = Some(kind.names().1.to_owned());
        } else if wanted.format != ORIGINAL {
            let preset = json!({ "id": wanted.id, "formatId": wanted.format, "fields": ["id", "filetype"] });
            let download = client.call("file.get_download", preset, cx).await?;
            name = download.get("filetype").and_then(Value::as_str).map_or(name.clone(), |kind| renamed(&name, kind));
        }
        // A preset or a custom size has another number of bytes, which is not known.
        let size = file.get("filesize").and_then(Value::as_u64).filter(|_| wanted.format == ORIGINAL);
        let connection = cx.connection().into();
        Ok(Output { file: FileRef { name, media_type, size, digest: None, connection, source: json!(wanted) } })
    }
}

submit! { ActionEntry::of::<FileDownload>() }

/// Returns the error for a file that does not exist or is not visible.
pub(crate) fn missing(id: i64) -> Error {
    Error::new(ErrorKind::NotFound, format!("Mediaflow has no file {id}"))
        .hint("check the id: the file was deleted, or the integration's group has no access to it")
}

/// Returns the file name with another extension, or unchanged if `extension` does not look like one.
fn renamed(name: &str, extension: &str) -> String {
    let stem = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map_or(name, |(stem, _)| stem);
    match extension.trim_start_matches('.') {
        "" | "original" => name.to_owned(),
        odd if odd.len() > 8 || !odd.chars().all(|c| c.is_ascii_alphanumeric()) => name.to_owned(),
        extension => format!("{stem}.{}", extension.to_lowercase()),
    }
}
