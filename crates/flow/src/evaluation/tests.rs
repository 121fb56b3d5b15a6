//! The operators of expressions: what they yield, and what they refuse in words.

use proptest::prelude::*;
use serde_json::{Value, json};
use trunkline_core::{Diagnostic, Result};

use crate::expression::{Scope, Template};

/// Evaluates `source` with `v` as the member `v` of the input.
fn with(source: &str, v: &Value) -> Result<Value> {
    let mut found = Vec::new();
    let template = Template::compile(json!(source), "", &mut found);
    Diagnostic::accept(source, &found)?;
    let scope = Scope::new(&json!({ "v": v, "one": 1, "text": "a" }), "r", &json!({}));
    scope.set_step(&"done".into(), &json!({ "list": [1, { "x": null }] }));
    template.render(&scope)
}

fn yields(expression: &str) -> Result<Value> {
    with(&format!("{{{{ {expression} }}}}"), &Value::Null)
}

fn fault(expression: &str, v: &Value) -> String {
    match with(&format!("{{{{ {expression} }}}}"), v) {
        Err(error) => format!("{error:?}"),
        Ok(value) => panic!("{expression} with {v} yields {value}"),
    }
}

#[test]
fn values_of_different_types_are_not_compared() {
    for v in [json!("5"), json!("5000"), json!(null), json!(true), json!([1]), json!({ "a": 1 })] {
        for relation in ["<", "<=", ">", ">="] {
            let text = fault(&format!("input.v {relation} 1000"), &v);
            assert!(text.contains("a number") && text.contains("compares") && text.contains("next:"), "{text}");
            fault(&format!("1000 {relation} input.v"), &v);
            fault(&format!("0 < 1 {relation} input.v"), &v);
        }
        for relation in ["==", "!="] {
            let compared = with(&format!("{{{{ input.v {relation} 5 }}}}"), &v);
            assert_eq!(compared.is_ok(), v.is_null(), "{relation} {v}: {compared:?}");
        }
        assert_eq!(with("{{ input.v in [5, 6] }}", &v).is_ok(), v.is_null(), "{v}");
        assert_eq!(with("{{ input.v not in [5, '6', false, [], {}] }}", &v).unwrap(), json!(true), "{v}");
    }
    for (one, other) in [("true", "false"), ("[1]", "[2]"), ("{}", "{}"), ("none", "none")] {
        assert!(fault(&format!("{one} < {other}"), &json!(1)).contains("only numbers and texts have an order"));
    }
}

#[test]
fn values_of_one_type_are_compared_by_value() {
    for (expression, expected) in [
        ("2 > 1.5", true),
        ("1 == 1.0", true),
        ("'a' < 'b'", true),
        ("9007199254740993 == 9007199254740992.0", false),
        ("9007199254740993 > 9007199254740992.0", true),
        ("18446744073709551615 > 9223372036854775807", true),
        ("18446744073709551615 == 1.8446744073709552e19", false),
        ("-1 < 18446744073709551615", true),
        ("-0.0 == 0", true),
        ("[1, 2.0] == [1.0, 2]", true),
        ("[1] == ['1']", false),
        ("{'a': 1, 'b': [2]} == {'b': [2], 'a': 1}", true),
        ("{'a': 1} == {'b': 1}", false),
        ("none == none", true),
        ("input.text == none", false),
        ("input.text != none", true),
        ("1 in [1.0]", true),
        ("[7, 8][1.0] == 8 and 'abc'[1.0:] == 'bc'", true),
        ("'b' in 'abc' and 'text' in input", true),
        ("'x' in [none, 'y'] or 1 in []", false),
        ("1 < 2 < 3 and not 1 < 3 < 2", true),
    ] {
        assert_eq!(yields(expression).unwrap(), json!(expected), "{expression}");
    }
}

#[test]
fn a_condition_is_true_or_false() {
    for v in [json!("false"), json!("0"), json!("no"), json!(""), json!(0), json!(1), json!(null), json!([]), json!({})]
    {
        for expression in [
            "not input.v",
            "not not input.v",
            "input.v and true",
            "true and input.v",
            "input.v or true",
            "false or input.v",
            "1 if input.v else 2",
            "1 if input.v",
        ] {
            let text = fault(expression, &v);
            assert!(text.contains("needs true or false, not") && text.contains("next:"), "{text}");
        }
    }
    for (expression, expected) in [
        ("not input.v", false),
        ("input.v and not input.v", false),
        ("false or input.v", true),
        ("true or input.text", true),
        ("false and input.text", false),
        ("true if input.v else input.nothing", true),
    ] {
        assert_eq!(with(&format!("{{{{ {expression} }}}}"), &json!(true)).unwrap(), json!(expected), "{expression}");
    }
}

#[test]
fn a_tilde_joins_as_a_text_with_braces_does() {
    for v in [
        json!(null),
        json!(true),
        json!(false),
        json!(["x", null]),
        json!({ "k": "v" }),
        json!(1e3),
        json!(7),
        json!(-0.5),
        json!("x"),
        json!(18_446_744_073_709_551_615_u64),
    ] {
        let (tilde, braces) = (with("{{ 'Anna ' ~ input.v }}", &v), with("Anna {{ input.v }}", &v));
        assert_eq!(tilde.as_ref().ok(), braces.as_ref().ok(), "{v}");
        assert_eq!(tilde.is_err(), v.is_null(), "{v}");
        assert_eq!(with("{{ input.v ~ '' }}", &v).ok(), with("{{ input.v }}{{ '' }}", &v).ok(), "{v}");
    }
    assert!(fault("'a' ~ input.v", &json!(null)).contains("default(..)"));
}

#[test]
fn arithmetic_is_exact() {
    for (expression, expected) in [
        ("0.1 + 0.2", json!(0.3)),
        ("19.99 * 100", json!(1999.0)),
        ("1.1 - 1", json!(0.1)),
        ("1 / 3", json!(1.0 / 3.0)),
        ("4 / 2", json!(2.0)),
        ("1.0 % 0.1", json!(0.0)),
        ("-7 // 2", json!(-4)),
        ("-7 % 2", json!(1)),
        ("7 % -2", json!(-1)),
        ("7.5 // 2", json!(3.0)),
        ("-7.5 % 2", json!(0.5)),
        ("2 ** 63", json!(9_223_372_036_854_775_808_u64)),
        ("2 ** -1", json!(0.5)),
        ("2.5 ** 2", json!(6.25)),
        ("1.1 ** 2", json!(1.21)),
        ("1.1 ** 2.0", json!(1.21)),
        ("-1.1 ** 3", json!(-1.331)),
        ("0.123 ** 20", json!(6.282_062_151_752_021e-19)),
        ("10 ** -3", json!(0.001)),
        ("2 ** -60", json!(0.5_f64.powi(60))),
        ("1.5 ** 0", json!(1.0)),
        ("0.0 ** 2", json!(0.0)),
        ("10.0 ** 15", json!(1e15)),
        ("2.25 ** 0.5", json!(1.5)),
        ("9223372036854775807 + 1", json!(9_223_372_036_854_775_808_u64)),
        ("18446744073709551615 - 1", json!(18_446_744_073_709_551_614_u64)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("9007199254740993 / 3", json!(3_002_399_751_580_331.0)),
        ("18446744073709551615 / 1", json!(u64::MAX)),
        ("9007199254740993 * 1", json!(9_007_199_254_740_993_u64)),
        ("1e-30 * 0.5", json!(5e-31)),
        ("'a' + 'b'", json!("ab")),
        ("[1] + ['b']", json!([1, "b"])),
    ] {
        assert_eq!(yields(expression).unwrap_or_else(|error| panic!("{error:?}")), expected, "{expression}");
    }
}

#[test]
fn arithmetic_that_would_lose_a_digit_is_refused() {
    for (expression, words) in [
        ("18446744073709551615 + 1", "more than 64 bits"),
        ("-9223372036854775807 - 2", "more than 64 bits"),
        ("4294967296 * 4294967296 * 2", "more than 64 bits"),
        ("10 ** 20", "more than 64 bits"),
        ("-18446744073709551615", "more than 64 bits"),
        ("9007199254740993 + 0.5", "all its digits"),
        ("9007199254740993 * 1.0", "all its digits"),
        ("18446744073709551615 / 2", "all its digits"),
        ("1e20 + 1", "all its digits"),
        ("1e308 * 10", "all its digits"),
        ("1e-300 * 1e-300", "all its digits"),
        ("-1.5 ** 0.5", "no real result"),
        ("-8 ** 0.5", "no real result"),
        ("1e308 * 10", "1e308 * 10 has"),
        ("10 ** 30", "larger unit"),
        ("10.0 ** 30", "larger unit"),
        ("3.0 ** 60", "larger unit"),
        ("1.5 ** 9007199254740991", "larger unit"),
        ("0.5 ** 5000", "all its digits"),
        ("0.0 ** -1", "divides by zero"),
        ("- 9223372036854775809", "-9223372036854775809 is"),
        ("1 / 0", "divides 1 by zero"),
        ("1.5 % 0.0", "by zero"),
        ("7 // 0", "by zero"),
        ("18446744073709551616 + 0", "18446744073709551616"),
        ("0.1000000000000000055511151231257827 * 1", "more than 17 digits"),
        ("12345678901234567.89", "declare it as text"),
        ("1e400", "declare it as text"),
    ] {
        let text = fault(expression, &json!(1));
        assert!(text.contains(words) && text.contains("next:"), "{expression}: {text}");
    }
    for v in [json!(true), json!("5"), json!(null), json!([1]), json!({})] {
        for operator in ["-", "*", "/", "//", "%", "**", "+"] {
            let text = fault(&format!("1 {operator} input.v"), &v);
            assert!(text.contains("next:"), "{text}");
            fault(&format!("input.v {operator} 1"), &v);
        }
        fault("-input.v", &v);
    }
}

#[test]
fn the_first_missing_member_is_named() {
    for (expression, words) in [
        ("input.a", "input has no member a"),
        ("input.a.b.c", "input has no member a"),
        ("input['a']['b']", "input has no member a"),
        ("input.v.b.c", "input.v has no member b"),
        ("input.v.n.c", "input.v.n is null, and null has no member c"),
        ("input.text.size", "input.text is a text, which has no member size"),
        ("steps.absent.x", "the step absent has no output, because it has not run"),
        ("steps.done.x.y", "steps.done has no member x"),
        ("steps.done.list[2]", "steps.done.list has no item 2: the list has 2 items"),
        ("steps.done.list[-3].x", "steps.done.list has no item -3"),
        ("steps.done.list[1].x.y", "steps.done.list[1].x is null"),
        ("steps.done.list[input.one].z", "steps.done.list[input.one] has no member z"),
        ("input.a ~ 'x'", "input has no member a"),
        ("input.a > 1", "input has no member a"),
        ("not input.a", "input has no member a"),
        ("[1, {'k': input.a}]", "input has no member a"),
        ("input.a | upper", "input has no member a"),
        ("input.a | upper | default('x')", "input has no member a"),
        ("(input.a ~ 'x') | default('x')", "input has no member a"),
        ("[] | first", "the filter first finds no value"),
        ("item.x", "item does not exist here"),
        ("1 if false", "it has no `else`"),
    ] {
        let text = fault(expression, &json!({ "n": null }));
        assert!(text.contains(words) && text.contains("default(..)"), "{expression}: {text}");
    }
}

#[test]
fn a_default_applies_where_any_part_of_a_path_is_missing() {
    for path in [
        "input.a",
        "input.a.b.c",
        "input['a'].b[0]",
        "input.v.n.c",
        "input.v.n[0]",
        "input.text.size",
        "steps.absent.x.y",
        "steps.done.list[7].x",
        "steps.done.list[1].x.y",
        "(steps.absent | default({})).x.y",
        "(steps.done.list | first).x",
        "input.v.list | first",
        "(1 if false)",
    ] {
        let v = json!({ "n": null, "list": [] });
        assert_eq!(with(&format!("{{{{ {path} | default('d') }}}}"), &v).unwrap(), json!("d"), "{path}");
        let defined = with(&format!("{{{{ {path} is defined }}}}"), &v).unwrap();
        assert_eq!(defined, json!(false), "{path}");
    }
}

proptest! {
    #[test]
    fn whole_numbers_are_computed_without_loss(one in any::<i64>(), other in any::<i64>()) {
        let (a, b) = (i128::from(one), i128::from(other));
        for (operator, expected) in [("+", a + b), ("-", a - b), ("*", a * b)] {
            let v = json!({ "a": one, "b": other });
            let found = with(&format!("{{{{ input.v.a {operator} input.v.b }}}}"), &v);
            match (i64::try_from(expected), u64::try_from(expected)) {
                (Ok(number), _) => prop_assert_eq!(found.unwrap(), json!(number)),
                (_, Ok(number)) => prop_assert_eq!(found.unwrap(), json!(number)),
                _ => prop_assert!(found.is_err()),
            }
        }
    }

    #[test]
    fn decimals_are_added_as_on_paper(one in -99_999_999..99_999_999_i64, other in -99_999_999..99_999_999_i64) {
        let cents = |number: i64| format!("{}{}.{:02}", if number < 0 { "-" } else { "" }, number.abs() / 100, number.abs() % 100);
        let v = json!({ "a": cents(one).parse::<f64>().unwrap(), "b": cents(other).parse::<f64>().unwrap() });
        let sum = with("{{ input.v.a + input.v.b }}", &v).unwrap();
        prop_assert_eq!(sum, json!(cents(one + other).parse::<f64>().unwrap()));
    }

    #[test]
    fn an_order_is_found_only_within_a_type(one in 0..6usize, other in 0..6usize) {
        let values = [json!(1), json!(1.5), json!("1"), json!(true), json!(null), json!([1])];
        let v = json!({ "a": values[one], "b": values[other] });
        let is_ordered = (one < 2 && other < 2) || (one == 2 && other == 2);
        prop_assert_eq!(with("{{ input.v.a < input.v.b }}", &v).is_ok(), is_ordered);
    }
}
