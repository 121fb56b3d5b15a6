//! `asset.set_categories`: categories by their paths, as people know them. MediaValet has no look-up by name, so the tree is
//! listed and compared.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{MediaValet, id, metadata::all};

/// The action.
pub struct SetCategories;

/// The categories that an asset shall be in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Asset
    #[schemars(extend("format" = "uuid"))]
    asset_id: String,
    /// # Categories
    /// Paths from the top, names with backslashes between them, such as `Campaigns\2026\Spring`; at least one. The asset is
    /// taken out of all others.
    #[schemars(length(min = 1))]
    categories: Vec<String>,
    /// # Create what is missing
    #[serde(default)]
    create_missing: bool,
}

/// Where the asset is now.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # Category ids
    categories: Vec<String>,
    /// # Paths of new categories
    created: Vec<String>,
}

#[async_trait]
impl Action for SetCategories {
    type Connector = MediaValet;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "asset.set_categories";
    const TITLE: &'static str = "Put an asset into categories by path";
    const GROUP: &'static str = "Assets";
    const ABOUT: &'static str = "Finds categories by their paths and puts the asset into these and no others. Creates missing \
        ones only if it is told to.";
    const EFFECT: Effect = Effect::Idempotent;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let mut tree = Tree::read(client, cx).await?;
        let (mut categories, mut created) = (Vec::new(), Vec::new());
        for path in &input.categories {
            let found = tree.find(client, path, input.create_missing, &mut created, cx).await?;
            if !categories.contains(&found) {
                categories.push(found);
            }
        }
        let body = json!({ "assetId": input.asset_id, "categories": categories });
        client.call("asset.replace_categories", body, cx).await?;
        Ok(Output { categories, created })
    }

    /// Categories are looked for before they are made, so that what an attempt made whose answer was lost is found now.
    async fn reconcile(_: &Client, _: Input, _: &Context) -> Result<Option<Output>> {
        Ok(None)
    }
}

submit! { ActionEntry::of::<SetCategories>() }

/// How paths are compared: without regard to case and to backslashes at their ends.
fn folded(path: &str) -> String {
    path.trim_matches('\\').to_lowercase()
}

/// The categories of a library by their paths.
struct Tree {
    /// The one category that everything is in, if there is just one at the top: its path and id. Paths may leave it out.
    top: Option<(String, String)>,
    known: BTreeMap<String, String>,
}

impl Tree {
    async fn read(client: &Client, cx: &Context) -> Result<Tree> {
        let (mut known, mut tops) = (BTreeMap::new(), Vec::new());
        for category in all(client, "category.list", json!({}), cx).await? {
            let Some(path) = category.pointer("/tree/path").and_then(Value::as_str) else { continue };
            let found = id(&category, "id")?;
            if category.get("parentId").is_none_or(Value::is_null) {
                tops.push((path.trim_matches('\\').to_owned(), found.clone()));
            }
            known.insert(folded(path), found);
        }
        let top = <[_; 1]>::try_from(tops).ok().map(|[top]| top);
        Ok(Tree { top, known })
    }

    /// The id of the category at this path; what is missing on the way is created if that is wanted.
    async fn find(
        &mut self,
        client: &Client,
        path: &str,
        create: bool,
        created: &mut Vec<String>,
        cx: &Context,
    ) -> Result<String> {
        let names: Vec<_> = path.trim_matches('\\').split('\\').collect();
        if names.iter().any(|name| name.trim().is_empty()) {
            return Err(Error::new(ErrorKind::InvalidInput, format!("{path:?} is no path of a category"))
                .hint("write names with one backslash between them"));
        }
        let below_top = self.top.clone().filter(|(top, _)| folded(top) != folded(names[0]));
        let (mut so_far, mut parent) = below_top.map_or((String::new(), None), |(path, id)| (path, Some(id)));
        for name in names {
            so_far = if so_far.is_empty() { name.to_owned() } else { format!("{so_far}\\{name}") };
            parent = Some(match self.known.get(&folded(&so_far)) {
                Some(found) => found.clone(),
                None if !create => {
                    return Err(Error::new(ErrorKind::NotFound, format!("the library has no category {so_far}"))
                        .hint("set createMissing, or check the spelling with `category.list`"));
                }
                None => {
                    let mut category = json!({ "treeName": name });
                    if let Some(parent) = &parent {
                        category["parentId"] = parent.as_str().into();
                    }
                    let made = id(&client.call("category.create", category, cx).await?, "id")?;
                    self.known.insert(folded(&so_far), made.clone());
                    created.push(so_far.clone());
                    made
                }
            });
        }
        parent.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the path of a category is empty"))
    }
}
