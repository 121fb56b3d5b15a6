//! The command line: see `trunkline --help`.

mod cli;

/// Frees what another thread has allocated without a lock: results of steps go to the thread that writes the store.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
