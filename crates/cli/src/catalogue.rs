//! `connectors`, `actions`, `action`, `schema`: what the linked connectors offer. None of them needs a connection.

use std::process::ExitCode;

use serde_json::{Value, json};
use trunkline::{
    core::{ActionSpec, Effect, Error, ErrorKind, Registry, Result},
    flow::Flow,
    rest::operation_schema,
};

use crate::{
    args::SchemaOf,
    output::{Output, exit, table},
};

pub(crate) fn connectors(registry: &Registry, name: Option<&str>, output: &Output) -> Result<ExitCode> {
    if let Some(name) = name {
        let spec = registry.connector(name)?.spec();
        output.show(spec, || {
            let rows = settings(&spec.connection, "");
            let heading = format!("{} ({})\n\nSettings of a connection:\n", spec.title, spec.id());
            let table = table(&["Setting", "In JSON", "Required", "Meaning"], rows);
            format!("{heading}\n{table}\n\n`trunkline actions {name}` lists its actions.")
        });
        return Ok(exit::DONE.into());
    }
    let all: Vec<_> = registry.connectors().collect();
    let list: Vec<_> = all
        .iter()
        .map(|one| {
            let spec = one.spec();
            json!({ "name": spec.name, "version": spec.version, "title": spec.title, "id": spec.id(),
                "actions": one.actions().count() })
        })
        .collect();
    output.show(&list, || {
        let rows = all.iter().map(|one| {
            let spec = one.spec();
            vec![spec.name.clone(), spec.title.clone(), spec.id(), one.actions().count().to_string()]
        });
        table(&["Name", "System", "Connector", "Actions"], rows)
    });
    Ok(exit::DONE.into())
}

/// Returns the rows of a settings form: first the settings that all choices share, then those of each choice. A choice
/// can contain further choices.
fn settings(schema: &Value, indent: &str) -> Vec<Vec<String>> {
    let mut rows = properties(schema, indent);
    for branch in schema.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        let constants = branch.get("properties").and_then(Value::as_object).into_iter().flatten();
        let tag = constants.filter_map(|(name, one)| Some((name, one.get("const")?.as_str()?))).next();
        let Some((tag, choice)) = tag else { continue };
        let about = branch.get("description").and_then(Value::as_str).unwrap_or_default();
        let heading = tag[..1].to_uppercase() + &tag[1..];
        let in_json = format!("{indent}{tag}: \"{choice}\"");
        rows.push(vec![format!("{indent}{heading}"), in_json, "one of".into(), about.into()]);
        let deeper = settings(branch, &format!("{indent}  "));
        rows.extend(deeper.into_iter().filter(|row| row[1].trim() != tag));
    }
    rows
}

fn properties(schema: &Value, indent: &str) -> Vec<Vec<String>> {
    let required = schema.get("required").and_then(Value::as_array);
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let row = |(name, property): (&String, &Value)| {
        let text = |key: &str| property.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let needed = required.is_some_and(|all| all.iter().any(|one| one == name));
        let default = property.get("default").map(|default| match default {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let default = default.filter(|text| !["", "[]", "{}", "null"].contains(&text.as_str()));
        let default = default.map(|text| format!(" [default: {text}]"));
        let branches = property.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        let constants = branches.chain([property]).filter_map(|one| one.get("const")?.as_str());
        let choices = constants.collect::<Vec<_>>().join(" or ");
        let choices = if choices.is_empty() { choices } else { format!(" [{choices}]") };
        vec![
            format!("{indent}{}", text("title")),
            format!("{indent}{name}"),
            if needed { "yes" } else { "no" }.into(),
            format!("{}{choices}{}", text("description"), default.unwrap_or_default()).trim_start().to_owned(),
        ]
    };
    properties.map(row).collect()
}

/// Returns whether all words occur in the name, title, group or description of an action.
fn matches(spec: &ActionSpec, words: &str) -> bool {
    let text = format!("{} {} {} {}", spec.name, spec.title, spec.group, spec.about).to_lowercase();
    words.to_lowercase().split_whitespace().all(|word| text.contains(word))
}

pub(crate) fn actions(
    registry: &Registry,
    connector: Option<&str>,
    search: Option<&str>,
    output: &Output,
) -> Result<ExitCode> {
    let connectors: Vec<_> = match connector {
        Some(name) => vec![&**registry.connector(name)?],
        None => registry.connectors().collect(),
    };
    let found = connectors.into_iter().map(|one| {
        let mut specs: Vec<_> = one.actions().filter(|spec| search.is_none_or(|words| matches(spec, words))).collect();
        specs.sort_by(|a, b| (&a.group, &a.name).cmp(&(&b.group, &b.name)));
        (one.spec(), specs)
    });
    let found: Vec<_> = found.filter(|(_, specs)| !specs.is_empty()).collect();
    let list: Vec<_> = found
        .iter()
        .flat_map(|(connector, specs)| {
            specs.iter().map(|spec| {
                let mut row = json!({ "connector": connector.name, "name": spec.name, "title": spec.title,
                    "group": spec.group, "effect": spec.effect, "lists": spec.lists });
                if let Some(route) = &spec.route {
                    row["route"] = route.as_str().into();
                }
                row
            })
        })
        .collect();
    output.show(&list, || {
        let mut text = String::new();
        for (connector, specs) in &found {
            let mut group = None;
            let rows = specs.iter().map(|spec| {
                let heading = if group.replace(&spec.group) == Some(&spec.group) { "" } else { &spec.group };
                let (effect, route) = (effect(spec), spec.route.clone().unwrap_or_default());
                let name = format!("{}.{}", connector.name, spec.name);
                vec![heading.to_owned(), name, spec.title.clone(), effect, route]
            });
            let table = table(&["Group", "Action", "Title", "Effect", "Call"], rows);
            text += &format!("{}\n{table}\n\n", connector.title);
        }
        if text.is_empty() { "No action contains all of these words.".to_owned() } else { text }
    });
    Ok(exit::DONE.into())
}

fn effect(spec: &ActionSpec) -> String {
    format!("{:?}", spec.effect).to_lowercase()
}

pub(crate) fn action(registry: &Registry, name: &str, output: &Output) -> Result<ExitCode> {
    let (connector, spec) = registry.action(name)?;
    let documentation = &connector.spec().documentation;
    output.show(spec, || {
        let mut text = format!("{name}: {}\n", spec.title);
        if !spec.about.is_empty() {
            text += &format!("{}\n", spec.about);
        }
        text += &format!("\nEffect: {} ({})\n", effect(spec), meaning(spec.effect));
        if let Some(route) = &spec.route {
            text += &format!("Call:   {route}\n");
        }
        let scopes: Vec<_> = connector.spec().scopes.iter().chain(&spec.scopes).map(String::as_str).collect();
        if !scopes.is_empty() {
            text += &format!("Scopes: {}\n", scopes.join(" "));
        }
        if !documentation.is_empty() {
            text += &format!("Vendor: {documentation}\n");
        }
        let heading = ["Title", "In JSON", "Required", "Type", "Meaning"];
        let typed = |schema: &Value| {
            let mut rows = properties(schema, "");
            for row in &mut rows {
                let property = &schema["properties"][row[1].as_str()];
                row.insert(3, kind(property));
            }
            rows
        };
        match typed(&spec.input) {
            rows if rows.is_empty() => text += "\nThe action takes no input.\n",
            rows => text += &format!("\nInput\n{}\n", table(&heading, rows)),
        }
        let outputs = typed(&spec.output);
        if !outputs.is_empty() {
            text += &format!("\nOutput\n{}\n", table(&heading, outputs));
        }
        let example = serde_json::to_string(&example(&spec.input)).unwrap_or_default().replace('\'', r"'\''");
        text += &format!("\nExample\n  trunkline call {name} --connection NAME --input '{example}'\n");
        text
    });
    Ok(exit::DONE.into())
}

fn meaning(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => "changes nothing",
        Effect::Idempotent => "repeating the call leaves the same state",
        Effect::Create => "repeating the call creates a duplicate; never repeated after an unclear failure",
        Effect::Delete => "removes something; already removed counts as done",
    }
}

/// Returns the type of a property in a word or two.
fn kind(property: &Value) -> String {
    let of = |value: &Value| match value {
        Value::String(one) => one.clone(),
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    };
    let kind = of(&property["type"]);
    match (kind.as_str(), property["format"].as_str()) {
        ("array", _) => format!("list of {}", of(&property["items"]["type"])),
        (kind, Some(format)) => format!("{kind} ({format})"),
        (kind, None) => kind.to_owned(),
    }
}

/// Returns an example input, with the required properties and those that have an example.
fn example(schema: &Value) -> Value {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let value = |property: &Value| {
        let given = property["examples"].get(0).or(property.get("default")).or_else(|| property["enum"].get(0));
        given.cloned().unwrap_or_else(|| match (kind(property).as_str(), property["format"].as_str()) {
            (_, Some("uuid")) => "00000000-0000-0000-0000-000000000000".into(),
            (_, Some("date-time")) => "2026-01-31T12:00:00Z".into(),
            ("integer" | "number", _) => 1.into(),
            ("boolean", _) => true.into(),
            ("object", _) => example(property),
            (kind, _) if kind.starts_with("list") => json!([]),
            _ => "...".into(),
        })
    };
    let shown =
        |(name, property): &(&String, &Value)| required.contains(&name.as_str()) || property.get("examples").is_some();
    properties
        .filter(shown)
        .map(|(name, property)| (name.clone(), value(property)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

pub(crate) fn schema(registry: &Registry, what: SchemaOf, name: Option<&str>) -> Result<ExitCode> {
    let output = Output::new(true);
    let missing = |message: &str, hint: String| Error::new(ErrorKind::InvalidInput, message).hint(hint);
    match (what, name) {
        (SchemaOf::Flow, _) => output.json(&Flow::schema()),
        (SchemaOf::Operation, _) => output.json(&operation_schema()),
        #[cfg(feature = "http")]
        (SchemaOf::Connector, _) => output.json(&trunkline::connector_schema()),
        (SchemaOf::Connection, Some(name)) => output.json(&registry.connector(name)?.spec().connection),
        (SchemaOf::Connection, None) => {
            let names: Vec<_> = registry.connectors().map(|one| one.spec().name.clone()).collect();
            return Err(missing(
                "`schema connection` needs the name of a connector",
                format!("add one of: {}", names.join(", ")),
            ));
        }
        (SchemaOf::Action, Some(name)) => output.json(registry.action(name)?.1),
        (SchemaOf::Action, None) => {
            return Err(missing(
                "`schema action` needs the name of an action",
                "`trunkline actions` lists them".to_owned(),
            ));
        }
    }
    Ok(exit::DONE.into())
}
