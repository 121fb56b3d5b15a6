//! Operation tables: rows in TOML files, which become the operations of a connector.
//!
//! A table is parsed once. All findings are reported together, each with file, line and column.
//!
//! A file has rows under `[[operation]]` and named shapes under `[shapes.NAME]`, which the rows of all files of the
//! table can use instead of a JSON Schema: `output = "Order"`, `items = "Order"`, or `shape = "Order"` in an input.
//! Long values go over several lines, as dotted keys (`output.items.type = "object"`).
//!
//! ```
//! use trunkline_rest::Table;
//! static OPERATIONS: Table = Table::new("shop", &[("operations/order.toml", r#"
//!     [[operation]]
//!     name  = "order.get"
//!     title = "Get an order"
//!     route = "GET /orders/{orderId}"
//!     input.orderId = { type = "integer", title = "Order" }
//!     output = "Order"
//!
//!     [shapes.Order]
//!     type = "object"
//!     properties.id = { type = "integer" }
//! "#)]);
//! let order = OPERATIONS.operation("order.get")?;
//! assert_eq!(order.spec().route.as_deref(), Some("GET /orders/{orderId}"));
//! assert_eq!(order.spec().output["properties"]["id"]["type"], "integer");
//! # Ok::<(), trunkline_core::Error>(())
//! ```

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};
use trunkline_core::{Actions, AnyAction, Diagnostic, Error, ErrorKind, NextStep, Result};

use super::{
    compiled_row::CompiledRow, lossy_toml_numbers, row::OperationRow, shapes::ShapeReader, table_file::TableFile,
};

/// Compiled rows by name. An action shares its row with the table.
type Rows = BTreeMap<String, Arc<CompiledRow>>;

/// The operations of a connector, by name.
///
/// A compiled-in table is a `static` made by [`Table::new`], which is parsed at its first use. A table that is read at
/// run time comes from [`Table::parse`]; put into an `Arc`, it lives as long as its connector and its clients.
pub struct Table {
    connector: Cow<'static, str>,
    files: &'static [(&'static str, &'static str)],
    parsed: OnceLock<Result<Rows, Vec<Diagnostic>>>,
}

impl Table {
    /// Makes a table of compiled-in files. Each file is its path, for messages, and its text.
    pub const fn new(connector: &'static str, files: &'static [(&'static str, &'static str)]) -> Table {
        Table { connector: Cow::Borrowed(connector), files, parsed: OnceLock::new() }
    }

    /// Parses files that were read at run time. Each file is its path, for messages, and its text.
    ///
    /// # Errors
    ///
    /// All findings of all files.
    pub fn parse(connector: &str, files: &[(String, String)]) -> Result<Table, Vec<Diagnostic>> {
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let operations = parse(&files)?;
        Ok(Table { connector: Cow::Owned(connector.to_owned()), files: &[], parsed: OnceLock::from(Ok(operations)) })
    }

    fn parsed(&self) -> &Result<Rows, Vec<Diagnostic>> {
        self.parsed.get_or_init(|| parse(self.files))
    }

    /// Returns all rows as actions for a registry.
    ///
    /// # Errors
    ///
    /// All findings if the table is broken.
    pub fn actions(&self) -> Actions {
        match self.parsed() {
            Ok(operations) => {
                let action =
                    |operation: &Arc<CompiledRow>| Box::new(RowAction(operation.clone())) as Box<dyn AnyAction>;
                Ok(operations.values().map(action).collect())
            }
            Err(findings) => Err(findings.clone()),
        }
    }

    /// Returns the operation with this name.
    ///
    /// # Errors
    ///
    /// `not_found`, or `config` with all findings if the table is broken.
    pub fn operation(&self, name: &str) -> Result<&CompiledRow> {
        let operations = self.parsed().as_ref().map_err(|findings| {
            let what = format!("the operations of {}", self.connector);
            Diagnostic::into_error(&what, findings).unwrap_or_else(|| Error::new(ErrorKind::Config, what))
        })?;
        operations.get(name).map(|operation| &**operation).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no operation {name}"))
                .next(NextStep::ListActions { connector: Some(self.connector.clone().into_owned()) })
        })
    }

    /// Returns all operations, sorted by name; none if the table is broken.
    pub fn operations(&self) -> impl Iterator<Item = &CompiledRow> {
        self.parsed().iter().flat_map(BTreeMap::values).map(|operation| &**operation)
    }
}

/// A row as an action for a registry.
pub(crate) struct RowAction(pub(crate) Arc<CompiledRow>);

/// A table that a client holds: a `static`, or one that was read at run time.
#[derive(Clone)]
pub enum TableHandle {
    /// A table that is compiled in.
    Static(&'static Table),
    /// A table that is freed when its last user is gone.
    Shared(Arc<Table>),
}

impl From<&'static Table> for TableHandle {
    fn from(table: &'static Table) -> Self {
        TableHandle::Static(table)
    }
}

impl From<Arc<Table>> for TableHandle {
    fn from(table: Arc<Table>) -> Self {
        TableHandle::Shared(table)
    }
}

impl Deref for TableHandle {
    type Target = Table;

    fn deref(&self) -> &Table {
        match self {
            TableHandle::Static(table) => table,
            TableHandle::Shared(table) => table,
        }
    }
}

/// Makes the [`Table`](crate::Table) of a connector of this project from the files in its folder `operations`:
/// `operations!("shop": orders, customers)` for `operations/orders.toml` and `operations/customers.toml`.
#[macro_export]
macro_rules! operations {
    ($connector:literal: $($file:ident),+ $(,)?) => {
        $crate::Table::new($connector, &[$((
            concat!("connectors/", $connector, "/operations/", stringify!($file), ".toml"),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/operations/", stringify!($file), ".toml")),
        )),+])
    };
}

/// The largest number of rows of a table.
const MAX_ROWS: usize = 5_000;

fn parse(files: &[(&str, &str)]) -> Result<Rows, Vec<Diagnostic>> {
    let mut operations = Rows::new();
    let mut files: Vec<_> = files.iter().map(|(path, text)| TableFile { path, text, findings: Vec::new() }).collect();
    let (mut reader, mut rows) = (ShapeReader::default(), Vec::new());
    for number in 0..files.len() {
        let content = read(&mut files[number]);
        if let Some(shapes) = content.shapes {
            reader.define(shapes, number, &mut files);
        }
        for (index, row) in content.rows.iter().enumerate() {
            reader.refer(row, &format!("/operation/{index}"), number);
        }
        rows.push(content.rows);
    }
    // A table of a vendor has some hundred rows.
    let number_of_rows: usize = rows.iter().map(Vec::len).sum();
    if number_of_rows > MAX_ROWS {
        let message = format!("the table has {number_of_rows} rows; the limit is {MAX_ROWS}");
        return Err(vec![Diagnostic::over_limit("", message).hint("divide it into several connectors")]);
    }
    let shapes = reader.finish(&mut files);
    for (file, rows) in files.iter_mut().zip(rows) {
        for (index, row) in rows.into_iter().enumerate() {
            let pointer = format!("/operation/{index}");
            let span = row.span();
            let row = match OperationRow::deserialize(ValueDeserializer::from(row)) {
                Ok(row) => row,
                Err(error) => {
                    file.toml_error(pointer, &error, span);
                    continue;
                }
            };
            let named_at = row.name.span().start;
            let Some(operation) = CompiledRow::compile(row, &shapes, &pointer, file) else { continue };
            let name = operation.name().to_owned();
            match operations.get(&name) {
                Some(first) => {
                    let message = format!("the operation {name} is already defined at {}", first.location());
                    file.error(format!("{pointer}/name"), named_at, message);
                }
                None => drop(operations.insert(name, Arc::new(operation))),
            }
        }
    }
    let findings: Vec<_> = files.into_iter().flat_map(|file| file.findings).collect();
    if findings.is_empty() { Ok(operations) } else { Err(findings) }
}

/// The content of a file, still as TOML, so that an error in one row does not hide those of the others.
#[derive(Default)]
struct FileContent<'a> {
    rows: Vec<Spanned<DeValue<'a>>>,
    shapes: Option<Spanned<DeValue<'a>>>,
}

fn read<'a>(file: &mut TableFile<'a>) -> FileContent<'a> {
    let table = match DeTable::parse(file.text) {
        Ok(table) => {
            file.findings.extend(lossy_toml_numbers(file.path, file.text));
            table.into_inner()
        }
        Err(error) => {
            file.toml_error(String::new(), &error, 0..0);
            return FileContent::default();
        }
    };
    let mut content = FileContent::default();
    for (key, value) in table {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("shapes", _) => content.shapes = Some(value),
            ("operation", DeValue::Array(_)) => {
                if let DeValue::Array(array) = value.into_inner() {
                    content.rows.extend(array);
                }
            }
            (name, _) => {
                let message = format!("unknown key `{name}`: rows go under [[operation]], shapes under [shapes.NAME]");
                file.error("", key.span().start, message);
            }
        }
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let found = Table::parse("shop", &[("shop.toml".into(), text.into())]).err().expect("findings");
        found.iter().map(|one| format!("{}: {}", one.place.as_ref().expect("a location"), one.message)).collect()
    }

    /// The row of the tests, with these lines at its end.
    fn row(lines: &str) -> String {
        format!("[[operation]]\nname = \"a.get\"\ntitle = \"A\"\n{lines}\n")
    }

    #[test]
    fn each_finding_has_its_location() {
        for (text, place, words) in [
            ("[[operation]\n".to_owned(), "shop.toml:1:13", "]"),
            ("operations = 1\n".into(), "shop.toml:1:1", "unknown key"),
            (row("route = \"GET /a\"\ncolour = 1"), "shop.toml:5:1", "unknown field `colour`"),
            (row("route = 7"), "shop.toml:4:9", "invalid type"),
            (row(""), "shop.toml:1:1", "missing field `route`"),
            (row("route = \"GET a\""), "shop.toml:4:14", "begins with /"),
            (row("route = \"FETCH /a\""), "shop.toml:4:10", "FETCH"),
            (row("route = \"GET /a/x{b}\""), "shop.toml:4:17", "whole segment"),
            (row("route = \"GET /a/{b}\""), "shop.toml:4:9", "no input b"),
            (
                row("route = \"GET /a/{b}\"\ninput.b = { type = \"string\", in = \"query\" }"),
                "shop.toml:5:7",
                "route names b",
            ),
            (row("route = \"GET /a\"\ninput.b = { in = \"cookie\" }"), "shop.toml:5:18", "cookie"),
            (row("route = \"GET /a\"\ninput.b = { typ = \"string\" }"), "shop.toml:5:13", "typ"),
            (row("route = \"GET /a\"\ninput.b = { in = \"body\" }"), "shop.toml:5:7", "no body"),
            (row("route = \"GET /a\"\ninput.b = { in = \"header\", as = \"Cookie\" }"), "shop.toml:5:33", "Cookie"),
            (row("route = \"GET /a\"\nresult = \"payload\""), "shop.toml:5:10", "JSON pointer"),
            (row("route = \"POST /a\"\nbody = \"c\""), "shop.toml:5:8", "no input c"),
            (row("route = \"POST /a\"\nbody = \"c\"\ninput.c = {}\ninput.d = {}"), "shop.toml:7:7", "beside"),
            (row("route = \"POST /a\"\ninput.c = {}\ninput.d = { as = \"c\" }"), "shop.toml:6:7", "twice"),
            (
                row("route = \"GET /a\"\npage = { kind = \"offset\", offset = \"o\", items = \"x\" }"),
                "shop.toml:5:8",
                "JSON pointer",
            ),
            (row("route = \"GET /a\"\npage = { kind = \"link\", items = \"\", itmes = 1 }"), "shop.toml:5:37", "itmes"),
            (
                row("route = \"GET /a\"\npage = { kind = \"link\", items = \"\", next = \"/next\" }"),
                "shop.toml:5:8",
                "`next` cannot match",
            ),
            (
                row(
                    "route = \"GET /a\"\npage = { kind = \"keyset\", cursor = \"after\", key = \"/uid\", items = \"/a\" }\n\
                    output.properties.id = { type = \"integer\" }",
                ),
                "shop.toml:5:8",
                "an item has no uid; did you mean id?",
            ),
            (row("route = \"GET /a\"\npage = { kind = \"tree\" }"), "shop.toml:5:17", "tree"),
            (row("route = \"GET /a\"\ninput.\"b c\" = {}"), "shop.toml:5:7", "name of an input"),
            (row("route = \"GET /a\"\neffect = \"maybe\""), "shop.toml:5:10", "maybe"),
            (row("route = \"GET /a\"\ninput.b = { default = 1234567890123456.789 }"), "shop.toml:5:23", "exactly"),
            (row("route = \"GET /a\"").replace("a.get", "Get"), "shop.toml:2:8", "resource.verb"),
            (row("route = \"GET /a\"").repeat(2), "shop.toml:6:8", "already defined at shop.toml:2:8"),
        ] {
            let found = findings(&text);
            assert_eq!(found.len(), 1, "{text}\n{found:#?}");
            assert!(found[0].starts_with(&format!("{place}:")), "{text}\nwanted {place}, found {found:#?}");
            assert!(found[0].contains(words), "{text}\nwanted {words}, found {found:#?}");
        }
    }

    #[test]
    fn findings_of_all_files_are_reported_together() {
        let broken = row("route = \"GET /{b}\"\nresult = \"x\"") + &row("route = \"NO /\"").replace("a.get", "b.get");
        let files = [("one.toml".to_owned(), broken), ("two.toml".to_owned(), "x = ".to_owned())];
        let found = Table::parse("shop", &files).err().unwrap();
        let files: Vec<_> = found.iter().map(|one| one.place.clone().unwrap().file).collect();
        assert_eq!(files, ["one.toml", "one.toml", "one.toml", "two.toml"], "{found:#?}");
        assert_eq!(found[2].pointer, "/operation/1/route");
    }

    #[test]
    fn a_static_table_is_parsed_at_its_first_use() {
        static BROKEN: Table = Table::new("shop", &[("a.toml", "[[operation]]\n")]);
        assert!(BROKEN.actions().is_err());
        assert_eq!(BROKEN.operation("a.get").unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(BROKEN.operations().count(), 0);
    }
}
