//! docs/security.md: each test that it names exists, and each class of rules has its places.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs};

use trunkline_tests::project;

use super::layout::files;

/// The names of all functions in the sources.
fn functions() -> BTreeSet<String> {
    let (mut all, mut found) = (BTreeSet::new(), Vec::new());
    files(&project(), &mut found);
    for file in found.iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
        let text = fs::read_to_string(file).unwrap();
        let names =
            text.split("fn ").skip(1).map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next());
        all.extend(names.flatten().map(str::to_owned));
    }
    all
}

/// The tests that rows of the page name, and those of its last section.
fn named(page: &str) -> BTreeSet<&str> {
    let words = page.split('`').skip(1).step_by(2);
    let is_test = |word: &&str| {
        word.contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    words.filter(is_test).collect()
}

#[test]
fn the_security_page_names_tests_that_exist() {
    let page = fs::read_to_string(project().join("docs/security.md")).unwrap();
    let (functions, named) = (functions(), named(&page));
    assert!(named.len() > 100, "{}", named.len());
    let missing: Vec<_> = named.iter().filter(|name| !functions.contains(**name)).collect();
    assert!(missing.is_empty(), "there is no such test: {missing:#?}");
    // The twin: a name with a letter more.
    assert!(!functions.contains("flows_are_read_and_checkedd") && functions.contains("flows_are_read_and_checked"));
}
