//! The table of actions in each connector's README is derived from the registry; `UPDATE=1` rewrites it.
#![allow(clippy::unwrap_used)]

use std::{env, fs};

use trunkline as _;
use trunkline_core::{Registered, Registry};
use trunkline_tests::project;

const BEGIN: &str = "<!-- actions: written by `UPDATE=1 cargo test -p trunkline-tests --test project readmes` -->\n";
const END: &str = "<!-- end of actions -->";

fn table(connector: &Registered) -> String {
    let mut specs: Vec<_> = connector.actions().collect();
    specs.sort_by(|a, b| (&a.group, &a.name).cmp(&(&b.group, &b.name)));
    let mut text = String::from("\n| action | does | effect | call |\n| --- | --- | --- | --- |\n");
    for spec in specs {
        let route = spec.route.as_ref().map_or_else(String::new, |route| format!("`{route}`"));
        let effect = serde_json::to_value(spec.effect).unwrap();
        text += &format!(
            "| `{}` | {} | {} | {route} |\n",
            spec.name,
            spec.title.replace('|', "\\|"),
            effect.as_str().unwrap()
        );
    }
    text + "\n"
}

#[test]
fn every_connector_has_a_readme_with_all_its_actions() {
    for connector in Registry::discover().unwrap().connectors() {
        let name = &connector.spec().name;
        let path = project().join("connectors").join(name).join("README.md");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (before, rest) =
            text.split_once(BEGIN).unwrap_or_else(|| panic!("{name}: the README has no table of actions"));
        let (found, after) =
            rest.split_once(END).unwrap_or_else(|| panic!("{name}: the table of actions has no end marker"));
        let expected = table(connector);
        if env::var_os("UPDATE").is_some() {
            fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
            continue;
        }
        assert_eq!(found, expected, "{name}: run `UPDATE=1 cargo test -p trunkline-tests --test project readmes`");
    }
}
