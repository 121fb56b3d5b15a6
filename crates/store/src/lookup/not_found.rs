//! Errors of kind `not_found`. Where the names are known, they name the most similar ones.

#[cfg(feature = "sqlite")]
use trunkline_core::RunId;
use trunkline_core::{Error, ErrorKind, NextStep, by_similarity, closest};

#[cfg(feature = "sqlite")]
pub(crate) fn no_run(run: &RunId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no run {run}")).next(NextStep::ListRuns)
}

pub(crate) fn no_flow(name: &str, known: &[String]) -> Error {
    nearest(Error::new(ErrorKind::NotFound, format!("there is no flow {name}")), name, known, NextStep::SaveFlow)
}

pub(crate) fn no_connection(name: &str, known: &[String]) -> Error {
    let add = NextStep::AddConnection { connector: None };
    nearest(Error::new(ErrorKind::NotFound, format!("there is no connection {name}")), name, known, add)
}

/// Adds a hint with the known names that are most similar; `add` if there are none.
fn nearest(error: Error, name: &str, known: &[String], add: NextStep) -> Error {
    let known = || known.iter().map(String::as_str);
    match (closest(name, known()), by_similarity(name, known())) {
        (_, all) if all.is_empty() => error.next(add),
        (Some(close), _) => error.hint(format!("did you mean {close}?")),
        (None, all) => error.hint(format!("the nearest known ones are {}", all[..all.len().min(5)].join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_nearest_names() {
        let known = ["dam-live", "dam-test", "mediaflow"].map(str::to_owned);
        for (name, named) in [("mediafow", "mediaflow"), ("shop", "dam-live")] {
            let error = no_connection(name, &known);
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.advice().unwrap().contains(named), "{error:?}");
        }
        assert_eq!(no_flow("copy", &[]).next_steps(), [NextStep::SaveFlow]);
    }
}
