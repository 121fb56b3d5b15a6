//! Rows of an operation table as they are written, before they are checked. Keys are closed; there are no templates.
//! Where a row takes a JSON Schema, the name of a shape of the table may stand instead.
//!
//! `schemas/operation.json` is derived from these types ([`operation_schema`]). [`CompiledRow`](crate::CompiledRow)
//! checks a row and gives it its meaning.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::Value;
use toml::Spanned;
use trunkline_core::{Effect, schema_of};

use super::{path_value::Slashes, plain_text::Lists};
use crate::paging::PageRow;

/// Returns the JSON Schema (draft 2020-12) of a table file: rows under `operation`, and named shapes under `shapes`.
pub fn operation_schema() -> Value {
    schema_of::<OperationFile>()
}

/// A file of an operation table.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Operation table")]
#[allow(dead_code)]
struct OperationFile {
    /// The rows, each under `[[operation]]`.
    #[serde(default)]
    operation: Vec<OperationRow>,
    /// Named shapes, each a JSON Schema under `[shapes.NAME]`. Every file of a table can use them. A name begins with a
    /// capital letter.
    #[serde(default)]
    shapes: BTreeMap<String, BTreeMap<String, Value>>,
}

/// One call of a vendor's API.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationRow {
    /// `resource.verb`, unique within the connector.
    #[schemars(with = "String", regex(pattern = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$"), extend("examples" = ["asset.rename"]))]
    pub name: Spanned<String>,
    /// The heading under which a menu lists the operation.
    #[serde(default)]
    pub group: String,
    /// A short title for a menu.
    pub title: String,
    /// One or two sentences on what the operation does and does not do.
    #[serde(default)]
    pub about: String,
    /// `METHOD /path/{parameter}` below the endpoint URL.
    #[schemars(with = "String", regex(pattern = "^(GET|HEAD|POST|PUT|PATCH|DELETE) /"), extend("examples" = ["GET /assets/{assetId}"]))]
    pub route: Spanned<String>,
    /// The effect of a call, which decides whether it may be repeated. If absent, it follows from the method: GET and
    /// HEAD read, PUT and PATCH are idempotent, POST creates, DELETE deletes.
    pub effect: Option<Effect>,
    /// The OAuth scopes that the operation needs in addition to those of its connector.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The inputs, in the order of the form.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, InputRow>")]
    pub input: InputRows,
    /// JSON Schema of the result, or of one item if the row has `page`, or the name of a shape. If absent, any shape.
    pub output: Option<Value>,
    /// JSON pointer (RFC 6901) to the result in the body of the response. If absent or empty, the result is the whole
    /// body. If the body has no such member, the result is null.
    #[schemars(with = "Option<String>")]
    pub result: Option<Spanned<String>>,
    /// The paging, if the operation returns one page of a list.
    #[schemars(with = "Option<PageRow>")]
    pub page: Option<Spanned<PageRow>>,
    /// The input that is the whole body, instead of an object with all inputs of the body.
    #[schemars(with = "Option<String>")]
    pub body: Option<Spanned<String>>,
    /// Content type of the body. If absent, `application/json`.
    #[schemars(with = "Option<String>")]
    pub content: Option<Spanned<String>>,
}

/// The part of the request that an input goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum In {
    /// The query.
    Query,
    /// The JSON body, as a member of its object.
    Body,
    /// A header of the request.
    Header,
}

/// One input: keywords of JSON Schema, and six of our own (`in`, `required`, `slashes`, `lists`, `as`, `shape`).
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct InputRow {
    /// The part of the request that the input goes into. If absent: the path if the route names the input, else the
    /// query for GET, HEAD and DELETE, and the body for other methods.
    #[serde(rename = "in", skip_serializing)]
    pub location: Option<In>,
    /// Whether a call without the input is refused. Path parameters are always required.
    #[serde(default, skip_serializing)]
    pub required: bool,
    /// What happens to slashes in the value, for an input in the path. If absent, a value with a slash is refused.
    #[serde(skip_serializing)]
    pub slashes: Option<Slashes>,
    /// How the elements of a list are sent, for an input in the query or in a form. If absent, separated by commas.
    #[serde(skip_serializing)]
    pub lists: Option<Lists>,
    /// Name in the request, if it differs from that of the input.
    #[serde(rename = "as", skip_serializing)]
    #[schemars(with = "Option<String>")]
    pub wire_name: Option<Spanned<String>>,
    /// Name of a shape whose keywords the input has, besides its own.
    #[serde(skip_serializing)]
    pub shape: Option<String>,
    /// JSON type, or a list of them.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Value>,
    /// A short label for a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Help text for a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Format by JSON Schema: `uuid`, `date-time`, `uri`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The value to send if the caller gives none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Examples for a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub examples: Option<Vec<Value>>,
    /// The allowed values.
    #[serde(rename = "enum", skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<Value>>,
    /// The only allowed value.
    #[serde(rename = "const", skip_serializing_if = "Option::is_none")]
    pub constant: Option<Value>,
    /// Schema of the elements of an array, or the name of a shape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Value>,
    /// Schemas of the members of an object, each a JSON Schema or the name of a shape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<Value>,
    /// Schema of the other members of an object, or false to allow none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_properties: Option<Value>,
    /// Schemas of which exactly one holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Value>,
    /// Schemas of which at least one holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_of: Option<Value>,
    /// Smallest allowed number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Value>,
    /// Largest allowed number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Value>,
    /// Least length of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u64>,
    /// Greatest length of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
    /// Regular expression that a text has to match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Least number of elements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_items: Option<u64>,
    /// Greatest number of elements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u64>,
    /// Whether the elements have to differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_items: Option<bool>,
    /// Marks an input that the vendor will remove.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<bool>,
    /// Marks a value that is not shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_only: Option<bool>,
}

/// The inputs of a row in the order in which they are written, each with its position in the file.
#[derive(Default)]
pub struct InputRows(pub Vec<(Spanned<String>, InputRow)>);

impl<'de> Deserialize<'de> for InputRows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rows;
        impl<'de> Visitor<'de> for Rows {
            type Value = InputRows;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of inputs")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InputRows, A::Error> {
                let mut rows = Vec::new();
                while let Some(row) = map.next_entry()? {
                    rows.push(row);
                }
                Ok(InputRows(rows))
            }
        }
        deserializer.deserialize_map(Rows)
    }
}
