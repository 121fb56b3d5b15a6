//! `connectors`, `actions`, `schema`: what there is, without any connection.

use std::process::ExitCode;

use serde_json::{Value, json};
use trunkline::{
    core::{Error, ErrorKind, Registry, Result},
    engine::Flow,
    rest::operation_schema,
};

use super::{
    args::SchemaOf,
    output::{Output, exit, table},
};

pub(crate) fn connectors(registry: &Registry, name: Option<&str>, output: &Output) -> Result<ExitCode> {
    if let Some(name) = name {
        let spec = registry.connector(name)?.spec();
        output.show(spec, || {
            let rows = settings(&spec.connection);
            let heading = format!("{} ({})\n\nSettings of a connection:\n", spec.title, spec.id());
            let table = table(&["Setting", "In JSON", "Needed", "Meaning"], rows);
            format!("{heading}\n{table}\n\n`trunkline actions {name}` lists what it can do.")
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

/// The rows of a settings form: what all flows share, then what each flow needs on top.
fn settings(schema: &Value) -> Vec<Vec<String>> {
    let mut rows = properties(schema, "");
    for branch in schema.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        let constants = branch.get("properties").and_then(Value::as_object).into_iter().flatten();
        let tag = constants.filter_map(|(name, one)| Some((name, one.get("const")?.as_str()?))).next();
        let Some((tag, choice)) = tag else { continue };
        let about = branch.get("description").and_then(Value::as_str).unwrap_or_default();
        rows.push(vec!["Flows".into(), format!("{tag}: \"{choice}\""), "one of".into(), about.into()]);
        rows.extend(properties(branch, "  ").into_iter().filter(|row| row[1].trim() != tag));
    }
    rows
}

fn properties(schema: &Value, indent: &str) -> Vec<Vec<String>> {
    let required = schema.get("required").and_then(Value::as_array);
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let row = |(name, property): (&String, &Value)| {
        let text = |key: &str| property.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let needed = required.is_some_and(|all| all.iter().any(|one| one == name));
        let default = property.get("default").map(|default| format!(" [default: {}]", default.as_str().unwrap_or("-")));
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

pub(crate) fn actions(registry: &Registry, connector: Option<&str>, output: &Output) -> Result<ExitCode> {
    let connectors: Vec<_> = match connector {
        Some(name) => vec![&**registry.connector(name)?],
        None => registry.connectors().collect(),
    };
    let of = |one: &trunkline::core::Registered| one.spec().name.clone();
    let list: Vec<_> = connectors
        .iter()
        .flat_map(|one| {
            one.actions().map(move |spec| {
                let mut row = json!({ "connector": of(one), "name": spec.name, "title": spec.title,
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
        for one in connectors {
            text += &format!("{}\n", one.spec().title);
            let mut specs: Vec<_> = one.actions().collect();
            specs.sort_by(|a, b| (&a.group, &a.name).cmp(&(&b.group, &b.name)));
            let mut group = None;
            let rows = specs.into_iter().map(|spec| {
                let heading = if group.replace(&spec.group) == Some(&spec.group) { "" } else { &spec.group };
                let effect = format!("{:?}", spec.effect).to_lowercase();
                let route = spec.route.clone().unwrap_or_default();
                vec![heading.to_owned(), format!("{}.{}", of(one), spec.name), spec.title.clone(), effect, route]
            });
            text += &format!("{}\n\n", table(&["Group", "Action", "Title", "Effect", "Call"], rows));
        }
        text
    });
    Ok(exit::DONE.into())
}

pub(crate) fn schema(registry: &Registry, what: SchemaOf, name: Option<&str>) -> Result<ExitCode> {
    let output = Output::new(true);
    let missing = |message: &str, hint: String| Error::new(ErrorKind::InvalidInput, message).hint(hint);
    match (what, name) {
        (SchemaOf::Flow, _) => output.json(&Flow::schema()),
        (SchemaOf::Operation, _) => output.json(&operation_schema()),
        (SchemaOf::Connection, Some(name)) => output.json(&registry.connector(name)?.spec().connection),
        (SchemaOf::Connection, None) => {
            let names: Vec<_> = registry.connectors().map(|one| one.spec().name.clone()).collect();
            return Err(missing("which connector's connections?", format!("add one of: {}", names.join(", "))));
        }
        (SchemaOf::Action, Some(name)) => {
            let Some((connector, action)) = name.split_once('.') else {
                return Err(missing("which action?", "write CONNECTOR.RESOURCE.VERB".to_owned()));
            };
            output.json(registry.connector(connector)?.action_spec(action)?);
        }
        (SchemaOf::Action, None) => {
            return Err(missing("which action?", "`trunkline actions` lists them".to_owned()));
        }
    }
    Ok(exit::DONE.into())
}
