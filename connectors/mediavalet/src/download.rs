//! `asset.download`: hands an asset's file, or one of the forms that are ready of every asset, to later steps by reference.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, FileRef, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{MediaValet, id, source::Source};

/// The action.
pub struct AssetDownload;

/// Which asset, in which form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Asset
    #[schemars(extend("format" = "uuid"))]
    asset_id: String,
    /// # Form
    /// The original, or one of the forms that MediaValet makes of every asset; `asset.rendition` has the others.
    #[serde(default)]
    form: Form,
}

/// The forms of an asset that MediaValet has ready.
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

/// The file, for another step's input.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # File
    file: FileRef,
}

#[async_trait]
impl Action for AssetDownload {
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
        let Input { asset_id, form } = input;
        let asset = client.call("asset.get", json!({ "assetId": asset_id }), cx).await?;
        let name = id(asset.get("file").unwrap_or(&Value::Null), "fileName")?;
        // Only the original has the size and the type that are told of the asset.
        let original = form == Form::Original;
        let size = asset.pointer("/file/sizeInBytes").and_then(Value::as_u64).filter(|_| original);
        let media_type =
            asset.pointer("/file/mimeType").and_then(Value::as_str).filter(|_| original).map(str::to_owned);
        let source = json!(Source::Asset { asset_id, form });
        let connection = cx.connection().into();
        Ok(Output { file: FileRef { name, media_type, size, digest: None, connection, source } })
    }
}

submit! { ActionEntry::of::<AssetDownload>() }
