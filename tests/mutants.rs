//! The list of functions for `just mutants` names only functions that exist, and files that it looks into.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs};

use regex::Regex;
use toml::{Table, Value};
use trunkline_tests::project;

/// Returns the entries that name no function, or a file that is not among the examined ones. `source` reads a file.
fn stale(list: &Table, source: impl Fn(&str) -> Option<String>) -> (usize, Vec<String>) {
    let texts = |name: &str| -> Vec<String> {
        list[name].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let entry = Regex::new(r"^\^(?<file>[\w/]+)\\\.rs:\.\*\[ :\]\((?<names>[\w|]+)\)").unwrap();
    let (mut number, mut stale, mut files) = (0, Vec::new(), BTreeSet::new());
    for text in texts("examine_re") {
        let found = entry.captures(&text).unwrap_or_else(|| panic!("{text} is in another form"));
        let file = format!("{}.rs", &found["file"]);
        let source = source(&file).unwrap_or_default();
        for name in found["names"].split('|') {
            number += 1;
            if !source.contains(&format!("fn {name}(")) && !source.contains(&format!("fn {name}<")) {
                stale.push(format!("{file} has no function {name}"));
            }
        }
        files.insert(file);
    }
    let examined: BTreeSet<_> = texts("examine_globs").into_iter().collect();
    stale.extend(files.symmetric_difference(&examined).map(|file| format!("{file} is in one of the two lists only")));
    (number, stale)
}

#[test]
fn every_function_on_the_list_exists() {
    let list: Table = fs::read_to_string(project().join(".cargo/mutants.toml")).unwrap().parse().unwrap();
    let source = |file: &str| fs::read_to_string(project().join(file)).ok();
    let (number, found) = stale(&list, source);
    assert_eq!(found, [""; 0]);
    assert!(number >= 40, "only {number} functions");
    // The sabotage twin: a function that was renamed, and a file that was moved, are found.
    let renamed = |file: &str| source(file).map(|text| text.replace("fn is_held(", "fn holds("));
    assert_eq!(stale(&list, renamed).1, ["crates/rest/src/oauth/refresh_lease.rs has no function is_held"]);
    let mut moved = list;
    moved["examine_globs"] = Value::Array(Vec::new());
    assert!(!stale(&moved, source).1.is_empty());
}
