//! Environment variables of the process.

use std::env;

use trunkline_core::{Error, ErrorKind, Result};

/// Returns the value of an environment variable. A variable without a value counts as not set.
///
/// # Errors
///
/// `config` if the value is not Unicode: a part of it would be lost.
pub fn environment_variable(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => {
            let message = format!("the value of the environment variable {name} is not UTF-8 text");
            Err(Error::new(ErrorKind::Config, message).hint("set it again, in a terminal that uses UTF-8"))
        }
    }
}
