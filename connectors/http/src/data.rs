//! Connectors that need no compiler: a folder with a `connector.toml`, and beside it a table of operations as any connector
//! has one. What HTTP has for any service, they have for theirs: the same form with less to fill in, the same guards, and
//! `request`, `download` and `upload` beside their rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use trunkline_core::{
    AnyAction, AnyClient, AnyConnector, Authorization, CheckReport, ConnectorSpec, Diagnostic, Error, ErrorKind,
    FileStream, Position, Registry, Result, Schema, Secret, SourceLocation, VaultSlot, any_action, any_connector,
    async_trait, schema_of,
};
use trunkline_rest::{Client, Table, generic};

use crate::{Http, Settings};

/// A `connector.toml`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Connector")]
struct Manifest {
    /// The product in lower case: what actions and connections refer to.
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]*$"))]
    name: String,
    /// The product as its vendor writes it.
    title: String,
    /// Of settings and operations together; part of what a connection refers to (`shop-v1.0`).
    #[schemars(regex(pattern = r"^[0-9]+\.[0-9]+$"))]
    version: String,
    /// Where the vendor documents the API, as a URL.
    #[serde(default)]
    documentation: String,
    /// The OAuth scopes that every operation needs.
    #[serde(default)]
    scopes: Vec<String>,
    /// Name of an operation without required inputs that reads without harm: what `connection check` calls.
    check: Option<String>,
    /// Headers that go with every call, such as the version of the API. They are no secrets.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// What every connection has in common: settings of the connector `http`. They need not be filled in any more, and a
    /// setting that picks a way (`authentication`, `flows`) leaves only that way.
    #[serde(default)]
    settings: Map<String, Value>,
}

/// JSON Schema (draft 2020-12) of a `connector.toml`.
pub fn manifest_schema() -> Value {
    schema_of::<Manifest>()
}

/// Adds the connectors of a folder to a registry: each is a folder of its own with a `connector.toml` and `operations/*.toml`.
/// They are read once and live as long as the program.
///
/// # Errors
/// Of kind `config`, with everything that is wrong in all files at once, each with file, line and column.
pub fn load(registry: Registry, folder: &Path) -> Result<Registry> {
    let unreadable = |error: std::io::Error| {
        Error::new(ErrorKind::Config, format!("the connectors in {} cannot be read: {error}", folder.display()))
            .hint("give a folder that has a folder for each connector, with a connector.toml in it")
    };
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let entries = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<BTreeSet<PathBuf>>>();
    let mut folders: Vec<_> = entries.map_err(unreadable)?.into_iter().collect();
    folders.retain(|path| path.join(MANIFEST).is_file());
    if folders.is_empty() {
        let message = format!("there is no connector in {}", folder.display());
        return Err(Error::new(ErrorKind::Config, message).hint(format!("each is a folder with a {MANIFEST} in it")));
    }
    let (mut registry, mut found) = (registry, Vec::new());
    for path in folders {
        match read(&path) {
            Ok((connector, actions)) => registry = registry.with_any(Box::new(connector), actions),
            Err(faults) => found.extend(faults),
        }
    }
    Diagnostic::accept(&format!("the connectors in {}", folder.display()), &found)?;
    registry.checked()
}

const MANIFEST: &str = "connector.toml";

type Faults = Vec<Diagnostic>;

fn read(folder: &Path) -> Result<(DataConnector, Vec<Box<dyn AnyAction>>), Faults> {
    let manifest = folder.join(MANIFEST);
    let text = text(&manifest)?;
    let file = manifest.display().to_string();
    let parsed: Manifest = toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        vec![Diagnostic::error("", error.message().replace('\n', ", ")).at(SourceLocation::of(&file, &text, at))]
    })?;
    let document: Value = toml::from_str(&text).unwrap_or_default();
    let mut found = Schema::from(manifest_schema()).check(&document);
    let connection = connection(&parsed, &mut found);
    for fault in &mut found {
        // The nearest place there is: where the last name of the pointer stands.
        let name = fault.pointer.rsplit('/').next().filter(|name| !name.is_empty());
        let at = name.and_then(|name| text.find(name)).unwrap_or(0);
        fault.place = Some(SourceLocation::of(&file, &text, at));
    }
    let operations = operations(folder).and_then(|files| Table::parse(&parsed.name, &files));
    match operations {
        Ok(table) if found.is_empty() => finish(parsed, connection, table, &file),
        Ok(_) => Err(found),
        Err(more) => Err(found.into_iter().chain(more).collect()),
    }
}

fn text(path: &Path) -> Result<String, Faults> {
    fs::read_to_string(path)
        .map_err(|error| vec![Diagnostic::error("", format!("{} cannot be read: {error}", path.display()))])
}

/// The files of the table with their texts.
fn operations(folder: &Path) -> Result<Vec<(String, String)>, Faults> {
    let Ok(entries) = fs::read_dir(folder.join("operations")) else { return Ok(Vec::new()) };
    let paths: BTreeSet<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let tables = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    tables.map(|path| Ok((path.display().to_string(), text(path)?))).collect()
}

fn finish(
    manifest: Manifest,
    connection: Value,
    table: Table,
    file: &str,
) -> Result<(DataConnector, Vec<Box<dyn AnyAction>>), Faults> {
    // What is read at the start lives as long as the program.
    let table: &'static Table = Box::leak(Box::new(table));
    if let Some(check) = &manifest.check
        && let Err(error) = table.operation(check)
    {
        let fault = Diagnostic::error("/check", error.message()).hint("name one of its operations");
        return Err(vec![fault.at(SourceLocation { file: file.to_owned(), line: 1, column: 1 })]);
    }
    let mut actions = table.actions()?;
    actions.push(any_action::<generic::RequestAction<Http>>());
    actions.push(any_action::<generic::DownloadAction<Http>>());
    actions.push(any_action::<generic::UploadAction<Http>>());
    let connector = DataConnector {
        service: manifest.title.clone().leak(),
        spec: ConnectorSpec {
            name: manifest.name,
            version: manifest.version,
            title: manifest.title,
            documentation: manifest.documentation,
            scopes: manifest.scopes,
            connection,
        },
        table,
        check: manifest.check,
        headers: manifest.headers.into_iter().collect::<Vec<_>>().leak(),
        defaults: manifest.settings,
    };
    Ok((connector, actions))
}

/// The form of a connection: that of `http`, without what the manifest has settled.
fn connection(manifest: &Manifest, found: &mut Faults) -> Value {
    let mut schema = any_connector::<Http>().spec().connection.clone();
    let mut known = BTreeSet::new();
    settle(&mut schema, &manifest.settings, &mut known, found);
    for name in manifest.settings.keys().filter(|name| !known.contains(*name)) {
        let fault =
            Diagnostic::error(format!("/settings/{name}"), format!("{name} is no setting that is left to choose"));
        found.push(fault.hint("`trunkline connectors http` lists them"));
    }
    if let (Some(_), Some(properties)) = (&manifest.check, schema["properties"].as_object_mut()) {
        properties.shift_remove("checkPath");
    }
    schema["title"] = format!("Connection to {}", manifest.title).into();
    schema["properties"]["connector"]["const"] = format!("{}-v{}", manifest.name, manifest.version).into();
    schema
}

/// Puts what is settled into a schema as defaults, and the way that is picked in place of the choice.
fn settle(schema: &mut Value, settled: &Map<String, Value>, known: &mut BTreeSet<String>, found: &mut Faults) {
    if let Some(Value::Array(branches)) = schema.get_mut("oneOf") {
        let fits = |branch: &Value| {
            let properties = branch["properties"].as_object().into_iter().flatten();
            let mut tags = properties.filter_map(|(name, property)| Some((settled.get(name)?, property.get("const")?)));
            tags.all(|(wanted, tag)| wanted == tag)
        };
        if branches.iter().any(fits) {
            branches.retain(fits);
        } else {
            return no_such_choice(branches, settled, known, found);
        }
        if let [only] = &branches[..] {
            let Value::Object(only) = only.clone() else { return };
            schema.as_object_mut().map(|schema| schema.remove("oneOf"));
            merge(schema, only);
            // The way that is picked may have a choice of its own.
            return settle(schema, settled, known, found);
        }
        branches.iter_mut().for_each(|branch| settle(branch, settled, known, found));
    }
    let properties = schema["properties"].as_object_mut().into_iter().flatten();
    let own = properties.filter(|(name, _)| !["name", "connector"].contains(&name.as_str()));
    for (name, property) in own {
        let Some(value) = settled.get(name) else { continue };
        let pointer = format!("/settings/{name}");
        if property.get("writeOnly").is_some() {
            found.push(Diagnostic::error(pointer, format!("{name} is a secret and belongs into a connection")));
        } else if let Err(error) = Schema::from(property.clone()).accept(name, value) {
            found.push(Diagnostic::error(pointer, error.message()));
        }
        property["default"] = value.clone();
        if property.get("const").is_some() {
            // The choice had a heading for it.
            property["title"] = (name[..1].to_uppercase() + &name[1..]).into();
        }
        known.insert(name.clone());
    }
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| !name.as_str().is_some_and(|name| settled.contains_key(name)));
    }
}

/// Says which ways there are, where what is settled is none of them.
fn no_such_choice(branches: &[Value], settled: &Map<String, Value>, known: &mut BTreeSet<String>, found: &mut Faults) {
    let constants = |name: &str| {
        let all = branches.iter().filter_map(|branch| branch["properties"][name].get("const"));
        all.map(Value::to_string).collect::<Vec<_>>().join(", ")
    };
    for name in settled.keys().filter(|name| !constants(name).is_empty()) {
        let message = format!("{name} must be one of {}", constants(name));
        found.push(Diagnostic::error(format!("/settings/{name}"), message));
    }
    // Which of the others would have been right is not known.
    known.extend(settled.keys().cloned());
}

/// Puts one schema of an object into another.
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

/// A connector made of a folder.
struct DataConnector {
    spec: ConnectorSpec,
    service: &'static str,
    table: &'static Table,
    check: Option<String>,
    headers: &'static [(String, String)],
    defaults: Map<String, Value>,
}

fn own(client: &AnyClient) -> Result<&Client> {
    client.downcast_ref().ok_or_else(|| Error::new(ErrorKind::Internal, "this is another connector's client"))
}

#[async_trait]
impl AnyConnector for DataConnector {
    fn spec(&self) -> &ConnectorSpec {
        &self.spec
    }

    fn connect(&self, settings: Value, vault: VaultSlot) -> Result<Arc<AnyClient>> {
        let mut all = self.defaults.clone();
        all.extend(settings.as_object().cloned().unwrap_or_default());
        let (connection, title) = (vault.connection().to_owned(), &self.spec.title);
        let settings: Settings = serde_json::from_value(all.into()).map_err(|_| {
            // serde quotes the value it stumbled over, and that may be a secret.
            Error::new(ErrorKind::Config, format!("the settings of connection {connection} do not fit {title}"))
                .hint(format!("compare them with `trunkline schema connection {}`", self.spec.name))
        })?;
        let client = settings.client(self.service, self.table, self.headers, vault);
        Ok(Arc::new(client.map_err(|error| error.with("connection", connection))?))
    }

    async fn check(&self, client: &AnyClient) -> CheckReport {
        match (own(client), &self.check) {
            (Ok(client), Some(operation)) => client.check(operation, Value::Null).await,
            (Ok(client), None) => client.check_path().await,
            (Err(error), _) => CheckReport::from(&error),
        }
    }

    fn begin_authorization(&self, client: &AnyClient, redirect_uri: &str) -> Result<Authorization> {
        own(client)?.begin_authorization(redirect_uri)
    }

    async fn finish_authorization(&self, client: &AnyClient, begun: &Authorization, callback: &str) -> Result<()> {
        own(client)?.finish_authorization(begun, callback).await
    }

    async fn sign_out(&self, client: &AnyClient, held: &Secret) -> Result<()> {
        own(client)?.sign_out(held).await
    }

    async fn open(&self, client: &AnyClient, source: &Value, from: Position) -> Result<FileStream> {
        generic::open(own(client)?, source, from).await
    }
}
