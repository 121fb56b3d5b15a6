//! Checks the layout of the project: dependencies between crates, imports between modules, the length of files, unique
//! names of public types, and that every connector is linked.
#![allow(clippy::unwrap_used)]

mod circles;
mod imports;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};
use trunkline as _;
use trunkline_core::Registry;
use trunkline_tests::project;

use super::prose::rust::public_types;

/// The most lines of a source file.
const LONGEST: usize = 500;
/// The most lines of the `lib.rs` of a connector: about 200.
const LONGEST_CONNECTOR: usize = 220;

fn folders(below: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(project().join(below)).unwrap();
    let mut folders: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Collects all files below a folder, but not those of builds, of git and of installed packages.
pub(crate) fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match name(&path).as_str() {
            "target" | ".git" | ".trunkline" | "node_modules" | ".venv" | "compiled" => {}
            _ if path.is_dir() => files(&path, found),
            _ => found.push(path),
        }
    }
}

/// Returns the package names of the connectors. A folder has the name of its connector.
fn connectors() -> BTreeSet<String> {
    let manifest = |folder: &PathBuf| fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse::<Table>().unwrap();
    folders("connectors").iter().map(|path| manifest(path)["package"]["name"].as_str().unwrap().to_owned()).collect()
}

fn unlinked(folders: &BTreeSet<String>, registered: &BTreeSet<String>) -> Vec<String> {
    folders.symmetric_difference(registered).cloned().collect()
}

#[test]
fn every_connector_folder_is_linked_into_the_host() {
    let registry = Registry::discover().unwrap();
    let registered: BTreeSet<_> = registry.connectors().map(|one| one.spec().name.clone()).collect();
    let mut folders: BTreeSet<_> = folders("connectors").iter().map(|path| name(path)).collect();
    assert_eq!(unlinked(&folders, &registered), [""; 0], "see crates/runtime/src/connectors.rs");
    assert!(registry.connectors().all(|one| one.actions().count() > 1));
    // The sabotage twin: a folder without a connector is found.
    folders.insert("forgotten".into());
    assert_eq!(unlinked(&folders, &registered), ["forgotten"]);
}

/// Returns the crates of the workspace that a crate may depend on: dependencies point one way.
fn may_name(krate: &str) -> &'static [&'static str] {
    match krate {
        "trunkline-core" | "trunkline-sandbox" => &[],
        "trunkline-rest" | "trunkline-flow" => &["trunkline-core"],
        "trunkline-engine" => &["trunkline-core", "trunkline-flow"],
        "trunkline-store" => &["trunkline-core", "trunkline-flow", "trunkline-engine"],
        "trunkline-testkit" => &["trunkline-core"],
        "trunkline" => &[
            "trunkline-core",
            "trunkline-rest",
            "trunkline-flow",
            "trunkline-engine",
            "trunkline-store",
            "a connector",
        ],
        "trunkline-server" => {
            &["trunkline", "trunkline-core", "trunkline-rest", "trunkline-flow", "trunkline-engine", "trunkline-store"]
        }
        "trunkline-cli" => &["trunkline", "trunkline-server", "trunkline-sandbox"],
        "trunkline-tests" => &["anything"],
        // A connector.
        _ => &["trunkline-core", "trunkline-rest"],
    }
}

/// The crates that may depend on these libraries.
const RESERVED: &[(&str, &[&str])] = &[
    ("reqwest", &["trunkline-rest"]),
    ("axum", &["trunkline-server", "trunkline-sandbox", "trunkline-tests"]),
    ("clap", &["trunkline-cli"]),
    ("comfy-table", &["trunkline-cli"]),
    ("indicatif", &["trunkline-cli"]),
    ("tracing-subscriber", &["trunkline-cli"]),
    ("tikv-jemallocator", &["trunkline-cli"]),
    ("inventory", &["trunkline-core"]),
    ("rusqlite", &["trunkline-store"]),
    ("http", &["trunkline-rest"]),
    ("hyper", &["trunkline-server"]),
    ("hyper-util", &["trunkline-server"]),
    ("oauth2", &["trunkline-rest"]),
];

/// The libraries that these crates may not use, not even in tests: the flow language waits for nothing.
const EXCLUDED: &[(&str, &[&str])] = &[("trunkline-flow", &["tokio", "tokio-util"])];

/// Returns every dependency of a manifest that breaks the rules.
fn faults(manifest: &Table, connectors: &BTreeSet<String>) -> Vec<String> {
    let krate = manifest["package"]["name"].as_str().unwrap();
    let ours = |name: &str| name == "trunkline" || name.starts_with("trunkline-") || connectors.contains(name);
    let mut found = Vec::new();
    for (section, dependencies) in sections(manifest) {
        for dependency in dependencies.keys() {
            if EXCLUDED.iter().any(|(name, libraries)| *name == krate && libraries.contains(&dependency.as_str())) {
                found.push(format!("{krate} may not depend on {dependency}"));
                continue;
            }
            let to_test = section == "dev-dependencies";
            if ours(dependency) {
                let kind = if connectors.contains(dependency) { "a connector" } else { dependency };
                let allowed = may_name(krate).contains(&kind)
                    || may_name(krate) == ["anything"]
                    || (to_test && dependency == krate)
                    || (to_test
                        && dependency == "trunkline-sandbox"
                        && (krate == "trunkline" || connectors.contains(krate)))
                    || (to_test && dependency == "trunkline-engine" && krate == "trunkline-store")
                    // A file goes from one connector to another.
                    || (to_test && connectors.contains(dependency) && connectors.contains(krate))
                    // The unit tests of core would see two copies of core.
                    || (to_test
                        && dependency == "trunkline-testkit"
                        && !matches!(krate, "trunkline-core" | "trunkline-sandbox"));
                if !allowed {
                    found.push(format!("{krate} may not depend on {dependency}"));
                }
            } else if let Some((_, allowed_crates)) = RESERVED.iter().find(|(name, _)| name == dependency) {
                // Tests may use HTTP, but not those of crates that know no HTTP.
                let free = krate == "trunkline-tests"
                    || (to_test
                        && !matches!(krate, "trunkline-core" | "trunkline-flow" | "trunkline-engine")
                        && dependency != "inventory");
                if !allowed_crates.contains(&krate) && !free {
                    found.push(format!("{krate} may not depend on {dependency}"));
                }
            }
        }
    }
    found
}

/// Returns the dependencies of a manifest by their kind, those for one platform included.
fn sections(manifest: &Table) -> Vec<(&'static str, Table)> {
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let platforms = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(|all| all.values());
    let all = platforms.filter_map(Value::as_table).chain([manifest]);
    let of = |table: &Table| kinds.map(|kind| Some((kind, table.get(kind)?.as_table()?.clone())));
    all.flat_map(of).flatten().collect()
}

#[test]
fn dependencies_point_one_way_and_each_library_has_its_place() {
    let connectors = connectors();
    let mut crates = [folders("crates"), folders("connectors")].concat();
    crates.push(project().join("tests"));
    assert!(crates.len() >= 11, "{crates:?}");
    let mut found = Vec::new();
    for folder in crates {
        let manifest: Table = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
        found.extend(faults(&manifest, &connectors));
        assert!(!folder.join("build.rs").exists(), "nothing is generated at build time");
    }
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_dependency_that_points_the_wrong_way_is_found() {
    let connectors = BTreeSet::from(["mediaflow".to_owned()]);
    for (krate, dependency) in [
        ("trunkline-core", "[dependencies]\ntrunkline-engine = {}"),
        ("trunkline-core", "[dev-dependencies]\nreqwest = \"1\""),
        ("trunkline-flow", "[dependencies]\ntrunkline-engine = {}"),
        ("trunkline-flow", "[dependencies]\ntokio = \"1\""),
        ("trunkline-flow", "[dev-dependencies]\ntokio-util = \"1\""),
        ("trunkline-engine", "[dependencies]\nhttp = \"1\""),
        ("trunkline-engine", "[dependencies]\ntrunkline-rest = {}"),
        ("trunkline-rest", "[dependencies]\ntrunkline-engine = {}"),
        ("trunkline-store", "[dependencies]\nmediaflow = {}"),
        ("trunkline-store", "[dependencies]\ntrunkline-testkit = {}"),
        ("trunkline-core", "[dev-dependencies]\ntrunkline-testkit = {}"),
        ("trunkline-testkit", "[dependencies]\ntrunkline-engine = {}"),
        ("trunkline-sandbox", "[dependencies]\ntrunkline-core = {}"),
        ("mediaflow", "[dependencies]\nreqwest = \"1\""),
        ("mediaflow", "[dependencies]\ntrunkline-store = {}"),
        ("mediaflow", "[dev-dependencies]\ntrunkline = {}"),
        ("trunkline", "[target.'cfg(unix)'.dependencies]\nrusqlite = \"1\""),
        ("trunkline", "[build-dependencies]\nreqwest = \"1\""),
        ("trunkline", "[dependencies]\ntrunkline-server = {}"),
        ("trunkline", "[dependencies]\ntrunkline-sandbox = { optional = true }"),
        ("trunkline", "[dependencies]\naxum = \"1\""),
        ("trunkline", "[target.'cfg(unix)'.dependencies]\ntikv-jemallocator = \"1\""),
        ("trunkline-server", "[dependencies]\ntrunkline-cli = {}"),
        ("trunkline-server", "[dev-dependencies]\ntrunkline-sandbox = {}"),
        ("trunkline-server", "[dependencies]\nmediaflow = {}"),
        ("trunkline-server", "[dependencies]\nclap = \"1\""),
        ("trunkline-server", "[dependencies]\ntracing-subscriber = \"1\""),
        ("trunkline-cli", "[dependencies]\naxum = \"1\""),
        ("trunkline-cli", "[dependencies]\nmediaflow = {}"),
        ("trunkline-cli", "[dependencies]\ntrunkline-store = {}"),
        ("trunkline-sandbox", "[dependencies]\nindicatif = \"1\""),
        ("trunkline-rest", "[dependencies]\ncomfy-table = \"1\""),
    ] {
        let manifest: Table = format!("[package]\nname = \"{krate}\"\n{dependency}").parse().unwrap();
        assert_eq!(faults(&manifest, &connectors).len(), 1, "{krate}: {dependency}");
    }
}

/// The forms by which a source reads a clock.
const CLOCKS: [&str; 3] = ["Timestamp::now", "Instant::now", "SystemTime"];

fn clocks(content: &str) -> Vec<&'static str> {
    CLOCKS.into_iter().filter(|form| content.contains(form)).collect()
}

#[test]
fn the_flow_language_reads_no_clock() {
    let mut sources = Vec::new();
    files(&project().join("crates/flow/src"), &mut sources);
    assert!(sources.len() > 20, "{sources:?}");
    for path in sources {
        assert_eq!(clocks(&fs::read_to_string(&path).unwrap()), [""; 0], "{}", path.display());
    }
    // The sabotage twin: each form is found.
    for form in ["Timestamp::now()", "tokio::time::Instant::now()", "std::time::SystemTime::now()"] {
        assert_eq!(clocks(&format!("fn due() {{ let now = {form}; }}")).len(), 1, "{form}");
    }
}

#[test]
fn no_source_file_is_too_long() {
    let mut found = Vec::new();
    for folder in [folders("crates"), folders("connectors")].concat() {
        let mut sources = Vec::new();
        files(&folder.join("src"), &mut sources);
        let is_connector = folder.parent().is_some_and(|parent| name(parent) == "connectors");
        for path in sources.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
            let lines = fs::read_to_string(path).unwrap().lines().count();
            let limit = if is_connector && name(path) == "lib.rs" { LONGEST_CONNECTOR } else { LONGEST };
            if lines > limit {
                found.push(format!("{} has {lines} lines, more than {limit}", path.display()));
            }
        }
    }
    assert_eq!(found, [""; 0]);
}

/// Public types that may have the same name in several places: the associated types of actions, and the settings of a
/// connector.
const SHARED_NAMES: [&str; 3] = ["Input", "Output", "Settings"];

/// Returns each name that two public types have, with the files; `sources` are paths with their content.
fn names_in_two_places(sources: &[(String, String)]) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (path, content) in sources {
        for name in public_types(content) {
            places.entry(name).or_default().push(path);
        }
    }
    places.retain(|name, places| places.len() > 1 && !SHARED_NAMES.contains(&name.as_str()));
    places.iter().map(|(name, places)| format!("{name}: {}", places.join(", "))).collect()
}

#[test]
fn no_two_public_types_have_one_name() {
    let mut paths = Vec::new();
    for folder in [folders("crates"), folders("connectors")].concat() {
        files(&folder.join("src"), &mut paths);
    }
    paths.sort();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let read = |path: &PathBuf| (path.display().to_string(), fs::read_to_string(path).unwrap());
    let mut sources: Vec<_> = paths.iter().map(read).collect();
    assert_eq!(names_in_two_places(&sources), [""; 0]);
    // The sabotage twin: a second type of one name is found.
    let registry = "pub(crate) struct Hidden;\nmod inner {\n    pub trait Registry {}\n    pub struct Settings;\n}";
    sources.push(("second.rs".into(), registry.into()));
    let found = names_in_two_places(&sources);
    assert!(found.len() == 1 && found[0].starts_with("Registry: ") && found[0].ends_with("second.rs"), "{found:?}");
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    // In halves, so that the test does not find this file.
    let foreign = [["../", "shared"], ["/work", "/main"], ["/work", "/shared"], ["/work", "/target"], ["/root", "/."]];
    let foreign = foreign.map(|halves| halves.concat());
    let mut all = Vec::new();
    files(&project(), &mut all);
    assert!(all.len() > 100);
    let mut found = Vec::new();
    for path in all {
        let content = fs::read(&path).unwrap();
        let content = String::from_utf8_lossy(&content);
        found.extend(
            foreign.iter().filter(|one| content.contains(*one)).map(|one| format!("{}: {one}", path.display())),
        );
    }
    assert_eq!(found, [""; 0]);
}
