//! Filters of lists and objects, encodings, readers of texts, and computing with dates.

use serde_json::{Value, json};
use trunkline_core::ErrorKind;

use super::yields;

/// Expressions on `input`, each with its result, or with words of the error.
type Cases<'a> = &'a [(&'a str, Result<Value, &'a str>)];

fn check(input: &Value, cases: Cases<'_>) {
    for (expression, expected) in cases {
        match (yields(expression, input), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, *expected, "{expression}"),
            (Err(error), Err(words)) => {
                let error = format!("{error:?}");
                assert!(error.contains(words), "{expression}: {error}");
            }
            (found, expected) => panic!("{expression}: {found:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn items_are_selected_by_relations_of_one_type() {
    let files = json!([
        { "n": 1, "size": 5, "tag": "a", "file": { "type": "tif" } },
        { "n": 2, "size": 5.0, "tag": "b", "file": { "type": "jpg" } },
        { "n": 3, "size": 70, "tag": null },
        { "n": 4, "size": 1 },
    ]);
    let input = json!({ "files": files, "mixed": [1, "1", null, true], "key": "tag", "rel": "<" });
    let n = |list: Value| Ok(list);
    check(
        &input,
        &[
            ("input.files | where('size', 5) | map('n')", n(json!([1, 2]))),
            ("input.files | where('size', '==', 5) | map('n')", n(json!([1, 2]))),
            ("input.files | where('size', '!=', 5) | map('n')", n(json!([3, 4]))),
            ("input.files | where('size', '<', 5) | map('n')", n(json!([4]))),
            ("input.files | where('size', '<=', 5) | map('n')", n(json!([1, 2, 4]))),
            ("input.files | where('size', '>', 5) | map('n')", n(json!([3]))),
            ("input.files | where('size', '>=', 5) | map('n')", n(json!([1, 2, 3]))),
            ("input.files | where('size', input.rel, 5) | map('n')", n(json!([4]))),
            ("input.files | where('tag', 'in', ['a', 'x']) | map('n')", n(json!([1]))),
            ("input.files | where('tag', none) | map('n')", n(json!([3, 4]))),
            ("input.files | where('tag', '!=', none) | map('n')", n(json!([1, 2]))),
            ("input.files | where(input.key, 'b') | map('n')", n(json!([2]))),
            ("input.files | where('file.type', 'tif') | map('n')", n(json!([1]))),
            ("(input.files | find('file.type', 'jpg')).n", n(json!(2))),
            ("(input.files | find('n', '>', 2)).n", n(json!(3))),
            ("(input.files | find('n', 9)).n", Err("the filter find finds no value")),
            ("(input.files | find('n', 9)) | default('none')", n(json!("none"))),
            ("input.mixed | where('', 1)", n(json!([1]))),
            ("input.mixed | where('', '1')", n(json!(["1"]))),
            ("[] | where('a', 1)", n(json!([]))),
            ("input.files | where('n', '1')", Err("it compares a text with a number at \"n\"")),
            ("input.files | where('tag', '<', 'b')", Err("item 2 has null at \"tag\"")),
            ("input.files | where('size', '<', 'b')", Err("neither less nor greater")),
            ("input.files | where('size', '~', 1)", Err("is not a relation: write one of ==, !=")),
            ("input.files | where('size', 'in', 1)", Err("needs a list")),
            ("input.files | where('a..b', 1)", Err("a name in the path is empty")),
            ("input.files | where('a')", Err("where(path, relation?, value)")),
        ],
    );
}

#[test]
fn a_list_is_ordered_by_numbers_or_by_texts_and_never_by_both() {
    let input = json!({
        "rows": [{ "a": "b", "n": 2 }, { "a": "a", "n": 2.0 }, { "a": "c", "n": 1 }],
        "mixed": [1, "2"], "gap": [{ "n": 1 }, {}], "big": [18_446_744_073_709_551_615_u64, 9_007_199_254_740_993_i64, -1],
    });
    check(
        &input,
        &[
            ("input.rows | sort('n') | map('a')", Ok(json!(["c", "b", "a"]))),
            ("input.rows | sort('n', 'desc') | map('a')", Ok(json!(["b", "a", "c"]))),
            ("input.rows | sort('a', 'asc') | map('a')", Ok(json!(["a", "b", "c"]))),
            ("input.big | sort", Ok(json!([-1, 9_007_199_254_740_993_i64, 18_446_744_073_709_551_615_u64]))),
            ("[] | sort", Ok(json!([]))),
            ("input.rows | min('a')", Ok(json!("a"))),
            ("input.rows | max('n')", Ok(json!(2))),
            ("input.mixed | sort", Err("item 1 has a text, and the items before it a number")),
            ("input.mixed | max", Err("convert them to one type first")),
            ("input.gap | sort('n')", Err("item 1 has no value at \"n\"")),
            ("[none] | min", Err("item 0 has null, and only numbers and texts have an order")),
            ("[true] | sort", Err("item 0 has true or false")),
            ("[1] | sort('', 'down')", Err("'asc' or 'desc'")),
        ],
    );
}

#[test]
fn totals_keep_every_digit_or_are_refused() {
    let input = json!({
        "rows": [{ "n": 1 }, { "n": 2.5 }], "gap": [{ "n": 1 }, {}],
        "large": [18_446_744_073_709_551_615_u64, 1], "ids": [9_007_199_254_740_993_i64, 1], "huge": [1e300, 1],
    });
    check(
        &input,
        &[
            ("input.rows | sum('n')", Ok(json!(3.5))),
            ("[0.1, 0.2] | sum", Ok(json!(0.3))),
            ("[] | sum", Ok(json!(0))),
            ("input.ids | sum", Ok(json!(9_007_199_254_740_994_i64))),
            ("[1, 2] | avg", Ok(json!(1.5))),
            ("[2, 4] | avg", Ok(json!(3))),
            ("[1, 1, 2] | avg | round(4)", Ok(json!(1.3333))),
            ("input.large | sum", Err("more digits than a number can have")),
            ("input.huge | sum", Err("more digits than a number can have")),
            ("input.gap | sum('n')", Err("item 1 has no value, not a number")),
            ("['1'] | sum", Err("item 0 has a text, not a number")),
        ],
    );
}

#[test]
fn lists_and_objects_are_rearranged_without_losing_anything_silently() {
    let input = json!({
        "attributes": [{ "name": "Author", "value": "Eva" }, { "name": "Year", "value": 2024 }, { "name": "Gone" }],
        "twice": [{ "name": "a", "value": 1 }, { "name": "a", "value": 2 }],
        "keys": [1, 1.0, "1", null, null, [1], [1.0], { "a": 1, "b": 2 }, { "b": 2, "a": 1 }],
        "rows": [{ "k": 1, "v": "a" }, { "k": 1.0, "v": "b" }, { "k": "1", "v": "c" }, { "v": "d" }],
    });
    check(
        &input,
        &[
            ("input.attributes | object('name', 'value')", Ok(json!({ "Author": "Eva", "Year": 2024 }))),
            ("(input.attributes | object('name', 'value')).Year + 1", Ok(json!(2025))),
            ("input.twice | object('name', 'value')", Err("items 0 and 1 have the same name \"a\"")),
            ("input.attributes | object('value', 'name')", Err("item 1 has a number at \"value\"")),
            ("input.attributes | object('none', 'name')", Err("item 0 has no value at \"none\"")),
            ("input.keys | unique", Ok(json!([1, "1", null, [1], { "a": 1, "b": 2 }]))),
            ("input.attributes | unique('value') | length", Ok(json!(3))),
            ("input.rows | group_by('k') | map('items') | map('0.v')", Ok(json!(["a", "c", "d"]))),
            ("input.rows | group_by('k') | map('key')", Ok(json!([1, "1", null]))),
            ("[[1], 2] | group_by('')", Err("item 0 has a list at \"\", which cannot be a key")),
            ("{'a': 1, 'b': 2} | keys", Ok(json!(["a", "b"]))),
            ("{'a': 1, 'b': 2} | values | sum", Ok(json!(3))),
            ("{'a': {'x': 1}} | merge({'a': {'y': 2}}, {'b': 3})", Ok(json!({ "a": { "y": 2 }, "b": 3 }))),
            ("[1] | zip(['a'], [none])", Ok(json!([[1, "a", null]]))),
            ("[1, 2] | zip([1])", Err("the list has 2 items, and list 1 has 1")),
            ("[[1, [2]], 3, []] | flatten", Ok(json!([1, [2], 3]))),
            ("'Sjö' | slice(-2)", Ok(json!("jö"))),
            ("[1, 2, 3] | slice(-9, 2)", Ok(json!([1, 2]))),
            ("[1, 2, 3] | slice(2, 1)", Ok(json!([]))),
            ("[1, 'a'] | contains('a')", Ok(json!(true))),
            ("[1, 2] | contains('a')", Err("it looks for a text in a list that has only values of other types")),
            ("'boat' | contains(1)", Err("convert it with the filter string")),
            ("'a.b.c' | replace('.', '..')", Ok(json!("a..b..c"))),
            ("'abc' | replace('', 'x')", Err("the part that is replaced is empty")),
        ],
    );
}

/// RFC 4648, RFC 4231, RFC 3986 and the digests of the empty text.
#[test]
fn texts_are_encoded_as_the_standards_say() {
    let input = json!({ "key": "Jefe", "bytes": "f\u{f6}\u{1f600}" });
    check(
        &input,
        &[
            ("'' | base64", Ok(json!(""))),
            ("'foobar' | base64", Ok(json!("Zm9vYmFy"))),
            ("'fooba' | base64", Ok(json!("Zm9vYmE="))),
            ("'fooba' | base64('url')", Ok(json!("Zm9vYmE"))),
            ("'' | hash('md5')", Ok(json!("d41d8cd98f00b204e9800998ecf8427e"))),
            ("'' | hash('sha1')", Ok(json!("da39a3ee5e6b4b0d3255bfef95601890afd80709"))),
            ("'abc' | hash('sha256', 'base64')", Ok(json!("ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="))),
            (
                "'what do ya want for nothing?' | hmac(input.key, 'sha512') | slice(0, 16)",
                Ok(json!("164b7a7bfcf819e2")),
            ),
            (
                "'The quick brown fox jumps over the lazy dog' | hmac('key', 'sha1')",
                Ok(json!("de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9")),
            ),
            ("'x' | hash('crc')", Err("the hash functions are sha256, sha512, sha1, md5")),
            ("'x' | hmac('k', 'md5')", Err("the hash functions are sha256, sha512, sha1;")),
            ("'x' | hmac('')", Err("the key is empty")),
            ("'x' | hash('md5', 'octal')", Err("'hex' or 'base64'")),
            ("'x' | base64('mime')", Err("'standard' or 'url'")),
            ("'aZ0-._~ +/?%' | url_encode", Ok(json!("aZ0-._~%20%2B%2F%3F%25"))),
            ("input.bytes | url_encode", Ok(json!("f%C3%B6%F0%9F%98%80"))),
        ],
    );
}

#[test]
fn texts_are_read_strictly() {
    let input = json!({
        "twice": "{\"a\":1,\"a\":1}", "long": "[12345678901234567890123]", "deep": "[".repeat(200), "cut": "{\"a\":",
        "quoted": "a,b\r\n\"x\"\"y\",\"1\n2\"\r\n", "open": "a\n\"b", "twins": "a,a\n1,2", "uneven": "a,b\n1\n",
        "bom": "\u{feff}id\n7\n", "bad": "a=%ff", "tabs": "a\tb\n1\t2",
    });
    check(
        &input,
        &[
            ("'[1, 2.50]' | parse_json", Ok(json!([1, 2.5]))),
            ("'null' | parse_json | default('x')", Ok(json!("x"))),
            ("input.twice | parse_json", Err("a")),
            ("input.long | parse_json", Err("cannot be kept exactly")),
            ("input.deep | parse_json", Err("the text is not JSON")),
            ("input.cut | parse_json", Err("the text is not JSON")),
            ("'?a=1&a=2&b&c=x+y%26' | parse_form", Ok(json!({ "a": ["1", "2"], "b": "", "c": "x y&" }))),
            ("'' | parse_form", Ok(json!({}))),
            ("input.bad | parse_form", Err("is not a text in UTF-8")),
            ("input.quoted | parse_csv", Ok(json!([{ "a": "x\"y", "b": "1\n2" }]))),
            ("input.bom | parse_csv", Ok(json!([{ "id": "7" }]))),
            ("input.tabs | parse_csv('\\t')", Ok(json!([{ "a": "1", "b": "2" }]))),
            ("input.open | parse_csv", Err("the field that begins on line 2 has no closing quote")),
            ("input.twins | parse_csv", Err("the column \"a\" occurs twice")),
            ("input.uneven | parse_csv", Err("found record with 1 field")),
            ("'a' | parse_csv(';;')", Err("one ASCII character")),
        ],
    );
}

#[test]
fn dates_are_computed_in_the_calendar_of_a_zone() {
    check(
        &json!({ "at": 1_714_564_800, "long": "9".repeat(300) }),
        &[
            ("'2024-01-31' | date_add('1 month')", Ok(json!("2024-02-29"))),
            ("'2024-03-01' | date_add('-1 day')", Ok(json!("2024-02-29"))),
            ("'2024-03-01' | date_add('P1Y2M')", Ok(json!("2025-05-01"))),
            ("'2024-03-01' | date_add('36 hours')", Ok(json!("2024-03-02T12:00:00Z"))),
            ("input.at | date_add('1h 30m')", Ok(json!("2024-05-01T13:30:00Z"))),
            ("'2024-05-01T12:00:00.5Z' | date_add('1 second')", Ok(json!("2024-05-01T12:00:01.5Z"))),
            // The clocks go forward: a day later has 23 hours.
            ("'2024-03-30T12:00:00Z' | date_add('1 day', 'Europe/Stockholm')", Ok(json!("2024-03-31T13:00:00+02:00"))),
            (
                "'2024-03-30T12:00:00Z' | date_add('24 hours', 'Europe/Stockholm')",
                Ok(json!("2024-03-31T14:00:00+02:00")),
            ),
            ("'2024-03-01' | date_add('soon')", Err("is not a duration; write it as '3 days'")),
            ("'2024-03-01' | date_add(input.long)", Err("is not a duration")),
            ("'2024-03-01' | date_add('1 day', 'Mars')", Err("there is no time zone")),
            ("'2024-13-01' | date_add('1 day')", Err("is not a date")),
            ("'2024-03-01' | date_add('19999 years')", Err("not")),
            ("'2024-05-03' | date_diff('2024-05-01', 'days')", Ok(json!(2))),
            ("'2024-05-01' | date_diff('2024-05-03', 'hours')", Ok(json!(-48))),
            ("'2024-05-02T12:00:00Z' | date_diff(input.at, 'weeks') | round(3)", Ok(json!(0.143))),
            ("'2024-05-01' | date_diff('2024-05-01', 'months')", Err("the units are seconds, minutes")),
        ],
    );
}

/// A hostile expression ends within its limit: each filter is bounded, and so is their sum.
#[test]
fn the_work_of_one_expression_is_bounded() {
    let many: Vec<_> = (0..100_000).collect();
    let input = json!({ "many": many, "text": "x,".repeat(400_000) });
    let tens = |filter: &str| format!("input.many{} | length", filter.repeat(100));
    for (expression, kind) in [
        ("input.many | zip(input.many) | flatten".to_owned(), ErrorKind::Limit),
        ("[input.many, input.many] | flatten".to_owned(), ErrorKind::Limit),
        ("input.text | split(',')".to_owned(), ErrorKind::Limit),
        ("input.text | replace('x', 'xxxx')".to_owned(), ErrorKind::Limit),
        (tens(" | sort"), ErrorKind::Limit),
        (tens(" | unique"), ErrorKind::Limit),
        (tens(" | where('', '>=', 0)"), ErrorKind::Limit),
        ("input.many | where('', 'in', input.many)".to_owned(), ErrorKind::Limit),
        ("input.many | slice(0, 1) | length".to_owned(), ErrorKind::Internal),
    ] {
        match yields(&expression, &input) {
            Err(error) => assert_eq!(error.kind(), kind, "{expression}: {error:?}"),
            Ok(value) => assert_eq!((value, kind), (json!(1), ErrorKind::Internal), "{expression}"),
        }
    }
}
