//! What the connectors of this host offer: connectors, actions, filters and schemas. None of these operations needs a
//! connection.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{ActionSpec, ConnectorSpec, Effect, Registered, Result};
#[cfg(not(feature = "http"))]
use trunkline_core::{Error, ErrorKind};
use trunkline_flow::{Filter, Flow, filters};
use trunkline_rest::operation_schema;

use super::{Listed, PageQuery, PageRequest, operation_table};
use crate::Runtime;

operation_table! {
    /// Lists the connectors of this host, by name.
    ListConnectors: "connectors.list", list_connectors(ConnectorQuery) -> Listed<ConnectorSummary>, Viewer, Read;
    /// Describes a connector, with the JSON Schema of its connections.
    GetConnector: "connectors.get", get_connector(ConnectorName) -> ConnectorSpec, Viewer, Read;
    /// Lists the actions of connectors, by connector, group and name.
    ListActions: "actions.list", list_actions(ActionQuery) -> Listed<ActionSummary>, Viewer, Read;
    /// Describes an action, with the JSON Schemas of its input and its output.
    GetAction: "actions.get", get_action(ActionName) -> ActionSpec, Viewer, Read;
    /// Returns a JSON Schema (draft 2020-12): of flows, connections, actions or operation rows.
    GetSchema: "schemas.get", get_schema(SchemaQuery) -> Value, Viewer, Read;
    /// Lists the filters of expressions, with examples.
    ListFilters: "filters.list", list_filters(PageQuery) -> Listed<&'static Filter>, Viewer, Read;
}

/// Which connectors to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectorQuery {
    /// Only connectors with all of these words in their name or title.
    pub search: Option<String>,
    /// The most connectors to return, 1 to 500; without it, 50.
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<usize>,
    /// The `next` of the previous page.
    pub cursor: Option<String>,
}

/// A connector in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ConnectorSummary {
    /// The product's name in lower case.
    pub name: String,
    /// The version of its settings and actions.
    pub version: String,
    /// The product's name as its vendor writes it.
    pub title: String,
    /// One sentence on what the product is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The URL of the vendor's API documentation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub documentation: String,
    /// The id that connections name in `connector`, such as `mediavalet-v1.0`.
    pub id: String,
    /// The number of its actions.
    pub actions: usize,
}

async fn list_connectors(runtime: &Runtime, input: ConnectorQuery) -> Result<Listed<ConnectorSummary>> {
    let ConnectorQuery { search, limit, cursor } = input;
    let request = PageRequest::read("connectors.list", limit, cursor.as_deref())?;
    let summary = |one: &Registered| ConnectorSummary {
        name: one.spec().name.clone(),
        version: one.spec().version.clone(),
        title: one.spec().title.clone(),
        about: one.spec().about.clone(),
        documentation: one.spec().documentation.clone(),
        id: one.spec().id(),
        actions: one.actions().count(),
    };
    let is_wanted = |one: &&Registered| {
        let ConnectorSpec { name, title, .. } = one.spec();
        search.as_ref().is_none_or(|words| has_words(&[name, title], words))
    };
    let found = runtime.registry().connectors().filter(is_wanted).map(summary);
    Ok(request.page_of(found, |one| one.name.clone()))
}

/// Names a connector.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectorName {
    /// The connector, such as `mediavalet`.
    pub name: String,
}

async fn get_connector(runtime: &Runtime, input: ConnectorName) -> Result<ConnectorSpec> {
    Ok(runtime.registry().connector(&input.name)?.spec().clone())
}

/// Which actions to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActionQuery {
    /// Only the actions of this connector.
    pub connector: Option<String>,
    /// Only actions with all of these words in their name, title, group or description.
    pub search: Option<String>,
    /// Only actions with this effect.
    pub effect: Option<Effect>,
    /// Only actions that list items page by page, or only those that do not.
    pub lists: Option<bool>,
    /// The most actions to return, 1 to 500; without it, 50.
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<usize>,
    /// The `next` of the previous page.
    pub cursor: Option<String>,
}

/// An action in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ActionSummary {
    /// The connector that the action belongs to.
    pub connector: String,
    /// The name within the connector, such as `asset.upload`.
    pub name: String,
    /// A title of a few words.
    pub title: String,
    /// The heading in menus under which the action is listed.
    pub group: String,
    /// The effect of calling the action again.
    pub effect: Effect,
    /// Whether the action lists items page by page, so that `each` can iterate over them.
    pub lists: bool,
    /// `METHOD /path` if the action is a single call of a vendor's API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
}

async fn list_actions(runtime: &Runtime, input: ActionQuery) -> Result<Listed<ActionSummary>> {
    let ActionQuery { connector, search, effect, lists, limit, cursor } = input;
    let request = PageRequest::read("actions.list", limit, cursor.as_deref())?;
    let connectors: Vec<_> = match &connector {
        Some(name) => vec![&**runtime.registry().connector(name)?],
        None => runtime.registry().connectors().collect(),
    };
    let is_wanted = |spec: &&ActionSpec| {
        let ActionSpec { name, title, group, about, .. } = spec;
        search.as_ref().is_none_or(|words| has_words(&[name, title, group, about], words))
            && effect.is_none_or(|effect| effect == spec.effect)
            && lists.is_none_or(|lists| lists == spec.lists)
    };
    let mut found = Vec::new();
    for connector in connectors {
        found.extend(connector.actions().filter(is_wanted).map(|spec| summary(&connector.spec().name, spec)));
    }
    let place = |one: &ActionSummary| (one.connector.clone(), one.group.clone(), one.name.clone());
    found.sort_by_cached_key(place);
    Ok(request.page_of(found, place))
}

/// Returns whether all words occur in these texts, in upper or lower case.
fn has_words(texts: &[&String], words: &str) -> bool {
    let text = texts.iter().map(|text| text.to_lowercase()).collect::<Vec<_>>().join(" ");
    words.to_lowercase().split_whitespace().all(|word| text.contains(word))
}

fn summary(connector: &str, spec: &ActionSpec) -> ActionSummary {
    ActionSummary {
        connector: connector.to_owned(),
        name: spec.name.clone(),
        title: spec.title.clone(),
        group: spec.group.clone(),
        effect: spec.effect,
        lists: spec.lists,
        route: spec.route.clone(),
    }
}

/// Names an action.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionName {
    /// The action, such as `mediavalet.asset.upload`.
    pub name: String,
}

async fn get_action(runtime: &Runtime, input: ActionName) -> Result<ActionSpec> {
    Ok(runtime.registry().action(&input.name)?.1.clone())
}

/// What a JSON Schema describes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, tag = "of", rename_all = "snake_case")]
pub enum SchemaQuery {
    /// A flow document.
    Flow,
    /// A file of operation rows.
    OperationRows,
    /// The `connector.toml` of a connector without code.
    ConnectorManifest,
    /// A connection document of a connector.
    Connection {
        /// The connector.
        name: String,
    },
    /// The input and the output of an action.
    Action {
        /// The action, such as `mediavalet.asset.upload`.
        name: String,
    },
}

async fn get_schema(runtime: &Runtime, input: SchemaQuery) -> Result<Value> {
    Ok(match input {
        SchemaQuery::Flow => Flow::schema(),
        SchemaQuery::OperationRows => operation_schema(),
        SchemaQuery::ConnectorManifest => connector_manifest()?,
        SchemaQuery::Connection { name } => runtime.registry().connector(&name)?.spec().connection.clone(),
        SchemaQuery::Action { name } => serde_json::to_value(runtime.registry().action(&name)?.1).unwrap_or_default(),
    })
}

#[cfg(feature = "http")]
fn connector_manifest() -> Result<Value> {
    Ok(crate::connector_schema())
}

#[cfg(not(feature = "http"))]
fn connector_manifest() -> Result<Value> {
    Err(Error::new(ErrorKind::Config, "this program does not load connectors without code")
        .hint("build it with the feature `http`"))
}

async fn list_filters(_: &Runtime, input: PageQuery) -> Result<Listed<&'static Filter>> {
    let request = PageRequest::read("filters.list", input.limit, input.cursor.as_deref())?;
    Ok(request.page_of(filters().iter().copied(), |filter| filter.name.to_owned()))
}
