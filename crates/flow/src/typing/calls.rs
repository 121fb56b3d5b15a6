//! Checks the arguments of filters, and infers their results.

use std::borrow::Cow;

use minijinja::machinery::ast::{CallArg, Filter};
use serde_json::{Map, Value, json};
use trunkline_core::closest;

use crate::{
    filters::{Gives, conversion, environment, filters},
    typing::{
        infer::{UNKNOWN, Walk, constant_text},
        paths::item_of,
        schema_algebra::{self, Shape, kinds, list_of, object_of, of_kinds},
    },
    values::json_kinds::Kinds,
};

/// The largest table whose values are known one by one.
const MAX_ROWS: usize = 256;

impl<'a> Walk<'a> {
    /// A filter: `value | name(arguments)`.
    pub(super) fn filter(&mut self, call: &Filter<'_>) -> Shape<'a> {
        let name = call.name;
        let value = call.expr.as_ref().map(|value| self.walk_where(name == "default", value)).unwrap_or(UNKNOWN);
        if self.is_cursor(name) {
            self.complete_filter(&value);
            return UNKNOWN;
        }
        let mut arguments = Vec::new();
        for argument in &call.args {
            match argument {
                CallArg::Pos(argument) => arguments.push((argument, self.walk(argument))),
                _ => {
                    let what = format!("gives an argument of the filter {name} by name");
                    self.error_with_hint(what, "give arguments by position, without names");
                    return UNKNOWN;
                }
            }
        }
        let Some(filter) = environment::find(name) else {
            let known = filters().iter().map(|filter| filter.name);
            let hint = match closest(name, known.clone()) {
                Some(close) => format!("did you mean {close}?"),
                None => format!("use one of the filters: {}", known.collect::<Vec<_>>().join(", ")),
            };
            self.error_with_hint(format!("uses the filter {name}, which does not exist"), hint);
            return UNKNOWN;
        };
        if let Err(reason) = filter.check_count(arguments.len()) {
            self.error(format!("cannot work: {reason}"));
            return UNKNOWN;
        }
        if kinds(&value).excludes(filter.takes) {
            let what = format!("cannot work: {name} takes {}, not {}", filter.takes, kinds(&value));
            match conversion(kinds(&value), filter.takes) {
                Some(cure) => self.error_with_hint(what, cure),
                None => self.error(what),
            }
        }
        for (index, (_, shape)) in arguments.iter().enumerate() {
            if let Some(argument) = filter.argument(index)
                && kinds(shape).excludes(argument.kinds)
            {
                let (wanted, role) = (argument.kinds, argument.name);
                self.error(format!("cannot work: {name} takes {wanted} as {role}, not {}", kinds(shape)));
            }
        }
        let texts: Vec<_> = arguments.iter().map(|(argument, _)| constant_text(argument)).collect();
        if let Err(reason) = environment::check_constants(filter, &texts) {
            self.error(format!("cannot work: {reason}"));
        }
        let shapes: Vec<_> = arguments.into_iter().map(|(_, shape)| shape).collect();
        self.result(filter.gives, value, shapes, &texts)
    }

    /// The shape at a constant path in an item of a list. Without a path, it is that of the item.
    fn at_path(&mut self, item_shape: Shape<'a>, path: Option<&str>) -> Shape<'a> {
        let names = path.into_iter().flat_map(|path| path.split('.')).filter(|name| !name.is_empty());
        names.fold(item_shape, |shape, name| match name.parse::<usize>() {
            Ok(_) if kinds(&shape) == Kinds::LIST => item_of(shape),
            _ => self.member(shape, name, "an item of the list"),
        })
    }

    /// The result of a filter. `texts` has the values of those arguments that are constant texts.
    fn result(
        &mut self,
        gives: Gives,
        value: Shape<'a>,
        arguments: Vec<Shape<'a>>,
        texts: &[Option<&str>],
    ) -> Shape<'a> {
        let first = texts.first().copied().flatten();
        Cow::Owned(match gives {
            Gives::Kinds(kinds) => of_kinds(kinds),
            Gives::Texts => list_of(of_kinds(Kinds::TEXT)),
            Gives::Path if arguments.is_empty() => list_of(of_kinds(Kinds::TEXT)),
            Gives::Path => of_kinds(Kinds::TEXT),
            Gives::Item if kinds(&value) == Kinds::LIST => return item_of(value),
            Gives::Item if kinds(&value) == Kinds::TEXT => of_kinds(Kinds::TEXT),
            Gives::Item | Gives::Member | Gives::Pointer => Value::Bool(true),
            Gives::Default => {
                let present = schema_algebra::without_null(self.own(value));
                self.either([Cow::Owned(present)].into_iter().chain(arguments.into_iter().take(1)).collect())
            }
            Gives::Map => {
                let shape = self.at_path(item_of(value), first);
                list_of(self.own(shape))
            }
            Gives::Same if kinds(&value) == Kinds::LIST => {
                let shape = item_of(value);
                self.at_path(shape.clone(), first);
                list_of(self.own(shape))
            }
            Gives::Same => of_kinds(kinds(&value)),
            Gives::Least => match texts.first() {
                Some(None) => Value::Bool(true),
                _ => return self.at_path(item_of(value), first),
            },
            Gives::Groups => {
                let shape = item_of(value);
                let key = self.at_path(shape.clone(), first);
                let key = self.either(vec![key, Cow::Owned(of_kinds(Kinds::NULL))]);
                let items = list_of(self.own(shape));
                list_of(object_of(Map::from_iter([("key".to_owned(), key), ("items".to_owned(), items)])))
            }
            Gives::Tuples => {
                let lists: Vec<_> = [value].into_iter().chain(arguments).map(|list| self.own(item_of(list))).collect();
                list_of(list_of(json!({ "anyOf": lists })))
            }
            Gives::Flat => match item_of(value) {
                list if kinds(&list) == Kinds::LIST => list_of(self.own(item_of(list))),
                other if kinds(&other).excludes(Kinds::LIST) => list_of(self.own(other)),
                _ => of_kinds(Kinds::LIST),
            },
            Gives::Entries => {
                let shape = item_of(value);
                self.at_path(shape.clone(), first);
                let member = match texts.get(1) {
                    Some(Some(path)) => self.at_path(shape, Some(path)),
                    _ => UNKNOWN,
                };
                json!({ "type": "object", "additionalProperties": self.own(member) })
            }
            Gives::Members => match value.get("additionalProperties") {
                Some(shape @ Value::Object(_)) if value.get("properties").is_none() => {
                    list_of(self.own(Cow::Borrowed(shape)))
                }
                _ => of_kinds(Kinds::LIST),
            },
            Gives::Merged => {
                let mut members = Map::new();
                let mut closed = true;
                for object in [value].into_iter().chain(arguments) {
                    closed &= object.get("additionalProperties") == Some(&Value::Bool(false));
                    for (name, shape) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
                        members.insert(name.clone(), self.own(Cow::Borrowed(shape)));
                    }
                }
                match closed {
                    true => json!({ "type": "object", "properties": members, "additionalProperties": false }),
                    false => of_kinds(Kinds::OBJECT),
                }
            }
            Gives::Records => list_of(json!({ "type": "object", "additionalProperties": { "type": "string" } })),
            Gives::Pick | Gives::Omit if kinds(&value) == Kinds::LIST => {
                let one = self.result(gives, item_of(value), arguments, texts);
                list_of(self.own(one))
            }
            Gives::Pick => {
                let mut members = Map::new();
                for name in texts.iter().copied().flatten() {
                    let shape = self.member(Cow::Borrowed(&value), name, "the object");
                    members.insert(name.to_owned(), self.own(shape));
                }
                let all = texts.iter().all(Option::is_some);
                if all { json!({ "type": "object", "properties": members }) } else { of_kinds(Kinds::OBJECT) }
            }
            Gives::Omit => {
                for name in texts.iter().copied().flatten() {
                    self.member(Cow::Borrowed(&value), name, "the object");
                }
                let mut left = self.own(value);
                for name in texts.iter().copied().flatten() {
                    if let Some(properties) = left.get_mut("properties").and_then(Value::as_object_mut) {
                        properties.shift_remove(name);
                    }
                    if let Some(required) = left.get_mut("required").and_then(Value::as_array_mut) {
                        required.retain(|known| known != name);
                    }
                }
                left
            }
            Gives::Lookup => {
                let (Some(names), Some(table)) = (self.names, first) else { return UNKNOWN };
                let given = match names.tables {
                    Value::Object(tables) => tables.get(table),
                    Value::Null => None,
                    faulty => Some(faulty),
                };
                let Some(rows) = given else {
                    let known: Vec<_> = names.tables.as_object().into_iter().flat_map(Map::keys).cloned().collect();
                    let hint = match known.is_empty() {
                        true => "add `tables` to the flow".to_owned(),
                        false => format!("its tables are: {}", known.join(", ")),
                    };
                    self.error_with_hint(format!("looks in the table {table}, which the flow does not have"), hint);
                    return UNKNOWN;
                };
                // What is not a table is reported where it stands.
                let Some(rows) = rows.as_object().filter(|rows| rows.len() <= MAX_ROWS) else { return UNKNOWN };
                let values = rows.values().map(|value| Cow::Owned(json!({ "const": value })));
                self.either(values.chain(arguments.into_iter().skip(1).take(1)).collect())
            }
        })
    }
}
