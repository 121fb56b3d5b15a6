//! The connectors of this host. A connector crate that no code refers to is not linked and registers nothing, so each
//! is named here, behind a feature. A test compares the registry with the folders under `connectors/`.

use std::path::Path;

use trunkline_core::{Registry, Result};

#[cfg(feature = "http")]
use http_connector as _;
#[cfg(feature = "mediaflow")]
use mediaflow as _;
#[cfg(feature = "mediavalet")]
use mediavalet as _;

/// Returns the connectors that are linked into this program, and those that `folder` describes, see [`with_folder`].
///
/// # Errors
///
/// `config` if two connectors have the same name; otherwise as [`with_folder`].
pub fn registry(folder: Option<&Path>) -> Result<Registry> {
    let registry = Registry::discover()?;
    match folder {
        None => Ok(registry),
        Some(folder) => with_folder(registry, folder),
    }
}

/// Adds the connectors that `folder` describes without code: one subfolder for each, with a `connector.toml` and
/// `operations/*.toml`.
///
/// # Errors
///
/// `config` if two connectors have the same name, or with every fault in the folder, each with file, line and column.
/// Without the feature `http`, which reads such folders, always `config`.
pub fn with_folder(registry: Registry, folder: &Path) -> Result<Registry> {
    #[cfg(feature = "http")]
    return http_connector::load(registry, folder);
    #[cfg(not(feature = "http"))]
    {
        use trunkline_core::{Error, ErrorKind};
        drop(registry);
        let message = format!("the connectors in {} cannot be loaded by this program", folder.display());
        Err(Error::new(ErrorKind::Config, message).hint("build it with the feature `http`, or leave out the folder"))
    }
}

/// Returns the JSON Schema (draft 2020-12) of a `connector.toml`, see [`with_folder`].
#[cfg(feature = "http")]
pub fn connector_schema() -> serde_json::Value {
    http_connector::manifest_schema()
}

#[cfg(all(test, not(feature = "http")))]
mod tests {
    use super::*;

    #[test]
    fn a_folder_needs_the_feature_http() {
        let error = registry(Some(Path::new("folder"))).err().unwrap();
        assert_eq!(error.kind(), trunkline_core::ErrorKind::Config);
    }
}
