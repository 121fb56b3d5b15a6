//! Names, members and items in expressions: what each part of a path yields.

use minijinja::machinery::ast::Expr;
use serde_json::Value;
use trunkline_core::closest;

use crate::{
    typing::{
        infer::{Names, ROOTS, Walk, constant_text},
        schema_algebra::{self, Member, item, kinds, of_kinds},
    },
    values::json_kinds::Kinds,
};

impl Walk<'_> {
    /// An element of a list, or a member of an object whose name is in quotes.
    pub(super) fn subscript(&mut self, of: &Expr<'_>, subscript: &Expr<'_>) -> Value {
        if let Some(name) = constant_text(subscript) {
            return self.attribute(of, name);
        }
        let (list, index) = (self.walk_where(self.may_be_missing, of), self.walk_where(false, subscript));
        if kinds(&list) != Kinds::LIST {
            return Value::Bool(true);
        }
        if kinds(&index).excludes(Kinds::INTEGER) {
            self.error(format!("uses {} as the index of a list, where a whole number is needed", kinds(&index)));
        }
        item(&list)
    }

    /// The value of a name that an expression begins with.
    pub(super) fn root(&mut self, name: &str) -> Value {
        self.roots.insert(name.to_owned());
        if !ROOTS.contains(&name) {
            let hint = format!("an expression begins with one of: {}; a text must be in quotes", ROOTS.join(", "));
            self.error_with_hint(format!("begins with the unknown name {name}"), hint);
        }
        let Some(names) = self.names else { return Value::Bool(true) };
        match name {
            "input" => names.input.clone(),
            "run" => schema_algebra::object_of([("id".to_owned(), of_kinds(Kinds::TEXT))].into_iter().collect()),
            "steps" => of_kinds(Kinds::OBJECT),
            "item" => names.item.clone().unwrap_or_else(|| {
                match names.items {
                    Some(_) => self.error_with_hint("uses item, but a batch has only items", "use {{ items }}"),
                    None => self.error("uses item, which exists only inside the steps of an `each`"),
                }
                Value::Bool(true)
            }),
            "items" => names.items.clone().unwrap_or_else(|| {
                self.error("uses items, which exists only inside the steps of an `each` with `batch`");
                Value::Bool(true)
            }),
            "error" if !names.error => {
                self.error("uses error, which exists only inside of `on_error` and `on_failure`");
                Value::Bool(true)
            }
            "error" => {
                let text = |name: &str| (name.to_owned(), of_kinds(Kinds::TEXT.or(Kinds::NULL)));
                schema_algebra::object_of(["kind", "message", "hint", "step"].map(text).into_iter().collect())
            }
            _ => Value::Bool(true),
        }
    }

    /// A member of a value: `x.name`. A member of `steps` is the output of a step.
    pub(super) fn attribute(&mut self, of: &Expr<'_>, name: &str) -> Value {
        match (of, self.names) {
            (Expr::Var(var), Some(names)) if var.id == "steps" => self.step(names, name),
            _ => {
                let shape = self.walk_where(self.may_be_missing, of);
                self.member(&shape, name, &owner(of))
            }
        }
    }

    /// The output of a step.
    fn step(&mut self, names: &Names, id: &str) -> Value {
        self.roots.insert("steps".into());
        let Some(output) = names.steps.get(id) else {
            let before: Vec<_> = names.steps.keys().map(String::as_str).collect();
            let hint = match (closest(id, before.iter().copied()), before.is_empty()) {
                (Some(close), _) => format!("did you mean {close}?"),
                (None, true) => "it can only refer to earlier steps, and there are none".to_owned(),
                (None, false) => format!("steps before this one: {}", before.join(", ")),
            };
            self.error_with_hint(format!("refers to the step {id}: no step {id} runs before this one"), hint);
            return Value::Bool(true);
        };
        if !output.certain && !self.may_be_missing {
            let hint = format!(
                "a condition may leave it out, or it may fail; give it a default: {{{{ steps.{id}.NAME | default(..) }}}}"
            );
            self.warn(format!("refers to the step {id}, which may not have run"), hint);
        }
        output.shape.clone()
    }

    /// A member of an object. Reports a member that the object cannot have.
    pub(super) fn member(&mut self, shape: &Value, name: &str, owner: &str) -> Value {
        let known = kinds(shape);
        if known.excludes(Kinds::OBJECT) {
            let hint = match known {
                Kinds::LIST => "select an item with [0], or use map('..') to read a member of each item",
                _ => "use the value itself",
            };
            self.error_with_hint(format!("reads the member {name} of {known}, which has no members"), hint);
            return Value::Bool(true);
        }
        match schema_algebra::member(shape, name) {
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
        Value::Bool(true)
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
