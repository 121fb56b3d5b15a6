//! `asset.update` and `asset.set_keywords`: bring an asset's metadata to a given state.
//!
//! A second call with the same input has no further effect. The module also has [`all`], which reads a whole list.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{MediaValet, actions::id};

/// Returns all items that an operation lists.
pub(crate) async fn all(client: &Client, operation: &str, input: Value, cx: &Context) -> Result<Vec<Value>> {
    let pages: Vec<_> = client.pages(operation, input, cx).try_collect().await?;
    Ok(pages.into_iter().flat_map(|page| page.items).collect())
}

/// The action `asset.update`.
pub struct Update;

/// The metadata to change. Members that are left out do not change.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UpdateInput {
    /// # Asset
    #[schemars(extend("format" = "uuid"))]
    asset_id: String,
    /// # Title
    title: Option<String>,
    /// # Description
    description: Option<String>,
    /// # Alternative text
    alt_text: Option<String>,
    /// # Attributes
    /// Values by the attribute's name in the library; null removes the value.
    #[serde(default)]
    attributes: BTreeMap<String, Option<String>>,
}

/// The number of changes.
#[derive(Serialize, JsonSchema)]
pub struct UpdateOutput {
    /// # Number of changes sent
    changes: usize,
}

#[async_trait]
impl Action for Update {
    type Connector = MediaValet;
    type Input = UpdateInput;
    type Output = UpdateOutput;
    const NAME: &'static str = "asset.update";
    const TITLE: &'static str = "Update an asset's metadata";
    const GROUP: &'static str = "Assets";
    const ABOUT: &'static str =
        "Changes title, description, alternative text and attributes of an asset; attributes are given by name.";
    const EFFECT: Effect = Effect::Idempotent;

    async fn run(client: &Client, input: UpdateInput, cx: &Context) -> Result<UpdateOutput> {
        let texts = [("/title", input.title), ("/description", input.description), ("/altText", input.alt_text)];
        let replace = |path: &str, value: &str| json!({ "op": "replace", "path": path, "value": value });
        let texts = texts.iter().filter_map(|(path, text)| Some(replace(path, text.as_deref()?)));
        let mut operations: Vec<_> = texts.collect();
        if !input.attributes.is_empty() {
            let known = attributes(client, cx).await?;
            for (name, value) in &input.attributes {
                let path = format!("/attributes/{}", attribute(&known, name)?);
                operations.push(match value {
                    Some(value) => replace(&path, value),
                    None => json!({ "op": "remove", "path": path }),
                });
            }
        }
        let changes = operations.len();
        if changes > 0 {
            client.call("asset.patch", json!({ "assetId": input.asset_id, "operations": operations }), cx).await?;
        }
        Ok(UpdateOutput { changes })
    }
}

submit! { ActionEntry::of::<Update>() }

/// Returns the ids of the library's attributes by their names in lower case. Several attributes may have the same name.
async fn attributes(client: &Client, cx: &Context) -> Result<BTreeMap<String, Vec<String>>> {
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for attribute in all(client, "attribute.list", json!({}), cx).await? {
        known.entry(id(&attribute, "name")?.to_lowercase()).or_default().push(id(&attribute, "id")?);
    }
    Ok(known)
}

fn attribute<'a>(known: &'a BTreeMap<String, Vec<String>>, name: &str) -> Result<&'a str> {
    let wrong = |what: &str| Error::new(ErrorKind::InvalidInput, format!("the library has {what} called {name}"));
    match known.get(&name.to_lowercase()).map(Vec::as_slice) {
        Some([id]) => Ok(id),
        Some(_) => Err(wrong("several attributes").hint("use `asset.patch` with the attribute's id")),
        None => Err(wrong("no attribute").hint("`attribute.list` lists the attributes")),
    }
}

/// The action `asset.set_keywords`.
pub struct SetKeywords;

/// The asset and its keywords.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SetKeywordsInput {
    /// # Asset
    #[schemars(extend("format" = "uuid"))]
    asset_id: String,
    /// # Keywords
    /// All keywords of the asset; other keywords are removed. Case is ignored.
    keywords: Vec<String>,
}

/// The keywords that were added and removed.
#[derive(Serialize, JsonSchema)]
pub struct SetKeywordsOutput {
    /// # Added
    added: Vec<String>,
    /// # Removed
    removed: Vec<String>,
}

#[async_trait]
impl Action for SetKeywords {
    type Connector = MediaValet;
    type Input = SetKeywordsInput;
    type Output = SetKeywordsOutput;
    const NAME: &'static str = "asset.set_keywords";
    const TITLE: &'static str = "Set an asset's keywords";
    const GROUP: &'static str = "Assets";
    const ABOUT: &'static str =
        "Adds missing keywords and removes all others; keywords that the asset already has are not written again.";
    const EFFECT: Effect = Effect::Idempotent;

    async fn run(client: &Client, input: SetKeywordsInput, cx: &Context) -> Result<SetKeywordsOutput> {
        let asset = &input.asset_id;
        let listed = all(client, "asset.keywords", json!({ "assetId": asset }), cx).await?;
        let names =
            listed.iter().map(|item| item.as_str().map_or_else(|| id(item, "keywordName"), |name| Ok(name.to_owned())));
        let current: Vec<String> = names.collect::<Result<_>>()?;
        let folded = |names: &[String]| names.iter().map(|name| name.to_lowercase()).collect::<BTreeSet<_>>();
        let (known, wanted) = (folded(&current), folded(&input.keywords));
        let mut added: Vec<String> = Vec::new();
        for keyword in input.keywords {
            let new = !known.contains(&keyword.to_lowercase());
            if new && !added.iter().any(|other| other.to_lowercase() == keyword.to_lowercase()) {
                added.push(keyword);
            }
        }
        let removed: Vec<_> = current.into_iter().filter(|name| !wanted.contains(&name.to_lowercase())).collect();
        if !added.is_empty() {
            client.call("asset.add_keywords", json!({ "assetId": asset, "keywords": added }), cx).await?;
        }
        for keyword in &removed {
            client.call("asset.remove_keyword", json!({ "assetId": asset, "keyword": keyword }), cx).await?;
        }
        Ok(SetKeywordsOutput { added, removed })
    }
}

submit! { ActionEntry::of::<SetKeywords>() }
