//! What the word at the cursor can be while an expression is written.
//!
//! A word of our own stands at the cursor. The walk that infers types meets it, and knows the shape of what stands before
//! it.

use minijinja::machinery::parse_expr;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    filters::{Gives, environment::TESTS, filters},
    typing::{
        infer::{ROOTS, Walk, check_size},
        names::Names,
        schema_algebra::{CHOICES, Member, kinds, member, parts},
    },
    values::json_kinds::Kinds,
};

/// What a completion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CompletionKind {
    /// A name that expressions begin with, such as `input`.
    Name,
    /// A member of an object.
    Member,
    /// An earlier step.
    Step,
    /// A filter.
    Filter,
    /// A test, such as `is defined`.
    Test,
}

/// What the word at the cursor can be.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Completion {
    /// The word, as a list shows it.
    pub label: String,
    /// The text to put in the place of the range.
    pub insert: String,
    /// Where the range begins in the text, in characters.
    pub from: usize,
    /// Where the range ends, in characters.
    pub to: usize,
    /// What it is.
    pub kind: CompletionKind,
    /// The kinds of values that it yields, in words.
    pub r#type: String,
    /// What it means, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// A value that it can have, if its schema has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Value>,
}

/// The word at the cursor.
pub(crate) const CURSOR: &str = "cursor__is__here";
/// The most members of an object that are offered.
const MAX_MEMBERS: usize = 1000;

impl Completion {
    fn new(label: &str, kind: CompletionKind, shape: &Value) -> Completion {
        let known = kinds(shape);
        let about = shape.get("description").or_else(|| shape.get("title")).and_then(Value::as_str);
        let examples = shape.get("examples").and_then(|examples| examples.get(0));
        let sample =
            shape.get("const").or(examples).or_else(|| shape.get("default")).or_else(|| shape.get("enum")?.get(0));
        Completion {
            label: label.to_owned(),
            insert: label.to_owned(),
            from: 0,
            to: 0,
            kind,
            r#type: if known == Kinds::ANY { "any value".to_owned() } else { known.to_string() },
            about: about.map(|about| about.split_whitespace().collect::<Vec<_>>().join(" ")),
            sample: sample.cloned(),
        }
    }
}

impl<'a> Walk<'a> {
    /// Returns whether this word is the one at the cursor.
    pub(super) fn is_cursor(&self, word: &str) -> bool {
        self.completions.is_some() && word == CURSOR
    }

    fn offer(&mut self, found: impl IntoIterator<Item = Completion>) {
        self.completions.get_or_insert_default().extend(found);
    }

    pub(super) fn complete_root(&mut self) {
        for name in ROOTS {
            let exists = self.names.is_none_or(|names| match name {
                "item" => names.item.is_some(),
                "items" => names.items.is_some(),
                "error" => names.error,
                _ => true,
            });
            if exists {
                let shape = self.root(name).into_owned();
                self.offer([Completion::new(name, CompletionKind::Name, &shape)]);
            }
        }
    }

    pub(super) fn complete_step(&mut self, names: &Names<'_>) {
        let step = |id: &str| Some(Completion::new(id, CompletionKind::Step, &names.step(id)?.shape));
        self.offer(names.step_ids().into_iter().filter_map(step).collect::<Vec<_>>());
    }

    pub(super) fn complete_member(&mut self, shape: &Value) {
        if kinds(shape).excludes(Kinds::OBJECT) {
            return;
        }
        let mut names = Vec::new();
        member_names(shape, &mut names);
        for name in names {
            if let Member::Is(of) = member(shape, name) {
                self.offer([Completion::new(name, CompletionKind::Member, &of)]);
            }
        }
    }

    pub(super) fn complete_filter(&mut self, value: &Value) {
        let fitting = filters().iter().filter(|filter| !kinds(value).excludes(filter.takes));
        self.offer(fitting.map(|filter| Completion {
            about: Some(format!("{}: {}", filter.usage(), filter.about)),
            r#type: match filter.gives {
                Gives::Kinds(kinds) => kinds.to_string(),
                Gives::Texts | Gives::Map | Gives::Groups => Kinds::LIST.to_string(),
                _ => "any value".to_owned(),
            },
            ..Completion::new(filter.name, CompletionKind::Filter, &Value::Null)
        }));
    }

    pub(super) fn complete_test(&mut self) {
        let test = |name| Completion {
            r#type: Kinds::BOOLEAN.to_string(),
            ..Completion::new(name, CompletionKind::Test, &Value::Null)
        };
        self.offer(TESTS.map(test));
    }
}

/// Collects the names of the members that a schema declares, each once.
fn member_names<'s>(schema: &'s Value, names: &mut Vec<&'s str>) {
    let constant = schema.get("const").and_then(Value::as_object);
    let declared = schema.get("properties").and_then(Value::as_object);
    for name in constant.into_iter().chain(declared).flat_map(Map::keys) {
        if names.len() < MAX_MEMBERS && !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let others = CHOICES.iter().chain(&["allOf"]).flat_map(|name| parts(schema, name));
    others.for_each(|one| member_names(one, names));
}

/// Returns what the word [`CURSOR`] in an expression can be. `names` are those that exist there, if they are known.
pub(crate) fn words_at_cursor(source: &str, names: Option<&Names<'_>>) -> Vec<Completion> {
    if check_size(source, "").is_err() {
        return Vec::new();
    }
    let Ok(expression) = parse_expr(source) else { return Vec::new() };
    let mut walk = Walk::new(source, "", names);
    walk.completions = Some(Vec::new());
    walk.walk(&expression);
    walk.completions.unwrap_or_default()
}
