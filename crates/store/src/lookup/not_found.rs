//! Errors of kind `not_found`. Where the names are known, they name the most similar ones.

use trunkline_core::{Error, ErrorKind};
#[cfg(feature = "sqlite")]
use trunkline_core::{NextStep, RunId};

#[cfg(feature = "sqlite")]
pub(crate) fn no_run(run: &RunId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no run {run}")).next(NextStep::ListRuns)
}

pub(crate) fn no_flow(name: &str, known: &[String]) -> Error {
    nearest(Error::new(ErrorKind::NotFound, format!("there is no flow {name}")), name, known)
}

pub(crate) fn no_connection(name: &str, known: &[String]) -> Error {
    nearest(Error::new(ErrorKind::NotFound, format!("there is no connection {name}")), name, known)
}

/// Adds a hint with the known names that are most similar.
fn nearest(error: Error, name: &str, known: &[String]) -> Error {
    let mut near: Vec<_> = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), known)).collect();
    near.sort();
    let listed: Vec<_> = near.iter().take(5).map(|(_, known)| known.as_str()).collect();
    match near.first() {
        None => error.hint("add it first"),
        Some((distance, close)) if *distance <= 1 + name.len() / 4 => error.hint(format!("did you mean {close}?")),
        Some(_) => error.hint(format!("the nearest known ones are {}", listed.join(", "))),
    }
}
