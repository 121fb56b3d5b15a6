//! The tree of an expression, as it is evaluated.

use minijinja::{
    machinery::ast::{BinOpKind, CallArg, Compare, CompareOpKind, Expr, Filter as FilterCall, Test, UnaryOpKind},
    value::Value as Dynamic,
};

use crate::filters::{Filter, environment};

/// A part of an expression.
#[derive(Debug)]
pub(crate) enum Tree {
    Constant(Dynamic),
    /// A name that expressions begin with, such as `input`.
    Name(Box<str>),
    Member(Box<Tree>, Box<str>),
    Item(Box<Tree>, Box<Tree>),
    /// A part of a list or text: `[from:to]`.
    Slice(Box<Tree>, [Option<Box<Tree>>; 2]),
    Not(Box<Tree>),
    Negative(Box<Tree>),
    And(Box<[Tree; 2]>),
    Or(Box<[Tree; 2]>),
    Join(Box<[Tree; 2]>),
    Arithmetic(Operator, Box<[Tree; 2]>),
    /// A chain of comparisons, such as `1 < x < 3`.
    Comparison(Box<Tree>, Vec<(Relation, Tree)>),
    Choice {
        condition: Box<Tree>,
        yes: Box<Tree>,
        no: Option<Box<Tree>>,
    },
    Filter {
        filter: &'static Filter,
        of: Box<Tree>,
        arguments: Vec<Tree>,
    },
    IsDefined(Box<Tree>),
    IsNone(Box<Tree>),
    List(Vec<Tree>),
    Object(Vec<(Tree, Tree)>),
}

/// An operator of arithmetic. `+` also joins texts and lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}

/// A relation between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

impl Tree {
    /// Builds the tree of an expression, or returns `None` if it has a part that expressions cannot have, such as the
    /// call of a function. The type check reports such parts.
    pub(crate) fn build(expression: &Expr<'_>) -> Option<Tree> {
        let boxed = |part: &Expr<'_>| Tree::build(part).map(Box::new);
        let optional = |part: &Option<Expr<'_>>| match part {
            None => Some(None),
            Some(part) => boxed(part).map(Some),
        };
        Some(match expression {
            Expr::Const(constant) => Tree::Constant(constant.value.clone()),
            Expr::Var(name) => Tree::Name(name.id.into()),
            Expr::GetAttr(get) => Tree::Member(boxed(&get.expr)?, get.name.into()),
            Expr::GetItem(get) => match &get.subscript_expr {
                Expr::Const(name) if name.value.as_str().is_some() => {
                    Tree::Member(boxed(&get.expr)?, name.value.as_str()?.into())
                }
                index => Tree::Item(boxed(&get.expr)?, boxed(index)?),
            },
            Expr::Slice(slice) if slice.step.is_none() => {
                Tree::Slice(boxed(&slice.expr)?, [optional(&slice.start)?, optional(&slice.stop)?])
            }
            Expr::UnaryOp(unary) => match unary.op {
                UnaryOpKind::Not => Tree::Not(boxed(&unary.expr)?),
                UnaryOpKind::Neg => Tree::Negative(boxed(&unary.expr)?),
            },
            Expr::BinOp(binary) => Tree::binary(binary.op, Tree::build(&binary.left)?, Tree::build(&binary.right)?),
            Expr::Compare(compare) => Tree::comparison(compare)?,
            Expr::IfExpr(choice) => Tree::Choice {
                condition: boxed(&choice.test_expr)?,
                yes: boxed(&choice.true_expr)?,
                no: optional(&choice.false_expr)?,
            },
            Expr::Filter(call) => Tree::filter(call)?,
            Expr::Test(test) => Tree::test(test)?,
            Expr::List(list) => Tree::List(list.items.iter().map(Tree::build).collect::<Option<_>>()?),
            Expr::Map(map) => {
                let members = map.keys.iter().zip(&map.values);
                let build = |(name, value)| Some((Tree::build(name)?, Tree::build(value)?));
                Tree::Object(members.map(build).collect::<Option<_>>()?)
            }
            Expr::Slice(_) | Expr::Call(_) | Expr::Tuple(_) => return None,
        })
    }

    fn binary(op: BinOpKind, left: Tree, right: Tree) -> Tree {
        use BinOpKind as Op;
        let relation = |relation, [left, right]: [Tree; 2]| Tree::Comparison(Box::new(left), vec![(relation, right)]);
        let arithmetic = |operator, both| Tree::Arithmetic(operator, Box::new(both));
        let both = [left, right];
        match op {
            Op::Eq => relation(Relation::Equal, both),
            Op::Ne => relation(Relation::NotEqual, both),
            Op::Lt => relation(Relation::Less, both),
            Op::Lte => relation(Relation::LessOrEqual, both),
            Op::Gt => relation(Relation::Greater, both),
            Op::Gte => relation(Relation::GreaterOrEqual, both),
            Op::In => relation(Relation::In, both),
            Op::ScAnd => Tree::And(Box::new(both)),
            Op::ScOr => Tree::Or(Box::new(both)),
            Op::Concat => Tree::Join(Box::new(both)),
            Op::Add => arithmetic(Operator::Add, both),
            Op::Sub => arithmetic(Operator::Subtract, both),
            Op::Mul => arithmetic(Operator::Multiply, both),
            Op::Div => arithmetic(Operator::Divide, both),
            Op::FloorDiv => arithmetic(Operator::FloorDivide, both),
            Op::Rem => arithmetic(Operator::Remainder, both),
            Op::Pow => arithmetic(Operator::Power, both),
        }
    }

    fn comparison(compare: &Compare<'_>) -> Option<Tree> {
        use CompareOpKind as Op;
        let relation = |op| match op {
            Op::Eq => Relation::Equal,
            Op::Ne => Relation::NotEqual,
            Op::Lt => Relation::Less,
            Op::Lte => Relation::LessOrEqual,
            Op::Gt => Relation::Greater,
            Op::Gte => Relation::GreaterOrEqual,
            Op::In => Relation::In,
            Op::NotIn => Relation::NotIn,
        };
        let others = compare.ops.iter().map(|op| Some((relation(op.op), Tree::build(&op.expr)?)));
        Some(Tree::Comparison(Box::new(Tree::build(&compare.expr)?), others.collect::<Option<_>>()?))
    }

    fn filter(call: &FilterCall<'_>) -> Option<Tree> {
        let argument = |argument: &CallArg<'_>| match argument {
            CallArg::Pos(argument) => Tree::build(argument),
            _ => None,
        };
        Some(Tree::Filter {
            filter: environment::find(call.name)?,
            of: Box::new(Tree::build(call.expr.as_ref()?)?),
            arguments: call.args.iter().map(argument).collect::<Option<_>>()?,
        })
    }

    fn test(test: &Test<'_>) -> Option<Tree> {
        let of = Box::new(Tree::build(&test.expr)?);
        match test.name {
            "defined" => Some(Tree::IsDefined(of)),
            "none" => Some(Tree::IsNone(of)),
            _ => None,
        }
    }

    /// Returns whether its value depends on nothing outside of it.
    pub(crate) fn is_constant(&self) -> bool {
        match self {
            Tree::Constant(_) => true,
            Tree::Name(_) => false,
            Tree::Member(of, _) | Tree::Not(of) | Tree::Negative(of) | Tree::IsDefined(of) | Tree::IsNone(of) => {
                of.is_constant()
            }
            Tree::Item(of, at) => of.is_constant() && at.is_constant(),
            Tree::Slice(of, bounds) => of.is_constant() && bounds.iter().flatten().all(|bound| bound.is_constant()),
            Tree::And(both) | Tree::Or(both) | Tree::Join(both) | Tree::Arithmetic(_, both) => {
                both.iter().all(Tree::is_constant)
            }
            Tree::Comparison(first, others) => first.is_constant() && others.iter().all(|(_, one)| one.is_constant()),
            Tree::Choice { condition, yes, no } => {
                condition.is_constant() && yes.is_constant() && no.as_ref().is_none_or(|no| no.is_constant())
            }
            // A filter may read the tables of the flow.
            Tree::Filter { filter, of, arguments } => {
                filter.name != "lookup" && of.is_constant() && arguments.iter().all(Tree::is_constant)
            }
            Tree::List(items) => items.iter().all(Tree::is_constant),
            Tree::Object(members) => members.iter().all(|(name, value)| name.is_constant() && value.is_constant()),
        }
    }
}
