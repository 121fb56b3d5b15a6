//! Checks that each command carries out operations, or that there is a reason why not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use trunkline::operations::operations;

/// The operations of each command.
const COMMANDS: [(&str, &[&str]); 49] = [
    ("action", &["actions.get", "connectors.get"]),
    ("actions", &["actions.list", "connectors.list"]),
    ("call", &["actions.call", "actions.list_items"]),
    ("connection add", &["connections.add", "connections.get"]),
    ("connection authorize", &["connections.authorize"]),
    ("connection check", &["connections.check"]),
    ("connection discover", &["connections.discover", "connections.apply_discovery"]),
    ("connection events", &["connections.events"]),
    ("connection export", &["connections.export"]),
    ("connection list", &["connections.get", "connections.list", "connectors.list"]),
    ("connection remove", &["connections.remove"]),
    ("connection show", &["connections.get"]),
    ("connectors", &["connectors.get", "connectors.list"]),
    ("flow activate", &["flows.activate"]),
    ("flow add", &["flows.save", "flows.get", "connections.list"]),
    ("flow address", &["flows.new_webhook_address"]),
    ("flow deactivate", &["flows.deactivate"]),
    ("flow filters", &["filters.list"]),
    ("flow graph", &["flows.get", "flows.get_graph", "flows.graph"]),
    ("flow list", &["flows.list"]),
    ("flow outputs", &["flows.outputs"]),
    ("flow remove", &["flows.remove"]),
    ("flow secret", &["flows.set_webhook_secret"]),
    ("flow show", &["flows.get"]),
    ("flow trigger", &["flows.deliveries", "flows.trigger"]),
    ("flow validate", &["flows.validate"]),
    ("once reset", &["remembered_items.remove"]),
    ("once show", &["remembered_items.list"]),
    ("run", &["flows.get", "runs.start"]),
    ("runs", &["runs.list"]),
    ("runs cancel", &["runs.bulk", "runs.cancel"]),
    ("runs find", &["runs.find"]),
    ("runs flow", &["runs.flow"]),
    ("runs items", &["runs.items"]),
    ("runs list", &["runs.list"]),
    ("runs log", &["runs.log"]),
    ("runs prune", &["runs.prune"]),
    ("runs remove", &["runs.bulk", "runs.remove"]),
    ("runs rerun", &["flows.get", "runs.get", "runs.rerun"]),
    ("runs resolve", &["runs.resolve"]),
    ("runs resume", &["runs.get", "runs.resume"]),
    ("runs show", &["runs.get"]),
    ("runs signal", &["runs.signal"]),
    ("runs steps", &["runs.step", "runs.steps"]),
    ("runs tail", &["runs.events", "runs.get", "runs.watch"]),
    ("runs timeline", &["runs.timeline"]),
    ("schema", &["schemas.get", "connectors.list"]),
    ("step test", &["steps.test"]),
    ("store retention", &["runs.get_retention", "runs.set_retention"]),
];

/// The commands that carry out no operation, with the reason.
const NOT_OPERATIONS: [(&str, &str); 6] = [
    ("demo", "starts and stops simulators"),
    ("key rotate", "works below the runtime, also where no runtime can be opened"),
    ("sandbox", "starts and stops simulators"),
    ("serve", "starts and stops a server"),
    ("store compact", "works below the runtime, on a store that no process has open"),
    ("store adopt", "works below the runtime, on a store that no runtime may change"),
];

/// The operations that no command has, with the reason.
const NO_COMMAND: [(&str, &str); 12] = [
    ("actions.options", "a form asks for it"),
    ("actions.pages", "`call --all` reads all pages"),
    ("connections.patch", "a form changes single settings; at a terminal, `connection add --replace` takes the file"),
    ("connections.put", "`connection add --replace` does this, with the file as the user has it"),
    ("connections.uses", "`connection list` shows them, of all connections"),
    ("connections.validate", "`connection add` checks the document too, and saves nothing that is wrong"),
    ("connectors.get_icon", "a terminal shows no pictures"),
    ("event_tickets.get", "a web page that cannot send a token needs it, and a command has the journal"),
    ("expressions.complete", "an editor asks for it while a person writes"),
    ("expressions.evaluate", "`step test` of a `set` evaluates expressions"),
    ("flows.put", "`flow add --replace` does this, with the file as the user has it"),
    ("runs.graph", "`runs timeline` has the steps of a run, and `flow graph` their tree"),
];

/// Returns the sources in a folder by their names.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let named =
        |path: PathBuf| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap());
    paths.map(named).collect()
}

/// Returns the commands that can be run: those without commands below them, and those that can do without one. Hidden
/// commands are former names of others.
fn commands() -> Vec<String> {
    fn add(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            let path = format!("{path} {}", below.get_name()).trim().to_owned();
            if !below.is_subcommand_required_set() {
                found.push(path.clone());
            }
            add(below, &path, found);
        }
    }
    let mut found = Vec::new();
    add(&trunkline_cli::command(), "", &mut found);
    found.sort();
    found
}

/// Returns what is wrong with the tables: a command without an entry, an entry without a command, an operation that does
/// not exist or that no command has.
fn faults(commands: &[String], mapped: &[(&str, &[&str])], operations: &BTreeSet<&str>) -> Vec<String> {
    let mut found = Vec::new();
    let known = |name: &str| {
        mapped.iter().map(|(one, _)| *one).chain(NOT_OPERATIONS.map(|(one, _)| one)).any(|one| one == name)
    };
    found.extend(commands.iter().filter(|name| !known(name)).map(|name| format!("{name} has no operation")));
    let is_command = |name: &str| commands.iter().any(|one| one == name);
    let missing = mapped.iter().filter(|(name, _)| !is_command(name));
    found.extend(missing.map(|(name, _)| format!("there is no command {name}")));
    let used: BTreeSet<_> = mapped.iter().flat_map(|(_, operations)| operations.iter().copied()).collect();
    found.extend(used.difference(operations).map(|name| format!("there is no operation {name}")));
    let excused: BTreeSet<_> = NO_COMMAND.iter().map(|(name, _)| *name).collect();
    let unused = operations.difference(&used).filter(|name| !excused.contains(*name));
    found.extend(unused.map(|name| format!("no command has {name}")));
    found
}

#[test]
fn every_command_carries_out_operations_or_has_a_reason_why_not() {
    let commands = commands();
    let operations: BTreeSet<_> = operations().iter().map(|one| one.spec().name).collect();
    assert_eq!(faults(&commands, &COMMANDS, &operations), [""; 0]);
    // The sabotage twins: each kind of fault is found.
    let with_another = [&commands[..], &["runs forget".to_owned()]].concat();
    assert_eq!(faults(&with_another, &COMMANDS, &operations), ["runs forget has no operation"]);
    let mut fewer = operations.clone();
    fewer.remove("connections.list");
    assert_eq!(faults(&commands, &COMMANDS, &fewer), ["there is no operation connections.list"]);
    fewer = operations.clone();
    fewer.insert("connections.rename");
    assert_eq!(faults(&commands, &COMMANDS, &fewer), ["no command has connections.rename"]);
    let mapped = [&COMMANDS[..], &[("connection rename", &["connections.list"])]].concat();
    assert_eq!(faults(&commands, &mapped, &operations), ["there is no command connection rename"]);
}

/// Returns the words that follow each occurrence of one of these forms.
fn words_after(source: &str, forms: &[&str]) -> BTreeSet<String> {
    let after = forms.iter().flat_map(|form| source.split(form).skip(1));
    after.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()).collect()
}

/// Returns the names of operations by their types.
fn names(source: &str) -> BTreeMap<String, String> {
    let rows = source.lines().filter_map(|line| {
        let (operation, rest) = line.trim().split_once(": \"")?;
        Some((operation, rest.split_once("\",")?.0)).filter(|_| operation.starts_with(char::is_uppercase))
    });
    let others = source.split("Operation for ").skip(1).filter_map(|one| {
        let name = one.split("const NAME: &'static str = \"").nth(1)?.split('"').next()?;
        Some((one.split_whitespace().next()?, name))
    });
    rows.chain(others).map(|(operation, name)| (operation.to_owned(), name.to_owned())).collect()
}

#[test]
fn the_sources_of_the_commands_carry_out_what_the_table_says() {
    let names: BTreeMap<_, _> = sources("../runtime/src/operations").values().flat_map(|one| names(one)).collect();
    assert_eq!(names.len(), operations().len(), "{names:?}");
    let carried_out = |sources: &BTreeMap<String, String>| {
        let types = sources.values().flat_map(|source| words_after(source, &["execute::<", "stream::<"]));
        types.filter_map(|one| names.get(&one).cloned()).collect::<BTreeSet<_>>()
    };
    let mapped: BTreeSet<_> = COMMANDS.iter().flat_map(|(_, all)| all.iter().map(|one| (*one).to_owned())).collect();
    let mut commands = sources("src");
    assert_eq!(carried_out(&commands), mapped);
    // The sabotage twin: without one of the sources, operations are missing.
    commands.remove("connection.rs").unwrap();
    // Its tests add a connection.
    commands.remove("consent.rs").unwrap();
    assert!(!carried_out(&commands).contains("connections.add"));
}

/// What a command may do with a runtime besides carrying out operations, with the reason.
const BESIDE_OPERATIONS: [(&str, &str); 6] = [
    ("block_on", "that of the runtime of tokio"),
    ("finish_sign_in", "the callback of a sign-in is not an operation"),
    ("now", "texts say how long ago something was"),
    ("redactor", "a part of an output is shown without secrets, as the whole is"),
    ("take_handle", "the progress of a run that an operation has started in this process"),
    ("with_public_url", "an option says under which address a server is reached"),
];

/// Returns the methods of runtimes that a source calls without an operation.
fn beside_operations(source: &str) -> Vec<String> {
    let source: String = source.split_whitespace().collect();
    let called = words_after(&source, &["runtime."]);
    let allowed =
        |name: &str| ["execute", "stream"].contains(&name) || BESIDE_OPERATIONS.iter().any(|(one, _)| *one == name);
    called.into_iter().filter(|name| !allowed(name)).collect()
}

#[test]
fn no_command_reaches_around_the_operations() {
    let mut commands = sources("src");
    // It is not an operation, and prepares what its run needs.
    commands.remove("demo.rs").unwrap();
    let found = commands.iter().map(|(name, source)| (name.as_str(), beside_operations(source)));
    let found: Vec<_> = found.filter(|(_, methods)| !methods.is_empty()).collect();
    assert_eq!(found, []);
    // The sabotage twin: a call of another method is found, also on a line of its own.
    let around = "runtime.execute::<GetRun>(owner, name).await?; runtime\n    .journal()\n    .runs().await?";
    assert_eq!(beside_operations(around), ["journal"]);
}
