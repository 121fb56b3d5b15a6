//! The binary `trunkline`, the command line of the host. `trunkline --help` lists the commands.

mod cli;

/// An allocator that frees memory of other threads without a lock: the results of steps are freed by the thread that
/// writes the store.
#[cfg(all(feature = "jemalloc", not(target_env = "msvc")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
