//! Connections and inputs that are generated from their schemas.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value, json};
use trunkline_core::{Connected, Connection, MemoryVault, Registry, Setting};

use crate::service::BASE;

/// The connection of the files in samples.
pub(crate) const FILES: &str = "files";
/// The content of such a file.
pub(crate) const FILE: &str = "bytes";

/// Makes a connection whose settings satisfy the connector's schema. All URLs lead to the service, and all secrets
/// begin with `canary-`.
pub(crate) fn connect(registry: &Registry, name: &str, connector: &str, address: &str) -> Connected {
    let spec = registry.connector(connector).unwrap().spec();
    let mut document = settings(&spec.connection, address);
    document.insert("name".into(), json!(name));
    document.insert("connector".into(), json!(spec.id()));
    let connection = Connection::from_value(document.into()).unwrap();
    let faults = registry.check(&connection);
    assert!(faults.is_empty(), "{faults:#?}");
    registry
        .connect(&connection, Arc::new(MemoryVault::default()), &|_| unreachable!("all secrets are literal"))
        .unwrap()
}

/// Returns the required settings, all secrets and all URLs. Of each choice, the one with a refresh token is made, which
/// needs no sign-in, else the first with a secret.
fn settings(schema: &Value, address: &str) -> Map<String, Value> {
    let all = Setting::all(schema);
    let mut document = Map::new();
    for setting in &all {
        if !setting.when.iter().all(|(choice, value)| document.get(*choice) == Some(*value)) {
            continue;
        }
        let adding = |has: &dyn Fn(&Setting<'_>) -> bool| {
            let adds = |one: &&Setting<'_>| one.when.last().is_some_and(|(choice, _)| *choice == setting.name);
            all.iter().filter(adds).find(|one| has(one)).map(|one| one.when[one.when.len() - 1].1.clone())
        };
        let value = match setting.name {
            "redirectUri" => continue,
            "allowPrivateNetwork" => json!(true),
            "tokenUrl" => json!(format!("{address}/token")),
            url if url.ends_with("Url") => json!(format!("{address}{BASE}")),
            _ if setting.schema.get("writeOnly").is_some() => json!(format!("canary-{}", kebab(setting.name))),
            _ if setting.required => adding(&|one| one.name == "refreshToken")
                .or_else(|| adding(&|one| one.schema.get("writeOnly").is_some()))
                .or_else(|| setting.schema.pointer("/oneOf/0/const").cloned())
                .unwrap_or_else(|| sample(setting.schema, false)),
            _ => continue,
        };
        document.insert(setting.name.to_owned(), value);
    }
    document
}

fn kebab(name: &str) -> String {
    name.chars().map(|c| if c.is_uppercase() { format!("-{}", c.to_lowercase()) } else { c.to_string() }).collect()
}

fn required(schema: &Value) -> BTreeSet<&str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Returns a value that the schema allows. If `full`, lists and maps are not empty.
pub(crate) fn sample(schema: &Value, full: bool) -> Value {
    for key in ["const", "default"] {
        if let Some(value) = schema.get(key).filter(|value| !(value.is_null() || full && is_empty(value))) {
            return value.clone();
        }
    }
    for key in ["enum", "examples"] {
        if let Some(value) = schema.get(key).and_then(|all| all.get(0)) {
            return value.clone();
        }
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(branch) = schema.get(key).and_then(|all| all.get(0)) {
            return sample(branch, full);
        }
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"].get(0)?.as_str());
    match (kind, schema["format"].as_str()) {
        (Some("string"), Some("uuid")) => json!("6f9619ff-8b86-4011-b42d-00cf4fc964ff"),
        (Some("string"), Some("date-time")) => json!("2026-01-31T12:00:00Z"),
        (Some("string"), Some("date")) => json!("2026-01-31"),
        (Some("string"), Some("uri")) => json!("https://example.com/x"),
        (Some("string"), Some("email")) => json!("someone@example.com"),
        (Some("string"), _) if schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("0-9a-f")) => {
            json!("6f9619ff-8b86-4011-b42d-00cf4fc964ff")
        }
        (Some("string"), _) => json!("sample"),
        (Some("integer" | "number"), _) => schema.get("minimum").cloned().unwrap_or(json!(1)),
        (Some("boolean"), _) => json!(true),
        (Some("array"), _) => match schema["minItems"].as_u64() {
            Some(least) if least > 0 || full => json!([sample(&schema["items"], full)]),
            None if full => json!([sample(&schema["items"], full)]),
            _ => json!([]),
        },
        (Some("object"), _) => match schema.get("additionalProperties") {
            Some(each) if full && *each != json!(false) => json!({ "sample": sample(each, full) }),
            _ => input(schema),
        },
        (Some("null"), _) => Value::Null,
        _ => json!("sample"),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// Returns an input with the required members only.
pub(crate) fn input(schema: &Value) -> Value {
    let properties = schema["properties"].as_object();
    if properties.is_some_and(|all| all.contains_key("connection") && all.contains_key("source")) {
        // A file that can be opened.
        let source = json!({ "path": "/file" });
        return json!({ "name": "a.txt", "size": FILE.len(), "connection": FILES, "source": source });
    }
    let required = required(schema);
    let needed = properties.into_iter().flatten().filter(|(name, _)| required.contains(name.as_str()));
    needed.map(|(name, property)| (name.clone(), sample(property, false))).collect::<Map<_, _>>().into()
}
