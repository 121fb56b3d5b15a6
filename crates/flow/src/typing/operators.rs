//! Checks the operands of operators, and infers their results: arithmetic, joining, comparison.

use minijinja::machinery::ast::{BinOpKind, CompareOpKind, Expr};
use serde_json::Value;

use crate::{
    typing::{
        infer::{TO_TEXT_HINT, Walk},
        schema_algebra::{self, item, kinds, of_kinds},
    },
    values::json_kinds::Kinds,
};

impl Walk<'_> {
    /// An operation with two operands.
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
                let role = if matches!(op, Op::ScAnd) { "and" } else { "or" };
                self.condition(left, role);
                self.condition(right, role)
            }
            Op::Concat => {
                self.joins += 1;
                for side in [left, right] {
                    let shape = self.walk(side);
                    self.check_joined(&shape);
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
                    let what = format!("adds {left} and {right}, which + cannot do");
                    self.error_with_hint(what, "use ~ to join texts: it converts numbers to text");
                }
                of_kinds(possible.into_iter().fold(Kinds::NOTHING, Kinds::or))
            }
            _ => {
                let both = [left, right].map(|side| kinds(&self.number(side, "in a calculation")));
                let whole = both.iter().all(|kind| kind.within(Kinds::INTEGER));
                of_kinds(if whole && !matches!(op, Op::Div | Op::Pow) { Kinds::INTEGER } else { Kinds::NUMBER })
            }
        }
    }

    /// Reports null in a text, and warns of a list or object that becomes part of one.
    fn check_joined(&mut self, shape: &Value) {
        let known = kinds(shape);
        if known == Kinds::NULL {
            self.error_with_hint("joins null, which cannot be part of a text", "add the filter default(..)");
        }
        if known.within(Kinds::LIST.or(Kinds::OBJECT)) {
            self.warn(format!("puts {known} into a text"), TO_TEXT_HINT);
        }
    }

    /// Reports a comparison that cannot work, or that always has the same result.
    pub(super) fn compare(&mut self, op: CompareOpKind, left: &Value, right: &Value) {
        use CompareOpKind as Op;
        let (one, other) = (kinds(left).all_numbers(), kinds(right).all_numbers());
        match op {
            Op::In | Op::NotIn => {
                if other.excludes(Kinds::LIST.or(Kinds::TEXT).or(Kinds::OBJECT)) {
                    self.error(format!("uses `in` with {other}, where a list, a text or an object is needed"));
                } else if other == Kinds::LIST {
                    self.check_equality(left, &item(right), true);
                } else if other.excludes(Kinds::LIST) && one.excludes(Kinds::TEXT) {
                    let what = format!("looks for {one} in {other}, which has only texts");
                    self.error_with_hint(what, "convert it with the filter string");
                }
            }
            Op::Eq | Op::Ne => self.check_equality(left, right, false),
            Op::Lt | Op::Lte | Op::Gt | Op::Gte => {
                if one.excludes(other) {
                    let what = format!("compares {one} with {other}: neither is greater than the other");
                    self.error_with_hint(what, "convert a text to a number with the filter int or number");
                } else if (one & other).within(Kinds::LIST.or(Kinds::OBJECT).or(Kinds::NULL).or(Kinds::BOOLEAN)) {
                    self.error(format!("orders {one} by size: only numbers and texts have an order"));
                }
            }
        }
    }

    /// Reports two values that can never be equal. With `each`, `right` is the shape of a list's items, and each of
    /// them must be a possible value of `left`.
    fn check_equality(&mut self, left: &Value, right: &Value, each: bool) {
        let (one, other) = (kinds(left).all_numbers(), kinds(right).all_numbers());
        if one == Kinds::NULL || other == Kinds::NULL {
            return;
        }
        if one.excludes(other) {
            let what = format!("compares {one} with {other}: they are never equal");
            self.error_with_hint(what, "convert one of them with the filter int, number or string");
            return;
        }
        let (Some(all), Some(given)) = (schema_algebra::values(left), schema_algebra::values(right)) else { return };
        let (all, given) = if each || all.len() > 1 { (all, given) } else { (given, all) };
        if all.len() < 2 {
            return;
        }
        let impossible: Vec<_> = given.iter().copied().filter(|value| !all.contains(value)).collect();
        if impossible.len() == given.len() || (each && !impossible.is_empty()) {
            let what = format!("compares with {}, which is never the value", schema_algebra::list(&impossible));
            self.error_with_hint(what, format!("the possible values are {}", schema_algebra::list(&all)));
        }
    }
}
