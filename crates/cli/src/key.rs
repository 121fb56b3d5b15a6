//! `key`: changes the key that encrypts the secrets of a data directory.

use std::{
    io::IsTerminal,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use trunkline::{
    core::{Error, ErrorKind, ForeignText, Result, Secret},
    environment_variable,
    store::{KeySource, Store},
};

use crate::{
    args::KeyCommand,
    output::{Output, exit},
    redacting_stderr,
};

/// The time between two lines of progress where standard error is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
const NEW_KEY: &str = "TRUNKLINE_NEW_KEY";

/// Runs a `key` command.
pub(crate) async fn key(data: &Path, key: KeySource, command: KeyCommand, output: &Output) -> Result<ExitCode> {
    let KeyCommand::Rotate = command;
    let new = environment_variable(NEW_KEY)?.map(Secret::from);
    let key = match (key, new) {
        (KeySource::Value(old), Some(new)) => KeySource::Value(format!("{} {}", new.expose(), old.expose()).into()),
        (KeySource::Value(_), None) => {
            let message = "the key is in TRUNKLINE_KEY, where Trunkline cannot write a new one";
            return Err(Error::new(ErrorKind::Config, message).hint(format!(
                "make one with `openssl rand -base64 32`, set {NEW_KEY} to it, and run this again. Processes that keep \
                 running need both keys in TRUNKLINE_KEY: the new one, a space, the old one"
            )));
        }
        (KeySource::File(file), Some(_)) => {
            let message = format!("{NEW_KEY} is set, but the key is in the file {}", file.display());
            return Err(Error::new(ErrorKind::Config, message)
                .hint(format!("unset {NEW_KEY}: a new key is made and written to the file")));
        }
        (file, None) => file,
    };
    if !data.join("trunkline.db").exists() {
        let message = format!("the data directory {} has nothing to encrypt with a new key", data.display());
        return Err(Error::new(ErrorKind::NotFound, message).hint("name another with --data"));
    }
    let bar = if output.is_interactive() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} values") {
        bar.set_style(style);
    }
    let mut last_line = Instant::now();
    let store = Store::open(data, key.clone())?;
    redacting_stderr::use_redactor(store.redactor());
    let rotated = store.rotate_key(|rotation| {
        bar.set_length(rotation.total);
        bar.set_position(rotation.done);
        if !std::io::stderr().is_terminal() && last_line.elapsed() >= LINE_EVERY {
            last_line = Instant::now();
            output.info(&format!("{} of {} values", rotation.done, rotation.total));
        }
    });
    let rotated = rotated.await;
    bar.finish_and_clear();
    let rotated = rotated?;
    output.show(&rotated, || {
        let mut text = format!("{} values are now encrypted with the key {}.", rotated.values, rotated.key);
        if rotated.resumed {
            text += " This completed an earlier, interrupted rotation; run the command again to rotate to another key.";
        }
        match &key {
            KeySource::File(file) => {
                text += &format!(
                    "\nBack up {}: without it, connections cannot be read.",
                    ForeignText(&file.to_string_lossy())
                );
            }
            KeySource::Value(_) => {
                text += &format!("\nFrom now on, start Trunkline with the value of {NEW_KEY} as TRUNKLINE_KEY.");
            }
        }
        for old in &rotated.retired {
            text += &format!(
                "\nThe old key is in {}. This data directory does not need it any more; earlier backups do, and other \
                 data directories may. Delete it when they are gone.",
                ForeignText(&old.to_string_lossy())
            );
        }
        text
    });
    Ok(exit::DONE.into())
}
