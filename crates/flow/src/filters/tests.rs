//! Every filter: its examples, its errors, its limits.

use serde_json::{Value, json};
use trunkline_core::Diagnostic;

use super::{FILTERS, call::MAX_ITEMS};
use crate::{
    expression::{Scope, Template},
    values::conversion::OUTPUT_LIMIT,
};

fn yields(expression: &str, input: &Value) -> trunkline_core::Result<Value> {
    let mut found = Vec::new();
    let template = Template::compile(json!(format!("{{{{ {expression} }}}}")), "", &mut found);
    Diagnostic::accept(expression, &found)?;
    let tables = json!({ "colours": { "rot": "red", "blau": "blue" } });
    template.render(&Scope::new(input, "r1", &tables))
}

#[test]
fn every_filter_example_yields_its_result() {
    for filter in FILTERS {
        assert!(!filter.examples.is_empty(), "{} has no example", filter.name);
        for example in filter.examples {
            let parse = |text: &str| serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let (input, expected): (Value, Value) = (parse(example.input), parse(example.yields));
            assert!(example.expression.contains(filter.name), "{}", example.expression);
            assert_eq!(yields(example.expression, &input).unwrap(), expected, "{}", example.expression);
        }
    }
}

#[test]
fn the_error_of_a_filter_says_what_it_expected() {
    for (expression, words) in [
        ("[1] | upper", "upper takes a text, not a list"),
        ("[1] | upper", "next: convert it with the filter join"),
        ("1 | upper", "next: convert it with the filter string"),
        ("'1' | round", "next: convert it with the filter int or number"),
        ("none | upper", "next: give it a value"),
        ("(input | json_pointer('/none') | default(none)) | string", "give it a value with the filter default(..)"),
        ("(input | json_pointer('/none') | default('1')) | round", "; convert it with the filter int or number"),
        ("(input | json_pointer('/none') | default(1.5)) | date('%Y')", "; convert it with the filter int or round"),
        ("input | upper", "the filter upper takes a text, not an object"),
        ("'a' | split(input)", "the filter split takes a text as separator, not an object"),
        ("'a' | split", "split(separator)"),
        ("'a' | split(1)", "split takes a text as separator, not a whole number"),
        ("'2024-13-01' | date('%Y')", "2024-13-01"),
        ("'2024-01-01' | date('%Y', 'Mars/Phobos')", "Mars/Phobos"),
        ("'2024-01-01' | date('%!')", "%!"),
        ("3 | unit('cm', 'kg')", "cm is a length, kg is a mass"),
        ("3 | unit('cm', 'parsec')", "mm, cm"),
        ("'grün' | lookup('colours')", "grün"),
        ("'rot' | lookup('sizes')", "colours"),
        ("{'a': 1} | json_pointer('a')", "begins with /"),
        ("'x' | int", "x"),
    ] {
        let error = format!("{:?}", yields(expression, &json!({})).unwrap_err());
        assert!(error.contains(words), "{expression}: {error}");
    }
}

#[test]
fn a_filter_fails_on_a_text_or_list_beyond_its_limits() {
    let many = vec!["ab"; MAX_ITEMS + 1];
    let input = json!({ "long": "x,".repeat(OUTPUT_LIMIT), "many": many, "sharp": "ﷺ".repeat(OUTPUT_LIMIT / 4) });
    for expression in [
        "input.long | split(',')",
        "input.long | upper",
        "input.long | slug",
        "input.sharp | slug",
        "input.long | path(0)",
        "input.long | mime",
        "input.long | date('%Y')",
        "input.many | join",
        "input.many | map('length')",
        "input.many | pick('a')",
        "input | json",
        "'2024-01-01' | date(input.long)",
        "[1] | join(input.long)",
    ] {
        let error = yields(expression, &input).map(|value| value.to_string().len()).unwrap_err();
        assert!(error.message().contains("than"), "{expression}: {error:?}");
    }
    // Texts and lists within the limits work.
    let few = json!({ "many": vec!["ab"; 1000], "long": "x,".repeat(1000) });
    assert_eq!(yields("input.many | join | length", &few).unwrap(), json!(2000));
    assert_eq!(yields("input.long | split(',') | length", &few).unwrap(), json!(1001));
}

/// Inputs of an expression as JSON, each with its result, or with nothing if it is refused.
type Inputs = &'static [(&'static str, Option<&'static str>)];

/// Filters whose input has a standard: what each takes, and what it refuses.
const STANDARDS: &[(&str, Inputs)] = &[
    // RFC 3339 and RFC 9557, and the dates of ISO 8601.
    (
        "input.v | date('%Y-%m-%dT%H:%M:%S')",
        &[
            (r#""2024-05-01T12:00:00Z""#, Some("2024-05-01T12:00:00")),
            (r#""2024-05-01t12:00:00z""#, Some("2024-05-01T12:00:00")),
            (r#""2024-05-01 12:00:00+02:00""#, Some("2024-05-01T10:00:00")),
            (r#""2024-05-01T12:00:00-00:00""#, Some("2024-05-01T12:00:00")),
            (r#""2024-05-01T12:00:00.1234567890123Z""#, Some("2024-05-01T12:00:00")),
            (r#""2016-12-31T23:59:60Z""#, Some("2016-12-31T23:59:59")),
            (r#""20240501T120000+0200""#, Some("2024-05-01T10:00:00")),
            (r#""2024-05-01T12:00:00[Europe/Stockholm]""#, Some("2024-05-01T12:00:00")),
            (r#""2024-05-01T12:00:00+02:00[Europe/Stockholm]""#, Some("2024-05-01T12:00:00")),
            (r#""2024-05-01T12:00:00Z[u-ca=gregory]""#, Some("2024-05-01T12:00:00")),
            (r#""2024-05-01T12:00""#, Some("2024-05-01T12:00:00")),
            (r#""2024-05-01""#, Some("2024-05-01T00:00:00")),
            (r#""20240501""#, Some("2024-05-01T00:00:00")),
            (r#""Wed, 01 May 2024 12:00:00 GMT""#, Some("2024-05-01T12:00:00")),
            (r#""Wed, 1 May 2024 12:00:00 +0200""#, Some("2024-05-01T10:00:00")),
            (r#""Mon, 01 May 2024 12:00:00 GMT""#, None),
            (r#""9999-12-31T23:59:59Z""#, Some("9999-12-31T23:59:59")),
            (r#""9999-12-31T23:59:59+01:00""#, Some("9999-12-31T22:59:59")),
            (r#""9999-12-31T23:59:59-01:00""#, None),
            (r#""9999-12-31""#, Some("9999-12-31T00:00:00")),
            (r#""2024-W18-3""#, Some("2024-05-01T00:00:00")),
            (r#""2024-122""#, Some("2024-05-01T00:00:00")),
            ("1714602600", Some("2024-05-01T22:30:00")),
            ("1714602600000", Some("2024-05-01T22:30:00")),
            ("1714602600.0", Some("2024-05-01T22:30:00")),
            ("-1", Some("1969-12-31T23:59:59")),
            ("99999999999", Some("5138-11-16T09:46:39")),
            ("100000000000", Some("1973-03-03T09:46:40")),
            ("253402300799000", Some("9999-12-31T23:59:59")),
            ("253402300800000", None),
            ("9223372036854775807", None),
            ("1714602600.5", None),
            (r#""2024-05-01T12:00:00+05:00[Europe/Stockholm]""#, None),
            (r#""2024-05-01T12:00:00Z[Nowhere/Town]""#, None),
            (r#""2024-02-30""#, None),
            (r#""2024-05-01T25:00:00Z""#, None),
            (r#""2024-05""#, None),
            (r#""01.05.2024""#, None),
            (r#""2024-05-01T12:00:00Z later""#, None),
            (r#""12:00:00""#, None),
            (r#""""#, None),
            ("true", None),
            ("null", None),
        ],
    ),
    (
        "input.v | date('%F %R', 'Europe/Stockholm', '%m/%d/%Y %I:%M %p')",
        &[
            (r#""05/31/2024 03:15 PM""#, Some("2024-05-31 15:15")),
            (r#""05/31/2024 03:15""#, None),
            (r#""31/05/2024 03:15 PM""#, None),
        ],
    ),
    ("input.v | date('%F %R', 'UTC', '%s')", &[(r#""1714602600""#, Some("2024-05-01 22:30")), (r#""12x""#, None)]),
    ("input.v | date('%F %R', 'UTC', '%F %R %z')", &[(r#""2024-05-01 12:00 +0200""#, Some("2024-05-01 10:00"))]),
    (
        "input.v | date('%F %R', 'UTC', '%F %R %Q')",
        &[(r#""2024-05-01 12:00 Europe/Stockholm""#, Some("2024-05-01 10:00"))],
    ),
    (
        "input.v | date('%F', 'UTC', '%Y%m%d')",
        &[("20240501", Some("2024-05-01")), ("20240501.0", Some("2024-05-01")), ("20241301", None)],
    ),
    (
        "input.v | date('%F %T', 'Europe/Stockholm', '%Y-%m-%dT%H:%M:%SZ')",
        &[(r#""2024-05-01T12:00:00Z""#, Some("2024-05-01 14:00:00")), (r#""9999-12-31T12:00:00Z""#, None)],
    ),
    (
        "input.v | date('%F %T', 'Europe/Stockholm', '%a, %d %b %Y %H:%M:%S GMT')",
        &[(r#""Wed, 01 May 2024 12:00:00 GMT""#, Some("2024-05-01 14:00:00"))],
    ),
    (
        "input.v | date('%F %T', 'Europe/Stockholm', '%F %R UTC')",
        &[(r#""2024-05-01 12:00 UTC""#, Some("2024-05-01 14:00:00"))],
    ),
    (
        "input.v | date('%F %T', 'Europe/Stockholm')",
        &[
            (r#""Wed, 01 May 2024 12:00:00 GMT""#, Some("2024-05-01 14:00:00")),
            (r#""9999-12-31""#, Some("9999-12-31 00:00:00")),
            (r#""9999-12-31T23:59:59Z""#, None),
        ],
    ),
    ("input.v | date('%FT%T%:z', 'Etc/UTC')", &[(r#""9999-12-31T23:59:59Z""#, Some("9999-12-31T23:59:59+00:00"))]),
    ("input.v | date('%FT%T%:z', 'Europe/Stockholm')", &[(r#""9999-12-31""#, Some("9999-12-31T00:00:00+01:00"))]),
    ("input.v | date('%FT%T%:z')", &[(r#""9999-12-31T23:59:59Z""#, Some("9999-12-31T23:59:59+00:00"))]),
    ("input.v | date('%F', 'UTC', '%Y-%m-%d %M')", &[(r#""2024-05-01 30""#, None)]),
    // RFC 8259, section 6.
    (
        "input.v | number | string",
        &[
            (r#""12.50""#, Some("12.5")),
            (r#"" -0.5e3 ""#, Some("-500.0")),
            (r#""18446744073709551615""#, Some("18446744073709551615")),
            ("7", Some("7")),
            (r#""18446744073709551616""#, None),
            (r#""12345678901234567.89""#, None),
            (r#""1e400""#, None),
            (r#""1,5""#, None),
            (r#""+5""#, None),
            (r#"".5""#, None),
            (r#""5.""#, None),
            (r#""05""#, None),
            (r#""0x10""#, None),
            (r#""NaN""#, None),
            (r#""1 000""#, None),
            (r#""""#, None),
            ("true", None),
        ],
    ),
    (
        "input.v | int | string",
        &[
            (r#"" 42 ""#, Some("42")),
            (r#""-7""#, Some("-7")),
            (r#""640.0""#, Some("640")),
            (r#""1e3""#, Some("1000")),
            (r#""1e18""#, Some("1000000000000000000")),
            (r#""9007199254740993.0""#, Some("9007199254740993")),
            (r#""1.50e1""#, Some("15")),
            ("1e17", Some("100000000000000000")),
            ("-9e18", Some("-9000000000000000000")),
            (r#""1e-1""#, None),
            (r#""1e20""#, None),
            (r#""1.00000000000000000000000000000001e3""#, None),
            (r#""1e400""#, None),
            (r#""1_000""#, None),
            (r#""0e5""#, Some("0")),
            (r#""18446744073709551615""#, Some("18446744073709551615")),
            ("18446744073709551615", Some("18446744073709551615")),
            ("-12.9", Some("-12")),
            ("true", Some("1")),
            (r#""12.9""#, None),
            (r#""9223372036854775808.5""#, None),
            ("1e20", None),
            (r#""twelve""#, None),
            ("null", None),
        ],
    ),
    // RFC 6901.
    (
        "input.v | json_pointer('/0/a~1b') | default('none') | string",
        &[(r#"[{ "a/b": 1 }]"#, Some("1")), (r#"{ "0": { "a/b": 2 } }"#, Some("2")), ("[]", Some("none"))],
    ),
    ("input.v | json_pointer('/00') | default('none')", &[(r#"["a"]"#, Some("none"))]),
    ("input.v | json_pointer('/+0') | default('none')", &[(r#"["a"]"#, Some("none"))]),
    ("input.v | json_pointer('/-') | default('none')", &[(r#"["a"]"#, Some("none"))]),
    // RFC 4647, section 3.4.
    (
        "input.v | locale('zh-Hant-TW', 'en') | default('none')",
        &[
            (r#"{ "zh": "1", "zh-hant": "2", "en": "3" }"#, Some("2")),
            (r#"{ "ZH_Hant_TW": "1", "zh": "2" }"#, Some("1")),
            (r#"{ "zh-Hans": "1", "en-GB": "2" }"#, Some("none")),
            (r#"{ "zh": null, "en": "3" }"#, Some("3")),
            (r#"["zh"]"#, None),
        ],
    ),
    ("input.v | string", &[("null", None), ("1.10", Some("1.1")), ("[null]", Some("[null]"))]),
    ("input.v | map('a.0.b') | join", &[(r#"[{ "a": [{ "b": 1 }] }, { "a": [] }, {}]"#, Some("1"))]),
];

#[test]
fn a_filter_takes_what_its_standard_allows_and_refuses_the_rest() {
    for (expression, cases) in STANDARDS {
        for (v, expected) in *cases {
            let v: Value = serde_json::from_str(v).unwrap();
            let found = yields(expression, &json!({ "v": v }));
            let shown = found.as_ref().map(|value| value.as_str().unwrap_or_default()).ok();
            assert_eq!(shown, *expected, "{v} | {expression}: {found:?}");
        }
    }
    for pointer in ["a", "/~", "/~2"] {
        yields(&format!("[] | json_pointer('{pointer}')"), &json!({})).unwrap_err();
        yields("[] | json_pointer(input.p)", &json!({ "p": pointer })).unwrap_err();
    }
    for form in ["%I:%M", "%F %l"] {
        yields(&format!("'2024' | date('%F', 'UTC', '{form}')"), &json!({})).unwrap_err();
    }
    let twelve = json!({ "form": "%Y-%m-%d %I:%M %:z" });
    yields("'2024-05-01 03:00 +02:00' | date('%F', 'UTC', input.form)", &twelve).unwrap_err();
    for form in ["YYYY-MM-DD", "", "dd.mm.yyyy", "%!", "%c", "%F %x"] {
        yields(&format!("'2024-05-01' | date('{form}')"), &json!({})).unwrap_err();
        yields("'2024-05-01' | date(input.form)", &json!({ "form": form })).unwrap_err();
    }
    yields("[] | map('a..b')", &json!({})).unwrap_err();
}

#[test]
fn numbers_are_rounded_and_converted_as_decimals() {
    for (expression, expected) in [
        ("2.675 | round(2)", json!(2.68)),
        ("-2.5 | round", json!(-3)),
        ("1.005 | round(2)", json!(1.01)),
        ("9007199254740993 | round", json!(9_007_199_254_740_993_u64)),
        ("18446744073709551615 | round(2)", json!(u64::MAX)),
        ("1e-20 | round(3)", json!(0)),
        ("123456789.125 | round(2.0)", json!(123_456_789.13)),
        ("9007199254740993 | unit('B', 'B')", json!(9_007_199_254_740_993_u64)),
        ("1234567890123 | unit('B', 'kB')", json!(1_234_567_890.123)),
        ("0.3 | unit('m', 'mm')", json!(300)),
        ("72 | unit('pt', 'in')", json!(1)),
        ("37 | unit('C', 'F') | string", json!("98.6")),
        ("-40 | unit('F', 'C')", json!(-40)),
        ("10 | unit('in', 'cm') | string", json!("25.4")),
    ] {
        assert_eq!(
            yields(expression, &json!({})).unwrap_or_else(|error| panic!("{error:?}")),
            expected,
            "{expression}"
        );
    }
    for expression in
        ["1e300 | round", "1e25 | unit('km', 'mm')", "12345678901234567 | unit('kB', 'B')", "1 | round(1.5)"]
    {
        yields(expression, &json!({})).unwrap_err();
    }
}
