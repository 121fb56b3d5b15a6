//! MediaValet's categories, which it also calls folders: list, create and delete.

use serde_json::{Value, json};
use uuid::Uuid;

use super::response::{ApiResponse, ApiResult, AuthContext, guid, page};
use super::rows::{self as rows, record};
use crate::app::App;
use crate::http::{ApiError, Call};
use crate::state::{Category, Event, ROOT_CATEGORY, State, now};

fn children_of(state: &State, id: Uuid) -> Vec<&Category> {
    state.categories.values().filter(|category| category.parent == Some(id)).collect()
}

/// Returns the ids of the category and of all categories below it.
pub(crate) fn subtree(state: &State, id: Uuid) -> Vec<Uuid> {
    let mut found = vec![id];
    let mut at = 0;
    while let Some(id) = found.get(at).copied() {
        found.extend(children_of(state, id).iter().map(|category| category.id));
        at += 1;
    }
    found
}

/// Returns the categories from the root down to this one.
fn ancestry<'a>(state: &'a State, category: &'a Category) -> Vec<&'a Category> {
    let mut path = vec![category];
    while let Some(parent) = path[0].parent.and_then(|id| state.categories.get(&id)) {
        path.insert(0, parent);
    }
    path
}

fn row(state: &State, auth: &AuthContext, category: &Category) -> Value {
    let ancestry = ancestry(state, category);
    let path: Vec<&str> = ancestry.iter().map(|category| category.name.as_str()).collect();
    let ids: Vec<String> = ancestry.iter().map(|category| category.id.to_string()).collect();
    let below = children_of(state, category.id).len();
    let assets =
        state.assets.values().filter(|asset| asset.is_alive() && asset.categories.contains(&category.id)).count();
    let mut names = vec!["category:view"];
    if auth.may_write {
        names.push("category:edit");
    }
    json!({
        "id": category.id,
        "container": { "id": category.id, "type": "Category" },
        "parentId": category.parent,
        "name": category.name,
        "description": category.description,
        "tree": { "path": path.join("\\"), "name": category.name, "idPath": ids.join("\\"), "id": category.id },
        "subcats": { "total": below },
        "subfolderCount": below,
        "assetCount": assets,
        "record": record(category.created_at, "integration@example.com", category.created_at, None, 1),
        "permissions": rows::permissions(auth, &names),
    })
}

/// Lists all categories.
pub(crate) fn list(app: &App, auth: &AuthContext, call: &Call) -> ApiResult {
    page(call, app.state.with(|state| state.categories.values().map(|category| row(state, auth, category)).collect()))
}

/// Lists the categories below the root: 204 if there are none.
pub(crate) fn of_root(app: &App, auth: &AuthContext, call: &Call) -> ApiResult {
    let rows: Vec<Value> = below(app, auth, ROOT_CATEGORY);
    if rows.is_empty() { Ok(ApiResponse::new(204, Value::Null)) } else { page(call, rows) }
}

fn below(app: &App, auth: &AuthContext, id: Uuid) -> Vec<Value> {
    app.state.with(|state| children_of(state, id).into_iter().map(|category| row(state, auth, category)).collect())
}

/// Lists the categories directly below one.
pub(crate) fn children(app: &App, auth: &AuthContext, call: &Call, id: Uuid) -> ApiResult {
    check_exists(app, id)?;
    page(call, below(app, auth, id))
}

/// Returns one category with those directly below it.
pub(crate) fn one(app: &App, auth: &AuthContext, id: Uuid) -> ApiResult {
    let found = app.state.with(|state| {
        let category = state.categories.get(&id)?;
        let mut found = row(state, auth, category);
        found["subfolders"] = children_of(state, id).into_iter().map(|category| row(state, auth, category)).collect();
        Some(found)
    });
    found.map(|row| ApiResponse::new(200, row)).ok_or_else(|| ApiError::not_found("The category"))
}

/// Lists the categories of an asset.
pub(crate) fn of_asset(app: &App, auth: &AuthContext, call: &Call, id: Uuid) -> ApiResult {
    let (asset, _) = rows::find(app, call, id)?;
    let found = app.state.with(|state| {
        let categories = asset.categories.iter().filter_map(|id| state.categories.get(id));
        categories.map(|category| row(state, auth, category)).collect()
    });
    page(call, found)
}

/// Fails unless there is such a category.
pub(crate) fn check_exists(app: &App, id: Uuid) -> Result<(), ApiError> {
    let known = app.state.with(|state| state.categories.contains_key(&id));
    if known { Ok(()) } else { Err(ApiError::not_found("The category")) }
}

/// Creates a category named `treeName`. The caller may choose its id with `categoryId`.
pub(crate) fn create(app: &App, auth: &AuthContext, body: &Value) -> ApiResult {
    let name = body["treeName"].as_str().map(str::trim).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| ApiError::new(400, "treeName is required"))?;
    if name.contains('\\') {
        return Err(ApiError::new(400, "treeName contains a backslash"));
    }
    let parent = guid(body["parentId"].as_str().ok_or_else(|| ApiError::new(400, "parentId is required"))?)?;
    let id = body["categoryId"].as_str().map_or_else(|| Ok(Uuid::new_v4()), guid)?;
    app.state.with(|state| {
        if !state.categories.contains_key(&parent) {
            return Err(ApiError::new(400, "There is no category with this parentId"));
        }
        if state.categories.contains_key(&id) {
            return Err(ApiError::new(409, "The categoryId is in use"));
        }
        let category = Category {
            id,
            parent: Some(parent),
            name: name.to_owned(),
            description: body["description"].as_str().unwrap_or_default().to_owned(),
            created_at: now(),
        };
        state.record(Event::Category(category.clone()));
        Ok(ApiResponse::new(201, row(state, auth, &category)))
    })
}

/// Deletes a category and all categories below it. Their assets stay.
pub(crate) fn delete(app: &App, id: Uuid) -> ApiResult {
    check_exists(app, id)?;
    if id == ROOT_CATEGORY {
        return Err(ApiError::new(400, "The root category cannot be deleted"));
    }
    app.state.with(|state| {
        for deleted in subtree(state, id) {
            state.record(Event::CategoryGone(deleted));
        }
    });
    Ok(ApiResponse::new(200, Value::Null))
}
