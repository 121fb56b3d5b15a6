//! The command line: see `trunkline --help`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
