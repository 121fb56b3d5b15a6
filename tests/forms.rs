//! Every form of the catalogue, drawn by an unchanged form library in a browser. The page makes each choice, and reports
//! what a person would stumble over.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use trunkline_tests::{
    peers::{Peer, peer},
    project,
};

/// What the page says of a form.
#[derive(Debug, Deserialize)]
struct Drawn {
    found: Vec<String>,
    states: Vec<State>,
}

/// A form after some choices.
#[derive(Debug, Deserialize)]
struct State {
    /// The choices: a field and the label of the option, outermost first.
    choices: Vec<(String, String)>,
    /// The fields in their order.
    fields: Vec<String>,
}

/// Draws the forms of schemas, by name.
async fn draw(page: &Peer, schemas: &Value) -> BTreeMap<String, Drawn> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schemas.json");
    fs::write(&file, schemas.to_string()).unwrap();
    let output = page.command().arg(&file).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the schemas of all connections and of all inputs of actions, also of a connector from a folder.
fn catalogue() -> Map<String, Value> {
    let registry = trunkline::registry(Some(&project().join("connectors/http/examples"))).unwrap();
    let mut all = Map::new();
    for connector in registry.connectors() {
        let spec = connector.spec();
        all.insert(spec.name.clone(), spec.connection.clone());
        all.extend(connector.actions().map(|action| (format!("{}.{}", spec.name, action.name), action.input.clone())));
    }
    all
}

/// Returns the names of the settings in a form after a choice, in their order.
fn settings(form: &Drawn, choice: Option<(&str, &str)>) -> Vec<String> {
    let wanted: Vec<_> = choice.map(|(field, label)| (format!("root/{field}"), label.to_owned())).into_iter().collect();
    let state = form.states.iter().find(|state| state.choices == wanted).unwrap();
    let mut names: Vec<_> = state.fields.iter().map(|id| id.split('/').nth(1).unwrap_or_default().to_owned()).collect();
    names.iter_mut().for_each(|name| name.truncate(name.find("__").unwrap_or(name.len())));
    names.dedup();
    names
}

#[tokio::test]
async fn every_form_of_the_catalogue_is_drawn_and_each_setting_appears_with_its_choice() {
    let Some(page) = peer("forms") else { return };
    let drawn = draw(&page, &catalogue().into()).await;
    let states: usize = drawn.values().map(|form| form.states.len()).sum();
    let actions = drawn.keys().filter(|name| name.contains('.')).count();
    eprintln!("{} connections and {actions} actions in {states} states", drawn.len() - actions);
    assert!(actions > 350 && states > 600, "{actions} {states}");
    let found: Vec<_> = drawn.iter().flat_map(|(name, form)| form.found.iter().map(move |one| (name, one))).collect();
    assert!(found.is_empty(), "{found:#?}");

    let form = &drawn["mediavalet"];
    let first = ["name", "connector", "endpointUrl", "subscriptionKey", "authentication", "flows"];
    for (choice, added) in [
        (None, &[][..]),
        (Some(("flows", "Authorization Code")), &[]),
        (Some(("flows", "Refresh Token")), &["refreshToken"]),
        (Some(("flows", "Password")), &["username", "password"]),
    ] {
        let expected = [&first[..], added, &["clientId", "clientSecret"]].concat();
        assert_eq!(settings(form, choice)[..expected.len()], expected, "{choice:?}");
    }
    let form = &drawn["http"];
    assert_eq!(settings(form, None)[..4], ["name", "connector", "endpointUrl", "authentication"]);
    let expected = ["name", "connector", "endpointUrl", "authentication", "flows", "clientId"];
    assert_eq!(settings(form, Some(("authentication", "OAuth 2")))[..6], expected);
}

/// The twins: a form that is broken in one way is found.
#[tokio::test]
async fn a_form_that_cannot_be_used_is_found() {
    let Some(page) = peer("forms") else { return };
    let twins = [
        ("good", json!({ "type": "string", "title": "Asset" }), None),
        ("without a type", json!({ "title": "Asset" }), Some("cannot be drawn")),
        ("without a title", json!({ "type": "string" }), Some("the field has no title")),
        ("a group without a title", json!({ "type": "object", "properties": {} }), Some("the group has no title")),
        (
            "a choice without a title",
            json!({ "type": "string", "title": "Asset", "enum": ["a"] }),
            Some("have no title"),
        ),
        (
            "a branch without a title",
            json!({ "title": "Asset", "anyOf": [{ "type": "string" }, { "type": "null", "title": "None" }] }),
            Some("has no title"),
        ),
        (
            "a secret that can be read",
            json!({ "type": "string", "title": "Asset", "writeOnly": true }),
            Some("can be read while it is typed"),
        ),
        (
            "a secret without a field",
            json!({ "type": "string", "title": "Asset", "writeOnly": true, "oneOf": [{ "type": "string", "const": "a", "title": "A" }] }),
            Some("no field to type it"),
        ),
        ("an error of the library", json!({ "title": "Asset", "$ref": "#/$defs/nothing" }), Some("error: ")),
    ];
    let schemas = twins.iter().map(|(name, schema, _)| {
        ((*name).to_owned(), json!({ "type": "object", "title": "Form", "properties": { "assetId": schema } }))
    });
    let drawn = draw(&page, &Value::Object(schemas.collect())).await;
    for (name, _, expected) in twins {
        let found = &drawn[name].found;
        match expected {
            Some(expected) => assert!(found.iter().any(|one| one.contains(expected)), "{name}: {found:?}"),
            None => assert_eq!(*found, [""; 0], "{name}"),
        }
    }
}
