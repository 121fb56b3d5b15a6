//! Names, members and items in expressions: what each part of a path yields.

use std::borrow::Cow;

use minijinja::machinery::ast::Expr;
use trunkline_core::closest;

use crate::{
    typing::{
        infer::{ROOTS, UNKNOWN, Walk, constant_text},
        names::{Names, failed_items},
        schema_algebra::{self, Member, Shape, item, kinds, of_kinds},
    },
    values::json_kinds::Kinds,
};

/// The largest number of step ids in a hint.
const MAX_IDS: usize = 20;

impl<'a> Walk<'a> {
    /// An element of a list, or a member of an object whose name is in quotes.
    pub(super) fn subscript(&mut self, of: &Expr<'_>, subscript: &Expr<'_>) -> Shape<'a> {
        if let Some(name) = constant_text(subscript) {
            return self.attribute(of, name);
        }
        let (list, index) = (self.walk_where(self.may_be_missing, of), self.walk_where(false, subscript));
        if kinds(&list) != Kinds::LIST {
            return UNKNOWN;
        }
        if kinds(&index).excludes(Kinds::INTEGER) {
            self.error(format!("uses {} as the index of a list, where a whole number is needed", kinds(&index)));
        }
        item_of(list)
    }

    /// The value of a name that an expression begins with.
    pub(super) fn root(&mut self, name: &str) -> Shape<'a> {
        if self.is_cursor(name) {
            self.complete_root();
            return UNKNOWN;
        }
        self.roots.insert(name.to_owned());
        if !ROOTS.contains(&name) {
            let hint = format!("an expression begins with one of: {}; a text must be in quotes", ROOTS.join(", "));
            self.error_with_hint(format!("begins with the unknown name {name}"), hint);
        }
        let Some(names) = self.names else { return UNKNOWN };
        let local = |shape: &'a Option<Shape<'a>>| shape.as_deref().map(Cow::Borrowed);
        let shape = match name {
            "input" => return Cow::Borrowed(&names.input),
            "item" | "items" => {
                return local(if name == "item" { &names.item } else { &names.items }).unwrap_or_else(|| {
                    self.missing_local(name, names);
                    UNKNOWN
                });
            }
            "run" => schema_algebra::object_of([("id".to_owned(), of_kinds(Kinds::TEXT))].into_iter().collect()),
            "steps" => of_kinds(Kinds::OBJECT),
            "error" if !names.error => {
                self.error("uses error, which exists only inside of `on_error` and `on_failure`");
                return UNKNOWN;
            }
            "error" => {
                let text = |name: &str| (name.to_owned(), of_kinds(Kinds::TEXT.or(Kinds::NULL)));
                let texts = ["kind", "message", "hint", "step"].map(text);
                let failures = ("failures".to_owned(), failed_items());
                schema_algebra::object_of(texts.into_iter().chain([failures]).collect())
            }
            _ => return UNKNOWN,
        };
        Cow::Owned(shape)
    }

    /// Reports `item` or `items` where there is none.
    fn missing_local(&mut self, name: &str, names: &Names<'_>) {
        match (name, &names.items) {
            ("item", Some(_)) => self.error_with_hint("uses item, but a batch has only items", "use {{ items }}"),
            ("item", None) => self.error("uses item, which exists only inside the steps of an `each`"),
            _ => self.error("uses items, which exists only inside the steps of an `each` with `batch`"),
        }
    }

    /// A member of a value: `x.name`. A member of `steps` is the output of a step.
    pub(super) fn attribute(&mut self, of: &Expr<'_>, name: &str) -> Shape<'a> {
        match (of, self.names) {
            (Expr::Var(var), Some(names)) if var.id == "steps" && self.is_cursor(name) => {
                self.complete_step(names);
                UNKNOWN
            }
            _ if self.is_cursor(name) => {
                let shape = self.walk_where(true, of);
                self.complete_member(&shape);
                UNKNOWN
            }
            (Expr::Var(var), Some(names)) if var.id == "steps" => self.step(names, name),
            _ => {
                let shape = self.walk_where(self.may_be_missing, of);
                self.member(shape, name, &owner(of))
            }
        }
    }

    /// The output of a step.
    fn step(&mut self, names: &'a Names<'a>, id: &str) -> Shape<'a> {
        self.roots.insert("steps".into());
        let Some(output) = names.step(id) else {
            let before = names.step_ids();
            let hint = match (closest(id, before.iter().copied()), before.is_empty()) {
                (Some(close), _) => format!("did you mean {close}?"),
                (None, true) => "it can only refer to earlier steps, and there are none".to_owned(),
                (None, false) => {
                    let shown: Vec<_> = before.iter().copied().take(MAX_IDS).collect();
                    let more = if before.len() > MAX_IDS { ", .." } else { "" };
                    format!("steps before this one: {}{more}", shown.join(", "))
                }
            };
            self.error_with_hint(format!("refers to the step {id}: no step {id} runs before this one"), hint);
            return UNKNOWN;
        };
        if !output.certain && !self.may_be_missing {
            let hint = format!(
                "a condition may leave it out, or it may fail; give it a default: {{{{ steps.{id}.NAME | default(..) }}}}"
            );
            self.warn(format!("refers to the step {id}, which may not have run"), hint);
        }
        Cow::Borrowed(&output.shape)
    }

    /// A member of an object. Reports a member that the object cannot have.
    pub(super) fn member<'s>(&mut self, shape: Shape<'s>, name: &str, owner: &str) -> Shape<'s> {
        let known = kinds(&shape);
        if known.excludes(Kinds::OBJECT) {
            let hint = match known {
                Kinds::LIST => "select an item with [0], or use map('..') to read a member of each item",
                _ => "use the value itself",
            };
            self.error_with_hint(format!("reads the member {name} of {known}, which has no members"), hint);
            return UNKNOWN;
        }
        let found = match shape {
            Cow::Borrowed(shape) => schema_algebra::member(shape, name),
            Cow::Owned(shape) => match schema_algebra::member(&shape, name) {
                Member::Is(shape) => Member::Is(Cow::Owned(shape.into_owned())),
                Member::Unknown => Member::Unknown,
                Member::Missing { open, declared } => Member::Missing { open, declared },
            },
        };
        match found {
            Member::Is(shape) => return shape,
            Member::Unknown => {}
            Member::Missing { open, declared } => {
                let intended = schema_algebra::intended_name(name, open, &declared);
                let hint = match (intended, &declared[..]) {
                    (Some(intended), _) => format!("did you mean {intended}?"),
                    (None, []) => "it has no members".to_owned(),
                    (None, declared) => format!("its members are: {}", declared.join(", ")),
                };
                if !open {
                    self.error_with_hint(format!("reads {name}, but {owner} has no member {name}"), hint);
                } else if intended.is_some() {
                    self.warn(format!("reads {name}, which {owner} does not declare"), hint);
                }
            }
        }
        UNKNOWN
    }
}

/// Returns the shape of the items of a list.
pub(super) fn item_of(list: Shape<'_>) -> Shape<'_> {
    match list {
        Cow::Borrowed(list) => item(list),
        Cow::Owned(list) => Cow::Owned(item(&list).into_owned()),
    }
}

/// Returns the source text of an expression that only reads members and items, such as `a.b[0]`.
fn path(expression: &Expr<'_>) -> Option<String> {
    match expression {
        Expr::Var(var) => Some(var.id.to_owned()),
        Expr::GetAttr(get) => Some(format!("{}.{}", path(&get.expr)?, get.name)),
        Expr::GetItem(get) => match &get.subscript_expr {
            Expr::Const(constant) => {
                let subscript = serde_json::to_string(&constant.value).ok()?;
                Some(format!("{}[{subscript}]", path(&get.expr)?))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Returns a description of an expression's value for a message, such as "the output of step a".
fn owner(expression: &Expr<'_>) -> String {
    let path = path(expression).unwrap_or_default();
    match path.split('.').collect::<Vec<_>>()[..] {
        ["input"] => "the flow's input".to_owned(),
        ["item"] => "an item of this list".to_owned(),
        ["run"] => "a run".to_owned(),
        ["steps", id] => format!("the output of step {id}"),
        _ if path.is_empty() => "the value".to_owned(),
        _ => path,
    }
}
