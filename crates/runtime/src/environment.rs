//! Environment variables of the process.

use std::env;

use trunkline_core::{Error, ErrorKind, Result};

/// Returns the value of an environment variable.
///
/// # Errors
///
/// `config` if the value is empty, which most often means that something else is not set, or if it is not Unicode: a
/// part of it would be lost.
pub fn environment_variable(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(value) if value.trim().is_empty() => {
            let message = format!("the environment variable {name} is set, but it is empty");
            Err(Error::new(ErrorKind::Config, message).hint("give it a value, or unset it"))
        }
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => {
            let message = format!("the value of the environment variable {name} is not UTF-8 text");
            Err(Error::new(ErrorKind::Config, message).hint("set it again, in a terminal that uses UTF-8"))
        }
    }
}
