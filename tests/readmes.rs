//! The tables of settings and of actions in each connector's README are derived from the registry; `UPDATE=1` rewrites
//! them.
#![allow(clippy::unwrap_used)]

use std::{env, fs};

use serde_json::{Value, json};
use trunkline as _;
use trunkline_core::{Registered, Registry, Setting};
use trunkline_flow::Flow;
use trunkline_tests::project;

/// A derived part of a README, between two comments.
struct Part {
    name: &'static str,
    derive: fn(&Registered) -> String,
}

const PARTS: [Part; 3] = [
    Part { name: "settings", derive: settings },
    Part { name: "events", derive: events },
    Part { name: "actions", derive: actions },
];

impl Part {
    fn begin(&self) -> String {
        format!("<!-- {}: written by `UPDATE=1 cargo test -p trunkline-tests --test project readmes` -->\n", self.name)
    }

    fn end(&self) -> String {
        format!("<!-- end of {} -->", self.name)
    }

    /// Returns a README with the derived part in it. A connector without events has no part for them.
    fn renew(&self, readme: &str, connector: &Registered) -> String {
        if self.name == "events" && connector.spec().events.is_empty() {
            return readme.to_owned();
        }
        let (before, rest) = readme.split_once(&self.begin()).unwrap_or_else(|| panic!("no part {}", self.name));
        let (_, after) = rest.split_once(&self.end()).unwrap_or_else(|| panic!("the part {} has no end", self.name));
        format!("{before}{}{}{}{after}", self.begin(), (self.derive)(connector), self.end())
    }
}

fn actions(connector: &Registered) -> String {
    let mut specs: Vec<_> = connector.actions().collect();
    specs.sort_by(|a, b| (&a.group, &a.name).cmp(&(&b.group, &b.name)));
    let mut text = String::from("\n| action | does | effect | call |\n| --- | --- | --- | --- |\n");
    for spec in specs {
        let route = spec.route.as_ref().map_or_else(String::new, |route| format!("`{route}`"));
        let effect = serde_json::to_value(spec.effect).unwrap();
        text += &format!(
            "| `{}` | {} | {} | {route} |\n",
            spec.name,
            spec.title.replace('|', "\\|"),
            effect.as_str().unwrap()
        );
    }
    text + "\n"
}

fn events(connector: &Registered) -> String {
    let mut text = String::from("\n| event | is | members of `input.event.data` |\n| --- | --- | --- |\n");
    for event in &connector.spec().events {
        let members = event.schema.pointer("/properties/data/properties").and_then(Value::as_object);
        let members: Vec<_> = members.into_iter().flatten().map(|(name, _)| format!("`{name}`")).collect();
        let alias = event.alias_of.iter().zip(&event.filter);
        let alias: String = alias.map(|(of, filter)| format!(": `{of}` where `{filter}`")).collect();
        text += &format!("| `{}` | {}{alias} | {} |\n", event.name, event.title, members.join(", "));
    }
    text + "\n"
}

fn settings(connector: &Registered) -> String {
    let all = Setting::all(&connector.spec().connection);
    let mut rows = Vec::<Row>::new();
    for setting in &all {
        let needed = needed(setting);
        // A sign-in that several choices share needs one row.
        if let Some(row) = rows.iter_mut().find(|row| row.name == setting.name) {
            row.needed.push(needed);
            continue;
        }
        let text = |schema: &Value, keyword: &str| schema[keyword].as_str().unwrap_or_default().replace('\n', " ");
        let adds = all.iter().any(|one| one.when.last().is_some_and(|(choice, _)| *choice == setting.name));
        let about = match adds {
            true => {
                let choices = setting.schema["oneOf"].as_array().into_iter().flatten();
                let about = |one: &Value| {
                    format!("`{}`: {}", one["const"].as_str().unwrap_or_default(), text(one, "description"))
                };
                choices.map(about).collect::<Vec<_>>().join(" ")
            }
            false => {
                let parts = [values(setting.schema).join(", "), text(setting.schema, "description")];
                parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(". ")
            }
        };
        let title = text(setting.schema, "title");
        rows.push(Row { name: setting.name.to_owned(), title, needed: vec![needed], about });
    }
    let mut text = String::from("\n| setting | in JSON | needed | what to enter |\n| --- | --- | --- | --- |\n");
    for Row { name, title, needed, about } in rows {
        text += &format!("| {title} | `{name}` | {} | {} |\n", needed.join("; "), about.replace('|', "\\|"));
    }
    text + "\n"
}

/// A row of the table of settings.
struct Row {
    name: String,
    title: String,
    /// Whether a connection needs the setting, for each choice that has it.
    needed: Vec<String>,
    about: String,
}

/// Returns whether a connection needs a setting.
fn needed(setting: &Setting<'_>) -> String {
    let default = setting.schema.get("default");
    let default = default
        .filter(|value| !matches!(value, Value::Bool(false)))
        .filter(|value| value.as_str() != Some("") && value.as_array().is_none_or(|all| !all.is_empty()));
    let only = setting.when.last().map(|(_, value)| format!("`{}`", value.as_str().unwrap_or_default()));
    match (setting.required, default, only) {
        (true, _, None) => "yes".to_owned(),
        (true, _, Some(only)) => format!("for {only}"),
        (false, Some(default), only) => {
            let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            only.map_or_else(|| format!("default `{default}`"), |only| format!("for {only}; default `{default}`"))
        }
        (false, None, None) => "no".to_owned(),
        (false, None, Some(only)) => format!("optional for {only}"),
    }
}

/// Returns the values that a setting can have, if they are a choice.
fn values(property: &Value) -> Vec<String> {
    let one = property.get("const").into_iter();
    let list = property["enum"].as_array().into_iter().flatten();
    let branches = property["oneOf"].as_array().into_iter().flatten().filter_map(|branch| branch.get("const"));
    let all = one.chain(list).chain(branches);
    all.filter(|value| !value.is_null()).map(|value| format!("`{}`", value.as_str().unwrap_or_default())).collect()
}

#[test]
fn the_tables_of_every_readme_are_those_of_the_registry() {
    for connector in Registry::discover().unwrap().connectors() {
        let name = &connector.spec().name;
        let path = project().join("connectors").join(name).join("README.md");
        let readme = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let renewed = PARTS.iter().fold(readme.clone(), |readme, part| part.renew(&readme, connector));
        if env::var_os("UPDATE").is_some() {
            fs::write(&path, renewed).unwrap();
            continue;
        }
        assert_eq!(readme, renewed, "{name}: run `UPDATE=1 cargo test -p trunkline-tests --test project readmes`");
    }
}

/// What each kind of step yields, from the types of the check.
fn step_outputs() -> String {
    let each = json!({ "id": "copy", "each": [{ "id": 1 }], "key": "{{ item.id }}", "collect": "{{ item.id }}",
        "steps": [{ "id": "named", "set": { "name": "{{ item.id | string }}" } }] });
    let steps = json!([each, { "id": "pause", "wait": { "signal": "approved" } }, { "id": "other", "call": "other" }]);
    let flow = Flow::from_value(json!({ "name": "sample", "steps": steps })).unwrap();
    let called = json!({ "name": "other", "steps": [{ "id": "one", "set": { "n": 1 } }], "output": { "n": 1 } });
    let flow = flow.link(&|_| Flow::from_value(called.clone()).ok()).unwrap();
    let mut text = String::from("\n| step | expression | type | is |\n| --- | --- | --- | --- |\n");
    for one in flow.outputs(&Registry::discover().unwrap()) {
        for value in one.values {
            let about = value.about.unwrap_or_default();
            text += &format!("| `{}` | `{}` | {} | {about} |\n", one.does, value.expression, value.kind);
        }
    }
    text + "\n"
}

#[test]
fn the_table_of_step_outputs_is_that_of_the_check() {
    let (path, name) = (project().join("docs/flows.md"), "step outputs");
    let begin =
        format!("<!-- {name}: written by `UPDATE=1 cargo test -p trunkline-tests --test project readmes` -->\n");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&format!("<!-- end of {name} -->")).unwrap();
    let table = step_outputs();
    let renewed = format!("{before}{begin}{table}<!-- end of {name} -->{after}");
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, renewed).unwrap();
        return;
    }
    assert_eq!(page, renewed, "run `UPDATE=1 cargo test -p trunkline-tests --test project readmes`");
    // The twin: a type that differs is found.
    assert!(table.contains("| a list |") && page != renewed.replace("| a list |", "| a text |"));
}

/// The twin: a README with another setting differs from the derived one, and each kind of setting has its row.
#[test]
fn a_setting_that_differs_is_found() {
    let registry = Registry::discover().unwrap();
    let http = registry.connector("http").unwrap();
    let table = settings(http);
    let stale = format!("{}{}{}", PARTS[0].begin(), table.replace("tokenUrl", "tokenUri"), PARTS[0].end());
    let renewed = PARTS[0].renew(&stale, http);
    assert!(renewed != stale && renewed.contains(&table));
    for row in [
        "| Connector | `connector` | yes | `http-v1.0` |",
        "| Authentication | `authentication` | yes | `none`: The service needs no authentication. `bearer`: ",
        "| Flows | `flows` | for `oauth2` | ",
        "| Username | `username` | for `basic`; for `password` |",
        "| Token URL | `tokenUrl` | for `oauth2` | ",
        "| Header | `apiKeyHeader` | for `apiKey`; default `X-API-Key` | ",
    ] {
        assert!(table.contains(row), "wanted {row} in {table}");
    }
    assert_eq!(values(&json!({ "enum": ["a", "b"] })), ["`a`", "`b`"]);
}
