//! Checks that the usage of each command shows what it requires.

/// The usage of each command below `trunkline`, without `[OPTIONS]`, which every command has.
const USAGES: &[&str] = &[
    "action <CONNECTOR.ACTION>",
    "actions [CONNECTOR]",
    "call --connection <NAME> <CONNECTOR.ACTION>",
    "connection add <FILE>",
    "connection authorize <NAME>",
    "connection check <NAME>",
    "connection discover <ISSUER>",
    "connection events [NAME]",
    "connection export <NAME|--all>",
    "connection list",
    "connection remove <NAME>",
    "connection show <NAME>",
    "connectors [NAME]",
    "demo",
    "flow activate <NAME>",
    "flow add <FILE>",
    "flow address <NAME>",
    "flow deactivate <NAME>",
    "flow filters",
    "flow graph <NAME|FILE>",
    "flow list",
    "flow outputs <FILE>",
    "flow remove <NAME>",
    "flow secret <NAME> <FILE>",
    "flow show <NAME>",
    "flow trigger <NAME>",
    "flow validate <FILE>",
    "key rotate",
    "once reset <NAME|FILE> [KEY]...",
    "once show <NAME|FILE> [KEY]...",
    "run <NAME|FILE>",
    "runs",
    "runs <COMMAND>",
    "runs cancel [ID]...",
    "runs find <KEY>",
    "runs flow <ID>",
    "runs items <ID>",
    "runs list",
    "runs log <ID>",
    "runs prune --older <AGE>",
    "runs remove [ID]...",
    "runs rerun --failed <ID>",
    "runs resolve <ID> <STEP> <VERDICT>",
    "runs resume <ID>",
    "runs show <ID>",
    "runs signal <ID> <NAME>",
    "runs steps <ID>",
    "runs tail [ID]",
    "runs timeline <ID>",
    "sandbox",
    "schema <flow|operation|connector>",
    "schema action <CONNECTOR.ACTION>",
    "schema connection <CONNECTOR>",
    "serve",
    "step test <FILE> <STEP>",
    "store adopt",
    "store compact",
    "store retention [AGE]",
];

/// Returns the usage of each command that can be run, sorted.
fn usages() -> Vec<String> {
    fn add(command: &mut clap::Command, found: &mut Vec<String>) {
        if !command.is_subcommand_required_set() {
            let usage = command.render_usage().to_string().replace(" [OPTIONS]", "");
            let lines = usage.trim_start_matches("Usage: ").lines().map(|line| line.trim().replace("trunkline ", ""));
            found.extend(lines);
        }
        let shown = |below: &&mut clap::Command| !below.is_hide_set() && below.get_name() != "help";
        command.get_subcommands_mut().filter(shown).for_each(|below| add(below, found));
    }
    let (mut found, mut command) = (Vec::new(), trunkline_cli::command());
    command.build();
    add(&mut command, &mut found);
    found.sort();
    found
}

#[test]
fn the_usage_of_each_command_shows_what_is_required() {
    assert_eq!(usages(), USAGES, "{:#?}", usages());
}
