//! The connectors of this host. A connector crate that nobody refers to is not linked and registers nothing, so each has
//! its line here; a test compares the registry with the folders under `connectors/`.

// Always there: it is also what reads the connectors of a folder.
use http_connector as _;
#[cfg(feature = "mediaflow")]
use mediaflow as _;
#[cfg(feature = "mediavalet")]
use mediavalet as _;
