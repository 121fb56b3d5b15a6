//! `asset.rendition`: returns a reference to a rendition of an asset for later steps.
//!
//! Users know the kinds of rendition by name, and MediaValet's API by id: the action takes either.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, FileRef, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{MediaValet, actions::id, actions::metadata::all, actions::transfer::stem, files::Source};

/// The action `asset.rendition`.
pub struct Rendition;

/// The asset and the kind of rendition.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Asset
    #[schemars(extend("format" = "uuid"))]
    asset_id: String,
    /// # Kind
    /// Name or id of a kind of rendition; `config.rendition_kinds` lists them.
    #[schemars(length(min = 1), example = &"large")]
    kind: String,
}

/// The file, for the input of another step.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// # File
    file: FileRef,
    /// # Id of the kind
    rendition_kind_id: String,
}

#[async_trait]
impl Action for Rendition {
    type Connector = MediaValet;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "asset.rendition";
    const TITLE: &'static str = "Download a rendition of an asset";
    const GROUP: &'static str = "Assets";
    const ABOUT: &'static str = "Returns a reference to a rendition for later steps; its bytes are read when a step \
        opens it. A rendition that does not exist is not made.";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let kind = kind(client, &input.kind, cx).await?;
        let kind_id = id(&kind, "renditionKindId")?;
        let asset = client.call("asset.get", json!({ "assetId": input.asset_id }), cx).await?;
        let original = id(asset.get("file").unwrap_or(&Value::Null), "fileName")?;
        let text = |name: &str| kind.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let name = match text("targetFileExtension") {
            Some(extension) => format!("{}.{}", stem(&original), extension.trim_start_matches('.')),
            None => original,
        };
        let source = json!(Source::Rendition { asset_id: input.asset_id, rendition_kind_id: kind_id.clone() });
        let media_type = text("mimeType").map(str::to_owned);
        let file = FileRef { name, media_type, size: None, digest: None, connection: cx.connection().into(), source };
        Ok(Output { file, rendition_kind_id: kind_id })
    }
}

submit! { ActionEntry::of::<Rendition>() }

/// Returns the kind of rendition with this id or name. Case is ignored.
async fn kind(client: &Client, wanted: &str, cx: &Context) -> Result<Value> {
    let kinds = all(client, "config.rendition_kinds", json!({}), cx).await?;
    let find_by = |member: &str| {
        let matches = |kind: &&Value| kind.get(member).and_then(Value::as_str).is_some_and(|text| same(text, wanted));
        kinds.iter().filter(matches).collect::<Vec<_>>()
    };
    let by_id = find_by("renditionKindId");
    let found = if by_id.is_empty() { find_by("name") } else { by_id };
    let wrong = |kind, what: &str| Error::new(kind, format!("the library has {what} {wanted:?}"));
    match found[..] {
        [kind] => Ok(kind.clone()),
        [] => {
            let names: Vec<_> = kinds.iter().filter_map(|kind| kind.get("name")?.as_str()).collect();
            Err(wrong(ErrorKind::NotFound, "no kind of rendition").hint(format!("it has {}", names.join(", "))))
        }
        _ => Err(wrong(ErrorKind::InvalidInput, "several kinds of rendition called")
            .hint("give the id instead; `config.rendition_kinds` lists the ids")),
    }
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}
