//! `download`: what a path answers is handed to later steps by reference; its bytes flow when a step opens it.

use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{
    Action, Connector, Context, Effect, Error, ErrorKind, FileRef, FileStream, Position, Result, async_trait,
};

use super::{GROUP, target::Target};
use crate::{Client, with_deadline};

/// The action.
pub struct DownloadAction<C>(PhantomData<fn() -> C>);

/// Which file.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    #[serde(flatten)]
    target: Target,
    /// # File name
    /// What later steps call it; what the service calls it if absent, else the end of the path.
    name: Option<String>,
}

/// The file, for another step's input.
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
    const ABOUT: &'static str = "Hands what a path below the endpoint URL answers to later steps by reference; its bytes flow \
        when a step opens it. A redirect is followed without the connection's credentials. Does not keep a copy.";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        Ok(Output { file: file(client, input.target, input.name, cx).await? })
    }
}

/// A reference to what a path answers, for [`open`]. Its beginning is asked for, so that what is not there is noticed now.
pub async fn file(client: &Client, target: Target, name: Option<String>, cx: &Context) -> Result<FileRef> {
    let found = with_deadline(cx, "looking for the file", client.look_at(target.clone())).await?;
    let url = target.url(&client.0.base)?;
    let last = url.path_segments().and_then(|mut all| all.next_back()).unwrap_or_default();
    let last = percent_encoding::percent_decode_str(last).decode_utf8_lossy().into_owned();
    let name = name.or(found.name).unwrap_or(last);
    let name = if name.is_empty() { "file".to_owned() } else { name };
    let (connection, source) = (cx.connection().into(), json!(target));
    Ok(FileRef { name, media_type: found.media_type, size: found.size, digest: found.digest, connection, source })
}

/// Opens what [`DownloadAction`] or [`file`] handed out, from byte `from` on.
pub async fn open(client: &Client, source: &Value, from: Position) -> Result<FileStream> {
    let target: Target = serde_json::from_value(source.clone()).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("this is no file of a `download` step: {error}"))
            .hint("pass the `file` of the step as it is")
    })?;
    client.fetch(target, from).await
}
