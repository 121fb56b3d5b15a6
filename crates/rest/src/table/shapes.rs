//! Named shapes of an operation table: schemas that several rows refer to by name.
//!
//! A file defines a shape under `[shapes.Asset]` as JSON Schema. A name may stand wherever a row or another shape takes
//! a schema: `output = "Asset"`, `items = "Asset"`, `properties.parent = "Asset"`. An input takes over the keywords of
//! a shape with `shape = "Asset"`; its own keywords come first. Names are replaced when the table is read, so an
//! operation never contains one. A name that is unknown, that no row uses, or whose shape contains itself is an error.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};
use trunkline_core::closest;

use super::{row::InputRow, table_file::TableFile};

/// The largest number of shapes of a table.
const MAX_SHAPES: usize = 1000;
/// The largest number of values in a shape, and in the shapes of all rows together, with names replaced. A few names
/// that refer to each other twice would otherwise be any number of values.
const MAX_SHAPE: usize = 20_000;
const MAX_ROW_SHAPES: usize = 500_000;

/// The shapes of a table, without references among them.
#[derive(Default)]
pub(crate) struct Shapes(BTreeMap<String, Value>);

impl Shapes {
    /// Returns a schema with its references replaced. One that is not known becomes any shape.
    pub(crate) fn resolve(&self, schema: Value) -> Value {
        match schema {
            Value::String(name) => self.0.get(&name).cloned().unwrap_or(Value::Bool(true)),
            Value::Object(keywords) => {
                let resolved = keywords.into_iter().map(|(keyword, value)| match (holds(&keyword), value) {
                    (Some(Holds::Schema), value) => (keyword, self.resolve(value)),
                    (Some(Holds::List), Value::Array(all)) => {
                        (keyword, all.into_iter().map(|one| self.resolve(one)).collect())
                    }
                    (Some(Holds::Members), Value::Object(members)) => {
                        let members = members.into_iter().map(|(name, one)| (name, self.resolve(one)));
                        (keyword, Value::Object(members.collect()))
                    }
                    (_, value) => (keyword, value),
                });
                Value::Object(resolved.collect())
            }
            other => other,
        }
    }

    /// Returns the schema of an input, with the keywords of its shape.
    pub(crate) fn input(&self, row: &InputRow) -> Value {
        let mut schema = self.resolve(serde_json::to_value(row).unwrap_or(Value::Bool(true)));
        let shape = row.shape.as_ref().and_then(|name| self.0.get(name)?.as_object());
        if let (Some(own), Some(shape)) = (schema.as_object_mut(), shape) {
            for (keyword, value) in shape {
                own.entry(keyword).or_insert_with(|| value.clone());
            }
        }
        schema
    }
}

/// What a keyword of JSON Schema holds, if it holds schemas.
#[derive(Clone, Copy)]
enum Holds {
    Schema,
    List,
    Members,
}

fn holds(keyword: &str) -> Option<Holds> {
    match keyword {
        "items" | "additionalProperties" | "contains" | "not" | "propertyNames" => Some(Holds::Schema),
        "oneOf" | "anyOf" | "allOf" | "prefixItems" => Some(Holds::List),
        "properties" | "patternProperties" => Some(Holds::Members),
        _ => None,
    }
}

/// The name of a shape where a schema is expected.
struct Reference {
    name: String,
    file: usize,
    offset: usize,
    pointer: String,
}

/// A shape as it is written.
struct Definition {
    schema: Value,
    file: usize,
    offset: usize,
    references: Vec<Reference>,
}

/// The shapes of a table while its files are read, and the references in its rows.
#[derive(Default)]
pub(crate) struct ShapeReader {
    definitions: BTreeMap<String, Definition>,
    references: Vec<Reference>,
}

impl ShapeReader {
    /// Reads the table `shapes` of a file; `number` is the number of the file.
    pub(crate) fn define(&mut self, shapes: Spanned<DeValue<'_>>, number: usize, files: &mut [TableFile<'_>]) {
        let offset = shapes.span().start;
        let DeValue::Table(shapes) = shapes.into_inner() else {
            files[number].error("/shapes", offset, "shapes are tables: [shapes.NAME]");
            return;
        };
        for (key, schema) in shapes {
            let (name, offset) = (key.get_ref().to_string(), key.span().start);
            let pointer = format!("/shapes/{name}");
            if let Some(first) = self.definitions.get(&name) {
                let first = files[first.file].location(first.offset);
                files[number].error(pointer, offset, format!("the shape {name} is already defined at {first}"));
                continue;
            }
            if !is_shape_name(&name) {
                let message = format!("`{name}` is not the name of a shape: letters and digits after a capital letter");
                files[number].error(pointer.clone(), offset, message);
            }
            if !matches!(schema.get_ref(), DeValue::Table(_)) {
                files[number].error(pointer, offset, format!("the shape {name} is not a JSON Schema"));
                continue;
            }
            let mut references = Vec::new();
            Finder { file: number, found: &mut references }.schema(&schema, &pointer);
            match Value::deserialize(ValueDeserializer::from(schema)) {
                Ok(schema) => {
                    drop(self.definitions.insert(name, Definition { schema, file: number, offset, references }))
                }
                Err(error) => files[number].error(pointer, offset, error.message()),
            }
        }
    }

    /// Collects the references in a row.
    pub(crate) fn refer(&mut self, row: &Spanned<DeValue<'_>>, pointer: &str, number: usize) {
        let DeValue::Table(row) = row.get_ref() else { return };
        let mut finder = Finder { file: number, found: &mut self.references };
        if let Some(output) = row.get("output") {
            finder.schema(output, &format!("{pointer}/output"));
        }
        if let Some(DeValue::Table(inputs)) = row.get("input").map(Spanned::get_ref) {
            for (name, input) in inputs {
                let DeValue::Table(keywords) = input.get_ref() else { continue };
                let pointer = format!("{pointer}/input/{}", name.get_ref());
                if let Some(shape) = keywords.get("shape") {
                    finder.schema(shape, &format!("{pointer}/shape"));
                }
                finder.keywords(keywords, &pointer);
            }
        }
    }

    /// Replaces the references among the shapes. Errors are added to the findings of their files.
    pub(crate) fn finish(mut self, files: &mut [TableFile<'_>]) -> Shapes {
        self.report_unknown(files);
        self.report_unused(files);
        self.report_circles(files);
        let mut shapes = Shapes::default();
        if let Some(definition) = self.definitions.values().nth(MAX_SHAPES) {
            files[definition.file].limit(definition.offset, format!("the table has more than {MAX_SHAPES} shapes"));
            return shapes;
        }
        let mut sizes = BTreeMap::new();
        loop {
            let is_open = |reference: &Reference| {
                self.definitions.contains_key(&reference.name) && !shapes.0.contains_key(&reference.name)
            };
            let next = self
                .definitions
                .iter()
                .find(|(name, definition)| !shapes.0.contains_key(*name) && !definition.references.iter().any(is_open));
            // What is left contains itself, which was reported.
            let Some(name) = next.map(|(name, _)| name.clone()) else {
                return if self.rows_fit(&sizes, files) { shapes } else { Shapes::default() };
            };
            let definition = &self.definitions[&name];
            let size = count(&definition.schema) + size_of_all(&definition.references, &sizes);
            if size > MAX_SHAPE {
                let message = format!("the shape {name} has more than {MAX_SHAPE} values, with its names replaced");
                files[definition.file].limit(definition.offset, message);
                return Shapes::default();
            }
            sizes.insert(name.clone(), size);
            let schema = self.definitions.get_mut(&name).map(|one| one.schema.take()).unwrap_or_default();
            let schema = shapes.resolve(schema);
            shapes.0.insert(name, schema);
        }
    }

    /// Returns whether the shapes of the rows have few enough values, and reports it if not.
    fn rows_fit(&self, sizes: &BTreeMap<String, usize>, files: &mut [TableFile<'_>]) -> bool {
        if size_of_all(&self.references, sizes) <= MAX_ROW_SHAPES {
            return true;
        }
        if let Some(last) = self.references.last() {
            let message = format!("the shapes of all rows have more than {MAX_ROW_SHAPES} values");
            files[last.file].limit(last.offset, message);
        }
        false
    }

    fn report_unknown(&self, files: &mut [TableFile<'_>]) {
        let all = self.definitions.values().flat_map(|one| &one.references).chain(&self.references);
        for Reference { name, file, offset, pointer } in all.filter(|one| !self.definitions.contains_key(&one.name)) {
            let advice = closest(name, self.definitions.keys().map(String::as_str));
            let advice = advice.map_or_else(String::new, |known| format!("; did you mean {known}?"));
            files[*file].error(pointer.clone(), *offset, format!("there is no shape {name}{advice}"));
        }
    }

    fn report_unused(&self, files: &mut [TableFile<'_>]) {
        let mut used = BTreeSet::new();
        let mut open: Vec<_> = self.references.iter().map(|one| &one.name).collect();
        while let Some(name) = open.pop() {
            if let Some(definition) = self.definitions.get(name).filter(|_| used.insert(name)) {
                open.extend(definition.references.iter().map(|one| &one.name));
            }
        }
        for (name, definition) in self.definitions.iter().filter(|(name, _)| !used.contains(name)) {
            let message = format!("no operation uses the shape {name}");
            files[definition.file].error(format!("/shapes/{name}"), definition.offset, message);
        }
    }

    /// Reports each shape that contains itself, at the first of the names that lead back to it.
    fn report_circles(&self, files: &mut [TableFile<'_>]) {
        for (name, definition) in &self.definitions {
            let Some(circle) = self.way_back(name) else { continue };
            // A circle of several shapes is reported once.
            if circle.iter().any(|other| **other < **name) {
                continue;
            }
            let message = format!("the shape {name} contains itself: {name} -> {}", circle.join(" -> "));
            let first = definition.references.iter().find(|one| one.name == circle[0]);
            let (offset, pointer) = first.map_or((definition.offset, ""), |one| (one.offset, one.pointer.as_str()));
            files[definition.file].error(pointer, offset, message);
        }
    }

    /// Returns the names that lead from a shape back to it.
    fn way_back<'a>(&'a self, start: &str) -> Option<Vec<&'a str>> {
        let (mut open, mut seen) = (vec![vec![start]], BTreeSet::new());
        while let Some(path) = open.pop() {
            let last = path.last().copied().unwrap_or_default();
            for Reference { name, .. } in self.definitions.get(last).iter().flat_map(|one| &one.references) {
                if name == start {
                    let found = path.iter().skip(1).copied().chain([name.as_str()]);
                    return found
                        .map(|name| self.definitions.get_key_value(name).map(|(name, _)| name.as_str()))
                        .collect();
                }
                if seen.insert(name) {
                    open.push(path.iter().copied().chain([name.as_str()]).collect());
                }
            }
        }
        None
    }
}

/// Finds the references in the schemas of a file.
struct Finder<'a> {
    file: usize,
    found: &'a mut Vec<Reference>,
}

impl Finder<'_> {
    fn schema(&mut self, schema: &Spanned<DeValue<'_>>, pointer: &str) {
        match schema.get_ref() {
            DeValue::String(name) => self.found.push(Reference {
                name: name.to_string(),
                file: self.file,
                offset: schema.span().start,
                pointer: pointer.to_owned(),
            }),
            DeValue::Table(keywords) => self.keywords(keywords, pointer),
            _ => {}
        }
    }

    fn keywords(&mut self, keywords: &DeTable<'_>, pointer: &str) {
        for (keyword, value) in keywords {
            let keyword = keyword.get_ref();
            let pointer = format!("{pointer}/{keyword}");
            match (holds(keyword), value.get_ref()) {
                (Some(Holds::Schema), _) => self.schema(value, &pointer),
                (Some(Holds::List), DeValue::Array(all)) => {
                    for (index, one) in all.iter().enumerate() {
                        self.schema(one, &format!("{pointer}/{index}"));
                    }
                }
                (Some(Holds::Members), DeValue::Table(members)) => {
                    for (name, one) in members {
                        self.schema(one, &format!("{pointer}/{}", name.get_ref()));
                    }
                }
                _ => {}
            }
        }
    }
}

/// Returns the number of values in the shapes that are referred to.
fn size_of_all(references: &[Reference], sizes: &BTreeMap<String, usize>) -> usize {
    references.iter().filter_map(|one| sizes.get(&one.name)).fold(0, |sum: usize, size| sum.saturating_add(*size))
}

/// Returns the number of values in a value.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(count).sum::<usize>() + 1,
        Value::Object(members) => members.values().map(count).sum::<usize>() + 1,
        _ => 1,
    }
}

fn is_shape_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use trunkline_core::form_schema;

    use crate::Table;

    fn table(files: &[&str]) -> Result<Table, Vec<String>> {
        let files: Vec<_> =
            files.iter().zip(["rows.toml", "shapes.toml"]).map(|(text, file)| (file.into(), (*text).into())).collect();
        Table::parse("shop", &files).map_err(|found| {
            found.iter().map(|one| format!("{}: {}", one.place.as_ref().expect("a location"), one.message)).collect()
        })
    }

    fn row(lines: &str) -> String {
        format!("[[operation]]\nname = \"a.get\"\ntitle = \"A\"\nroute = \"PUT /a\"\n{lines}\n")
    }

    const SHAPES: &str = "[shapes.Owner]\ntype = \"object\"\nproperties.name = { type = \"string\" }\n\
        [shapes.Asset]\ntype = \"object\"\nrequired = [\"owner\"]\nproperties.owner = \"Owner\"\n";

    #[test]
    fn names_are_replaced_wherever_a_schema_may_stand() {
        let lines = "output = { type = \"array\", items = \"Asset\" }\n\
            input.asset = { shape = \"Asset\", required = true, title = \"The asset\", description = \"d\" }\n\
            input.owners = { type = \"array\", items = { oneOf = [\"Owner\", { type = \"null\" }] } }\n\
            input.kind = { type = \"string\", enum = [\"Asset\"], default = \"Asset\" }\n";
        let table = table(&[&row(lines), SHAPES]).unwrap();
        let spec = table.operation("a.get").unwrap().spec();
        let owner = json!({ "type": "object", "properties": { "name": { "type": "string" } } });
        let asset = json!({ "type": "object", "required": ["owner"], "properties": { "owner": owner } });
        assert_eq!(spec.output, json!({ "type": "array", "items": asset }));
        let mut input = asset;
        input
            .as_object_mut()
            .unwrap()
            .extend([("title".into(), "The asset".into()), ("description".into(), "d".into())]);
        let expected = form_schema(json!({ "properties": {
            "asset": input,
            "owners": { "type": "array", "items": { "oneOf": [owner, { "type": "null" }] } },
            // Data is not a name.
            "kind": { "type": "string", "enum": ["Asset"], "default": "Asset" }
        } }));
        assert_eq!(spec.input["properties"], expected["properties"]);
        assert_eq!(spec.input["required"], json!(["asset"]));
    }

    #[test]
    fn each_wrong_name_has_its_location() {
        let uses = row("output = \"Asset\"");
        for (files, found) in [
            (
                [row("output = \"Aset\"\ninput.a = { shape = \"Asset\" }"), SHAPES.into()],
                "rows.toml:5:10: there is no shape Aset; did you mean Asset?",
            ),
            (
                [row("output = \"Asset\"\ninput.a = { items = \"Zebra\" }"), SHAPES.into()],
                "rows.toml:6:21: there is no shape Zebra",
            ),
            (
                [uses.clone(), SHAPES.replace("\"Owner\"", "\"Ower\"") + "properties.o = \"Owner\""],
                "shapes.toml:7:20: there is no shape Ower; did you mean Owner?",
            ),
            ([row("output = \"Owner\""), SHAPES.into()], "shapes.toml:4:9: no operation uses the shape Asset"),
            (
                [uses.clone(), SHAPES.to_owned() + "properties.self = \"Asset\""],
                "shapes.toml:8:19: the shape Asset contains itself: Asset -> Asset",
            ),
            (
                [uses.clone(), SHAPES.replace("{ type = \"string\" }", "\"Asset\"")],
                "shapes.toml:7:20: the shape Asset contains itself: Asset -> Owner -> Asset",
            ),
            (
                [uses.clone(), SHAPES.to_owned() + "[shapes]\nasset = {}"],
                "shapes.toml:9:1: `asset` is not the name of a shape",
            ),
            (
                [uses.clone() + "[shapes.Asset]\n", SHAPES.to_owned() + "properties.x = \"Owner\""],
                "shapes.toml:4:9: the shape Asset is already defined at rows.toml:6:9",
            ),
            (
                [row("output = \"a\"") + "[shapes.a]\ntype = \"object\"", String::new()],
                "rows.toml:6:9: `a` is not the name of a shape",
            ),
            (
                [row("output = \"A\"") + "[shapes]\nA = 1", String::new()],
                "rows.toml:7:1: the shape A is not a JSON Schema",
            ),
            (["shapes = 1".to_owned(), String::new()], "rows.toml:1:10: shapes are tables"),
        ] {
            let files: Vec<_> = files.iter().map(String::as_str).collect();
            let all = table(&files).err().unwrap_or_default();
            assert!(all.iter().any(|one| one.starts_with(found)), "{files:#?}\nwanted {found}\nfound {all:#?}");
        }
        // The twin: the same files without a wrong name.
        assert!(table(&[&uses, SHAPES]).is_ok());
    }

    #[test]
    fn shapes_that_are_larger_than_they_look_are_refused_with_the_number() {
        let doubling = |levels: usize| {
            let level = |one: usize| {
                let (one, next) = (level_name(one), level_name(one + 1));
                format!("[shapes.{one}]\nproperties.a = \"{next}\"\nproperties.b = \"{next}\"\n")
            };
            let last = format!("[shapes.{}]\ntype = \"string\"\n", level_name(levels));
            (0..levels).map(level).chain([last]).collect::<String>()
        };
        let row = row(&format!("output = \"{}\"", level_name(0)));
        assert!(table(&[&row, &doubling(8)]).is_ok());
        let found = table(&[&row, &doubling(60)]).err().unwrap_or_default();
        assert!(found.len() == 1 && found[0].contains("more than 20000 values"), "{found:?}");
        // Without the limit, each level doubles the size of the shape.
        let size = |levels: usize| {
            let all = table(&[&row, &doubling(levels)]).unwrap();
            super::count(&all.operation("a.get").unwrap().spec().output)
        };
        assert!(size(9) > size(8) * 19 / 10);
        let many: String = (0..=1000).map(|one| format!("[shapes.S{one}]\ntype = \"string\"\n")).collect();
        let found = table(&[&row, &many]).err().unwrap_or_default();
        assert!(found.iter().any(|one| one.contains("more than 1000 shapes")), "{found:?}");
        let big: String =
            format!("[shapes.Big]\n{}", (0..9000).map(|one| format!("properties.p{one} = {{}}\n")).collect::<String>());
        let rows: String = (0..60)
            .map(|one| {
                format!(
                    "[[operation]]\nname = \"a.g{one}\"\ntitle = \"A\"\nroute = \"GET /a{one}\"\noutput = \"Big\"\n"
                )
            })
            .collect();
        let found = table(&[&rows, &big]).err().unwrap_or_default();
        assert!(found.iter().any(|one| one.contains("more than 500000 values")), "{found:?}");
    }

    #[test]
    fn a_limit_of_the_toml_parser_is_reported_with_its_number() {
        let nested = |levels: usize| row(&format!("output.enum = {}1{}", "[".repeat(levels), "]".repeat(levels)));
        let dotted = |levels: usize| row(&format!("output{} = {{}}", ".properties.a".repeat(levels / 2)));
        for (fits, deeper) in [(nested(20), nested(100)), (dotted(20), dotted(100))] {
            assert!(table(&[&fits]).is_ok());
            let found = table(&[&deeper]).err().unwrap_or_default();
            assert!(found.len() == 1 && found[0].contains("80 levels deep"), "{found:?}");
        }
        // What is not a limit is not reported as one.
        let found = table(&[&row("output.enum = [1")]).err().unwrap_or_default();
        assert!(!found[0].contains("80 levels"), "{found:?}");
        let rows: String = (0..=5000).map(|_| row("")).collect();
        let (files, limit) = ([("rows.toml".to_owned(), rows)], "5001 rows; the limit is 5000");
        let found = Table::parse("shop", &files).err().unwrap_or_default();
        assert!(found.len() == 1 && found[0].limit && found[0].message.contains(limit), "{found:?}");
    }

    fn level_name(level: usize) -> String {
        format!("L{level}")
    }
}
