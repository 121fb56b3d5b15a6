//! The flows that a flow in a file calls. They are in the same folder, each in a file of its name.

use std::{collections::BTreeMap, path::Path};

use trunkline::{
    core::Result,
    flow::Flow,
    operations::{FlowFile, FlowText},
};

use crate::input::{named, read};

/// The number of called flows that are read, one more than a flow may call.
const MOST_CALLED: usize = 100;

/// Reads a file, and the files of the flows that its flow calls: `NAME.json`, `NAME.yaml` or `NAME.yml` in its folder.
/// What is wrong with the flows is not an error here: the operation that gets the texts reports it.
///
/// # Errors
///
/// `invalid_input` if the file cannot be read.
pub(crate) fn read_flow(file: &str) -> Result<FlowFile> {
    let FlowText { file, document } = read_text(file)?;
    let folder = Path::new(&file).parent().unwrap_or_else(|| Path::new(""));
    let (mut called, mut wanted) = (BTreeMap::<String, FlowText>::new(), calls(&file, document.as_str()));
    while let Some(name) = wanted.pop() {
        // Linking reports a flow that calls too many.
        if called.contains_key(&name) || called.len() > MOST_CALLED {
            continue;
        }
        let files = ["json", "yaml", "yml"].map(|extension| folder.join(format!("{name}.{extension}")));
        let found = files.iter().find_map(|file| {
            let file = file.to_string_lossy();
            let text = read(&file).ok()?;
            Some((file, text))
        });
        if let Some((file, text)) = found {
            wanted.extend(calls(&file, Some(&text)));
            called.insert(name, FlowText { file: file.into_owned(), document: text.into() });
        }
    }
    Ok(FlowFile { file, document, called })
}

/// Reads a file without those of the flows that its flow calls.
///
/// # Errors
///
/// As [`read_flow`].
pub(crate) fn read_text(file: &str) -> Result<FlowText> {
    Ok(FlowText { file: named(file).to_owned(), document: read(file)?.into() })
}

/// Returns the name of the flow in a text, if the text can be read.
pub(crate) fn flow_name(flow: &FlowFile) -> Option<String> {
    Some(Flow::parse(&flow.file, flow.document.as_str()?).ok()?.name().to_owned())
}

/// Returns the names of the flows that the flow in a text calls.
fn calls(file: &str, text: Option<&str>) -> Vec<String> {
    let flow = text.and_then(|text| Flow::parse(file, text).ok());
    flow.map(|flow| flow.calls().map(str::to_owned).collect()).unwrap_or_default()
}
