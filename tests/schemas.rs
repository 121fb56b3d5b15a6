//! The files in `schemas/` are derived from our types, checked in, and rewritten by this suite: `UPDATE=1 cargo test -p
//! trunkline-tests --test project schemas`.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, env, fs};

use serde_json::{Map, Value, json};
use trunkline_core::{Registry, Schema, Setting, Severity};
use trunkline_flow::Flow;
use trunkline_rest::operation_schema;
use trunkline_tests::{fixture, project, shipped_flow};

/// Returns the expected files by name.
fn derived() -> BTreeMap<String, Value> {
    let mut files = BTreeMap::from([
        ("connector.json".to_owned(), trunkline::connector_schema()),
        ("flow.json".to_owned(), Flow::schema()),
        ("openapi.json".to_owned(), trunkline_server::document()),
        ("operation.json".to_owned(), operation_schema()),
    ]);
    for connector in Registry::discover().unwrap().connectors() {
        let spec = connector.spec();
        let actions: Map<_, _> = connector
            .actions()
            .map(|action| {
                let about = json!({
                    "title": action.title, "effect": action.effect, "input": action.input, "output": action.output
                });
                (action.name.clone(), about)
            })
            .collect();
        files.insert(format!("{}.json", spec.name), json!({ "connection": spec.connection, "actions": actions }));
    }
    files
}

/// Returns the schemas in a derived file, with a description of each.
fn schemas(name: &str, file: &Value) -> Vec<(String, Value)> {
    if let Some(components) = file.pointer("/components/schemas") {
        // A reference of OpenAPI leads to the document, so each of its schemas is complete by itself only there.
        let all = components.as_object().unwrap().iter();
        return all.map(|(component, schema)| (format!("{name}: {component}"), schema.clone())).collect();
    }
    let Some(actions) = file.get("actions").and_then(Value::as_object) else {
        return vec![(name.to_owned(), file.clone())];
    };
    let mut all = vec![(format!("{name}: connection"), file["connection"].clone())];
    for (action, about) in actions {
        for side in ["input", "output"] {
            all.push((format!("{name}: {side} of {action}"), about[side].clone()));
        }
    }
    all
}

#[test]
fn the_checked_in_schemas_match_the_types() {
    let folder = project().join("schemas");
    let update = env::var_os("UPDATE").is_some_and(|value| value == "1");
    let derived = derived();
    let mut stale = Vec::new();
    for (name, schema) in &derived {
        let (path, text) = (folder.join(name), serde_json::to_string_pretty(schema).unwrap() + "\n");
        if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            stale.push(name.clone());
            if update {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&path, text).unwrap();
            }
        }
    }
    let there = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let orphans: Vec<_> = there.filter(|name| !derived.contains_key(name)).collect();
    assert!(orphans.is_empty(), "no type derives schemas/{orphans:?}");
    assert!(
        update || stale.is_empty(),
        "schemas/{stale:?} differ: UPDATE=1 cargo test -p trunkline-tests --test project schemas"
    );
}

#[test]
fn every_schema_is_valid_draft_2020_12() {
    let mut count = 0;
    for (name, file) in derived() {
        for (what, schema) in schemas(&name, &file) {
            count += 1;
            if let Err(error) = jsonschema::draft202012::meta::validate(&schema) {
                panic!("{what}: {error}");
            }
        }
    }
    assert!(count > 60, "{count}");
    assert!(jsonschema::draft202012::meta::validate(&json!({ "type": "text" })).is_err());
}

/// Returns the settings of a connector without the first two, which every connector has.
fn own_settings(connection: &Value) -> Vec<Setting<'_>> {
    Setting::all(connection).into_iter().skip(2).collect()
}

/// What a form shows of a setting beside its field.
#[test]
fn every_setting_has_a_title_a_group_an_example_and_the_page_of_its_vendor() {
    let mut bare = Vec::new();
    for connector in Registry::discover().unwrap().connectors() {
        let spec = connector.spec();
        for setting in own_settings(&spec.connection) {
            let is_choice = setting.schema.get("oneOf").is_some();
            let missing = ["title", "x-group", "x-doc", "examples"].into_iter().filter(|keyword| match *keyword {
                // A connector for any service has no vendor, and the choices of a setting are examples enough.
                "x-doc" if spec.documentation.is_empty() => false,
                "examples" if is_choice => false,
                keyword => setting.schema.get(keyword).is_none(),
            });
            bare.extend(missing.map(|keyword| format!("{}: {} has no {keyword}", spec.name, setting.name)));
        }
    }
    assert_eq!(bare, [""; 0]);
}

/// A document that follows an example of a form is accepted.
#[test]
fn the_examples_of_settings_and_inputs_fit_their_schemas() {
    let mut count = 0;
    let mut check = |what: String, schema: &Value| {
        for example in schema["examples"].as_array().into_iter().flatten() {
            assert_eq!(Schema::from(schema.clone()).check(example), [], "{what}: {example}");
            count += 1;
        }
    };
    for connector in Registry::discover().unwrap().connectors() {
        let name = &connector.spec().name;
        own_settings(&connector.spec().connection)
            .iter()
            .for_each(|one| check(format!("{name}: {}", one.name), one.schema));
        for action in connector.actions() {
            for (input, schema) in action.input["properties"].as_object().into_iter().flatten() {
                check(format!("{name}.{}: {input}", action.name), schema);
            }
        }
    }
    assert!(count > 60, "{count}");
}

#[test]
fn secrets_are_marked_in_the_connection_schemas() {
    let derived = derived();
    for (file, name) in [
        ("mediaflow.json", "clientSecret"),
        ("mediaflow.json", "refreshToken"),
        ("mediavalet.json", "clientSecret"),
        ("mediavalet.json", "subscriptionKey"),
        ("mediavalet.json", "password"),
    ] {
        let all = Setting::all(&derived[file]["connection"]);
        let setting = all.iter().find(|one| one.name == name).unwrap().schema;
        assert_eq!((&setting["writeOnly"], &setting["format"]), (&json!(true), &json!("password")), "{file}: {name}");
        assert_eq!(setting["anyOf"][0]["format"], "password", "{file}: {name}");
    }
}

/// An editor that knows only the schema comes to the same result as Trunkline.
#[test]
fn the_examples_fit_the_schema_in_json_and_in_yaml() {
    let validator = jsonschema::draft202012::new(&Flow::schema()).unwrap();
    let (folder, registry) = (fixture(""), Registry::discover().unwrap());
    for name in ["approval.yaml", "approved.json", "batch.json", "copy.json", "mixed.json"] {
        let flow = Flow::parse(name, &fs::read_to_string(folder.join(name)).unwrap()).unwrap();
        let faults: Vec<_> = validator.iter_errors(flow.document()).map(|error| error.to_string()).collect();
        assert_eq!(faults, [""; 0], "{name}");
        let found = flow.check(&registry);
        assert!(found.iter().all(|one| one.severity == Severity::Warning), "{name}: {found:?}");
        for (pointer, wrong) in
            [("/steps/0/retri", json!(1)), ("/timeout", json!("soon")), ("/on_failure", json!([{ "id": "x" }]))]
        {
            let mut document = flow.document().clone();
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            document.pointer_mut(parent).unwrap()[member] = wrong;
            assert!(!validator.is_valid(&document) && Flow::from_value(document).is_err(), "{name} {pointer}");
        }
    }
}

#[test]
fn the_shipped_flow_fits_the_schema_and_the_connectors() {
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(project().join("schemas/flow.json")).unwrap()).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let registry = Registry::discover().unwrap();
    let folder = shipped_flow().parent().unwrap().to_owned();
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let mut document: Value = serde_json::from_str(&text).unwrap();
        let faults: Vec<_> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert_eq!(faults, [""; 0], "{}", path.display());
        // An editor finds the schema at the path in `$schema`.
        let referenced = folder.join(document["$schema"].as_str().unwrap());
        assert_eq!(referenced.canonicalize().unwrap(), project().join("schemas/flow.json").canonicalize().unwrap());
        assert_eq!(Flow::parse("flow.json", &text).unwrap().check(&registry), []);
        document["steps"][0]["concurrency"] = json!("many");
        assert!(!validator.is_valid(&document));
        count += 1;
    }
    assert!(count > 0);
}
