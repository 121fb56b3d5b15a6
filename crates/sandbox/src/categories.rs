//! Categories, which MediaValet also calls folders: listed, made and removed.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::App;
use crate::asset::{Category, ROOT_CATEGORY};
use crate::http::Call;
use crate::mediavalet::{Gate, Outcome, Refusal, Reply, guid, page};
use crate::mediavalet_rows::{self as rows, record};
use crate::state::{Event, World, now};

fn children_of(world: &World, id: Uuid) -> Vec<&Category> {
    world.categories.values().filter(|category| category.parent == Some(id)).collect()
}

/// The category and everything below it.
pub(crate) fn subtree(world: &World, id: Uuid) -> Vec<Uuid> {
    let mut found = vec![id];
    let mut at = 0;
    while let Some(id) = found.get(at).copied() {
        found.extend(children_of(world, id).iter().map(|category| category.id));
        at += 1;
    }
    found
}

/// Names and ids from the top down to the category.
fn ancestry<'a>(world: &'a World, category: &'a Category) -> Vec<&'a Category> {
    let mut line = vec![category];
    while let Some(parent) = line[0].parent.and_then(|id| world.categories.get(&id)) {
        line.insert(0, parent);
    }
    line
}

fn row(world: &World, gate: &Gate, category: &Category) -> Value {
    let line = ancestry(world, category);
    let path: Vec<&str> = line.iter().map(|category| category.name.as_str()).collect();
    let ids: Vec<String> = line.iter().map(|category| category.id.to_string()).collect();
    let below = children_of(world, category.id).len();
    let assets =
        world.assets.values().filter(|asset| asset.is_alive() && asset.categories.contains(&category.id)).count();
    let mut names = vec!["category:view"];
    if gate.may_write {
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
        "permissions": rows::permissions(gate, &names),
    })
}

pub(crate) fn list(app: &App, gate: &Gate, call: &Call) -> Outcome {
    page(call, app.state.with(|world| world.categories.values().map(|category| row(world, gate, category)).collect()))
}

pub(crate) fn of_root(app: &App, gate: &Gate, call: &Call) -> Outcome {
    let rows: Vec<Value> = below(app, gate, ROOT_CATEGORY);
    if rows.is_empty() { Ok(Reply::new(204, Value::Null)) } else { page(call, rows) }
}

fn below(app: &App, gate: &Gate, id: Uuid) -> Vec<Value> {
    app.state.with(|world| children_of(world, id).into_iter().map(|category| row(world, gate, category)).collect())
}

pub(crate) fn children(app: &App, gate: &Gate, call: &Call, id: Uuid) -> Outcome {
    known(app, id)?;
    page(call, below(app, gate, id))
}

pub(crate) fn one(app: &App, gate: &Gate, id: Uuid) -> Outcome {
    let found = app.state.with(|world| {
        let category = world.categories.get(&id)?;
        let mut found = row(world, gate, category);
        found["subfolders"] = children_of(world, id).into_iter().map(|category| row(world, gate, category)).collect();
        Some(found)
    });
    found.map(|row| Reply::new(200, row)).ok_or_else(|| Refusal::not_found("The category"))
}

pub(crate) fn of_asset(app: &App, gate: &Gate, call: &Call, id: Uuid) -> Outcome {
    let (asset, _) = rows::find(app, call, id)?;
    let found = app.state.with(|world| {
        let categories = asset.categories.iter().filter_map(|id| world.categories.get(id));
        categories.map(|category| row(world, gate, category)).collect()
    });
    page(call, found)
}

pub(crate) fn known(app: &App, id: Uuid) -> Result<(), Refusal> {
    let known = app.state.with(|world| world.categories.contains_key(&id));
    if known { Ok(()) } else { Err(Refusal::not_found("The category")) }
}

/// Makes a category. The name goes into `treeName`; the id may be chosen with `categoryId`.
pub(crate) fn create(app: &App, gate: &Gate, body: &Value) -> Outcome {
    let name = body["treeName"].as_str().map(str::trim).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Refusal::new(400, "treeName is needed"))?;
    if name.contains('\\') {
        return Err(Refusal::new(400, "treeName contains a backslash"));
    }
    let parent = guid(body["parentId"].as_str().ok_or_else(|| Refusal::new(400, "parentId is needed"))?)?;
    let id = body["categoryId"].as_str().map_or_else(|| Ok(Uuid::new_v4()), guid)?;
    app.state.with(|world| {
        if !world.categories.contains_key(&parent) {
            return Err(Refusal::new(400, "There is no category of that parentId"));
        }
        if world.categories.contains_key(&id) {
            return Err(Refusal::new(409, "The categoryId is taken"));
        }
        let category = Category {
            id,
            parent: Some(parent),
            name: name.to_owned(),
            description: body["description"].as_str().unwrap_or_default().to_owned(),
            created_at: now(),
        };
        world.record(Event::Category(category.clone()));
        Ok(Reply::new(201, row(world, gate, &category)))
    })
}

/// Removes a category and everything below it; the assets stay.
pub(crate) fn delete(app: &App, id: Uuid) -> Outcome {
    known(app, id)?;
    if id == ROOT_CATEGORY {
        return Err(Refusal::new(400, "The top of the tree cannot be removed"));
    }
    app.state.with(|world| {
        for gone in subtree(world, id) {
            world.record(Event::CategoryGone(gone));
        }
    });
    Ok(Reply::new(200, Value::Null))
}
