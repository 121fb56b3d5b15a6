//! What an expression yields, worked out before anything runs: over the tree that minijinja parses it to, each node gets a
//! shape, a JSON Schema. What cannot work is told; what is not known is let pass.
//!
//! The same walk admits an expression when it is compiled, with nothing known of any name: there are no functions, no
//! filters but ours, and nothing that multiplies a text or list.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::{
    machinery::{
        ast::{Const, Expr, UnaryOpKind},
        parse_expr, tokenize,
    },
    syntax::SyntaxConfig,
};
use serde_json::{Map, Value, json};
use trunkline_core::{Diagnostic, Severity, closest};

mod calls;
mod operators;

use crate::{
    filters::TESTS,
    json_kinds::Kinds,
    schema_algebra::{self, Member, either, item, kinds, list_of, of_kinds},
    template::{ROOTS, detail},
};

/// How often one expression may join texts or lists with `~` and `+`: each time all of them are copied.
const MAX_JOINS: usize = 64;
/// Of how many words and signs an expression may be: reading it needs stack for each that lies in another.
const MAX_WORDS: usize = 1024;
/// How deep the parts of an expression may lie in each other; `a.b.c` is three deep. Whoever goes through one needs stack.
const MAX_DEPTH: usize = 128;

/// What is known of the value of a step: its shape, and whether it may be missing because its branch may not run.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) shape: Value,
    pub(crate) certain: bool,
}

/// What expressions at one place can refer to.
#[derive(Clone)]
pub(crate) struct Names {
    pub(crate) input: Value,
    pub(crate) item: Option<Value>,
    /// In a batch.
    pub(crate) items: Option<Value>,
    /// Whether there is an error to speak of.
    pub(crate) error: bool,
    pub(crate) steps: BTreeMap<String, Known>,
    pub(crate) tables: Value,
}

impl Names {
    /// Adds what the steps of a branch yield.
    pub(crate) fn learn(&mut self, branch: Names, runs: bool) {
        for (id, known) in branch.steps {
            let certain = runs && known.certain;
            self.steps.entry(id).or_insert(Known { certain, ..known });
        }
    }
}

/// Whether an expression may be compiled: the operands of `*` that have to be numbers, or what is wrong with it.
pub(crate) fn admit(source: &str, pointer: &str) -> Result<BTreeSet<String>, Vec<Diagnostic>> {
    if tokenize(source, true, SyntaxConfig::default()).take(MAX_WORDS + 1).count() > MAX_WORDS {
        let found = Diagnostic::error(pointer, format!("an expression has more than {MAX_WORDS} words and signs"));
        return Err(vec![found.hint("divide it among steps with `set`, or put lists into `tables`")]);
    }
    let mut walk = Walk::new(source, pointer, None);
    walk.source();
    let faulty = walk.found.iter().any(|one| one.severity == Severity::Error);
    if faulty { Err(walk.found) } else { Ok(walk.factors) }
}

/// What is known of an expression before a run.
pub(crate) struct Inferred {
    pub(crate) shape: Value,
    /// The value, if it is always the same.
    pub(crate) constant: Option<Value>,
    /// The names it begins with, such as `item`.
    pub(crate) roots: BTreeSet<String>,
    pub(crate) found: Vec<Diagnostic>,
}

/// Works out what an admitted expression yields.
pub(crate) fn infer(source: &str, pointer: &str, names: &Names) -> Inferred {
    let mut walk = Walk::new(source, pointer, Some(names));
    let (shape, constant) = walk.source();
    Inferred { shape, constant, roots: walk.roots, found: walk.found }
}

struct Walk<'a> {
    source: &'a str,
    pointer: &'a str,
    names: Option<&'a Names>,
    found: Vec<Diagnostic>,
    factors: BTreeSet<String>,
    roots: BTreeSet<String>,
    joins: usize,
    depth: usize,
    /// Whether a value may be missing here: before `default`, and in `is defined`.
    may_miss: bool,
}

impl<'a> Walk<'a> {
    fn new(source: &'a str, pointer: &'a str, names: Option<&'a Names>) -> Self {
        Walk {
            source,
            pointer,
            names,
            found: Vec::new(),
            factors: BTreeSet::new(),
            roots: BTreeSet::new(),
            joins: 0,
            depth: 0,
            may_miss: false,
        }
    }

    fn source(&mut self) -> (Value, Option<Value>) {
        let expression = match parse_expr(self.source) {
            Ok(expression) => expression,
            Err(error) => {
                self.error(format!("is no expression: {}", detail(&error)));
                return (Value::Bool(true), None);
            }
        };
        let shape = self.walk(&expression);
        if self.joins > MAX_JOINS {
            self.error(format!("joins with ~ or + more than {MAX_JOINS} times"));
        }
        // What was not admitted is not worked out: it might be large.
        let constant = if self.names.is_some() { expression.as_const() } else { None };
        (shape, constant.and_then(|value| serde_json::to_value(value).ok()))
    }

    fn tell(&mut self, found: Diagnostic) {
        if !self.found.contains(&found) {
            self.found.push(found);
        }
    }

    fn error(&mut self, what: impl std::fmt::Display) {
        self.tell(Diagnostic::error(self.pointer, format!("{{{{ {} }}}} {what}", self.source)));
    }

    fn advise(&mut self, what: impl std::fmt::Display, hint: impl Into<String>) {
        self.tell(Diagnostic::error(self.pointer, format!("{{{{ {} }}}} {what}", self.source)).hint(hint));
    }

    fn warn(&mut self, what: impl std::fmt::Display, hint: impl Into<String>) {
        self.tell(Diagnostic::warning(self.pointer, format!("{{{{ {} }}}} {what}", self.source)).hint(hint));
    }

    fn walk(&mut self, expression: &Expr<'_>) -> Value {
        if self.depth == MAX_DEPTH {
            let found = Diagnostic::error(self.pointer, format!("an expression is more than {MAX_DEPTH} parts deep"));
            self.tell(found.hint("divide it among steps with `set`"));
            return Value::Bool(true);
        }
        self.depth += 1;
        let shape = self.part(expression);
        self.depth -= 1;
        shape
    }

    fn part(&mut self, expression: &Expr<'_>) -> Value {
        match expression {
            Expr::Const(constant) => literal(constant),
            Expr::Var(var) => self.root(var.id),
            Expr::GetAttr(get) => self.attribute(&get.expr, get.name),
            Expr::GetItem(get) => match &get.subscript_expr {
                Expr::Const(name) if name.value.as_str().is_some() => {
                    self.attribute(&get.expr, name.value.as_str().unwrap_or_default())
                }
                subscript => {
                    let (list, index) = (self.base(&get.expr), self.walk(subscript));
                    if kinds(&list) != Kinds::LIST {
                        return Value::Bool(true);
                    }
                    if kinds(&index).excludes(Kinds::INTEGER) {
                        self.error(format!("takes {} out of a list: that needs a whole number", kinds(&index)));
                    }
                    item(&list)
                }
            },
            Expr::Slice(slice) => {
                let shape = self.walk(&slice.expr);
                for bound in [&slice.start, &slice.stop].into_iter().flatten() {
                    self.number(bound, "takes a part");
                }
                if slice.step.is_some() {
                    self.advise("takes a part with a step", "two numbers are all there is: [from:to]");
                }
                if kinds(&shape).excludes(Kinds::LIST.or(Kinds::TEXT)) {
                    self.error(format!("takes a part of {}: only lists and texts have parts", kinds(&shape)));
                }
                match kinds(&shape) {
                    Kinds::TEXT => of_kinds(Kinds::TEXT),
                    Kinds::LIST => list_of(item(&shape)),
                    _ => Value::Bool(true),
                }
            }
            Expr::UnaryOp(unary) => match unary.op {
                UnaryOpKind::Not => {
                    self.walk(&unary.expr);
                    of_kinds(Kinds::BOOLEAN)
                }
                UnaryOpKind::Neg => {
                    let shape = self.number(&unary.expr, "puts - before");
                    of_kinds(kinds(&shape) & Kinds::NUMBER)
                }
            },
            Expr::BinOp(binary) => self.binary(binary.op, &binary.left, &binary.right),
            Expr::Compare(compare) => {
                let mut left = self.walk(&compare.expr);
                for op in &compare.ops {
                    let right = self.walk(&op.expr);
                    self.compare(op.op, &left, &right);
                    left = right;
                }
                of_kinds(Kinds::BOOLEAN)
            }
            Expr::IfExpr(choice) => {
                self.walk(&choice.test_expr);
                let yes = self.walk(&choice.true_expr);
                let no = choice.false_expr.as_ref().map(|no| self.walk(no));
                either([Some(yes), no].into_iter().flatten())
            }
            Expr::Filter(filter) => self.filter(filter),
            Expr::Test(test) => {
                if !TESTS.contains(&test.name) || !test.args.is_empty() {
                    let hint = format!("there are: {}", TESTS.join(", "));
                    self.advise(format!("makes a test that does not exist: is {}", test.name), hint);
                }
                self.missable(test.name == "defined", &test.expr);
                of_kinds(Kinds::BOOLEAN)
            }
            Expr::Call(_) => {
                self.advise("calls a function: there are none", "filters do the work: {{ value | filter }}");
                Value::Bool(true)
            }
            Expr::List(list) => {
                let items: Vec<_> = list.items.iter().map(|item| self.walk(item)).collect();
                list_of(either(items))
            }
            Expr::Tuple(_) => {
                self.advise("holds a list in round brackets", "lists stand in square ones: [1, 2]");
                Value::Bool(true)
            }
            Expr::Map(map) => {
                let mut members = Some(Map::new());
                for (key, value) in map.keys.iter().zip(&map.values) {
                    let shape = self.walk(value);
                    match (constant_text(key), &mut members) {
                        (Some(name), Some(members)) => {
                            members.insert(name.to_owned(), shape);
                        }
                        _ => members = None,
                    }
                }
                members.map_or_else(|| of_kinds(Kinds::OBJECT), schema_algebra::object_of)
            }
        }
    }

    /// What a name stands for that an expression begins with.
    fn root(&mut self, name: &str) -> Value {
        self.roots.insert(name.to_owned());
        if !ROOTS.contains(&name) {
            let hint = format!("expressions begin with one of: {}; a text stands in quotes", ROOTS.join(", "));
            self.advise(format!("begins with {name}, which is nothing"), hint);
        }
        let Some(names) = self.names else { return Value::Bool(true) };
        match name {
            "input" => names.input.clone(),
            "run" => schema_algebra::object_of([("id".to_owned(), of_kinds(Kinds::TEXT))].into_iter().collect()),
            "steps" => of_kinds(Kinds::OBJECT),
            "item" => names.item.clone().unwrap_or_else(|| {
                match names.items {
                    Some(_) => self.advise("speaks of an item: in a batch there are items", "write {{ items }}"),
                    None => self.error("speaks of an item: there is one only inside the steps of an `each`"),
                }
                Value::Bool(true)
            }),
            "items" => names.items.clone().unwrap_or_else(|| {
                self.error("speaks of items: there are some only inside the steps of an `each` with batch");
                Value::Bool(true)
            }),
            "error" if !names.error => {
                self.error("speaks of an error: there is one only inside of on_error and on_failure");
                Value::Bool(true)
            }
            "error" => {
                let text = |name: &str| (name.to_owned(), of_kinds(Kinds::TEXT.or(Kinds::NULL)));
                schema_algebra::object_of(["kind", "message", "hint", "step"].map(text).into_iter().collect())
            }
            _ => Value::Bool(true),
        }
    }

    fn attribute(&mut self, of: &Expr<'_>, name: &str) -> Value {
        match (of, self.names) {
            (Expr::Var(var), Some(names)) if var.id == "steps" => self.step(names, name),
            _ => {
                let shape = self.base(of);
                self.member(&shape, name, &owner(of))
            }
        }
    }

    fn step(&mut self, names: &Names, id: &str) -> Value {
        self.roots.insert("steps".into());
        let Some(known) = names.steps.get(id) else {
            let before: Vec<_> = names.steps.keys().map(String::as_str).collect();
            let hint = match (closest(id, before.iter().copied()), before.is_empty()) {
                (Some(close), _) => format!("did you mean {close}?"),
                (None, true) => "no step runs before this one".to_owned(),
                (None, false) => format!("steps before this one: {}", before.join(", ")),
            };
            self.advise(format!("needs the step {id}: no step {id} runs before this one"), hint);
            return Value::Bool(true);
        };
        if !known.certain && !self.may_miss {
            let hint = format!(
                "it depends on a condition, or may fail: {{{{ (steps.{id} | default({{}})).NAME | default(..) }}}}"
            );
            self.warn(format!("needs the step {id}, which may not have run"), hint);
        }
        known.shape.clone()
    }

    /// The shape of a member, which has to be there.
    fn member(&mut self, shape: &Value, name: &str, owner: &str) -> Value {
        let known = kinds(shape);
        if known.excludes(Kinds::OBJECT) {
            let hint =
                if known == Kinds::LIST { "take one with [0], or of each with map('..')" } else { "take it as it is" };
            self.advise(format!("takes {name} of {known}"), hint);
            return Value::Bool(true);
        }
        match schema_algebra::member(shape, name) {
            Member::Is(shape) => return shape,
            Member::Unknown => {}
            Member::Missing { open, declared } => {
                let meant = schema_algebra::meant(name, open, &declared);
                let hint = match (meant, &declared[..]) {
                    (Some(meant), _) => format!("did you mean {meant}?"),
                    (None, []) => "nothing is declared there".to_owned(),
                    (None, declared) => format!("declared: {}", declared.join(", ")),
                };
                if !open {
                    self.advise(format!("needs {name}: {owner} has no {name}"), hint);
                } else if meant.is_some() {
                    self.warn(format!("needs {name}, which {owner} does not declare"), hint);
                }
            }
        }
        Value::Bool(true)
    }

    /// What something is taken of: that has to be there, even where what is taken may be missing.
    fn base(&mut self, expression: &Expr<'_>) -> Value {
        let before = std::mem::take(&mut self.may_miss);
        let shape = self.walk(expression);
        self.may_miss = before;
        shape
    }

    fn missable(&mut self, may_miss: bool, expression: &Expr<'_>) -> Value {
        let before = self.may_miss;
        self.may_miss = may_miss;
        let shape = self.walk(expression);
        self.may_miss = before;
        shape
    }

    /// An operand that has to be a number.
    fn number(&mut self, expression: &Expr<'_>, what: &str) -> Value {
        let shape = self.walk(expression);
        if kinds(&shape).excludes(Kinds::NUMBER) {
            self.error(format!("{what} {}: that needs a number", kinds(&shape)));
        }
        shape
    }
}

fn literal(constant: &Const) -> Value {
    serde_json::to_value(&constant.value).map_or(Value::Bool(true), |value| json!({ "const": value }))
}

fn constant_text<'a>(expression: &'a Expr<'_>) -> Option<&'a str> {
    match expression {
        Expr::Const(constant) => constant.value.as_str(),
        _ => None,
    }
}

/// An expression that only goes through names, as it is written.
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

/// What to call the value of an expression of which a member is taken.
fn owner(expression: &Expr<'_>) -> String {
    let path = path(expression).unwrap_or_default();
    match path.split('.').collect::<Vec<_>>()[..] {
        ["input"] => "the flow's input".to_owned(),
        ["item"] => "an item of this list".to_owned(),
        ["run"] => "a run".to_owned(),
        ["steps", id] => format!("the output of step {id}"),
        _ if path.is_empty() => "it".to_owned(),
        _ => path,
    }
}

#[cfg(test)]
mod tests;
