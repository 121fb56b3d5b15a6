//! Connectors are alike: the same files in each, shared settings once, and operation tables that a person can read.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use toml::{Table, Value};
use trunkline_tests::project;

use super::layout;

/// The files that every connector has.
const FILES: [&str; 7] = [
    "Cargo.toml",
    "README.md",
    "src/actions/mod.rs",
    "src/errors.rs",
    "src/lib.rs",
    "src/settings.rs",
    "tests/it/main.rs",
];

/// Files of `src` besides these and the actions, with the reason.
const OTHER_SOURCES: [(&str, &str, &str); 5] = [
    ("http", "src/data.rs", "it loads connectors from folders"),
    ("http", "src/events.rs", "it reads the events of such connectors"),
    ("mediaflow", "src/files.rs", "its files have links that expire"),
    ("mediavalet", "src/events.rs", "it is the only one whose service sends events"),
    ("mediavalet", "src/files.rs", "its files have links that expire"),
];

/// The longest line of an operation table.
const LONGEST_LINE: usize = 160;

/// The files of a connector: their paths in its folder, with their texts.
type Files = BTreeMap<String, String>;

fn connectors() -> BTreeMap<String, Files> {
    let folders = fs::read_dir(project().join("connectors")).unwrap().map(|entry| entry.unwrap().path());
    folders
        .map(|folder| {
            let mut paths = Vec::new();
            layout::files(&folder, &mut paths);
            let read = |path: &std::path::PathBuf| {
                let name = path.strip_prefix(&folder).unwrap().to_string_lossy().into_owned();
                (name, fs::read_to_string(path).unwrap_or_default())
            };
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            (name, paths.iter().map(read).collect())
        })
        .collect()
}

/// Returns the operation tables of a connector, with the names of their files without the ending.
fn tables(files: &Files) -> impl Iterator<Item = (&str, &str)> {
    let tables = files.iter().filter_map(|(path, text)| Some((path.strip_prefix("operations/")?, text)));
    tables.filter_map(|(path, text)| Some((path.strip_suffix(".toml")?, text.as_str())))
}

/// Returns what is different in a connector.
fn differences(connector: &str, files: &Files) -> Vec<String> {
    let mut found: Vec<_> =
        FILES.iter().filter(|file| !files.contains_key(**file)).map(|file| format!("no {file}")).collect();
    let sources = files.keys().filter(|path| path.starts_with("src/") && !path.starts_with("src/actions/"));
    let known = |path: &str| {
        FILES.contains(&path) || OTHER_SOURCES.iter().any(|(owner, other, _)| *owner == connector && *other == path)
    };
    found.extend(sources.filter(|path| !known(path)).map(|path| format!("{path} is neither shared nor an action")));
    let lib = files.get("src/lib.rs").map_or("", String::as_str);
    let compiled: BTreeSet<_> = lib
        .split_once("operations!(")
        .and_then(|(_, rest)| Some(rest.split_once(';')?.0))
        .into_iter()
        .flat_map(|list| list.split([',', ':', ')', '(']))
        .map(str::trim)
        .collect();
    let forgotten = tables(files).filter(|(name, _)| !compiled.contains(name));
    found.extend(forgotten.map(|(name, _)| format!("operations/{name}.toml is not compiled in")));
    let has_fixtures = files.keys().any(|path| path.starts_with("tests/fixtures/"));
    if files.contains_key("operations/upstream.txt") && (!files.contains_key("tests/it/cases.rs") || !has_fixtures) {
        found.push("the rows have no cases".to_owned());
    }
    if tables(files).next().is_some() && !files.contains_key("operations/upstream.txt") {
        found.push("there is no list of the vendor's operations".to_owned());
    }
    found
}

#[test]
fn every_connector_has_the_same_files() {
    let all = connectors();
    assert!(all.len() >= 3);
    for (connector, files) in &all {
        assert_eq!(differences(connector, files), [""; 0], "{connector}");
    }
    // The sabotage twin: each missing file, and each file too many, is found.
    let mediaflow = &all["mediaflow"];
    for file in FILES.into_iter().chain(["operations/upstream.txt", "tests/it/cases.rs"]) {
        let mut files = mediaflow.clone();
        files.remove(file);
        assert!(!differences("mediaflow", &files).is_empty(), "{file}");
    }
    for file in ["src/data.rs", "operations/more.toml"] {
        let mut files = mediaflow.clone();
        files.insert(file.to_owned(), String::new());
        assert_eq!(differences("mediaflow", &files).len(), 1, "{file}");
    }
}

fn long_lines(text: &str) -> Vec<usize> {
    let lines = text.lines().enumerate().filter(|(_, line)| line.chars().count() > LONGEST_LINE);
    lines.map(|(index, _)| index + 1).collect()
}

#[test]
fn no_line_of_an_operation_table_is_too_long() {
    let mut found = Vec::new();
    for (connector, files) in connectors() {
        for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".toml")) {
            found.extend(long_lines(text).into_iter().map(|line| format!("connectors/{connector}/{path}:{line}")));
        }
    }
    assert_eq!(found, [""; 0]);
    // The sabotage twin.
    assert_eq!(long_lines(&format!("a = 1\nb = \"{}\"\n", "x".repeat(LONGEST_LINE))), [2]);
}

/// Keywords of an input that are not part of its shape.
const OWN_KEYWORDS: [&str; 8] = ["title", "description", "required", "in", "as", "default", "examples", "shape"];

/// Collects the schemas of objects with two or more members in a schema, with the places where they are written.
fn objects(schema: &Value, place: &str, found: &mut BTreeMap<String, Vec<String>>) {
    let Value::Table(keywords) = schema else { return };
    if keywords.get("properties").and_then(Value::as_table).is_some_and(|members| members.len() > 1) {
        found.entry(schema.to_string()).or_default().push(place.to_owned());
    }
    for (keyword, value) in keywords {
        match (keyword.as_str(), value) {
            ("items" | "additionalProperties" | "not", schema) => objects(schema, place, found),
            ("oneOf" | "anyOf" | "allOf", Value::Array(all)) => all.iter().for_each(|one| objects(one, place, found)),
            ("properties", Value::Table(members)) => members.values().for_each(|one| objects(one, place, found)),
            _ => {}
        }
    }
}

/// Returns the shapes that the tables of a connector write more than once.
fn repeated<'a>(tables: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut found = BTreeMap::new();
    for (_, text) in tables {
        let table: Table = text.parse().unwrap();
        for (name, shape) in table.get("shapes").and_then(Value::as_table).into_iter().flatten() {
            objects(shape, name, &mut found);
        }
        for row in table.get("operation").and_then(Value::as_array).into_iter().flatten() {
            let name = row["name"].as_str().unwrap();
            if let Some(output) = row.get("output") {
                objects(output, name, &mut found);
            }
            for input in row.get("input").and_then(Value::as_table).into_iter().flat_map(Table::values) {
                let mut input = input.clone();
                if let Some(keywords) = input.as_table_mut() {
                    keywords.retain(|keyword, _| !OWN_KEYWORDS.contains(&keyword));
                }
                objects(&input, name, &mut found);
            }
        }
    }
    found.retain(|_, places| places.len() > 1);
    found.into_iter().map(|(shape, places)| format!("{}: {shape}", places.join(", "))).collect()
}

#[test]
fn no_shape_is_written_twice() {
    for (connector, files) in connectors() {
        assert_eq!(repeated(tables(&files)), [""; 0], "{connector}: name it under [shapes.NAME]");
    }
    // The sabotage twin: a shape in the output of one row and in an input of another.
    let shape = "{ type = \"object\", properties = { a = { type = \"string\" }, b = { type = \"string\" } } }";
    let row = |lines: &str| format!("[[operation]]\nname = \"a.b\"\n{lines}\n");
    let twice = row(&format!("output = {shape}")) + &row(&format!("input.x = {{ type = \"array\", items = {shape} }}"));
    assert_eq!(repeated([("rows", &*twice)].into_iter()).len(), 1);
    let titled = shape.replacen('{', "{ title = \"X\", required = true,", 1);
    let twice = row(&format!("output = {shape}")) + &row(&format!("input.x = {titled}"));
    assert_eq!(repeated([("rows", &*twice)].into_iter()).len(), 1);
    let once = row("output = \"Pair\"") + &row("output = \"Pair\"") + &format!("[shapes]\nPair = {shape}\n");
    assert_eq!(repeated([("rows", &*once)].into_iter()), [""; 0]);
}

/// Returns the fields of the shared settings that a source declares itself, with a type and not with a value.
fn copied_settings(shared: &BTreeSet<String>, source: &str) -> Vec<String> {
    let types = ["Option<", "Url", "String", "Secret", "ClientAuth", "bool", "u32"];
    let fields = source.lines().filter_map(|line| line.trim().trim_start_matches("pub ").split_once(": "));
    let declared = fields.filter(|(_, kind)| types.iter().any(|name| kind.starts_with(name)));
    declared.filter(|(field, _)| shared.contains(*field)).map(|(field, _)| field.to_owned()).collect()
}

#[test]
fn the_shared_settings_are_declared_once() {
    let rest = fs::read_to_string(project().join("crates/rest/src/settings.rs")).unwrap();
    let fields = rest.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(": "));
    let shared: BTreeSet<_> = fields
        .filter(|(field, kind)| !kind.contains("str") && !field.contains('('))
        .map(|(field, _)| field.to_owned())
        .collect();
    assert_eq!(shared.len(), 10, "{shared:?}");
    for (connector, files) in connectors() {
        assert_eq!(copied_settings(&shared, &files["src/settings.rs"]), [""; 0], "{connector}");
    }
    // The sabotage twin.
    let copy =
        "    /// # Client ID\n    client_id: String,\n    pub requests_per_second: Option<u32>,\n    scopes: String,\n";
    assert_eq!(copied_settings(&shared, copy), ["client_id", "requests_per_second"]);
}
