//! Default places of the data directory and of the key, by the XDG Base Directory Specification.

use std::{env, ffi::OsString, path::PathBuf};

use trunkline_core::{Error, ErrorKind, Result};

/// Returns the default data directory: `$XDG_DATA_HOME/trunkline`, else `~/.local/share/trunkline`.
///
/// # Errors
///
/// `config` if the user has no home directory.
pub fn default_data() -> Result<PathBuf> {
    Ok(base("XDG_DATA_HOME", ".local/share")?.join("trunkline"))
}

/// Returns the default path of the key that encrypts secrets: `$XDG_CONFIG_HOME/trunkline/key`, else
/// `~/.config/trunkline/key`. It is never inside the data directory, so a copy of that directory alone reveals no secret.
///
/// # Errors
///
/// `config` if the user has no home directory.
pub fn default_key() -> Result<PathBuf> {
    Ok(base("XDG_CONFIG_HOME", ".config")?.join("trunkline").join("key"))
}

/// Returns a base directory. The home directory is that of `HOME`, or else that of the user database.
fn base(variable: &str, below_home: &str) -> Result<PathBuf> {
    let home = env::home_dir();
    chosen(env::var_os(variable), home, below_home).ok_or_else(|| {
        Error::new(ErrorKind::Config, format!("neither {variable} nor HOME has the absolute path of a directory"))
            .hint("set HOME, or name the data directory and the key file yourself")
    })
}

/// Returns the directory in the variable, or else the one below the home directory. The specification says that a
/// relative path does not count.
fn chosen(variable: Option<OsString>, home: Option<PathBuf>, below_home: &str) -> Option<PathBuf> {
    let set = variable.map(PathBuf::from).filter(|path| path.is_absolute());
    set.or_else(|| Some(home.filter(|home| home.is_absolute())?.join(below_home)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_directory_is_that_of_the_variable_or_below_the_home_directory() {
        for (variable, home, expected) in [
            (None, Some("/home/ada"), Some("/home/ada/.config")),
            (Some(""), Some("/home/ada"), Some("/home/ada/.config")),
            (Some("/etc/ada"), Some("/home/ada"), Some("/etc/ada")),
            (Some("/etc/ada"), None, Some("/etc/ada")),
            (Some("relative"), Some("/home/ada"), Some("/home/ada/.config")),
            (Some("./relative"), None, None),
            (None, Some(""), None),
            (None, Some("relative"), None),
            (Some(""), Some("."), None),
            (None, None, None),
        ] {
            let found = chosen(variable.map(OsString::from), home.map(PathBuf::from), ".config");
            assert_eq!(found, expected.map(PathBuf::from), "{variable:?} {home:?}");
        }
    }
}
