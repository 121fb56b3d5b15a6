//! The connectors of this host. A connector crate that no code refers to is not linked and registers nothing, so each
//! is named here. A test compares the registry with the folders under `connectors/`.

// Always linked: it also loads connectors without code from a folder.
use http_connector as _;
#[cfg(feature = "mediaflow")]
use mediaflow as _;
#[cfg(feature = "mediavalet")]
use mediavalet as _;
