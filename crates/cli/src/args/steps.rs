//! The arguments of `step`.

use clap::Subcommand;

use super::binding;

#[derive(Subcommand)]
pub(crate) enum StepCommand {
    /// Test one step of a flow in a file on real connections, without a run
    Test {
        /// File of the flow, or - for standard input
        file: String,
        /// The step: its id, its path in the flow, or its JSON pointer
        step: String,
        /// Values of input, steps and item that its expressions see: a JSON object, @FILE, or - for standard input
        #[arg(long, value_name = "JSON", default_value = "{}")]
        context: String,
        /// Take the outputs of earlier steps from this run
        #[arg(long, value_name = "ID")]
        run: Option<String>,
        /// Key of the item around the step in that run; once for each list, from the outermost
        #[arg(long = "key", value_name = "KEY", allow_hyphen_values = true)]
        keys: Vec<String>,
        /// Bind a connection that the flow declares
        #[arg(long, value_name = "BINDING=NAME", value_parser = binding)]
        connection: Vec<(String, String)>,
        /// Also test a step that creates or deletes something
        #[arg(long)]
        confirmed: bool,
    },
}
