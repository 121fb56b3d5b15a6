//! Checks that the modules of each crate import one way: between the folders of a crate, and mostly within them.
//!
//! A folder is a folder directly below `src`; a file directly in `src` is a folder of its own. The rules:
//! 1. imports between folders point one way, so folders form no circle;
//! 2. modules that import each other in a circle are in one folder, and there are at most three of them.
//!
//! A failure lists every circle with one import per edge.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use super::{
    files, folders,
    imports::{Imports, Sources, imports},
};

/// The most modules of one folder that may import each other in a circle.
const LARGEST_CIRCLE: usize = 3;

/// Returns the folder of a file: `store` of `store/mod.rs` and of `store.rs`, `lib` of `lib.rs`.
fn folder(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// Returns the groups of two or more nodes that reach each other.
fn circles<N: Ord + Copy>(edges: &BTreeSet<(N, N)>) -> Vec<BTreeSet<N>> {
    let reached = |from: N| {
        let (mut found, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            open.extend(edges.iter().filter(|(one, other)| *one == at && found.insert(*other)).map(|edge| edge.1));
        }
        found
    };
    let nodes: BTreeSet<N> = edges.iter().map(|edge| edge.0).collect();
    let reach: BTreeMap<N, BTreeSet<N>> = nodes.iter().map(|node| (*node, reached(*node))).collect();
    let mut found: BTreeSet<BTreeSet<N>> = BTreeSet::new();
    for (node, others) in &reach {
        let back = |other: &&N| reach.get(*other).is_some_and(|others| others.contains(node));
        let circle: BTreeSet<N> = others.iter().filter(back).copied().collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

/// Returns every circle that breaks a rule, with one import per edge.
fn faults(all: &Imports) -> Vec<String> {
    let mut found = Vec::new();
    let mut between = BTreeMap::new();
    for (edge, line) in &all.edges {
        let (from, to) = (folder(&all.files[edge.0]), folder(&all.files[edge.1]));
        if from != to {
            between.entry((from, to)).or_insert_with(Vec::new).push((*edge, *line));
        }
    }
    let example = |text: &mut String, ((from, to), line): ((usize, usize), usize)| {
        let _ = write!(text, "{}:{line} imports {}", all.files[from], all.files[to]);
    };
    for circle in circles(&between.keys().copied().collect()) {
        let names: Vec<_> = circle.iter().copied().collect();
        let mut text = format!("the folders {} import each other in a circle:", names.join(", "));
        for ((from, to), imports) in
            between.iter().filter(|((from, to), _)| circle.contains(from) && circle.contains(to))
        {
            let _ = write!(text, "\n    {from} -> {to} ({} imports): ", imports.len());
            example(&mut text, imports[0]);
        }
        found.push(text);
    }
    for circle in circles(&all.edges.keys().copied().collect()) {
        let places: BTreeSet<_> = circle.iter().map(|file| folder(&all.files[*file])).collect();
        // A circle of files directly in `src` is a circle of folders, which is reported above.
        let is_reported = circle.iter().all(|file| !all.files[*file].contains('/'));
        if is_reported || (places.len() == 1 && circle.len() <= LARGEST_CIRCLE) {
            continue;
        }
        let rule = if places.len() > 1 { "crosses folders" } else { "is too large" };
        let names: Vec<_> = circle.iter().map(|file| all.files[*file].as_str()).collect();
        let mut text = format!("a circle of {} modules {rule}: {}", names.len(), names.join(", "));
        for (edge, line) in all.edges.iter().filter(|(edge, _)| circle.contains(&edge.0) && circle.contains(&edge.1)) {
            text.push_str("\n    ");
            example(&mut text, (*edge, *line));
        }
        found.push(text);
    }
    found
}

/// Reads the sources below a folder `src`.
fn sources(src: &Path) -> Sources {
    let mut paths = Vec::new();
    files(src, &mut paths);
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let relative = |path: &Path| path.strip_prefix(src).unwrap().to_string_lossy().replace('\\', "/");
    paths.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn imports_of_every_crate_point_one_way() {
    let (mut crates, mut all) = (0, Vec::new());
    for below in ["crates", "connectors"] {
        for krate in folders(below) {
            let sources = sources(&krate.join("src"));
            // With a library, `main.rs` uses it like any other crate, so it is not part of a circle.
            let root = if sources.contains_key("lib.rs") { "lib.rs" } else { "main.rs" };
            let imports = imports(&sources, root);
            let found = faults(&imports);
            assert!(imports.files.len() > 1, "{}", krate.display());
            let name = format!("{below}/{}", super::name(&krate));
            println!(
                "{name}: {} modules, {} imports, {} faults",
                imports.files.len(),
                imports.edges.len(),
                found.len()
            );
            crates += 1;
            all.extend(found.iter().map(|fault| format!("{name}: {fault}")));
        }
    }
    assert!(crates >= 9, "{crates} crates");
    assert!(all.is_empty(), "{}", all.join("\n"));
}

/// Returns the faults of a crate of these files.
fn faults_of(files: &[(&str, &str)]) -> Vec<String> {
    let sources = files.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect();
    faults(&imports(&sources, "lib.rs"))
}

/// A crate without circles that has all that could be mistaken for one.
const CLEAN: [(&str, &str); 6] = [
    ("lib.rs", "//! crate::upper\nmod lower;\nmod text;\nmod upper;\npub use lower::Base;\npub use upper::*;\n"),
    (
        "lower/mod.rs",
        "mod base;\npub(crate) mod near;\n#[cfg(test)]\nmod tests;\npub use base::Base;\npub use near::Near;\n",
    ),
    (
        "lower/base.rs",
        "use super::Near;\npub struct Base(pub(crate) Near);\n// crate::upper::Top\nconst A: &str = \"crate::upper::Top\";\n\
         #[cfg(test)]\nuse crate::upper::Top;\n#[cfg(test)]\nmod tests { use crate::upper::Top; }\n\
         impl Base {\n #[cfg(all(test, unix))]\n fn top() -> crate::upper::Top { crate::upper::Top }\n}\n",
    ),
    ("lower/near.rs", "use super::Base;\npub struct Near(Box<Base>);\n"),
    ("text.rs", "use std::upper::Top;\nuse other::crate_name;\npub fn text() {}\n"),
    (
        "upper.rs",
        "use crate::{Base, lower::{near::{self, Near}}, text::text};\npub struct Top(Base, Near, near::Near);\n",
    ),
];

/// Returns the clean crate with these files changed or added.
fn with<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = CLEAN.iter().filter(|(path, _)| changes.iter().all(|(changed, _)| changed != path));
    kept.chain(changes).copied().collect()
}

#[test]
fn a_crate_without_circles_has_no_faults() {
    let sources = CLEAN.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect();
    let all = imports(&sources, "lib.rs");
    let name = |edge: &(usize, usize)| format!("{} -> {}", all.files[edge.0], all.files[edge.1]);
    let mut edges: Vec<_> = all.edges.keys().map(name).collect();
    edges.sort();
    let expected = [
        "lower/base.rs -> lower/near.rs",
        "lower/near.rs -> lower/base.rs",
        "upper.rs -> lower/base.rs",
        "upper.rs -> lower/near.rs",
        "upper.rs -> text.rs",
    ];
    assert_eq!(edges, expected);
    assert_eq!(faults(&all), [""; 0]);
}

/// The sabotage twin: each form of an import that closes a circle across folders is found, with its line.
#[test]
fn a_circle_across_folders_is_found() {
    for closing in [
        "use crate::upper::Top;",
        "use crate::{other, upper::{Top as Other}};",
        "use super::upper::Top;",
        "use crate::Top;",
        "use crate::upper::*;\ntype A = Top;",
        "fn a() -> crate::upper::Top { todo!() }",
        "fn a() { let _ = format!(\"{}\", super::upper::Top); }",
        "fn a() { use crate::upper; upper::top() }",
        "#[cfg(any(test, feature = \"x\"))]\nuse crate::upper::Top;",
        "struct A(crate::Top);",
    ] {
        let text = format!("pub fn text() {{}}\n{closing}\n");
        let found = faults_of(&with(&[("text.rs", &text)]));
        assert_eq!(found.len(), 1, "{closing}: {found:?}");
        assert!(found[0].starts_with("the folders text, upper import each other in a circle:"), "{}", found[0]);
        assert!(found[0].contains("\n    upper -> text (1 imports): upper.rs:1 imports text.rs"), "{}", found[0]);
        let line = if closing.starts_with("#[cfg") { 3 } else { 2 };
        assert!(found[0].contains(&format!(" text.rs:{line} imports upper.rs")), "{}", found[0]);
    }
}

/// The sabotage twin: folders form a circle although no modules do.
#[test]
fn a_circle_of_folders_without_a_circle_of_modules_is_found() {
    let found = faults_of(&with(&[
        ("lower/near.rs", "use crate::late::one;\npub struct Near;\n"),
        ("late/mod.rs", "pub mod one;\npub mod two;\n"),
        ("late/one.rs", "pub fn one() {}\n"),
        ("late/two.rs", "use crate::lower::Base;\npub fn two(_: Base) {}\n"),
        ("lib.rs", "mod late;\nmod lower;\nmod text;\nmod upper;\npub use lower::Base;\n"),
    ]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("the folders late, lower import each other"), "{}", found[0]);
}

/// The sabotage twin: the folder re-exports what another folder defines, through two files.
#[test]
fn a_circle_through_a_re_export_is_found() {
    let found = faults_of(&with(&[
        (
            "lower/mod.rs",
            "mod base;\npub(crate) mod near;\npub use base::Base;\npub use near::Near;\npub(crate) use super::prelude::Top;\n",
        ),
        ("lib.rs", "mod lower;\nmod prelude;\nmod text;\nmod upper;\npub use lower::Base;\n"),
        ("prelude.rs", "pub use crate::upper::Top;\n"),
        ("lower/near.rs", "use super::{Base, Top};\npub struct Near(Box<Base>, Top);\n"),
    ]));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[1].starts_with("a circle of 3 modules crosses folders: lower/base.rs, lower/near.rs, upper.rs"),
        "{}",
        found[1]
    );
    assert!(found[1].contains("\n    lower/near.rs:1 imports upper.rs"), "{}", found[1]);
}

/// The sabotage twin: a parent that re-exports and has code of its own is part of the circle.
#[test]
fn a_circle_of_four_within_a_folder_is_found() {
    let faults_with = |parent: &str| {
        faults_of(&with(&[
            ("lower/mod.rs", parent),
            ("lower/base.rs", "use super::near::Near;\npub struct Base(Near);\n"),
            ("lower/near.rs", "use super::far::Far;\npub struct Near(Far);\n"),
            ("lower/far.rs", "use super::limit;\npub struct Far;\npub fn far() { limit() }\n"),
        ]))
    };
    let modules = "pub mod base;\npub mod far;\npub mod near;\npub use base::Base;\npub use near::Near;\n";
    let code = format!("{modules}pub fn limit() {{ Base::new() }}\n");
    let found = faults_with(&code);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("a circle of 4 modules is too large: lower/mod.rs, lower/base.rs,"), "{}", found[0]);
    // Without use of the re-exported name there is no circle.
    let code = format!("{modules}pub fn limit() {{}}\n");
    assert_eq!(faults_with(&code), [""; 0]);
}
