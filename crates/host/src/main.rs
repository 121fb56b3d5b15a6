//! The command line: see `trunkline --help`.

mod cli;

/// Frees what another thread has allocated without a lock: results of steps go to the thread that writes the store.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
