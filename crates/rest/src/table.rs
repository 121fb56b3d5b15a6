//! An operation table: rows from TOML files, parsed once, every fault reported at once with file, line and column.
//!
//! ```
//! use trunkline_rest::Table;
//! static OPERATIONS: Table = Table::new("shop", &[("operations/order.toml", r#"
//!     [[operation]]
//!     name  = "order.get"
//!     title = "Get an order"
//!     route = "GET /orders/{orderId}"
//!     input.orderId = { type = "integer", title = "Order" }
//! "#)]);
//! let order = OPERATIONS.operation("order.get")?;
//! assert_eq!(order.spec().route.as_deref(), Some("GET /orders/{orderId}"));
//! # Ok::<(), trunkline_core::Error>(())
//! ```

use std::{borrow::Cow, collections::BTreeMap, ops::Range, sync::OnceLock};

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};
use trunkline_core::{Actions, AnyAction, Diagnostic, Error, ErrorKind, Result, SourceLocation};

use crate::{operation::Operation, row::OperationRow};

/// The operations of a connector, by name.
///
/// A compiled-in table is a `static` made by [`Table::new`] and is parsed when first used. A table that is read at run time
/// comes from [`Table::parse`]; a client wants a `&'static Table`, so a host that loads connectors at its start leaks theirs
/// (`Box::leak`): they live as long as the program anyway.
pub struct Table {
    connector: Cow<'static, str>,
    files: &'static [(&'static str, &'static str)],
    parsed: OnceLock<Result<BTreeMap<String, Operation>, Vec<Diagnostic>>>,
}

impl Table {
    /// A table of compiled-in files: the path that faults name, and the text.
    pub const fn new(connector: &'static str, files: &'static [(&'static str, &'static str)]) -> Table {
        Table { connector: Cow::Borrowed(connector), files, parsed: OnceLock::new() }
    }

    /// A table of files that were read at run time, or everything that is wrong with them.
    pub fn parse(connector: &str, files: &[(String, String)]) -> Result<Table, Vec<Diagnostic>> {
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let operations = parse(&files)?;
        Ok(Table { connector: Cow::Owned(connector.to_owned()), files: &[], parsed: OnceLock::from(Ok(operations)) })
    }

    fn parsed(&self) -> &Result<BTreeMap<String, Operation>, Vec<Diagnostic>> {
        self.parsed.get_or_init(|| parse(self.files))
    }

    /// All rows as actions for a registry, or everything that is wrong with them.
    pub fn actions(&'static self) -> Actions {
        match self.parsed() {
            Ok(operations) => Ok(operations.values().map(|one| Box::new(one) as Box<dyn AnyAction>).collect()),
            Err(found) => Err(found.clone()),
        }
    }

    /// The row of this name. A broken table is an error of kind `config` that names all its faults.
    pub fn operation(&self, name: &str) -> Result<&Operation> {
        let operations = self.parsed().as_ref().map_err(|found| {
            let what = format!("the operations of {}", self.connector);
            Diagnostic::into_error(&what, found).unwrap_or_else(|| Error::new(ErrorKind::Config, what))
        })?;
        operations.get(name).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no operation {name}"))
                .hint("`trunkline actions` lists what a connector can do")
        })
    }

    /// All rows, sorted by name; none if the table is broken.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.parsed().iter().flat_map(BTreeMap::values)
    }
}

/// One file while it is read: knows where its bytes are and collects what is wrong.
pub(crate) struct Source<'a> {
    path: &'a str,
    text: &'a str,
    pub(crate) found: Vec<Diagnostic>,
}

impl Source<'_> {
    pub(crate) fn place(&self, offset: usize) -> SourceLocation {
        SourceLocation::of(self.path, self.text, offset)
    }

    /// Notes a fault at a byte of the file.
    pub(crate) fn fault(&mut self, pointer: impl Into<String>, offset: usize, message: impl Into<String>) {
        self.found.push(Diagnostic::error(pointer, message).at(self.place(offset)));
    }

    fn toml(&mut self, pointer: String, error: &toml::de::Error, within: Range<usize>) {
        // A missing key has no place of its own: the row's is the nearest.
        let span = error.span().filter(|span| span.start != 0 || within.start == 0).unwrap_or(within);
        self.fault(pointer, span.start, error.message().trim().replace('\n', ", "));
    }
}

fn parse(files: &[(&str, &str)]) -> Result<BTreeMap<String, Operation>, Vec<Diagnostic>> {
    let mut operations = BTreeMap::<String, Operation>::new();
    let mut found = Vec::new();
    for (path, text) in files {
        let mut source = Source { path, text, found: Vec::new() };
        for (index, row) in rows(&mut source).into_iter().enumerate() {
            let pointer = format!("/operation/{index}");
            let span = row.span();
            let row = match OperationRow::deserialize(ValueDeserializer::from(row)) {
                Ok(row) => row,
                Err(error) => {
                    source.toml(pointer, &error, span);
                    continue;
                }
            };
            let named_at = row.name.span().start;
            let Some(operation) = Operation::compile(row, &pointer, &mut source) else { continue };
            let name = operation.name().to_owned();
            match operations.get(&name) {
                Some(first) => {
                    let message = format!("the operation {name} is there already, at {}", first.place());
                    source.fault(format!("{pointer}/name"), named_at, message);
                }
                None => drop(operations.insert(name, operation)),
            }
        }
        found.append(&mut source.found);
    }
    if found.is_empty() { Ok(operations) } else { Err(found) }
}

/// The rows of a file, each still as TOML: a fault in one does not hide those of the others.
fn rows<'a>(source: &mut Source<'a>) -> Vec<Spanned<DeValue<'a>>> {
    let table = match DeTable::parse(source.text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            source.toml(String::new(), &error, 0..0);
            return Vec::new();
        }
    };
    let mut rows = Vec::new();
    for (key, value) in table {
        let span = key.span();
        match (key.get_ref().as_ref(), value.into_inner()) {
            ("operation", DeValue::Array(array)) => rows.extend(array),
            (name, _) => {
                let message = format!("`{name}` is not known here; rows stand under [[operation]]");
                source.fault("", span.start, message);
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let found = Table::parse("shop", &[("shop.toml".into(), text.into())]).err().expect("was accepted");
        found.iter().map(|one| format!("{}: {}", one.place.as_ref().expect("a place"), one.message)).collect()
    }

    /// The row of the tests, with lines put in place of its last.
    fn row(lines: &str) -> String {
        format!("[[operation]]\nname = \"a.get\"\ntitle = \"A\"\n{lines}\n")
    }

    #[test]
    fn each_fault_has_its_place() {
        for (text, place, words) in [
            ("[[operation]\n".to_owned(), "shop.toml:1:13", "]"),
            ("operations = 1\n".into(), "shop.toml:1:1", "not known here"),
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
            (row("route = \"GET /a\"\npage = { kind = \"link\", items = \"\", itmes = 1 }"), "shop.toml:5:8", "itmes"),
            (row("route = \"GET /a\"\npage = { kind = \"tree\" }"), "shop.toml:5:17", "tree"),
            (row("route = \"GET /a\"\ninput.\"b c\" = {}"), "shop.toml:5:7", "name of an input"),
            (row("route = \"GET /a\"\neffect = \"maybe\""), "shop.toml:5:10", "maybe"),
            (row("route = \"GET /a\"").replace("a.get", "Get"), "shop.toml:2:8", "resource.verb"),
            (row("route = \"GET /a\"").repeat(2), "shop.toml:6:8", "there already, at shop.toml:2:8"),
        ] {
            let found = faults(&text);
            assert_eq!(found.len(), 1, "{text}\n{found:#?}");
            assert!(found[0].starts_with(&format!("{place}:")), "{text}\nwanted {place}, found {found:#?}");
            assert!(found[0].contains(words), "{text}\nwanted {words}, found {found:#?}");
        }
    }

    #[test]
    fn all_faults_of_all_files_at_once() {
        let broken = row("route = \"GET /{b}\"\nresult = \"x\"") + &row("route = \"NO /\"").replace("a.get", "b.get");
        let files = [("one.toml".to_owned(), broken), ("two.toml".to_owned(), "x = ".to_owned())];
        let found = Table::parse("shop", &files).err().unwrap();
        let files: Vec<_> = found.iter().map(|one| one.place.clone().unwrap().file).collect();
        assert_eq!(files, ["one.toml", "one.toml", "one.toml", "two.toml"], "{found:#?}");
        assert_eq!(found[2].pointer, "/operation/1/route");
    }

    #[test]
    fn a_static_table_reports_when_used() {
        static BROKEN: Table = Table::new("shop", &[("a.toml", "[[operation]]\n")]);
        assert!(BROKEN.actions().is_err());
        assert_eq!(BROKEN.operation("a.get").unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(BROKEN.operations().count(), 0);
    }
}
