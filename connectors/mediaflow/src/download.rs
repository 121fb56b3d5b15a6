//! `file.download`: hands a file to later steps by reference. The bytes flow when a later step opens it, with a download
//! link fetched for the occasion: links end after some minutes and are never stored.

use futures::FutureExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, Context, Effect, Error, ErrorKind, FileRef, FileStream, Result, async_trait};
use trunkline_rest::Client;
use url::Url;

use crate::Mediaflow;

/// The original as it was uploaded.
const ORIGINAL: i64 = 0;

/// The action.
pub struct Download;

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
}

/// The file, for another step's input.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # File
    file: FileRef,
}

/// What opens the file again: this, and the connection.
#[derive(Serialize, Deserialize)]
struct Source {
    id: i64,
    format: i64,
}

#[async_trait]
impl Action for Download {
    type Connector = Mediaflow;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "file.download";
    const TITLE: &'static str = "Download a file";
    const GROUP: &'static str = "Files";
    const ABOUT: &'static str =
        "Hands a file to later steps by reference; its bytes flow when a step opens it. Does not keep a copy.";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let fields = ["id", "filename", "filesize"];
        let file = client.call("file.get", json!({ "id": input.id, "fields": fields }), cx).await?;
        let Some(name) = file.get("filename").and_then(Value::as_str) else {
            return Err(Error::new(ErrorKind::NotFound, format!("Mediaflow has no file {}", input.id))
                .hint("it was deleted, or the integration's group may not see it"));
        };
        // A preset makes a file of another size.
        let size = file.get("filesize").and_then(Value::as_u64).filter(|_| input.format == ORIGINAL);
        let source = json!(Source { id: input.id, format: input.format });
        Ok(Output {
            file: FileRef { name: name.into(), media_type: None, size, connection: cx.connection().into(), source },
        })
    }
}

/// Opens what [`Download`] handed out.
pub(crate) async fn open(client: &Client, source: &Value, from: u64) -> Result<FileStream> {
    let source: Source = serde_json::from_value(source.clone()).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("this is no file of Mediaflow: {error}"))
            .hint("pass the `file` of a `file.download` step as it is")
    })?;
    let link = client.clone();
    let locate = move || {
        let (client, input) = (link.clone(), json!({ "id": source.id, "formatId": source.format }));
        async move {
            let link = client.call("file.get_download", input, &Context::default()).await?;
            let url = link.get("downloadURL").and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
            url.ok_or_else(|| Error::new(ErrorKind::Unexpected, "Mediaflow gave no download link"))
        }
        .boxed()
    };
    client.download(locate, from).await
}
