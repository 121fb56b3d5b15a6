//! `asset.download`: hands an asset's file, or one of its ready-made forms, to later steps by reference. Signed addresses
//! end, so one is fetched whenever the bytes are needed, and none is stored.

use futures::FutureExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{
    Action, ActionEntry, Context, Effect, Error, ErrorKind, FileRef, FileStream, Result, async_trait, submit,
};
use trunkline_rest::{Client, Url};

use crate::{MediaValet, id};

/// The action.
pub struct Download;

/// Which asset, in which form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Asset
    #[schemars(extend("format" = "uuid"))]
    asset_id: String,
    /// # Form
    /// The original, or one of the forms that MediaValet makes of every asset.
    #[serde(default)]
    form: Form,
    /// # Rendition kind
    /// Id of a kind of rendition to download instead; `config.rendition_kinds` has them.
    #[schemars(extend("format" = "uuid"))]
    rendition_kind_id: Option<String>,
}

/// The forms of an asset that MediaValet has ready.
#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Form {
    #[default]
    Original,
    Large,
    Medium,
    Small,
    Thumb,
}

/// The file, for another step's input.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # File
    file: FileRef,
}

/// What opens the file again: this, and the connection.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    asset_id: String,
    form: Form,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rendition_kind_id: Option<String>,
}

#[async_trait]
impl Action for Download {
    type Connector = MediaValet;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "asset.download";
    const TITLE: &'static str = "Download an asset";
    const GROUP: &'static str = "Assets";
    const ABOUT: &'static str =
        "Hands an asset's file to later steps by reference; its bytes flow when a step opens it. Does not keep a copy.";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let asset = client.call("asset.get", json!({ "assetId": input.asset_id }), cx).await?;
        let name = id(asset.get("file").unwrap_or(&Value::Null), "fileName")?;
        // Only the original has the size and the type that are told of the asset.
        let original = input.form == Form::Original && input.rendition_kind_id.is_none();
        let size = asset.pointer("/file/sizeInBytes").and_then(Value::as_u64).filter(|_| original);
        let media_type =
            asset.pointer("/file/mimeType").and_then(Value::as_str).filter(|_| original).map(str::to_owned);
        let Input { asset_id, form, rendition_kind_id } = input;
        let source = json!(Source { asset_id, form, rendition_kind_id });
        Ok(Output { file: FileRef { name, media_type, size, connection: cx.connection().into(), source } })
    }
}

submit! { ActionEntry::of::<Download>() }

/// Opens what [`Download`] handed out.
pub(crate) async fn open(client: &Client, source: &Value, from: u64) -> Result<FileStream> {
    let Source { asset_id, form, rendition_kind_id } = serde_json::from_value(source.clone()).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("this is no file of MediaValet: {error}"))
            .hint("pass the `file` of an `asset.download` step as it is")
    })?;
    let (operation, input, place) = match rendition_kind_id {
        Some(kind) => {
            let input = json!({ "assetId": asset_id, "renditionKindId": kind });
            ("asset.rendition", input, "/renditionUrl".to_owned())
        }
        None => {
            let place = format!("/media/{}", json!(form).as_str().unwrap_or_default());
            ("asset.get", json!({ "assetId": asset_id }), place)
        }
    };
    let own = client.clone();
    let locate = move || {
        let (client, input, place) = (own.clone(), input.clone(), place.clone());
        async move {
            let found = client.call(operation, input, &Context::default()).await?;
            let url = found.pointer(&place).and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
            url.ok_or_else(|| {
                Error::new(ErrorKind::NotFound, "the asset is not there in this form")
                    .hint("it may not be processed yet: `asset.wait_until_processed` waits for that")
            })
        }
        .boxed()
    };
    client.download(locate, from).await
}
