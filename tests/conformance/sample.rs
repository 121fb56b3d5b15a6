//! Connections and inputs that are generated from their schemas.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value, json};
use trunkline_core::{Connected, Connection, MemoryVault, Registry};

use crate::service::BASE;

/// The connection of the files in samples.
pub(crate) const FILES: &str = "files";
/// The content of such a file.
pub(crate) const FILE: &str = "bytes";

/// Makes a connection whose settings satisfy the connector's schema. All URLs lead to the service, and all secrets
/// begin with `canary-`.
pub(crate) fn connect(registry: &Registry, name: &str, connector: &str, address: &str) -> Connected {
    let spec = registry.connector(connector).unwrap().spec();
    let mut document = Map::new();
    settings(&spec.connection, address, &mut document);
    document.insert("name".into(), json!(name));
    document.insert("connector".into(), json!(spec.id()));
    let connection = Connection::from_value(document.into()).unwrap();
    let faults = registry.check(&connection);
    assert!(faults.is_empty(), "{faults:#?}");
    registry
        .connect(&connection, Arc::new(MemoryVault::default()), &|_| unreachable!("all secrets are literal"))
        .unwrap()
}

/// Fills in required settings, all secrets and all URLs.
fn settings(schema: &Value, address: &str, document: &mut Map<String, Value>) {
    let required = required(schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let value = match name.as_str() {
            "redirectUri" => continue,
            "allowPrivateNetwork" => json!(true),
            "tokenUrl" => json!(format!("{address}/token")),
            url if url.ends_with("Url") => json!(format!("{address}{BASE}")),
            _ if property.get("writeOnly").is_some() => json!(format!("canary-{}", kebab(name))),
            needed if required.contains(needed) => {
                property.pointer("/oneOf/0/const").cloned().unwrap_or_else(|| sample(property, false))
            }
            _ => continue,
        };
        document.insert(name.clone(), value);
    }
    if let Some(branch) = authentication(schema) {
        settings(branch, address, document);
    }
}

/// Chooses an authentication: one with a refresh token, which needs no sign-in, else the first with a secret.
fn authentication(schema: &Value) -> Option<&Value> {
    let branches = schema["oneOf"].as_array()?;
    let has_secret = |branch: &&Value| {
        let mut all = branch["properties"].as_object().into_iter().flatten();
        all.any(|(_, property)| property.get("writeOnly").is_some())
    };
    let refresh = branches.iter().find(|branch| branch.pointer("/properties/refreshToken").is_some());
    refresh.or_else(|| branches.iter().find(has_secret)).or_else(|| branches.first())
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
