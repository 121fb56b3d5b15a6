//! `asset.set_categories`: puts an asset into categories by their paths.
//!
//! Users know categories by their paths, but MediaValet has no look-up by name. So the action lists the whole tree and
//! searches it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{MediaValet, actions::id, actions::metadata::all};

/// The action `asset.set_categories`.
pub struct SetCategories;

/// The asset and the categories to put it into.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Asset
    #[schemars(extend("format" = "uuid"))]
    asset_id: String,
    /// # Categories
    /// Paths from the top, with backslashes between the names, such as `Campaigns\2026\Spring`; at least one. The asset
    /// is removed from all other categories.
    #[schemars(
        length(min = 1),
        extend("x-options" = { "action": "mediavalet.category.list", "value": "/tree/path", "title": "/tree/path" })
    )]
    categories: Vec<String>,
    /// # Create missing categories
    #[serde(default)]
    create_missing: bool,
}

/// The categories of the asset.
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
    const ABOUT: &'static str = "Finds categories by their paths and puts the asset into these and no others. Missing \
        categories are created only if `createMissing` is set.";
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

    /// The action can always run again: it looks for a category before it creates one, so it finds those that an
    /// earlier attempt has created.
    async fn reconcile(_: &Client, _: Input, _: &Context) -> Result<Option<Output>> {
        Ok(None)
    }
}

submit! { ActionEntry::of::<SetCategories>() }

/// Returns a path in the form in which paths are compared: in lower case and without backslashes at its ends.
fn folded(path: &str) -> String {
    path.trim_matches('\\').to_lowercase()
}

/// The categories of a library by their paths.
struct Tree {
    /// Path and id of the category at the top, if there is exactly one. Paths may leave it out.
    top: Option<(String, String)>,
    /// The ids of all categories, by folded path.
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

    /// Returns the id of the category at this path. With `create`, missing categories on the path are created and added
    /// to `created`.
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
            return Err(Error::new(ErrorKind::InvalidInput, format!("{path:?} is not the path of a category"))
                .hint("write the names with one backslash between them"));
        }
        let below_top = self.top.clone().filter(|(top, _)| folded(top) != folded(names[0]));
        let (mut so_far, mut parent) = below_top.map_or((String::new(), None), |(path, id)| (path, Some(id)));
        for name in names {
            so_far = if so_far.is_empty() { name.to_owned() } else { format!("{so_far}\\{name}") };
            parent = Some(match self.known.get(&folded(&so_far)) {
                Some(found) => found.clone(),
                None if !create => {
                    return Err(Error::new(ErrorKind::NotFound, format!("the library has no category {so_far}"))
                        .hint("set `createMissing`, or check the spelling with `category.list`"));
                }
                None => {
                    let mut category = json!({ "treeName": name });
                    if let Some(parent) = &parent {
                        category["parentId"] = parent.as_str().into();
                    }
                    let new = id(&client.call("category.create", category, cx).await?, "id")?;
                    self.known.insert(folded(&so_far), new.clone());
                    created.push(so_far.clone());
                    new
                }
            });
        }
        parent.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the path of a category is empty"))
    }
}
