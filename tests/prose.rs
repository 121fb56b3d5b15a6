//! Checks that sources, documents and help texts are written in plain English: they hold none of the forms that
//! docs/style.md bans.
//!
//! The idea: the table of the style page is the rule itself. This suite reads it, so that a person who adds a form
//! edits one place.
#![allow(clippy::unwrap_used)]

mod text;

pub mod rust;

use std::{fs, path::PathBuf, process::Command};

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use trunkline_tests::{project, trunkline};

use self::text::Passage;
use super::layout::files;

/// Most exceptions that there may be.
const MOST_EXCEPTIONS: usize = 10;

/// A text that a banned form may stand in: what the form is part of is the subject, or the text of another party.
struct Exception {
    file: &'static str,
    /// A part of the text that holds the form.
    fragment: &'static str,
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[Exception {
    file: "crates/server/src/signature/tests.rs",
    fragment: "Everybody",
    reason: "the secret of GitHub's published example of a signature",
}];

/// A row of the table of banned forms.
struct Form {
    expression: Regex,
    example: String,
    write: String,
}

/// The table of banned forms.
struct Forms {
    rows: Vec<Form>,
    /// All expressions at once, since few passages match any.
    set: RegexSet,
}

/// A banned form in a file.
#[derive(Debug)]
struct Finding {
    file: String,
    line: usize,
    found: String,
    advice: String,
    /// The passage, and where in it the form stands.
    passage: String,
    start: usize,
}

impl Finding {
    fn is_excused_by(&self, exception: &Exception) -> bool {
        let mut places = self.passage.match_indices(exception.fragment);
        self.file == exception.file
            && places.any(|(at, part)| at <= self.start && self.start + self.found.len() <= at + part.len())
    }
}

/// Reads the table under the heading "Banned forms" of the style page.
fn banned_forms(page: &str) -> Forms {
    let (_, section) = page.split_once("## Banned forms").unwrap_or_default();
    let rows = section.lines().take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| `"));
    let form = |row: &str| {
        // A bar of an expression is written `\|`.
        let row = row.replace("\\|", "\0");
        let cells: Vec<_> = row.trim_matches('|').split('|').map(|cell| cell.trim().replace('\0', "|")).collect();
        let [expression, example, write] = cells.as_slice() else { panic!("a row with {} cells: {row}", cells.len()) };
        let expression = RegexBuilder::new(expression.trim_matches('`')).case_insensitive(true).build().unwrap();
        Form { expression, example: example.clone(), write: write.clone() }
    };
    let rows: Vec<_> = rows.map(form).collect();
    let expressions = rows.iter().map(|form| form.expression.as_str());
    let set = RegexSetBuilder::new(expressions).case_insensitive(true).build().unwrap();
    Forms { rows, set }
}

fn style_page() -> String {
    fs::read_to_string(project().join("docs/style.md")).unwrap()
}

fn scan(file: &str, passages: &[Passage], forms: &Forms) -> Vec<Finding> {
    let mut all = Vec::new();
    let matches = passages.iter().flat_map(|passage| {
        let rows = forms.set.matches(&passage.text).into_iter();
        rows.map(move |row| (passage, &forms.rows[row]))
    });
    for (passage, form) in matches {
        all.extend(form.expression.find_iter(&passage.text).map(|found| Finding {
            file: file.to_owned(),
            line: passage.line(found.start()),
            found: found.as_str().to_owned(),
            advice: format!("write \"{}\" instead of \"{}\"", form.write, form.example),
            passage: passage.written.clone(),
            start: found.start(),
        }));
    }
    all
}

/// Returns what is wrong: findings without an exception, exceptions without a finding, and too many exceptions.
fn report(findings: &[Finding], exceptions: &[Exception]) -> Vec<String> {
    let open = findings.iter().filter(|finding| !exceptions.iter().any(|one| finding.is_excused_by(one)));
    let mut lines: Vec<_> = open
        .map(|one| format!("{}:{}: [{}] {}\n    {}", one.file, one.line, one.found, one.advice, one.passage))
        .collect();
    let unneeded = exceptions.iter().filter(|one| !findings.iter().any(|finding| finding.is_excused_by(one)));
    lines.extend(unneeded.map(|one| format!("{}: the exception \"{}\" is not needed", one.file, one.fragment)));
    lines.extend(exceptions.iter().filter(|one| one.reason.is_empty()).map(|one| format!("{}: no reason", one.file)));
    if exceptions.len() > MOST_EXCEPTIONS {
        lines.push(format!("{} exceptions, more than {MOST_EXCEPTIONS}", exceptions.len()));
    }
    lines
}

/// The help of a command and of all commands below it, as `(command, help)`.
fn help_of(command: &[&str], found: &mut Vec<(String, String)>) {
    let output = Command::new(trunkline()).arg("help").args(command).output().unwrap();
    assert!(output.status.success(), "help {command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let help = String::from_utf8(output.stdout).unwrap();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let entries = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<_> = entries.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect();
    found.push((["trunkline help", &command.join(" ")].join(" ").trim().to_owned(), help));
    for name in names.iter().filter(|name| *name != "help") {
        help_of(&[command, &[name.as_str()]].concat(), found);
    }
}

#[test]
fn all_that_a_person_reads_is_free_of_banned_forms() {
    let forms = banned_forms(&style_page());
    assert!(forms.rows.len() > 20, "docs/style.md has {} forms", forms.rows.len());
    let mut paths: Vec<PathBuf> = Vec::new();
    files(&project(), &mut paths);
    paths.sort();
    let (mut findings, mut scanned) = (Vec::new(), 0);
    for path in paths {
        let name = path.strip_prefix(project()).unwrap().to_string_lossy().replace('\\', "/");
        let Ok(content) = fs::read_to_string(&path) else { continue };
        if let Some(passages) = text::passages(&name, &content) {
            scanned += passages.len();
            findings.extend(scan(&name, &passages, &forms));
        }
    }
    let mut helps = Vec::new();
    help_of(&[], &mut helps);
    assert!(scanned > 5_000 && helps.len() > 20, "{scanned} passages and {} commands", helps.len());
    for (command, help) in helps {
        findings.extend(scan(&command, &text::help(&help), &forms));
    }
    let lines = report(&findings, EXCEPTIONS);
    assert!(lines.is_empty(), "{}\n{} findings", lines.join("\n"), lines.len());
}

/// Returns the examples that a scan for these forms does not find, in any kind of file.
fn missed<'a>(examples: &'a [String], forms: &Forms) -> Vec<&'a str> {
    let not_found = |example: &&'a String| {
        let two_lines = example.replacen(' ', "\n", 1);
        let commented = |marker: &str| two_lines.lines().map(|line| format!("{marker} {line}\n")).collect::<String>();
        let kinds = [
            ("x.rs", commented("//")),
            ("x.rs", commented("    ///")),
            ("x.rs", format!("panic!(\"{}\")", example.replacen(' ', " \\\n   ", 1))),
            ("x.rs", format!("let x = r#\"{example}\"#;")),
            ("x.rs", format!("#[test]\nfn {}() {{}}", example.replace([' ', '-'], "_"))),
            ("x.md", two_lines.clone()),
            ("x.toml", commented("#")),
            ("x.toml", format!("title = \"{example}\"")),
            ("x.sql", commented("--")),
            ("x.mjs", commented("//")),
            ("schemas/x.json", format!("{{\"description\":\"{example}\"}}")),
        ];
        // Names of tests have no hyphens.
        let applies = |content: &str| !(example.contains('-') && content.starts_with("#[test]"));
        let finds = |name: &str, content: &str| !scan(name, &text::passages(name, content).unwrap(), forms).is_empty();
        let in_help = !scan("help", &text::help(&format!("  --x  {two_lines}")), forms).is_empty();
        !in_help || kinds.iter().any(|(name, content)| applies(content) && !finds(name, content))
    };
    examples.iter().filter(not_found).map(String::as_str).collect()
}

#[test]
fn the_scan_finds_the_example_of_every_form() {
    let forms = banned_forms(&style_page());
    let examples: Vec<_> = forms.rows.iter().map(|form| form.example.clone()).collect();
    assert_eq!(missed(&examples, &forms), [""; 0]);
    // And an emptied table is noticed.
    let emptied = banned_forms("## Banned forms\n\n| form | for example | write |\n| --- | --- | --- |\n");
    assert_eq!(missed(&examples, &emptied), examples);
}

#[test]
fn every_row_matches_its_example_and_no_row_matches_what_to_write() {
    let forms = banned_forms(&style_page());
    for form in &forms.rows {
        assert!(form.expression.is_match(&form.example), "{} does not match \"{}\"", form.expression, form.example);
        let against = forms.rows.iter().find(|other| other.expression.is_match(&form.write));
        assert!(against.is_none(), "{} matches \"{}\"", against.unwrap().expression, form.write);
    }
}

#[test]
fn an_exception_excuses_its_fragment_only_and_has_to_be_needed() {
    let forms = banned_forms("## Banned forms\n\n| `\\b(foo\\|bar)\\b` | a foo | a thing |\n");
    let exception = |file, fragment| Exception { file, fragment, reason: "a name" };
    let findings = scan("x.md", &text::passages("x.md", "the foo and\nthe Bar").unwrap(), &forms);
    let places: Vec<_> = findings.iter().map(|one| (one.line, one.found.as_str())).collect();
    assert_eq!(places, [(1, "foo"), (2, "Bar")]);
    assert_eq!(report(&findings, &[]).len(), 2);
    assert_eq!(report(&findings, &[exception("x.md", "the foo and")]).len(), 1);
    assert_eq!(report(&findings, &[exception("x.md", "foo and the Bar")]), [""; 0]);
    let stale = report(&findings, &[exception("y.md", "the foo and the Bar")]);
    assert!(stale.len() == 3 && stale[2].contains("not needed"), "{stale:?}");
    let many: Vec<_> = (0..11).map(|_| exception("x.md", "foo and the Bar")).collect();
    assert_eq!(report(&findings, &many), ["11 exceptions, more than 10"]);
}
