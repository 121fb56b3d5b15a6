//! The binary `trunkline`: the command line with the connectors that are linked into it. `trunkline --help` lists the
//! commands.

use std::process::ExitCode;

/// An allocator that frees memory of other threads without a lock: the results of steps are freed by the thread that
/// writes the store.
#[cfg(all(feature = "jemalloc", not(target_env = "msvc")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match trunkline::registry(None) {
        Ok(registry) => trunkline_cli::main(registry),
        Err(error) => {
            eprintln!("error: {error:?}");
            ExitCode::FAILURE
        }
    }
}
