//! The action `download`: returns a reference to the file at a path. Its bytes are read when a later step opens it.

use std::marker::PhantomData;

use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{
    Action, Connector, Context, Effect, Error, ErrorKind, FileRef, FileStream, Position, Result, async_trait,
};

use super::call::GROUP;
use crate::{
    client::Client,
    table::Target,
    transfer::{ApiFile, clean, is_page_name, with_extension},
    transport::with_deadline,
};

/// The action `download`, for the connector `C`.
pub struct DownloadAction<C>(PhantomData<fn() -> C>);

/// The file to download.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    #[serde(flatten)]
    target: Target,
    /// # File name
    /// Name of the file for later steps. If absent, the name that the service gives, else the last segment of the path;
    /// without an extension, it gets that of the media type. A web page is accepted as the file if the path or the name
    /// ends in `.html`, or if the service names its file.
    name: Option<String>,
}

/// A reference to the file, for the input of a later step.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # File
    file: FileRef,
}

#[async_trait]
impl<C: Connector<Client = Client>> Action for DownloadAction<C> {
    type Connector = C;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "download";
    const TITLE: &'static str = "Download a file";
    const GROUP: &'static str = GROUP;
    const ABOUT: &'static str = "Returns a reference to the file at a path below the endpoint URL; its bytes are read \
        when a later step opens it. A redirect is followed without the connection's credentials. No copy is stored.";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        Ok(Output { file: file(client, input.target, input.name, cx).await? })
    }
}

/// Returns a reference to the file at a path, for [`open`]. The file is requested once for its name, type, size and
/// digest.
///
/// # Errors
///
/// `invalid_input` for a path that cannot be used, `not_found`, else the error of the request.
pub async fn file(client: &Client, target: Target, name: Option<String>, cx: &Context) -> Result<FileRef> {
    let url = target.url(&client.0.base)?;
    let given = name.as_deref().map(|name| clean(name).ok_or_else(|| unusable(name))).transpose()?;
    let mut file = ApiFile { target, page: given.as_deref().is_some_and(is_page_name) };
    let found = with_deadline(cx, "the request for the file", client.file_metadata(file.clone(), cx)).await?;
    // The bytes are requested without the name that the caller gives.
    file.page = matches!(found.media_type.as_deref(), Some("text/html" | "application/xhtml+xml"));
    let media_type = found.media_type.as_deref();
    let last = || {
        let last = url.path_segments().and_then(|mut all| all.next_back()).unwrap_or_default();
        clean(&percent_decode_str(last).decode_utf8_lossy()).unwrap_or_else(|| "file".to_owned())
    };
    let name = given.unwrap_or_else(|| with_extension(found.name.unwrap_or_else(last), media_type));
    let (connection, source) = (cx.connection().into(), json!(file));
    Ok(FileRef { name, media_type: found.media_type, size: found.size, digest: found.digest, connection, source })
}

/// Opens a file that [`DownloadAction`] or [`file()`] returned, from byte `from` on. `source` is the field of its
/// [`FileRef`].
///
/// # Errors
///
/// `invalid_input` if `source` is from another action, else those of [`Client::download`].
pub async fn open(client: &Client, source: &Value, from: Position, cx: &Context) -> Result<FileStream> {
    let file: ApiFile = serde_json::from_value(source.clone()).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("this is not a file of a `download` step: {error}"))
            .hint("pass the `file` of the step unchanged")
    })?;
    client.fetch(file, from, cx).await
}

fn unusable(name: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{name:?} cannot be the name of a file"))
        .with("input", "/name")
        .hint("give a name without a path, such as boat.jpg, or leave it out")
}
