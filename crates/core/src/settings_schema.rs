//! The schema of a connection: its settings in the order of the form, and the choices that add settings.
//!
//! A choice, such as the OAuth 2 flow, is a setting whose values are listed. The settings that one value adds are a
//! part of `allOf` with `if` and `then`, so that a form shows them when the value is chosen, and only then. The settings
//! after the choice are the last part of `allOf`: a form shows parts in their order.

use serde_json::{Map, Value, json};

use crate::schema_form::{form_schema, words};

/// The settings after which a choice stands that the connector flattens into its settings: the first of these.
const BEFORE_CHOICE: [&str; 3] = ["authentication", "endpointUrl", "connector"];

/// Returns the schema of a connection document with these settings: `name` and `connector` in front of them, as in the
/// forms of comparable products. Other members are not allowed. `documentation` is the page of each setting that names
/// none; empty if there is none.
pub fn connection_schema(id: &str, title: &str, documentation: &str, settings: Value) -> Value {
    let Value::Object(mut schema) = settings else { return settings };
    let mut properties = json!({
        "name": {
            "type": "string", "title": "Connection Name", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
            "description": "The name flows and commands use for this connection: letters, digits, dots, dashes and underscores.",
            "examples": ["brand-library"]
        },
        "connector": { "const": id, "title": "Connector" }
    });
    let mut required = vec![json!("name"), json!("connector")];
    if let (Some(all), Some(Value::Object(own))) = (properties.as_object_mut(), schema.remove("properties")) {
        all.extend(own);
    }
    if let Some(Value::Array(own)) = schema.remove("required") {
        required.extend(own);
    }
    schema.remove("additionalProperties");
    schema.insert("title".into(), format!("Connection to {title}").into());
    schema.insert("properties".into(), properties);
    schema.insert("required".into(), required.into());
    let mut schema = with_conditions(schema);
    schema.insert("unevaluatedProperties".into(), false.into());
    let mut schema = form_schema(schema.into());
    complete(&mut schema, documentation);
    schema
}

/// Writes a choice among branches as a setting, and what each branch adds as a condition.
fn with_conditions(mut schema: Map<String, Value>) -> Map<String, Value> {
    let Some(tag) = schema.get("oneOf").and_then(Value::as_array).and_then(|branches| tag(branches)) else {
        return schema;
    };
    let tag = tag.to_owned();
    let Some(Value::Array(branches)) = schema.shift_remove("oneOf") else { return schema };
    let (mut choices, mut parts) = (Vec::new(), Vec::new());
    for branch in branches {
        let Value::Object(mut branch) = branch else { continue };
        let Some(Value::Object(mut properties)) = branch.shift_remove("properties") else { continue };
        let mut choice = properties.shift_remove(&tag).and_then(|one| one.as_object().cloned()).unwrap_or_default();
        let words = ["title", "description"].map(|keyword| (keyword, branch.shift_remove(keyword)));
        choice.extend(words.into_iter().filter_map(|(keyword, text)| Some((keyword.to_owned(), text?))));
        branch.shift_remove("type");
        branch.insert("properties".into(), properties.into());
        if let Some(Value::Array(required)) = branch.get_mut("required") {
            required.retain(|name| *name != tag);
        }
        let mut branch = with_conditions(branch);
        branch.retain(|_, part| part.as_array().is_none_or(|all| !all.is_empty()) && *part != json!({}));
        if !branch.is_empty() {
            let test = json!({ "properties": { &tag: { "const": choice["const"] } }, "required": [&tag] });
            parts.push(json!({ "if": test, "then": branch }));
        }
        choices.push(Value::from(choice));
    }
    let properties = match schema.get_mut("properties") {
        Some(Value::Object(properties)) => std::mem::take(properties),
        _ => Map::new(),
    };
    let place = BEFORE_CHOICE.iter().find_map(|name| properties.keys().position(|own| own == name));
    let mut rest = properties.into_iter();
    let mut first: Map<_, _> = rest.by_ref().take(place.map_or(0, |index| index + 1)).collect();
    first.insert(tag.clone(), json!({ "type": "string", "title": words(&tag), "oneOf": choices }));
    let rest: Map<_, _> = rest.collect();
    if !rest.is_empty() {
        parts.push(json!({ "properties": rest }));
    }
    schema.insert("properties".into(), first.into());
    add(&mut schema, "required", vec![tag.into()]);
    add(&mut schema, "allOf", parts);
    schema
}

fn add(schema: &mut Map<String, Value>, keyword: &str, more: Vec<Value>) {
    match schema.get_mut(keyword) {
        Some(Value::Array(all)) => all.extend(more),
        _ if more.is_empty() => {}
        _ => drop(schema.insert(keyword.to_owned(), more.into())),
    }
}

/// Gives each setting its group and its page.
fn complete(schema: &mut Value, documentation: &str) {
    for (name, property) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        let Value::Object(property) = property else { continue };
        property.entry("x-group").or_insert_with(|| "basic".into());
        if !documentation.is_empty() && !["name", "connector"].contains(&name.as_str()) {
            property.entry("x-doc").or_insert_with(|| documentation.into());
        }
    }
    for part in schema.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
        complete(part, documentation);
    }
    if let Some(then) = schema.get_mut("then") {
        complete(then, documentation);
    }
}

/// Returns the property that distinguishes the branches of a `oneOf`: the first one that is a `const` in all of them.
pub(crate) fn tag(branches: &[Value]) -> Option<&str> {
    let first = branches.first()?.get("properties")?.as_object()?;
    first
        .keys()
        .find(|name| branches.iter().all(|branch| branch.pointer(&format!("/properties/{name}/const")).is_some()))
        .map(String::as_str)
}

/// What one value of a choice adds to an object: a part of `allOf` with `if` and `then`.
pub(crate) struct Condition<'a> {
    pub(crate) tag: &'a str,
    pub(crate) value: &'a Value,
    pub(crate) then: &'a Value,
}

impl Condition<'_> {
    /// Returns the condition of a part of `allOf`, if it is one.
    pub(crate) fn of(part: &Value) -> Option<Condition<'_>> {
        let (part, test) = (part.as_object()?, part.get("if")?.as_object()?);
        let mut members = test.get("properties")?.as_object()?.iter();
        let (tag, member) = members.next().filter(|_| members.next().is_none())?;
        let has_more = part.len() > 2 || test.len() > 2 || *test.get("required")? != json!([tag]);
        let value =
            member.get("const").filter(|_| !has_more && member.as_object().is_some_and(|one| one.len() == 1))?;
        Some(Condition { tag, value, then: part.get("then")? })
    }
}

/// A setting in the schema of a connection.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// The name in JSON.
    pub name: &'a str,
    /// The schema of its value.
    pub schema: &'a Value,
    /// Whether it is required where it exists.
    pub required: bool,
    /// The choices with which it exists, outermost first: each a setting and its value. Empty if it always exists.
    pub when: Vec<(&'a str, &'a Value)>,
}

impl Setting<'_> {
    /// Returns all settings of a connection's schema, in the order of the form. A setting that several choices add is
    /// there once for each.
    pub fn all(schema: &Value) -> Vec<Setting<'_>> {
        let mut found = Vec::new();
        collect(schema, &[], &[], &mut found);
        found
    }
}

fn collect<'a>(schema: &'a Value, outer: &[&'a Value], when: &[(&'a str, &'a Value)], found: &mut Vec<Setting<'a>>) {
    let own = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let required: Vec<_> = outer.iter().copied().chain(own).collect();
    for (name, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let required = required.iter().any(|one| *one == name);
        found.push(Setting { name, schema, required, when: when.to_vec() });
    }
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        match Condition::of(part) {
            Some(condition) => {
                let when: Vec<_> = when.iter().copied().chain([(condition.tag, condition.value)]).collect();
                collect(condition.then, &[], &when, found);
            }
            None => collect(part, &required, when, found),
        }
    }
}
