//! Infers what an expression yields before anything runs.
//!
//! minijinja parses the expression to a tree, and a walk over the tree gives each node a shape, which is a JSON Schema.
//! An operation that cannot work on its shapes is reported; where a shape is not known, anything is accepted.
//!
//! The same walk decides whether an expression may be compiled at all, then without knowing the value of any name:
//! functions and unknown filters are rejected, and so are expressions that are too large.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use minijinja::{
    machinery::{
        Token,
        ast::{self, Compare, Const, Expr, Slice, Test, UnaryOpKind},
        parse_expr, tokenize,
    },
    syntax::SyntaxConfig,
    value::Value as Dynamic,
};
use serde_json::{Map, Value, json};
use trunkline_core::{Diagnostic, NUMBER_HINT, Severity, lossy_number};

use crate::{
    evaluation::{BOOLEAN_HINT, Tree},
    filters::environment::TESTS,
    typing::{
        completion::Completion,
        names::Names,
        schema_algebra::{self, Shape, count, either, item, kinds, list_of, of_kinds},
    },
    values::{
        conversion::{detail, to_json},
        json_kinds::Kinds,
    },
};

/// The names that an expression can begin with.
pub(crate) const ROOTS: [&str; 6] = ["input", "steps", "item", "items", "error", "run"];

/// The largest number of `~` and `+` in an expression: each of them copies both of its operands.
const MAX_JOINS: usize = 64;
/// The largest number of tokens in an expression: the parser needs stack for each token that is nested in another.
const MAX_TOKENS: usize = 1024;
/// The deepest nesting of brackets. The parser gives up at 75, without saying so.
const MAX_BRACKETS: usize = 64;
/// The deepest nesting of an expression's parts; `a.b.c` is three levels deep. Each walk over the tree needs stack for
/// it.
const MAX_DEPTH: usize = 128;

/// The largest number of values that the shape of one expression copies from others. Of a larger part, only the kinds
/// are known: otherwise a short expression could cost as much as the largest schema.
const MAX_COPIED: usize = 1000;

/// The hint where a list or object becomes part of a text.
pub(crate) const TO_TEXT_HINT: &str = "convert it first, with the filter join(', ') or json";
/// The hint where an expression exceeds a limit.
const DIVIDE_HINT: &str = "divide it among several steps with `set`";

/// Returns the tree of an expression, if it may be evaluated. The error is everything that is wrong with the expression.
pub(crate) fn admit(source: &str, pointer: &str) -> Result<Tree, Vec<Diagnostic>> {
    check_size(source, pointer).map_err(|found| vec![found])?;
    let mut walk = Walk::new(source, pointer, None);
    walk.numbers();
    if walk.has_errors() {
        return Err(walk.found);
    }
    let (_, tree) = walk.source();
    if tree.is_none() && !walk.has_errors() {
        walk.error("has a part that expressions cannot have");
    }
    match tree {
        Some(tree) if !walk.has_errors() => Ok(tree),
        _ => Err(walk.found),
    }
}

/// Fails if an expression is too large for the parser.
pub(super) fn check_size(source: &str, pointer: &str) -> Result<(), Diagnostic> {
    if tokenize(source, true, SyntaxConfig::default()).take(MAX_TOKENS + 1).count() > MAX_TOKENS {
        let found =
            Diagnostic::over_limit(pointer, format!("an expression has more than {MAX_TOKENS} words and signs"));
        return Err(found.hint(format!("{DIVIDE_HINT}, or put lists into `tables`")));
    }
    if brackets(source) > MAX_BRACKETS {
        let message = format!("an expression has brackets nested more than {MAX_BRACKETS} levels deep");
        return Err(Diagnostic::over_limit(pointer, message).hint(DIVIDE_HINT));
    }
    Ok(())
}

/// Returns the deepest nesting of brackets in an expression.
fn brackets(source: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for (token, _) in tokenize(source, true, SyntaxConfig::default()).filter_map(Result::ok) {
        match token {
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => depth += 1,
            Token::ParenClose | Token::BracketClose | Token::BraceClose => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// What is known about the result of an expression before a run.
pub(crate) struct Inferred<'a> {
    pub(crate) shape: Shape<'a>,
    /// The value, if the expression is constant.
    pub(crate) constant: Option<Value>,
    /// The names that it refers to, such as `item`.
    pub(crate) roots: BTreeSet<String>,
    pub(crate) found: Vec<Diagnostic>,
}

/// Infers the result of an expression that [`admit`] has accepted.
pub(crate) fn infer<'a>(source: &'a str, pointer: &'a str, names: &'a Names<'a>) -> Inferred<'a> {
    let mut walk = Walk::new(source, pointer, Some(names));
    let (shape, tree) = walk.source();
    let constant = tree.filter(|tree| tree.is_constant() && !walk.has_errors()).and_then(|tree| walk.constant(&tree));
    Inferred { shape, constant, roots: walk.roots, found: walk.found }
}

/// A walk over the tree of one expression.
pub(super) struct Walk<'a> {
    source: &'a str,
    pointer: &'a str,
    /// `None` while the expression is being admitted: nothing is known about any value.
    pub(super) names: Option<&'a Names<'a>>,
    found: Vec<Diagnostic>,
    pub(super) roots: BTreeSet<String>,
    pub(super) joins: usize,
    /// The number of values that may still be copied.
    left: usize,
    depth: usize,
    /// Whether the value may be missing: before `default`, and in `is defined`.
    pub(super) may_be_missing: bool,
    /// What the word at the cursor can be, if there is a cursor.
    pub(super) completions: Option<Vec<Completion>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(source: &'a str, pointer: &'a str, names: Option<&'a Names<'a>>) -> Self {
        Walk {
            source,
            pointer,
            names,
            found: Vec::new(),
            roots: BTreeSet::new(),
            joins: 0,
            left: MAX_COPIED,
            depth: 0,
            may_be_missing: false,
            completions: None,
        }
    }

    /// Reports numbers that cannot be kept as they are written.
    fn numbers(&mut self) {
        for (token, span) in tokenize(self.source, true, SyntaxConfig::default()).filter_map(Result::ok) {
            let written = self.source.get(span.start_offset as usize..span.end_offset as usize).unwrap_or_default();
            let reason = match token {
                Token::Int128(_) => Some("it is a whole number of more than 64 bits"),
                Token::Float(_) => lossy_number(&written.replace('_', "")),
                _ => None,
            };
            if let Some(reason) = reason {
                let what = format!("has the number {written}, which cannot be kept exactly, because {reason}");
                self.error_with_hint(what, NUMBER_HINT);
            }
        }
    }

    /// Returns the value of a constant expression, and reports why it has none.
    fn constant(&mut self, tree: &Tree) -> Option<Value> {
        match tree.evaluate(&Dynamic::default()) {
            Ok(value) => to_json(&value).ok(),
            Err(fault) => {
                let what = format!("cannot be evaluated: {}", fault.reason);
                match fault.hint {
                    Some(hint) => self.error_with_hint(what, hint),
                    None => self.error(what),
                }
                None
            }
        }
    }

    fn has_errors(&self) -> bool {
        self.found.iter().any(|one| one.severity == Severity::Error)
    }

    /// Walks over the whole expression; returns its shape, and its tree.
    fn source(&mut self) -> (Shape<'a>, Option<Tree>) {
        let expression = match parse_expr(self.source) {
            Ok(expression) => expression,
            Err(error) => {
                self.error(format!("is not a valid expression: {}", detail(&error)));
                return (UNKNOWN, None);
            }
        };
        let shape = self.walk(&expression);
        if self.joins > MAX_JOINS {
            let message = format!("{{{{ {} }}}} joins with ~ or + more than {MAX_JOINS} times", self.source);
            self.report(Diagnostic::over_limit(self.pointer, message).hint(DIVIDE_HINT));
        }
        (shape, Tree::build(&expression))
    }

    fn report(&mut self, found: Diagnostic) {
        if !self.found.contains(&found) {
            self.found.push(found);
        }
    }

    /// Reports an error; `what` completes the sentence that begins with the expression.
    pub(super) fn error(&mut self, what: impl fmt::Display) {
        self.report(Diagnostic::error(self.pointer, format!("{{{{ {} }}}} {what}", self.source)));
    }

    /// Reports an error with advice.
    pub(super) fn error_with_hint(&mut self, what: impl fmt::Display, hint: impl Into<String>) {
        self.report(Diagnostic::error(self.pointer, format!("{{{{ {} }}}} {what}", self.source)).hint(hint));
    }

    pub(super) fn warn(&mut self, what: impl fmt::Display, hint: impl Into<String>) {
        self.report(Diagnostic::warning(self.pointer, format!("{{{{ {} }}}} {what}", self.source)).hint(hint));
    }

    /// Returns the shape of an expression, and reports what is wrong in it.
    pub(super) fn walk(&mut self, expression: &Expr<'_>) -> Shape<'a> {
        if self.depth == MAX_DEPTH {
            let message = format!("an expression is nested more than {MAX_DEPTH} levels deep");
            self.report(Diagnostic::over_limit(self.pointer, message).hint(DIVIDE_HINT));
            return UNKNOWN;
        }
        self.depth += 1;
        let shape = self.node(expression);
        self.depth -= 1;
        shape
    }

    /// Like [`Walk::walk`], for an expression whose value may or may not be missing. In a path, any part may be missing.
    pub(super) fn walk_where(&mut self, may_be_missing: bool, expression: &Expr<'_>) -> Shape<'a> {
        let is_path = matches!(expression, Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_));
        let may_be_missing = may_be_missing && is_path;
        let before = std::mem::replace(&mut self.may_be_missing, may_be_missing);
        let shape = self.walk(expression);
        self.may_be_missing = before;
        shape
    }

    /// Returns a copy of a shape. If there are too many copies, only its kinds are known.
    pub(super) fn own(&mut self, shape: Shape<'_>) -> Value {
        match shape {
            Cow::Owned(shape) => shape,
            Cow::Borrowed(shape) => match self.left.checked_sub(count(shape, self.left)) {
                Some(left) => {
                    self.left = left;
                    shape.clone()
                }
                None => of_kinds(kinds(shape)),
            },
        }
    }

    /// Returns the shape of a value that has one of these shapes, each of which occurs.
    pub(super) fn either(&mut self, shapes: Vec<Shape<'_>>) -> Value {
        either(shapes.into_iter().map(|shape| self.own(shape)).collect::<Vec<_>>())
    }

    fn node(&mut self, expression: &Expr<'_>) -> Shape<'a> {
        let shape = match expression {
            Expr::Var(var) => return self.root(var.id),
            Expr::GetAttr(get) => return self.attribute(&get.expr, get.name),
            Expr::GetItem(get) => return self.subscript(&get.expr, &get.subscript_expr),
            Expr::Filter(filter) => return self.filter(filter),
            Expr::Const(constant) => literal(constant),
            Expr::Slice(slice) => self.slice(slice),
            Expr::UnaryOp(unary) => match unary.op {
                UnaryOpKind::Not => self.condition(&unary.expr, "not"),
                UnaryOpKind::Neg => {
                    let shape = self.number(&unary.expr, "after -");
                    of_kinds(kinds(&shape) & Kinds::NUMBER)
                }
            },
            Expr::BinOp(binary) => self.binary(binary.op, &binary.left, &binary.right),
            Expr::Compare(compare) => self.comparison(compare),
            Expr::IfExpr(choice) => {
                self.condition(&choice.test_expr, "if");
                let yes = self.walk(&choice.true_expr);
                let no = choice.false_expr.as_ref().map(|no| self.walk(no));
                self.either([Some(yes), no].into_iter().flatten().collect())
            }
            Expr::Test(test) => self.test(test),
            Expr::Call(_) => {
                let what = "calls a function, but expressions have no functions";
                self.error_with_hint(what, "use a filter: {{ value | filter }}");
                Value::Bool(true)
            }
            Expr::List(list) => {
                let items: Vec<_> = list.items.iter().map(|item| self.walk(item)).collect();
                list_of(self.either(items))
            }
            Expr::Tuple(_) => {
                self.error_with_hint("has a list in round brackets", "write lists in square brackets: [1, 2]");
                Value::Bool(true)
            }
            Expr::Map(map) => self.object(map),
        };
        Cow::Owned(shape)
    }

    /// A part of a list or text: `[from:to]`.
    fn slice(&mut self, slice: &Slice<'_>) -> Value {
        let shape = self.walk(&slice.expr);
        for bound in [&slice.start, &slice.stop].into_iter().flatten() {
            self.number(bound, "as a bound of [from:to]");
        }
        if slice.step.is_some() {
            self.error_with_hint("uses [from:to:step], which is not supported", "use two numbers at most: [from:to]");
        }
        if kinds(&shape).excludes(Kinds::LIST.or(Kinds::TEXT)) {
            self.error(format!("uses [from:to] on {}, where a list or a text is needed", kinds(&shape)));
        }
        match kinds(&shape) {
            Kinds::TEXT => of_kinds(Kinds::TEXT),
            Kinds::LIST => {
                let item = self.own(item(&shape));
                list_of(item)
            }
            _ => Value::Bool(true),
        }
    }

    /// A chain of comparisons, such as `1 < x < 3`.
    fn comparison(&mut self, compare: &Compare<'_>) -> Value {
        let mut left = self.walk(&compare.expr);
        for op in &compare.ops {
            let right = self.walk(&op.expr);
            self.compare(op.op, &left, &right);
            left = right;
        }
        of_kinds(Kinds::BOOLEAN)
    }

    /// A test, such as `x is defined`.
    fn test(&mut self, test: &Test<'_>) -> Value {
        if self.is_cursor(test.name) {
            self.complete_test();
            return of_kinds(Kinds::BOOLEAN);
        }
        if !TESTS.contains(&test.name) || !test.args.is_empty() {
            let hint = format!("use one of: {}", TESTS.map(|name| format!("is {name}")).join(", "));
            self.error_with_hint(format!("uses a test that does not exist: is {}", test.name), hint);
        }
        self.walk_where(test.name == "defined", &test.expr);
        of_kinds(Kinds::BOOLEAN)
    }

    /// An object: `{'name': value}`. Its members are known if all names are constant.
    fn object(&mut self, map: &ast::Map<'_>) -> Value {
        let mut members = Some(Map::new());
        for (key, value) in map.keys.iter().zip(&map.values) {
            let shape = self.walk(value);
            let shape = self.own(shape);
            match (constant_text(key), &mut members) {
                (Some(name), Some(members)) => {
                    if members.insert(name.to_owned(), shape).is_some() {
                        self.error(format!("has the member {name} twice"));
                    }
                }
                _ => members = None,
            }
        }
        members.map_or_else(|| of_kinds(Kinds::OBJECT), schema_algebra::object_of)
    }

    /// An operand that must be true or false; `role` is the word that it belongs to.
    pub(super) fn condition(&mut self, expression: &Expr<'_>, role: &str) -> Value {
        let shape = self.walk_where(false, expression);
        if kinds(&shape).excludes(Kinds::BOOLEAN) {
            let what = format!("uses {} with `{role}`, where true or false is needed", kinds(&shape));
            self.error_with_hint(what, BOOLEAN_HINT);
        }
        of_kinds(Kinds::BOOLEAN)
    }

    /// An operand that must be a number; `role` says what it is used for.
    pub(super) fn number(&mut self, expression: &Expr<'_>, role: &str) -> Shape<'a> {
        let shape = self.walk(expression);
        if kinds(&shape).excludes(Kinds::NUMBER) {
            self.error(format!("uses {} {role}, where a number is needed", kinds(&shape)));
        }
        shape
    }
}

/// The shape of a value about which nothing is known.
pub(super) const UNKNOWN: Shape<'static> = Cow::Owned(Value::Bool(true));

fn literal(constant: &Const) -> Value {
    serde_json::to_value(&constant.value).map_or(Value::Bool(true), |value| json!({ "const": value }))
}

pub(super) fn constant_text<'a>(expression: &'a Expr<'_>) -> Option<&'a str> {
    match expression {
        Expr::Const(constant) => constant.value.as_str(),
        _ => None,
    }
}
