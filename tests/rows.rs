//! Every row of every operation table has what menus need.
#![allow(clippy::unwrap_used)]

use trunkline as _;
use trunkline_core::{ActionSpec, Registry};

fn is_name(name: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    name.split('.').all(is_word)
}

/// Returns the parts that a row lacks.
fn lacks(action: &ActionSpec) -> Vec<String> {
    let mut found = Vec::new();
    if !is_name(&action.name) {
        found.push("a name of the form resource.verb, or verb".to_owned());
    }
    if action.title.trim().is_empty() {
        found.push("a title".to_owned());
    }
    if action.group.trim().is_empty() {
        found.push("a group".to_owned());
    }
    found
}

#[test]
fn every_row_has_a_name_a_title_and_a_group() {
    let registry = Registry::discover().unwrap();
    let mut found = Vec::new();
    for connector in registry.connectors() {
        for action in connector.actions().filter(|action| action.route.is_some()) {
            let name = format!("{}.{}", connector.spec().name, action.name);
            found.extend(lacks(action).into_iter().map(|what| format!("{name} lacks {what}")));
        }
    }
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));
    // The sabotage twin: the lack of each part is found.
    let mut action = registry.connector("mediavalet").unwrap().action_spec("asset.get").unwrap().clone();
    (action.name, action.title, action.group) = ("Asset".into(), " ".into(), String::new());
    assert_eq!(lacks(&action).len(), 3);
}
