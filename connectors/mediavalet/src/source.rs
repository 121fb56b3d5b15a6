//! What a file that this connector hands out is opened by. Signed addresses end, so one is asked for whenever the bytes are
//! needed, and none is stored.

use futures::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Context, Error, ErrorKind, FileStream, Position, Result};
use trunkline_rest::{Client, Url, generic};

use crate::download::Form;

/// Ids, and nothing that ends. Each kind has members of its own, which tell it.
#[derive(Serialize, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(crate) enum Source {
    Rendition { asset_id: String, rendition_kind_id: String },
    Asset { asset_id: String, form: Form },
    Package { download_id: String },
}

impl Source {
    /// The row that knows the address, its input, and where in the answer the address is.
    fn locate(self) -> (&'static str, Value, String) {
        match self {
            Source::Rendition { asset_id, rendition_kind_id } => {
                let input = json!({ "assetId": asset_id, "renditionKindId": rendition_kind_id });
                ("asset.get_rendition", input, "/renditionUrl".to_owned())
            }
            Source::Asset { asset_id, form } => {
                let place = format!("/media/{}", json!(form).as_str().unwrap_or_default());
                ("asset.get", json!({ "assetId": asset_id }), place)
            }
            Source::Package { download_id } => ("download.get", json!({ "id": download_id }), "/filePath".to_owned()),
        }
    }
}

/// Opens a file from byte `from` on.
pub(crate) async fn open(client: &Client, source: &Value, from: Position) -> Result<FileStream> {
    if source.get("path").is_some() {
        return generic::open(client, source, from).await;
    }
    let source: Source = serde_json::from_value(source.clone()).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("this is no file of MediaValet: {error}"))
            .hint("pass the `file` of a step that hands out files, such as `asset.download`, as it is")
    })?;
    let (operation, input, place) = source.locate();
    let own = client.clone();
    let locate = move || {
        let (client, input, place) = (own.clone(), input.clone(), place.clone());
        async move {
            let found = client.call(operation, input, &Context::default()).await?;
            let url = found.pointer(&place).and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
            url.ok_or_else(|| {
                Error::new(ErrorKind::NotFound, format!("{operation} has no address of the file in {place}"))
                    .hint("an asset may not be processed yet: `asset.wait_until_processed` waits for that")
            })
        }
        .boxed()
    };
    client.download(locate, from).await
}
