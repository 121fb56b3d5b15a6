//! The arguments of `demo` and `sandbox`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct Demo {
    /// Number of files in the simulated Mediaflow library
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) files: u64,
    /// Share of responses to replace with faults (429, 503, cut connections, lost responses): 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) faults: f64,
    /// Keep the data directory of the demo, to look at its connections and its run afterwards
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Args)]
pub(crate) struct Sandbox {
    /// Port to listen on, on 127.0.0.1; 0 for any
    #[arg(long, default_value_t = 4600)]
    pub(crate) port: u16,
    /// Number of files in the simulated Mediaflow library
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) files: u64,
    /// Share of responses to replace with faults: 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) faults: f64,
    /// Lifetime of access tokens, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) token_lifetime: u64,
    /// Folder for the state of the simulators, so that it outlives the process
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Folder to write connection files for the simulators to
    #[arg(long, value_name = "DIR")]
    pub(crate) connections: Option<PathBuf>,
}
