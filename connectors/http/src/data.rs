//! Connectors that are loaded from folders, without a compiler.
//!
//! Such a folder has a manifest, `connector.toml`, and a table of operations in the same format as that of any
//! connector. The connector works like the connector `http` for one service: it has the same settings, except those
//! that the manifest presets, the same protections, and the actions `request`, `download` and `upload` in addition to
//! its rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use trunkline_core::{
    AnyAction, AnyClient, AnyConnector, CheckReport, ConnectionContext, ConnectorSpec, Context, Diagnostic, Error,
    ErrorKind, FileStream, NextStep, Position, Registry, Result, Schema, SignInClient, SourceLocation, any_action,
    async_trait, connection_schema, schema_of,
};
use trunkline_rest::{Client, Table, generic, lossy_toml_numbers, plain_header, read_text_file};

use crate::{Http, Settings, errors, events::EventRow};

/// The manifest of a connector, `connector.toml`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Connector")]
struct Manifest {
    /// The product's name in lower case. Actions and connections refer to it.
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]*$"), extend("examples" = ["acme"]))]
    name: String,
    /// The product's name as its vendor writes it.
    title: String,
    /// The version of settings and operations together. A connection names it in its `connector` (`shop-v1.0`).
    #[schemars(regex(pattern = r"^[0-9]+\.[0-9]+$"), extend("examples" = ["1.0"]))]
    version: String,
    /// One sentence on what the product is for.
    #[serde(default)]
    about: String,
    /// The URL of the vendor's API documentation.
    #[serde(default)]
    documentation: String,
    /// The OAuth scopes that every operation needs.
    #[serde(default)]
    scopes: Vec<String>,
    /// The name of the operation that a check of a connection calls: one without required inputs that only reads.
    check: Option<String>,
    /// Headers of every call, such as the version of the API. They must not hold secrets.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Settings of the connector `http` that are the same in every connection. A connection may leave them out. A
    /// preset choice (`authentication`, `flows`) is the only one that connections can make.
    #[serde(default)]
    settings: Map<String, Value>,
    /// The events that flows can name in their trigger. The service sends them as CloudEvents 1.0 in JSON.
    #[serde(default, rename = "event")]
    events: Vec<EventRow>,
}

/// Returns the JSON Schema (draft 2020-12) of a `connector.toml`.
pub fn manifest_schema() -> Value {
    schema_of::<Manifest>()
}

/// Adds the connectors in a folder to a registry. Each of its sub-folders with a `connector.toml` is a connector; the
/// rows are in `operations/*.toml` of the sub-folder. Connectors are read once and stay in memory as long as the
/// registry or a client of theirs.
///
/// # Errors
///
/// `config` if the folder has no connector, cannot be read, or has errors. One error lists all findings in all files,
/// each with file, line and column.
pub fn load(registry: Registry, folder: &Path) -> Result<Registry> {
    let unreadable = |error: std::io::Error| errors::unreadable(folder, &error);
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let entries = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<BTreeSet<PathBuf>>>();
    let mut folders: Vec<_> = entries.map_err(unreadable)?.into_iter().collect();
    // A manifest that cannot be read is an error, and not a folder of something else.
    folders.retain(|path| fs::symlink_metadata(path.join(MANIFEST)).is_ok());
    if folders.is_empty() {
        let message = format!("there is no connector in {}", folder.display());
        return Err(
            Error::new(ErrorKind::Config, message).hint(format!("each connector is a sub-folder with a {MANIFEST}"))
        );
    }
    let (mut registry, mut findings) = (registry, Vec::new());
    for path in folders {
        match read(&path) {
            Ok((connector, actions)) => {
                let manifest = path.join(MANIFEST).display().to_string();
                registry = registry.with_any(Box::new(connector), actions, &manifest);
            }
            Err(more) => findings.extend(more),
        }
    }
    Diagnostic::accept(&format!("the connectors in {}", folder.display()), &findings)?;
    registry.checked()
}

const MANIFEST: &str = "connector.toml";

type Findings = Vec<Diagnostic>;

/// Reads one connector from its folder.
fn read(folder: &Path) -> Result<(DataConnector, Vec<Box<dyn AnyAction>>), Findings> {
    let manifest = folder.join(MANIFEST);
    let text = text(&manifest)?;
    let file = manifest.display().to_string();
    let parsed: Manifest = toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        vec![Diagnostic::error("", error.message().replace('\n', ", ")).at(SourceLocation::of(&file, &text, at))]
    })?;
    let document: Value = toml::from_str(&text).unwrap_or_default();
    let mut findings = Schema::from(manifest_schema()).check(&document);
    let connection = preset_schema(&parsed, &mut findings);
    findings.extend(parsed.headers.iter().filter_map(|(name, value)| {
        let error = plain_header(name, value).err()?;
        let hint = error.advice().unwrap_or_default();
        Some(Diagnostic::error(format!("/headers/{name}"), error.message()).hint(hint))
    }));
    for finding in &mut findings {
        // The pointer has no position in the text, so the first occurrence of its last name is used.
        let name = finding.pointer.rsplit('/').next().filter(|name| !name.is_empty());
        let at = name.and_then(|name| text.find(name)).unwrap_or(0);
        finding.place = Some(SourceLocation::of(&file, &text, at));
    }
    findings.extend(lossy_toml_numbers(&file, &text));
    let operations = operations(folder).and_then(|files| Table::parse(&parsed.name, &files));
    for operation in operations.iter().flat_map(Table::operations) {
        for schema in [&operation.spec().input, &operation.spec().output] {
            let fault = Schema::from(schema.clone()).size_fault();
            let message = |fault: &Diagnostic| format!("the operation {}: {}", operation.name(), fault.message);
            findings.extend(
                fault.map(|fault| Diagnostic { message: message(&fault), ..fault }.at(operation.location().clone())),
            );
        }
    }
    match operations {
        Ok(table) if findings.is_empty() => assemble(parsed, connection, table, (&file, &text)),
        Ok(_) => Err(findings),
        Err(more) => Err(findings.into_iter().chain(more).collect()),
    }
}

/// The largest size of a file of a connector, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The largest number of files with operations of a connector.
const MAX_FILES: usize = 200;

/// Reads a file, and not more of it than its limit.
fn text(path: &Path) -> Result<String, Findings> {
    let file = path.display();
    read_text_file(path, MAX_FILE).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => {
            let message = format!("{file} is larger than the limit of {MAX_FILE} bytes");
            vec![Diagnostic::over_limit("", message).hint("divide its rows among several files")]
        }
        _ => vec![Diagnostic::error("", format!("{file} cannot be read: {error}"))],
    })
}

/// Returns the paths and texts of the operation table's files.
fn operations(folder: &Path) -> Result<Vec<(String, String)>, Findings> {
    let Ok(entries) = fs::read_dir(folder.join("operations")) else { return Ok(Vec::new()) };
    let paths: BTreeSet<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let tables = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let tables: Vec<_> = tables.collect();
    if tables.len() > MAX_FILES {
        let message =
            format!("{} has {} files with operations; the limit is {MAX_FILES}", folder.display(), tables.len());
        return Err(vec![Diagnostic::over_limit("", message)]);
    }
    tables.into_iter().map(|path| Ok((path.display().to_string(), text(path)?))).collect()
}

/// Makes the connector and its actions from a manifest without errors.
fn assemble(
    manifest: Manifest,
    connection: Value,
    table: Table,
    (file, text): (&str, &str),
) -> Result<(DataConnector, Vec<Box<dyn AnyAction>>), Findings> {
    let table = Arc::new(table);
    if let Some(check) = &manifest.check
        && let Err(error) = table.operation(check)
    {
        let finding = Diagnostic::error("/check", error.message()).hint("name one of the connector's operations");
        return Err(vec![finding.at(SourceLocation { file: file.to_owned(), line: 1, column: 1 })]);
    }
    let mut events = Vec::new();
    for (index, row) in manifest.events.iter().enumerate() {
        events.push(row.spec(&events, &table).map_err(|message| {
            let finding = Diagnostic::error(format!("/event/{index}"), message);
            vec![finding.at(SourceLocation::of(file, text, text.find(&row.name).unwrap_or(0)))]
        })?);
    }
    let mut actions = table.actions()?;
    actions.push(any_action::<generic::RequestAction<Http>>());
    actions.push(any_action::<generic::DownloadAction<Http>>());
    actions.push(any_action::<generic::UploadAction<Http>>());
    let connector = DataConnector {
        service: manifest.title.as_str().into(),
        spec: ConnectorSpec {
            name: manifest.name,
            version: manifest.version,
            title: manifest.title,
            about: manifest.about,
            documentation: manifest.documentation,
            scopes: manifest.scopes,
            events,
            connection,
        },
        table,
        check: manifest.check,
        headers: manifest.headers.into_iter().collect(),
        defaults: manifest.settings,
    };
    Ok((connector, actions))
}

/// Returns the schema of a connection: that of `http`, with the manifest's presets.
fn preset_schema(manifest: &Manifest, findings: &mut Findings) -> Value {
    let mut schema = schema_of::<Settings>();
    let mut presets = Presets { settings: &manifest.settings, known: BTreeSet::new(), findings };
    presets.apply(&mut schema);
    let Presets { known, .. } = presets;
    for name in manifest.settings.keys().filter(|name| !known.contains(*name)) {
        let finding =
            Diagnostic::error(format!("/settings/{name}"), format!("{name} is not a setting that can be preset here"));
        findings.push(finding.next(NextStep::ShowConnectionSchema { connector: Some("http".to_owned()) }));
    }
    if let (Some(_), Some(properties)) = (&manifest.check, schema["properties"].as_object_mut()) {
        properties.shift_remove("checkPath");
    }
    let id = format!("{}-v{}", manifest.name, manifest.version);
    connection_schema(&id, &manifest.title, &manifest.documentation, schema)
}

/// The settings that a manifest presets, while they are applied to the schema of a connection.
struct Presets<'a> {
    settings: &'a Map<String, Value>,
    /// The names of settings that the schema has.
    known: BTreeSet<String>,
    findings: &'a mut Findings,
}

impl Presets<'_> {
    /// Writes the presets into a schema as defaults, and replaces a choice that is preset by its branch.
    fn apply(&mut self, schema: &mut Value) {
        let settings = self.settings;
        if let Some(Value::Array(branches)) = schema.get_mut("oneOf") {
            let fits = |branch: &Value| {
                let properties = branch["properties"].as_object().into_iter().flatten();
                let mut tags =
                    properties.filter_map(|(name, property)| Some((settings.get(name)?, property.get("const")?)));
                tags.all(|(wanted, tag)| wanted == tag)
            };
            if branches.iter().any(fits) {
                branches.retain(fits);
            } else {
                return self.no_such_choice(branches);
            }
            if let [only] = &branches[..] {
                let Value::Object(only) = only.clone() else { return };
                schema.as_object_mut().map(|schema| schema.remove("oneOf"));
                merge(schema, only);
                // The branch may have a choice of its own.
                return self.apply(schema);
            }
            branches.iter_mut().for_each(|branch| self.apply(branch));
        }
        let properties = schema["properties"].as_object_mut().into_iter().flatten();
        for (name, property) in properties {
            let Some(value) = settings.get(name) else { continue };
            let pointer = format!("/settings/{name}");
            if property.get("writeOnly").is_some() {
                self.findings
                    .push(Diagnostic::error(pointer, format!("{name} is a secret and belongs in a connection")));
            } else if let Err(error) = Schema::from(property.clone()).accept(name, value) {
                self.findings.push(Diagnostic::error(pointer, error.message()));
            }
            property["default"] = value.clone();
            if property.get("const").is_some() {
                // The title of the choice is lost with the choice.
                property["title"] = (name[..1].to_uppercase() + &name[1..]).into();
            }
            self.known.insert(name.clone());
        }
        if let Some(Value::Array(required)) = schema.get_mut("required") {
            required.retain(|name| !name.as_str().is_some_and(|name| settings.contains_key(name)));
        }
    }

    /// Reports a preset choice that is not one of the branches.
    fn no_such_choice(&mut self, branches: &[Value]) {
        let constants = |name: &str| {
            let all = branches.iter().filter_map(|branch| branch["properties"][name].get("const"));
            all.map(Value::to_string).collect::<Vec<_>>().join(", ")
        };
        for name in self.settings.keys().filter(|name| !constants(name).is_empty()) {
            let message = format!("{name} must be one of {}", constants(name));
            self.findings.push(Diagnostic::error(format!("/settings/{name}"), message));
        }
        // Without a branch, it is not known which other settings are valid, so none is reported as unknown.
        self.known.extend(self.settings.keys().cloned());
    }
}

/// Adds the members of one object schema to another.
fn merge(schema: &mut Value, other: Map<String, Value>) {
    for (key, value) in other {
        match (key.as_str(), schema.get_mut(&key), value) {
            ("properties", Some(Value::Object(all)), Value::Object(more)) => all.extend(more),
            ("required", Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
            ("oneOf", _, value) => schema["oneOf"] = value,
            _ => {}
        }
    }
}

/// A connector that was loaded from a folder.
struct DataConnector {
    spec: ConnectorSpec,
    service: Arc<str>,
    table: Arc<Table>,
    check: Option<String>,
    headers: Vec<(String, String)>,
    defaults: Map<String, Value>,
}

fn typed_client(client: &AnyClient) -> Result<&Client> {
    client.downcast_ref().ok_or_else(errors::wrong_client)
}

#[async_trait]
impl AnyConnector for DataConnector {
    fn spec(&self) -> &ConnectorSpec {
        &self.spec
    }

    fn connect(&self, settings: Value, context: ConnectionContext) -> Result<Arc<AnyClient>> {
        let mut all = self.defaults.clone();
        all.extend(settings.as_object().cloned().unwrap_or_default());
        let (connection, title) = (context.connection().to_owned(), &self.spec.title);
        let settings: Settings = serde_json::from_value(all.into()).map_err(|_| {
            // serde quotes the value that does not fit, which may be a secret, so its error is not used.
            Error::new(ErrorKind::Config, format!("the settings of connection {connection} do not fit {title}"))
                .next(NextStep::ShowConnectionSchema { connector: Some(self.spec.name.clone()) })
        })?;
        let client = settings.client(self.service.clone(), self.table.clone(), &self.headers, context);
        Ok(Arc::new(client.map_err(|error| error.with("connection", connection))?))
    }

    async fn check(&self, client: &AnyClient) -> CheckReport {
        match (typed_client(client), &self.check) {
            (Ok(client), Some(operation)) => client.check(operation, Value::Null).await,
            (Ok(client), None) => client.check_path().await,
            (Err(error), _) => CheckReport::of_settings("", &error),
        }
    }

    fn sign_in<'a>(&self, client: &'a AnyClient) -> Result<Option<&'a dyn SignInClient>> {
        Ok(Some(typed_client(client)?))
    }

    async fn open(&self, client: &AnyClient, source: &Value, from: Position, cx: &Context) -> Result<FileStream> {
        generic::open(typed_client(client)?, source, from, cx).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use trunkline_core::{Connection, MemoryVault};

    use super::*;

    fn example() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/todo")
    }

    /// Loads the example, and returns its registry with the parts of the connector that a client also holds.
    fn loaded() -> (Registry, Weak<Table>, Weak<str>) {
        let (connector, actions) = read(&example()).ok().unwrap();
        let (table, service) = (Arc::downgrade(&connector.table), Arc::downgrade(&connector.service));
        (Registry::empty().with_any(Box::new(connector), actions, "the example").checked().unwrap(), table, service)
    }

    #[test]
    fn a_connector_is_freed_with_its_last_user() {
        let (registry, table, service) = loaded();
        let document = serde_json::json!({ "name": "mine", "connector": "todo-v1.0", "apiKey": "canary-key",
            "endpointUrl": "https://todo.example.com" });
        let connection = Connection::from_value(document).unwrap();
        let client = registry.connect(&connection, Arc::new(MemoryVault::default()), &|_| unreachable!()).unwrap();
        drop(registry);
        assert!(table.upgrade().is_some() && service.upgrade().is_some(), "a client keeps it");
        drop(client);
        assert!(table.upgrade().is_none() && service.upgrade().is_none());
    }

    /// Returns the resident memory of this process in pages.
    #[cfg(target_os = "linux")]
    fn pages() -> u64 {
        let text = fs::read_to_string("/proc/self/statm").unwrap();
        text.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Loads the example many times, and returns the pages that the process grew by while `held` of the registries are
    /// held.
    #[cfg(target_os = "linux")]
    fn growth(loads: usize, held: usize) -> u64 {
        let (before, mut kept) = (pages(), std::collections::VecDeque::new());
        for _ in 0..loads {
            kept.push_back(loaded().0);
            kept.truncate(held);
        }
        pages().saturating_sub(before)
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thousand_loads_take_no_more_memory_than_a_few() {
        growth(20, 0);
        // The twin: the same check sees registries that are not freed.
        let held = growth(100, 100);
        let freed = growth(1000, 0);
        assert!(held > 50 && freed < held, "1000 loads grew by {freed} pages, 100 that are held by {held}");
    }
}
