//! Actions that bring an asset's metadata to a state: what is there already is not written again, so calling them twice
//! does what calling them once does.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{MediaValet, id};

/// Everything an operation lists.
pub(crate) async fn all(client: &Client, operation: &str, input: Value, cx: &Context) -> Result<Vec<Value>> {
    let pages: Vec<_> = client.pages(operation, input, cx).try_collect().await?;
    Ok(pages.into_iter().flat_map(|page| page.items).collect())
}

/// `asset.update`.
pub struct Update;

/// What to change; what is left out stays as it is.
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
    /// Values by the name that the library gives the attribute; null takes the value away.
    #[serde(default)]
    attributes: BTreeMap<String, Option<String>>,
}

/// What was changed.
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
        "Changes title, description, alternative text and attributes; attributes go by their names.";
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

/// The ids of the library's attributes by their names in lower case; a name may stand for several.
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
        None => Err(wrong("no attribute").hint("`attribute.list` has them all")),
    }
}

/// `asset.set_keywords`.
pub struct SetKeywords;

/// The keywords that an asset shall have.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SetKeywordsInput {
    /// # Asset
    #[schemars(extend("format" = "uuid"))]
    asset_id: String,
    /// # Keywords
    /// All that the asset shall have, and no others; upper and lower case are the same.
    keywords: Vec<String>,
}

/// What was changed.
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
        "Adds what is missing and removes what is too much; what is right already is not written.";
    const EFFECT: Effect = Effect::Idempotent;

    async fn run(client: &Client, input: SetKeywordsInput, cx: &Context) -> Result<SetKeywordsOutput> {
        let asset = &input.asset_id;
        let found = all(client, "asset.keywords", json!({ "assetId": asset }), cx).await?;
        let found =
            found.iter().map(|one| one.as_str().map_or_else(|| id(one, "keywordName"), |name| Ok(name.to_owned())));
        let found: Vec<String> = found.collect::<Result<_>>()?;
        let folded = |all: &[String]| all.iter().map(|one| one.to_lowercase()).collect::<BTreeSet<_>>();
        let (there, wanted) = (folded(&found), folded(&input.keywords));
        let mut added: Vec<String> = Vec::new();
        for keyword in input.keywords {
            let new = !there.contains(&keyword.to_lowercase());
            if new && !added.iter().any(|one| one.to_lowercase() == keyword.to_lowercase()) {
                added.push(keyword);
            }
        }
        let removed: Vec<_> = found.into_iter().filter(|one| !wanted.contains(&one.to_lowercase())).collect();
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
