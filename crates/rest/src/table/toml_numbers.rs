//! Numbers of TOML files, under the same rules as those of JSON and YAML.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use trunkline_core::{Diagnostic, NUMBER_HINT, SourceLocation, lossy_number};

/// Returns a finding for each number of a TOML text that a JSON value cannot hold as it is written: more than 64 bits or
/// 17 digits, `inf` and `nan`. `path` is that of the file.
pub fn lossy_toml_numbers(path: &str, text: &str) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    if let Ok(table) = DeTable::parse(text) {
        let mut left: Vec<_> = table.get_ref().values().collect();
        while let Some(value) = left.pop() {
            let reason = match value.get_ref() {
                DeValue::Table(table) => {
                    left.extend(table.values());
                    continue;
                }
                DeValue::Array(items) => {
                    left.extend(items.iter());
                    continue;
                }
                DeValue::Integer(number) if number.radix() == 10 => lossy_number(unsigned(number.as_str())),
                DeValue::Float(number) if number.as_str().contains(['i', 'n']) => Some("JSON has no such number"),
                DeValue::Float(number) => lossy_number(unsigned(number.as_str())),
                _ => None,
            };
            if let Some(reason) = reason {
                findings.push(finding(path, text, value, reason));
            }
        }
    }
    findings
}

/// TOML allows a plus sign before a number, and JSON does not.
fn unsigned(number: &str) -> &str {
    number.trim_start_matches('+')
}

fn finding(path: &str, text: &str, value: &Spanned<DeValue<'_>>, reason: &str) -> Diagnostic {
    let span = value.span();
    let number = text.get(span.clone()).unwrap_or_default();
    let message = format!("the number {number} cannot be kept exactly, because {reason}");
    Diagnostic::error("", message).hint(NUMBER_HINT).at(SourceLocation::of(path, text, span.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_cannot_hold_are_found_with_their_place() {
        let text = "a = 9223372036854775807\nb = { c = [1.5, 12345678901234567.89] }\n[[d]]\ne = inf\nf = -nan\n\
                    g = +1_0.5\nh = 1e400\ni = '1e400'\nk = 0x7fff_ffff_ffff_ffff\n";
        let found = lossy_toml_numbers("x.toml", text);
        let mut places: Vec<_> = found.iter().map(|one| one.place.as_ref().unwrap().to_string()).collect();
        places.sort();
        assert_eq!(places, ["x.toml:2:17", "x.toml:4:5", "x.toml:5:5", "x.toml:7:5"], "{found:#?}");
        assert!(found.iter().all(|one| one.advice().is_some_and(|advice| advice.contains("declare it as text"))));
    }
}
