//! One row of an operation table as a person writes it, before it is checked: closed keys, nothing clever.
//!
//! These types are what `schemas/operation.json` is derived from ([`operation_schema`]). What a row *means* is the
//! business of [`Operation`](crate::Operation).

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::Value;
use toml::Spanned;
use trunkline_core::{Effect, schema_of};

/// JSON Schema (draft 2020-12) of one table file: a list of rows under `operation`.
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
    operation: Vec<OperationRow>,
}

/// One row: one call of a vendor's API.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationRow {
    /// `resource.verb`, unique within the connector.
    #[schemars(with = "String", regex(pattern = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$"))]
    pub name: Spanned<String>,
    /// The heading it stands under in a menu.
    #[serde(default)]
    pub group: String,
    /// A few words for a menu.
    pub title: String,
    /// One or two sentences: what it does, what it does not.
    #[serde(default)]
    pub about: String,
    /// `METHOD /path/{parameter}` below the endpoint URL.
    #[schemars(with = "String", regex(pattern = "^(GET|HEAD|POST|PUT|PATCH|DELETE) /"))]
    pub route: Spanned<String>,
    /// What calling it again would do; follows from the method if absent (GET and HEAD read, PUT and PATCH are idempotent,
    /// POST creates, DELETE deletes).
    pub effect: Option<Effect>,
    /// The OAuth scopes it needs beside those of its connector.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// What the caller gives, in the order of the form.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, InputRow>")]
    pub input: InputRows,
    /// JSON Schema of the result; of one item if the row has a page. Absent: any shape.
    pub output: Option<Value>,
    /// JSON pointer (RFC 6901) to the result within the answer's body; absent or empty for all of it. An answer that lacks
    /// the place gives null.
    #[schemars(with = "Option<String>")]
    pub result: Option<Spanned<String>>,
    /// How the list goes on, if the operation answers one page of a list.
    #[schemars(with = "Option<PageRow>")]
    pub page: Option<Spanned<PageRow>>,
    /// The one input that is the whole body, instead of an object of all body inputs.
    #[schemars(with = "Option<String>")]
    pub body: Option<Spanned<String>>,
    /// Content type of the body; `application/json` if absent.
    #[schemars(with = "Option<String>")]
    pub content: Option<Spanned<String>>,
}

/// Where in the request an input goes, if not where its method would put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum In {
    /// Into the query; arrays with commas between their elements.
    Query,
    /// Into the JSON body, as a member of its object.
    Body,
    /// Into a header of the request.
    Header,
}

/// One input: keywords of JSON Schema, and three of our own (`in`, `required`, `as`).
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct InputRow {
    /// Where it goes; absent: into the path if the route names it, else into the query for GET, HEAD and DELETE, into the
    /// body for the rest.
    #[serde(rename = "in", skip_serializing)]
    pub place: Option<In>,
    /// Whether a call without it is refused. Path parameters always are required.
    #[serde(default, skip_serializing)]
    pub required: bool,
    /// Its name in the request, where that differs from the input's.
    #[serde(rename = "as", skip_serializing)]
    #[schemars(with = "Option<String>")]
    pub wire: Option<Spanned<String>>,
    /// JSON type, or a list of them.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Value>,
    /// A few words for a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Help text for a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Format by JSON Schema: `uuid`, `date-time`, `uri`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Sent if the caller gives nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Examples for a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub examples: Option<Vec<Value>>,
    /// The values that are allowed.
    #[serde(rename = "enum", skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<Value>>,
    /// The one value that is allowed.
    #[serde(rename = "const", skip_serializing_if = "Option::is_none")]
    pub constant: Option<Value>,
    /// Schema of an array's elements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Value>,
    /// Schemas of an object's members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<Value>,
    /// Schema of an object's other members, or false for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_properties: Option<Value>,
    /// Several schemas of which one holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Value>,
    /// Several schemas of which at least one holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_of: Option<Value>,
    /// Smallest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Value>,
    /// Largest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Value>,
    /// Shortest text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u64>,
    /// Longest text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
    /// Regular expression a text has to match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Fewest elements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_items: Option<u64>,
    /// Most elements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u64>,
    /// Whether elements have to differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_items: Option<bool>,
    /// Marks what the vendor is about to remove.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<bool>,
    /// Marks what is not shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_only: Option<bool>,
}

/// How a list goes on. Pointers go into the whole body of an answer; names are names of inputs, or names in the request
/// where the row has no such input.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum PageRow {
    /// The next page begins after so many items. Ends on an empty page, or when the total is reached.
    Offset {
        /// Takes the number of items to pass over.
        offset: String,
        /// Takes the number of items wanted.
        count: Option<String>,
        /// How many are wanted, unless the caller says so.
        size: Option<u64>,
        /// JSON pointer to the items.
        items: String,
        /// JSON pointer to the number of items of the whole list.
        total: Option<String>,
    },
    /// Pages have numbers. Ends on a page that is empty or shorter than was asked for.
    Number {
        /// Takes the number of the page.
        page: String,
        /// Takes the number of items wanted.
        count: Option<String>,
        /// How many are wanted, unless the caller says so.
        size: Option<u64>,
        /// Number of the first page.
        #[serde(default = "one")]
        first: u64,
        /// JSON pointer to the items.
        items: String,
    },
    /// Each page says what to pass for the next. Ends when it says nothing.
    Cursor {
        /// Takes what the page before said.
        cursor: String,
        /// JSON pointer to what the next call is to pass.
        next: String,
        /// Takes the number of items wanted.
        count: Option<String>,
        /// How many are wanted, unless the caller says so.
        size: Option<u64>,
        /// JSON pointer to the items.
        items: String,
    },
    /// Each page gives the address of the next, below the same endpoint. Ends when it gives none.
    Link {
        /// JSON pointer to the address; absent: the `Link` header with `rel=next` (RFC 8288).
        next: Option<String>,
        /// Takes the number of items wanted.
        count: Option<String>,
        /// How many are wanted, unless the caller says so.
        size: Option<u64>,
        /// JSON pointer to the items.
        items: String,
    },
}

fn one() -> u64 {
    1
}

/// The inputs of a row in the order they are written, each with its place in the file.
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
