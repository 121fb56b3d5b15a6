//! `connectors`, `actions`, `action`, `schema`, `flow filters`: what the linked connectors and flows offer. None of them
//! needs a connection.

use std::process::ExitCode;

use serde_json::Value;
use trunkline::{
    Runtime,
    core::{Effect, Error, ErrorKind, EventSpec, ForeignText, Result, Setting},
    operations::{
        Caller, Listed, PageQuery,
        catalogue::{
            ActionName, ActionQuery, ActionSummary, ConnectorName, ConnectorSummary, GetAction, GetConnector,
            GetSchema, ListActions, ListFilters, SchemaQuery,
        },
    },
};

use crate::{
    args::SchemaOf,
    lists::all_connectors,
    output::{Output, exit, table},
};

/// Lists the connectors, or shows the settings of one.
pub(crate) async fn connectors(runtime: &Runtime, name: Option<String>, output: &Output) -> Result<ExitCode> {
    if let Some(name) = name {
        let spec = runtime.execute::<GetConnector>(&Caller::owner(), ConnectorName { name: name.clone() }).await?;
        output.show(&spec, || {
            let rows = settings(&Setting::all(&spec.connection), &[]);
            let title = ForeignText(&spec.title);
            let heading = format!("{title} ({})\n\nSettings of a connection:\n", spec.id());
            let table = table(&["Setting", "In JSON", "Required", "Meaning"], rows);
            let events = events(&spec.events);
            format!("{heading}\n{table}\n{events}\n`trunkline actions {name}` lists its actions.")
        });
        return Ok(exit::DONE.into());
    }
    let all = all_connectors(runtime).await?;
    output.show(&all, || {
        let row =
            |one: &ConnectorSummary| vec![one.name.clone(), one.title.clone(), one.id.clone(), one.actions.to_string()];
        table(&["Name", "System", "Connector", "Actions"], all.iter().map(row))
    });
    Ok(exit::DONE.into())
}

/// Returns the events that flows can name in their trigger; nothing if there are none.
fn events(events: &[EventSpec]) -> String {
    if events.is_empty() {
        return String::new();
    }
    let about = |event: &EventSpec| match (&event.alias_of, &event.filter) {
        (Some(of), Some(filter)) => format!("{}: {of} where {filter}", event.title),
        _ => event.title.clone(),
    };
    let rows = events.iter().map(|event| vec![event.name.clone(), about(event)]);
    format!("\nEvents that flows can name in their trigger:\n\n{}\n", table(&["Event", "Meaning"], rows))
}

/// Returns the rows of a settings form in its order. Below a choice, each of its values has a row, and below that the
/// settings that it adds. `when` are the choices that have been made.
fn settings(all: &[Setting<'_>], when: &[(&str, &Value)]) -> Vec<Vec<String>> {
    let (mut rows, indent) = (Vec::new(), "  ".repeat(when.len()));
    for setting in all.iter().filter(|one| one.when == when) {
        rows.push(row(setting.name, setting.schema, setting.required, &indent));
        let adds = |one: &&Setting<'_>| one.when.get(when.len()).is_some_and(|(tag, _)| *tag == setting.name);
        if !all.iter().any(|one| adds(&one)) {
            continue;
        }
        for choice in setting.schema["oneOf"].as_array().into_iter().flatten() {
            let text = |key: &str| choice[key].as_str().unwrap_or_default().to_owned();
            let value = format!("{indent}{}: {}", setting.name, choice["const"]);
            rows.push(vec![format!("{indent}{}", text("title")), value, "one of".into(), text("description")]);
            let chosen: Vec<_> = when.iter().copied().chain([(setting.name, &choice["const"])]).collect();
            rows.extend(settings(all, &chosen));
        }
    }
    rows
}

fn properties(schema: &Value) -> Vec<Vec<String>> {
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    properties.map(|(name, property)| row(name, property, is_required(name), "")).collect()
}

fn row(name: &str, property: &Value, required: bool, indent: &str) -> Vec<String> {
    let text = |key: &str| property.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
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
        if required { "yes" } else { "no" }.into(),
        format!("{}{choices}{}", text("description"), default.unwrap_or_default()).trim_start().to_owned(),
    ]
}

/// Lists the actions of a connector or of all.
pub(crate) async fn actions(runtime: &Runtime, query: ActionQuery, output: &Output) -> Result<ExitCode> {
    let page = async |cursor| {
        let query = ActionQuery { limit: Some(PageQuery::MOST), cursor, ..query.clone() };
        runtime.execute::<ListActions>(&Caller::owner(), query).await
    };
    let list = Listed::all(page).await?;
    let connectors = all_connectors(runtime).await?;
    output.show(&list, || {
        let mut text = String::new();
        for specs in list.chunk_by(|one, next| one.connector == next.connector) {
            let group = |specs: &[ActionSummary]| {
                let heading = [&*specs[0].group, "", "", ""].map(str::to_owned).to_vec();
                let rows = specs.iter().map(|spec| {
                    let (effect, route) = (effect(spec.effect), spec.route.clone().unwrap_or_default());
                    vec![format!("{}.{}", spec.connector, spec.name), spec.title.clone(), effect, route]
                });
                std::iter::once(heading).chain(rows).collect::<Vec<_>>()
            };
            let rows = specs.chunk_by(|one, next| one.group == next.group).flat_map(group);
            let table = table(&["Action", "Title", "Effect", "Call"], rows);
            let connector = connectors.iter().find(|one| one.name == specs[0].connector);
            text += &format!("{}\n{table}\n\n", ForeignText(connector.map_or("", |one| &one.title)));
        }
        if text.is_empty() { "No action contains all of these words.".to_owned() } else { text }
    });
    Ok(exit::DONE.into())
}

fn effect(effect: Effect) -> String {
    format!("{effect:?}").to_lowercase()
}

/// Shows the input and the output of an action.
pub(crate) async fn action(runtime: &Runtime, name: String, output: &Output) -> Result<ExitCode> {
    let spec = runtime.execute::<GetAction>(&Caller::owner(), ActionName { name: name.clone() }).await?;
    let connector = name.split('.').next().unwrap_or_default().to_owned();
    let connector = runtime.execute::<GetConnector>(&Caller::owner(), ConnectorName { name: connector }).await?;
    output.show(&spec, || {
        let mut text = format!("{name}: {}\n", ForeignText(&spec.title));
        if !spec.about.is_empty() {
            text += &format!("{}\n", ForeignText(&spec.about));
        }
        text += &format!("\nEffect: {} ({})\n", effect(spec.effect), meaning(spec.effect));
        if let Some(route) = &spec.route {
            text += &format!("Call:   {}\n", ForeignText(route));
        }
        let scopes: Vec<_> = connector.scopes.iter().chain(&spec.scopes).map(String::as_str).collect();
        if !scopes.is_empty() {
            text += &format!("Scopes: {}\n", ForeignText(&scopes.join(" ")));
        }
        if !connector.documentation.is_empty() {
            text += &format!("Vendor: {}\n", ForeignText(&connector.documentation));
        }
        let heading = ["Title", "In JSON", "Required", "Type", "Meaning"];
        let typed = |schema: &Value| {
            let mut rows = properties(schema);
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
        let given =
            property["examples"].get(0).or(property.get("default")).or_else(|| property["oneOf"].get(0)?.get("const"));
        given.cloned().unwrap_or_else(|| match (kind(property).as_str(), property["format"].as_str()) {
            (_, Some("uuid")) => "00000000-0000-0000-0000-000000000000".into(),
            (_, Some("date-time")) => "2026-01-31T12:00:00Z".into(),
            ("integer" | "number", _) => 1.into(),
            ("boolean", _) => true.into(),
            ("object", _) => example(property),
            (kind, _) if kind.starts_with("list") => Vec::<Value>::new().into(),
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

/// Prints a JSON Schema.
pub(crate) async fn schema(runtime: &Runtime, what: SchemaOf, name: Option<String>) -> Result<ExitCode> {
    let missing = |message: &str, hint: String| Error::new(ErrorKind::InvalidInput, message).hint(hint);
    let query = match (what, name) {
        (SchemaOf::Flow, _) => SchemaQuery::Flow,
        (SchemaOf::Operation, _) => SchemaQuery::OperationRows,
        #[cfg(feature = "http")]
        (SchemaOf::Connector, _) => SchemaQuery::ConnectorManifest,
        (SchemaOf::Connection, Some(name)) => SchemaQuery::Connection { name },
        (SchemaOf::Connection, None) => {
            let all = all_connectors(runtime).await?;
            let names: Vec<_> = all.into_iter().map(|one| one.name).collect();
            return Err(missing(
                "`schema connection` needs the name of a connector",
                format!("add one of: {}", names.join(", ")),
            ));
        }
        (SchemaOf::Action, Some(name)) => SchemaQuery::Action { name },
        (SchemaOf::Action, None) => {
            return Err(missing(
                "`schema action` needs the name of an action",
                "`trunkline actions` lists them".to_owned(),
            ));
        }
    };
    Output::new(true, false).json(&runtime.execute::<GetSchema>(&Caller::owner(), query).await?);
    Ok(exit::DONE.into())
}

/// Shows the filters of expressions with their examples.
pub(crate) async fn filters(runtime: &Runtime, output: &Output) -> Result<ExitCode> {
    let page = async |cursor| runtime.execute::<ListFilters>(&Caller::owner(), PageQuery::largest(cursor)).await;
    let filters = Listed::all(page).await?;
    output.show(&filters, || {
        let mut text = "Filters change a value in an expression: {{ value | filter }}\n".to_owned();
        for filter in &filters {
            text += &format!("\n{}\n  {}\n", filter.usage(), filter.about);
            for example in filter.examples {
                let input =
                    if example.input == "{}" { String::new() } else { format!("  where input is {}", example.input) };
                text += &format!("    {{{{ {} }}}}  yields {}{input}\n", example.expression, example.yields);
            }
        }
        text
    });
    Ok(exit::DONE.into())
}
