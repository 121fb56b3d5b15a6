//! `file.download`: hands a file to later steps by reference. The bytes flow when a later step opens it, with a download
//! link fetched for the occasion: links end after some minutes and are never stored.

use futures::FutureExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{
    Action, ActionEntry, Context, Effect, Error, ErrorKind, FileRef, FileStream, Position, Result, async_trait, submit,
};
use trunkline_rest::Client;

use crate::{
    Mediaflow,
    rendition::{Custom, ORIGINAL, Rendition},
};

/// The action.
pub struct FileDownload;

/// Which file, in which form.
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
    /// A picture in a size, a part or a file type of your own, in place of a preset.
    custom: Option<Custom>,
}

/// The file, for another step's input.
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
    const ABOUT: &'static str = "Hands a file to later steps by reference, as it was uploaded, in a preset or in a size of \
        your own; its bytes flow when a step opens it. Does not keep a copy.";
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
            let ask = json!({ "id": wanted.id, "formatId": wanted.format, "fields": ["id", "filetype"] });
            let made = client.call("file.get_download", ask, cx).await?;
            name = made.get("filetype").and_then(Value::as_str).map_or(name.clone(), |kind| renamed(&name, kind));
        }
        // A preset or a custom size makes a file of another size.
        let size = file.get("filesize").and_then(Value::as_u64).filter(|_| wanted.format == ORIGINAL);
        let connection = cx.connection().into();
        Ok(Output { file: FileRef { name, media_type, size, digest: None, connection, source: json!(wanted) } })
    }
}

submit! { ActionEntry::of::<FileDownload>() }

/// What is said of a file that is not there.
pub(crate) fn missing(id: i64) -> Error {
    Error::new(ErrorKind::NotFound, format!("Mediaflow has no file {id}"))
        .hint("it was deleted, or the integration's group may not see it")
}

/// The file name with another extension, if it is one.
fn renamed(name: &str, extension: &str) -> String {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    match extension.trim_start_matches('.') {
        "" | "original" => name.to_owned(),
        odd if odd.len() > 8 || !odd.chars().all(|c| c.is_ascii_alphanumeric()) => name.to_owned(),
        extension => format!("{stem}.{}", extension.to_lowercase()),
    }
}

/// Opens what [`FileDownload`] handed out.
pub(crate) async fn open(client: &Client, source: &Value, from: Position) -> Result<FileStream> {
    let wanted: Rendition = serde_json::from_value(source.clone()).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("this is no file of Mediaflow: {error}"))
            .hint("pass the `file` of a `file.download` step as it is")
    })?;
    let link = client.clone();
    let locate = move || {
        let (client, wanted) = (link.clone(), wanted.clone());
        async move { wanted.link(&client, &Context::default()).await }.boxed()
    };
    client.download(locate, from).await
}
