//! `asset.download`: returns a reference to an asset's file for later steps.
//!
//! The file is the original, or one of the previews that MediaValet makes of every asset. Its bytes are read when a
//! later step opens the reference.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, FileRef, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{
    MediaValet,
    actions::id,
    files::{Form, Source},
};

/// The action `asset.download`.
pub struct AssetDownload;

/// The asset and its form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Asset
    #[schemars(extend("format" = "uuid"))]
    asset_id: String,
    /// # Form
    /// The original, or one of the previews that MediaValet makes of every asset; `asset.rendition` has other forms.
    #[serde(default)]
    form: Form,
}

/// The file, for the input of another step.
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
    const ABOUT: &'static str = "Returns a reference to an asset's file for later steps; its bytes are read when a \
        step opens it. No copy is kept.";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let Input { asset_id, form } = input;
        let asset = client.call("asset.get", json!({ "assetId": asset_id }), cx).await?;
        let name = id(asset.get("file").unwrap_or(&Value::Null), "fileName")?;
        // The size and the type in the asset are those of the original only.
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
