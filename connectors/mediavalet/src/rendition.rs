//! `asset.rendition`: hands a rendition of an asset to later steps by reference. People know the kinds of rendition by
//! their names, MediaValet by their ids: either will do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, FileRef, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{MediaValet, id, metadata::all, source::Source, transfer::stem};

/// The action.
pub struct Rendition;

/// Which asset, as which kind of rendition.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Asset
    #[schemars(extend("format" = "uuid"))]
    asset_id: String,
    /// # Kind
    /// Name or id of a kind of rendition; `config.rendition_kinds` has them.
    #[schemars(length(min = 1), example = &"large")]
    kind: String,
}

/// The file, for another step's input.
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
    const ABOUT: &'static str = "Hands a rendition to later steps by reference; its bytes flow when a step opens it. Does not \
        have one made that is not there.";
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

/// The kind of rendition of this id or name; names are compared without regard to case.
async fn kind(client: &Client, wanted: &str, cx: &Context) -> Result<Value> {
    let kinds = all(client, "config.rendition_kinds", json!({}), cx).await?;
    let of = |member: &str| {
        let is = |kind: &&Value| kind.get(member).and_then(Value::as_str).is_some_and(|text| same(text, wanted));
        kinds.iter().filter(is).collect::<Vec<_>>()
    };
    let by_id = of("renditionKindId");
    let found = if by_id.is_empty() { of("name") } else { by_id };
    let wrong = |kind, what: &str| Error::new(kind, format!("the library has {what} {wanted:?}"));
    match found[..] {
        [kind] => Ok(kind.clone()),
        [] => {
            let names: Vec<_> = kinds.iter().filter_map(|kind| kind.get("name")?.as_str()).collect();
            Err(wrong(ErrorKind::NotFound, "no kind of rendition").hint(format!("it has {}", names.join(", "))))
        }
        _ => Err(wrong(ErrorKind::InvalidInput, "several kinds of rendition called")
            .hint("give the id; `config.rendition_kinds` has it")),
    }
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}
