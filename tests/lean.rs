//! What a host links that embeds the runtime: no command line, no server and no simulators, and only the connectors
//! that it chooses. Cargo resolves the features; the tests read its list of packages.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, env, fs, process::Command};

use toml::Table;
use trunkline_tests::project;

/// The packages that belong to the command line, the server, the simulators, or published builds.
const NOT_EMBEDDED: [&str; 9] = [
    "axum",
    "clap",
    "comfy-table",
    "indicatif",
    "tikv-jemallocator",
    "tracing-subscriber",
    "trunkline-cli",
    "trunkline-sandbox",
    "trunkline-server",
];

/// Returns the names of all packages that a package of the workspace is built of, but for its tests.
fn packages(of: &str, features: &[&str]) -> BTreeSet<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    tree.args(["--package", of]).args(features).current_dir(project());
    let output = tree.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Returns those packages that a host which embeds the runtime should not link.
fn superfluous(packages: &BTreeSet<String>) -> Vec<&str> {
    NOT_EMBEDDED.into_iter().filter(|name| packages.contains(*name)).collect()
}

/// Returns the features of the runtime that link a connector, each with the crate of the connector.
fn connector_features() -> Vec<(String, String)> {
    let manifest = fs::read_to_string(project().join("crates/runtime/Cargo.toml")).unwrap().parse::<Table>().unwrap();
    let features = manifest["features"].as_table().unwrap().iter();
    let linked = features.filter_map(|(name, enabled)| {
        let links = enabled[0].as_str().unwrap().strip_prefix("dep:")?;
        Some((name.clone(), links.to_owned()))
    });
    linked.collect()
}

#[test]
fn an_embedded_runtime_links_only_the_chosen_connectors() {
    let features = connector_features();
    let linked = |found: &BTreeSet<String>| {
        let links = features.iter().filter(|(_, links)| found.contains(links));
        links.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let names: Vec<_> = features.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, ["http", "mediaflow", "mediavalet"]);
    let mut chosen = vec![(vec!["--no-default-features"], Vec::new()), (vec!["--all-features"], names.clone())];
    for name in &names {
        chosen.push((vec!["--no-default-features", "--features", name], vec![name.clone()]));
    }
    for port in ["sqlite", "reqwest"] {
        chosen.push((vec!["--no-default-features", "--features", port], Vec::new()));
    }
    for (arguments, expected) in chosen {
        let found = packages("trunkline", &arguments);
        let stores = arguments.iter().any(|argument| ["sqlite", "--all-features"].contains(argument));
        assert_eq!(found.contains("rusqlite"), stores, "{arguments:?}");
        let sends = arguments.iter().any(|argument| ["reqwest", "--all-features"].contains(argument));
        assert_eq!((found.contains("reqwest"), found.contains("rustls")), (sends, sends), "{arguments:?}");
        assert!(found.contains("trunkline-engine") && found.contains("trunkline-store"), "{found:?}");
        assert_eq!(superfluous(&found), [""; 0], "{arguments:?}");
        assert_eq!(linked(&found), expected, "{arguments:?}");
    }
}

#[test]
fn a_command_line_without_demo_links_no_simulators() {
    let found = packages("trunkline-cli", &["--no-default-features"]);
    assert!(found.contains("clap") && !found.contains("trunkline-sandbox"), "{found:?}");
    assert!(found.contains("reqwest") && found.contains("rusqlite"), "it works without a port of the host's own");
}

/// The sabotage twin: the same check finds everything in the command line as it is published.
#[test]
fn what_is_not_embedded_is_found_in_the_command_line() {
    let found = packages("trunkline-cli", &["--all-features"]);
    assert_eq!(superfluous(&found), NOT_EMBEDDED);
}
