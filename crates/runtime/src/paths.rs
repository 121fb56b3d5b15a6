//! Default places of the data directory and of the key, by the XDG Base Directory Specification.

use std::path::PathBuf;

/// Returns the default data directory: `$XDG_DATA_HOME/trunkline`, else `~/.local/share/trunkline`.
pub fn default_data() -> PathBuf {
    home("XDG_DATA_HOME", ".local/share").join("trunkline")
}

/// Returns the default path of the key that encrypts secrets: `$XDG_CONFIG_HOME/trunkline/key`, else
/// `~/.config/trunkline/key`. It is never inside the data directory, so a copy of that directory alone reveals no secret.
pub fn default_key() -> PathBuf {
    home("XDG_CONFIG_HOME", ".config").join("trunkline").join("key")
}

fn home(variable: &str, below_home: &str) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(variable).or_else(|| Some(set("HOME")?.join(below_home))).unwrap_or_else(|| PathBuf::from("."))
}
