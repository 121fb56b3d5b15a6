//! Hostile expressions, and data that looks like expressions.

use proptest::{
    collection::vec,
    sample::select,
    strategy::{Strategy, ValueTree},
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};
use trunkline_core::{Diagnostic, ErrorKind, Result};

use super::{MAX_LENGTH, OUTPUT_LIMIT, Scope, Template};

/// Expressions that must fail, at compile time or at run time.
const REJECTED: &[&str] = &[
    // Loops, and substitutes for them.
    "range(1000000000)",
    "range(10) | map('x')",
    "[x for x in [1, 2]]",
    "for x in [1] %}{{ x",
    "loop.index",
    "cycler('a', 'b')",
    "joiner(',')",
    "lipsum(100)",
    "recurse(recurse)",
    "input | map(map)",
    "[1] | map('x') | map('x') | batch(2)",
    "(lambda: 1)()",
    // Statements and templates.
    "% for x in y %",
    "{% if true %}1{% endif %}",
    "include 'flow.json'",
    "import 'x' as y",
    "extends('base')",
    "set x = 1",
    "macro('x')",
    "caller()",
    "super()",
    "self.body()",
    "block('x')",
    "raw",
    // Multiplied texts and lists.
    "'x' * 1000000000",
    "1000000000 * 'x'",
    "[1] * 1000000000",
    "'x' * 99999999 * 99999999",
    "('x' * 1000) * 1000",
    "('x' ~ 'y') * 100000000",
    "(['x'] + ['y']) * 100000000",
    "input.text * 100000000",
    "input.text * input.large",
    "input['text'] * input.large",
    "input.large * input.items",
    "input.items * 1000000",
    "input.items[0] * 100000000",
    "(input.text | default('x')) * 100000000",
    "(input.text if true else 1) * 100000000",
    "(input.text or 1) * 100000000",
    "input.text[0:1] * 100000000",
    "(input.text | trim) * 100000000",
    "[input.text, input.text * 100000000] | length",
    "{'a': input.text * 100000000}",
    "{'a': 'x'} * 3",
    "true * 'x'",
    // Numbers out of range.
    "9 ** 9 ** 9",
    "10 ** 10000",
    "1 / 0",
    "1 // 0",
    "1 % 0",
    "1e400",
    "-1e308 * 1e308",
    "1e308 * 1e308",
    "170141183460469231731687303715884105727 + 1",
    "99999999999999999999999999999999999999999999999999",
    "input.large * input.large * input.large * input.large * input.large * input.large",
    "1e18 | unit('km', 'mm') | int",
    // Slices with steps and extreme bounds.
    "'abc'[::-9223372036854775808]",
    "'abc'[::-1]",
    "input.items[::0]",
    "'abc'[1.5:]",
    "input.items['x']",
    // Attributes that other languages have.
    "input.__class__",
    "''.__class__.__mro__",
    "''.__class__.__base__.__subclasses__()",
    "input.__init__.__globals__",
    "input.constructor.prototype",
    "steps.__proto__",
    "run.__dict__",
    "item.__getattribute__('x')",
    "input['__class__']",
    "[].append(1)",
    "input.text.upper()",
    "input.text.format(input)",
    "'{0.__class__}'.format(input)",
    "input.items()",
    "input.keys()",
    "{}.update({'a': 1})",
    // Functions and names that do not exist.
    "env",
    "env.PATH",
    "environ['HOME']",
    "os.environ",
    "getenv('PATH')",
    "open('/etc/passwd')",
    "read('/etc/passwd')",
    "file('/etc/passwd')",
    "fetch('http://127.0.0.1/')",
    "http.get('http://127.0.0.1/')",
    "system('id')",
    "exec('id')",
    "eval('1')",
    "now()",
    "debug()",
    "dict(a=1)",
    "namespace(a=1)",
    "config",
    "secrets",
    "tables.colours",
    "connections.source",
    "context",
    "g",
    "import('os')",
    // Filters that do not exist, and misuse of those that do.
    "input.text | replace('a', 'bbbbbbbbbb')",
    "input.text | regex_replace('(a+)+$', '')",
    "input.text | matches('(a+)+$')",
    "'%1000000000d' | format(1)",
    "input.text | indent(100000000)",
    "input.text | center(100000000)",
    "input.items | batch(1)",
    "input.items | slice(100000000)",
    "input.items | groupby('x')",
    "input.items | sort",
    "input.items | unique",
    "input.items | sum",
    "input | tojson(indent=100000)",
    "input | pprint",
    "input | attr('__class__')",
    "input | items",
    "input | dictsort",
    "input.text | safe",
    "input.text | urlencode",
    "input.text | split('')",
    "input.big | split('y')",
    "'2024-01-01' | date('%1000000000Y')",
    "'2024-01-01' | date(input.big)",
    "input.big | date('%Y')",
    "'2024-01-01' | date('%Y', '../../etc/passwd')",
    "'2024-01-01' | date('%Y', '/etc/localtime')",
    "'x' | lookup('../../etc/passwd')",
    "'x' | lookup(input.text)",
    "input | json_pointer('//////////')",
    "input.text | path(-9223372036854775808)",
    "1 | round(1000000000)",
    "1 | unit('m', input.text)",
    "input | pick(**input)",
    "input | pick(*input.items)",
    "input | default(other=1)",
    "input | map('x')",
    "1 is divisibleby(0)",
    "input.text is startingwith('a')",
    "input.text is filter",
    // Results over the size limit.
    "[input.big, input.big]",
    "input.big ~ input.big",
    "input.big + input.big",
    "{'a': input.big, 'b': {'c': input.big}}",
    "[input.big, input.big] | json",
    "[input.big, input.big] | join(',')",
    "{'a': input.big, 'b': input.big} | string",
    "(input.many + input.many) | map('x')",
    // Missing values and syntax errors.
    "[input.nothing]",
    "{'a': [{'b': input.nothing}]}",
    "input.nothing.at.all",
    "input.nothing ~ 'x'",
    "input.nothing > 1",
    "1 if input.nothing > 1",
    "(1, 2)",
    "{1: 2}",
    "",
    "}",
    "'",
    "input.",
    "input..text",
    "input |",
    "| upper",
    "`id`",
    "$(id)",
    "${7*7}",
    "<%= 7*7 %>",
    "#{7*7}",
];

/// Expressions that are strange but harmless.
const HARMLESS: &[&str] = &[
    "input.text[-9223372036854775808:9223372036854775807]",
    "'{{ 7*7 }}'",
    "'{% include \"/etc/passwd\" %}'",
    "'${jndi:ldap://127.0.0.1/a}'",
    "'%s%s%s%n' ~ '{0}'",
    "input.big | length",
    "input.many | length",
    "[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]",
    "2 ** 2 ** 2 ** 2 ** 2 ** 2",
    "input.items | join(input.big)",
    "input.big | upper | lower | slug",
    "not not not not not not not not not not true",
    "'a' in 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'",
    "input.deep | json | length",
    "input.deep",
    "input.big == input.big",
    "input.big < input.big ~ 'x'",
    "input.large * 0 if false else 1",
    "input.nothing * 2 if false else 1",
];

fn data() -> Value {
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    json!({ "text": "abc", "low": i64::MIN, "large": 100_000_000_000_u64, "items": ["a", { "x": 1 }], "deep": deep,
        "big": "y".repeat(OUTPUT_LIMIT - 1000), "many": vec![json!({ "x": 1 }); 60_000] })
}

fn scope(input: &Value) -> Scope {
    Scope::new(input, "r1", &json!({ "colours": {} })).with("item", &json!({ "id": 1 }))
}

fn yields(source: &str, scope: &Scope) -> Result<Value> {
    let mut found = Vec::new();
    let template = Template::compile(json!(format!("{{{{ {source} }}}}")), "", &mut found);
    Diagnostic::accept(source, &found)?;
    template.render(scope)
}

/// Returns whether a result contains secrets of the machine: its password file or its environment.
fn leaks(text: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    text.contains("root:") || (path.len() > 8 && text.contains(&path))
}

#[test]
fn hostile_expressions_fail_and_leak_nothing() {
    let scope = scope(&data());
    assert!(REJECTED.len() + HARMLESS.len() > 150, "{}", REJECTED.len());
    let passed: Vec<_> = REJECTED.iter().filter(|source| yields(source, &scope).is_ok()).collect();
    assert!(passed.is_empty(), "{passed:#?}");
    for source in REJECTED {
        let error = yields(source, &scope).unwrap_err();
        assert!(!leaks(&format!("{error:?}")) && error.message().len() < 4 * MAX_LENGTH, "{source}: {error:?}");
    }
}

#[test]
fn strange_expressions_stay_within_the_size_limit() {
    let scope = scope(&data());
    for source in HARMLESS {
        let text = yields(source, &scope).unwrap_or_else(|error| panic!("{source}: {error:?}")).to_string();
        assert!(text.len() <= OUTPUT_LIMIT && !leaks(&text), "{source}");
    }
}

#[test]
fn large_and_deep_expressions_end() {
    let scope = scope(&data());
    let repeat = |part: &str, between: &str, times: usize| vec![part; times].join(between);
    let nested = |open: &str, close: &str, depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    for source in [
        format!("'{}'", "x".repeat(2 * MAX_LENGTH)),
        repeat("1", "+", MAX_LENGTH),
        repeat("input.big", "~", 100),
        repeat("input.big", "+", 500),
        repeat("input.big", ",", 500),
        format!("[{}]", repeat("input.big", ",", 500)),
        format!("[{}] | json", repeat("input.big", ",", 500)),
        format!("[{}] | join", repeat("input.big", ",", 500)),
        format!("'x' {}", "~ 'x' * 100000000 ".repeat(50)),
        format!("[{}] | length", repeat("input.text * 100000000", ",", 100)),
        nested("(", ")", 1000),
        nested("(", ")", 4000),
        nested("[", "]", 140),
        nested("[", "]", 4000),
        nested("{'a':", "}", 1000),
        format!("{}true", "not ".repeat(2000)),
        format!("{}1", "-".repeat(8000)),
        format!("input{}", ".a".repeat(4000)),
        format!("input{}", "[0]".repeat(2500)),
        format!("1{}", " if true else 1".repeat(500)),
        format!("input.text{}", " | upper".repeat(1000)),
        format!("input.text{}", " | split('a') | join('bb')".repeat(300)),
        format!("input.many{}", " | map('x')".repeat(700)),
        format!("input.many{}", " + input.many".repeat(60)),
        format!("[1{}]", " + 1".repeat(60)),
        repeat("1", " < ", 2000),
        repeat("input.text", " and ", 700),
        repeat("input.text", " in ", 700),
    ] {
        if let Ok(value) = yields(&source, &scope) {
            assert!(value.to_string().len() <= OUTPUT_LIMIT, "{}", &source[..60.min(source.len())]);
        }
    }
    let error = yields(&repeat("input.big", "~", 100), &scope).unwrap_err();
    assert!(error.message().contains("more than 64 times"), "{error:?}");
}

#[test]
fn without_our_checks_the_damage_shows() {
    let environment = minijinja::Environment::new();
    let evaluate =
        |source: &str| environment.compile_expression(source).unwrap().eval(minijinja::context! { t => "ab" }).unwrap();
    assert_eq!(evaluate("t * 1000000").as_str().unwrap().len(), 2_000_000);
    assert_eq!(evaluate("range(100000) | list").len(), Some(100_000));
    assert!(evaluate("nothing").is_undefined());
    assert_eq!(yields("input.t * 1000000", &scope(&json!({ "t": "ab" }))).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(yields("input.t * 1000000", &scope(&json!({ "t": 2 }))).unwrap(), json!(2_000_000));
}

/// The parts of random expressions.
const WORDS: &[&str] = &[
    "input",
    "input.text",
    "input.items",
    "input.large",
    "input.deep",
    "input.low",
    "item",
    "item.id",
    "steps",
    "run.id",
    "'x'",
    "''",
    "1",
    "0",
    "-1",
    "2.5",
    "1e308",
    "9223372036854775807",
    "-9223372036854775808",
    "170141183460469231731687303715884105727",
    "true",
    "none",
    "[",
    "]",
    "[1]",
    "{",
    "}",
    "{'a': 1}",
    "(",
    ")",
    ".",
    ".text",
    "['x']",
    "[0]",
    "[-1]",
    "[1:]",
    ":",
    ",",
    "|",
    "| length",
    "| first",
    "| last",
    "| join(', ')",
    "| split('b')",
    "| map('x')",
    "| int",
    "| string",
    "| json",
    "| upper",
    "| slug",
    "| mime",
    "| path",
    "| path(-1)",
    "| pick('x')",
    "| omit('x')",
    "| default(1)",
    "| locale('en')",
    "| round(2)",
    "| unit('m', 'mm')",
    "| date('%Y')",
    "| json_pointer('/x')",
    "| lookup('colours', 1)",
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "~",
    "==",
    "!=",
    "<",
    ">=",
    "in",
    "not in",
    "and",
    "or",
    "not",
    "is defined",
    "is none",
    "if",
    "else",
];

/// Evaluates random expressions. None may panic or exceed the size limit, and some of them must be valid.
fn evaluate_random_expressions(times: u32) {
    let scope = scope(&data());
    let mut runner = TestRunner::new_with_rng(Default::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let words = vec(select(WORDS), 1..9);
    let mut worked = 0;
    for _ in 0..times {
        let source = words.new_tree(&mut runner).unwrap().current().join(" ");
        if let Ok(value) = yields(&source, &scope) {
            assert!(value.to_string().len() <= 2 * OUTPUT_LIMIT, "{source}");
            worked += 1;
        }
    }
    assert!(worked > times / 1000, "only {worked} of {times} expressions are valid");
}

#[test]
fn random_expressions_neither_panic_nor_exceed_the_limit() {
    evaluate_random_expressions(5_000);
}

#[test]
#[ignore = "minutes: a million expressions"]
fn a_million_random_expressions_neither_panic_nor_exceed_the_limit() {
    evaluate_random_expressions(1_000_000);
}
