//! The source of a file reference that this connector returns.
//!
//! A source has ids only. Signed URLs expire, so a new one is requested each time the bytes are read, and none is
//! stored.

use futures::FutureExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Context, Error, ErrorKind, FileStream, Position, Result};
use trunkline_rest::{Client, Url, generic};

/// The forms in which MediaValet has every asset.
#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    #[default]
    Original,
    Large,
    Medium,
    Small,
    Thumb,
}

/// The ids from which a file is found. Each variant has different members, which identify it in JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(crate) enum Source {
    Rendition { asset_id: String, rendition_kind_id: String },
    Asset { asset_id: String, form: Form },
    Package { download_id: String },
}

impl Source {
    /// Returns the call whose response has the URL of the file.
    fn locate(self) -> UrlCall {
        match self {
            Source::Rendition { asset_id, rendition_kind_id } => UrlCall {
                operation: "asset.get_rendition",
                input: json!({ "assetId": asset_id, "renditionKindId": rendition_kind_id }),
                pointer: "/renditionUrl".to_owned(),
            },
            Source::Asset { asset_id, form } => UrlCall {
                operation: "asset.get",
                input: json!({ "assetId": asset_id }),
                pointer: format!("/media/{}", json!(form).as_str().unwrap_or_default()),
            },
            Source::Package { download_id } => UrlCall {
                operation: "download.get",
                input: json!({ "id": download_id }),
                pointer: "/filePath".to_owned(),
            },
        }
    }
}

/// A call whose response has the URL of a file.
struct UrlCall {
    operation: &'static str,
    input: Value,
    /// The JSON pointer of the URL in the response.
    pointer: String,
}

/// Opens a file from a position on.
pub(crate) async fn open(client: &Client, source: &Value, from: Position, cx: &Context) -> Result<FileStream> {
    if source.get("path").is_some() {
        return generic::open(client, source, from, cx).await;
    }
    let source: Source = serde_json::from_value(source.clone()).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("this is not a file of MediaValet: {error}"))
            .hint("pass the `file` of another step, such as `asset.download`, unchanged")
    })?;
    let UrlCall { operation, input, pointer } = source.locate();
    let url_client = client.clone();
    let locate = move |cx: Context| {
        let (client, input, pointer) = (url_client.clone(), input.clone(), pointer.clone());
        async move {
            let response = client.call(operation, input, &cx).await?;
            let url = response.pointer(&pointer).and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
            url.ok_or_else(|| {
                let message = format!("the response of {operation} has no URL of the file at {pointer}");
                Error::new(ErrorKind::NotFound, message).hint(
                    "MediaValet may not have processed the asset yet: `asset.wait_until_processed` waits for that",
                )
            })
        }
        .boxed()
    };
    client.download(locate, from, cx).await
}
