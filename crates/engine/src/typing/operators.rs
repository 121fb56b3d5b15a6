//! What operators take and give: calculating, joining, comparing.

use minijinja::machinery::ast::{BinOpKind, CompareOpKind, Expr};
use serde_json::{Value, json};

use super::{Walk, path};
use crate::{
    json_kinds::Kinds,
    schema_algebra::{self, item, kinds, of_kinds},
};

impl Walk<'_> {
    pub(super) fn binary(&mut self, op: BinOpKind, left: &Expr<'_>, right: &Expr<'_>) -> Value {
        use BinOpKind as Op;
        let compared = match op {
            Op::Eq => Some(CompareOpKind::Eq),
            Op::Ne => Some(CompareOpKind::Ne),
            Op::Lt => Some(CompareOpKind::Lt),
            Op::Lte => Some(CompareOpKind::Lte),
            Op::Gt => Some(CompareOpKind::Gt),
            Op::Gte => Some(CompareOpKind::Gte),
            Op::In => Some(CompareOpKind::In),
            _ => None,
        };
        if let Some(op) = compared {
            let (left, right) = (self.walk(left), self.walk(right));
            self.compare(op, &left, &right);
            return of_kinds(Kinds::BOOLEAN);
        }
        match op {
            Op::ScAnd | Op::ScOr => {
                let (left, right) = (self.walk(left), self.walk(right));
                json!({ "anyOf": [left, right] })
            }
            Op::Concat => {
                self.joins += 1;
                for side in [left, right] {
                    let shape = self.walk(side);
                    self.spoken(&shape);
                }
                of_kinds(Kinds::TEXT)
            }
            Op::Add => {
                self.joins += 1;
                let (left, right) = (kinds(&self.walk(left)), kinds(&self.walk(right)));
                let whole = (left.or(right) & Kinds::NUMBER).within(Kinds::INTEGER);
                let number = if whole { Kinds::INTEGER } else { Kinds::NUMBER };
                let sums =
                    [(Kinds::NUMBER, number), (Kinds::TEXT, Kinds::TEXT), (Kinds::LIST, Kinds::LIST)].into_iter();
                let possible = sums.filter(|(kind, _)| !kind.excludes(left) && !kind.excludes(right));
                let possible: Vec<_> = possible.map(|(_, sum)| sum).collect();
                if possible.is_empty() {
                    self.advise(format!("adds {left} and {right}"), "~ joins texts, and makes texts of numbers");
                }
                of_kinds(possible.into_iter().fold(Kinds::NOTHING, Kinds::or))
            }
            _ => {
                let both = [left, right].map(|side| {
                    let shape = self.number(side, "calculates with");
                    if matches!(op, Op::Mul) {
                        self.factor(side, &shape);
                    }
                    kinds(&shape)
                });
                let whole = both.iter().all(|kind| kind.within(Kinds::INTEGER));
                of_kinds(if whole && !matches!(op, Op::Div | Op::Pow) { Kinds::INTEGER } else { Kinds::NUMBER })
            }
        }
    }

    /// A text times a number would be a text of any length: what is multiplied has to be a number, or is looked at before.
    fn factor(&mut self, side: &Expr<'_>, shape: &Value) {
        let known = kinds(shape);
        if self.names.is_some() || known.within(Kinds::NUMBER) || known.excludes(Kinds::NUMBER) {
            return;
        }
        match path(side) {
            Some(path) => {
                self.factors.insert(path);
            }
            None => {
                self.advise("multiplies what may be no number", "the filters int and round make sure: (..) | int * 2")
            }
        }
    }

    /// A value that becomes part of a text.
    fn spoken(&mut self, shape: &Value) {
        let known = kinds(shape);
        if known.within(Kinds::LIST.or(Kinds::OBJECT)) {
            self.warn(format!("puts {known} into a text"), "say how: with join(', '), or json");
        }
    }

    pub(super) fn compare(&mut self, op: CompareOpKind, left: &Value, right: &Value) {
        use CompareOpKind as Op;
        let (one, other) = (kinds(left), kinds(right));
        match op {
            Op::In | Op::NotIn => {
                if other.excludes(Kinds::LIST.or(Kinds::TEXT).or(Kinds::OBJECT)) {
                    self.error(format!("looks for something in {other}: that needs a list, a text or an object"));
                } else if other == Kinds::LIST {
                    self.equal(left, &item(right), true);
                }
            }
            Op::Eq | Op::Ne => self.equal(left, right, false),
            Op::Lt | Op::Lte | Op::Gt | Op::Gte => {
                if one.excludes(other) {
                    self.advise(format!("compares {one} with {other}"), "the filter int makes a number of a text");
                } else if (one & other).within(Kinds::LIST.or(Kinds::OBJECT).or(Kinds::NULL).or(Kinds::BOOLEAN)) {
                    self.error(format!("asks which is more of {one}: only numbers and texts have an order"));
                }
            }
        }
    }

    /// Two values that may be equal, and ought to be able to be.
    fn equal(&mut self, left: &Value, right: &Value, each: bool) {
        let (one, other) = (kinds(left), kinds(right));
        if one == Kinds::NULL || other == Kinds::NULL {
            return;
        }
        if one.excludes(other) {
            self.advise(
                format!("compares {one} with {other}: they are never equal"),
                "the filters int and string convert",
            );
            return;
        }
        let (Some(all), Some(given)) = (schema_algebra::values(left), schema_algebra::values(right)) else { return };
        let (all, given) = if each || all.len() > 1 { (all, given) } else { (given, all) };
        if all.len() < 2 {
            return;
        }
        let possible = |value: &&Value| all.contains(value);
        let strange: Vec<_> = given.iter().filter(|value| !possible(value)).cloned().collect();
        if strange.len() == given.len() || (each && !strange.is_empty()) {
            let hint = format!("it is one of {}", schema_algebra::list(&all));
            self.advise(format!("compares with {}, which it never is", schema_algebra::list(&strange)), hint);
        }
    }
}
