//! The flows that a flow in a file calls. They are in the same folder, each in a file of its name.

use std::{cell::RefCell, fs, path::Path};

use trunkline::{core::Diagnostic, flow::Flow};

/// Parses the text of a flow, and links it with the flows that it calls: `NAME.json`, `NAME.yaml` or `NAME.yml` in its
/// folder.
///
/// # Errors
///
/// A diagnostic for everything that is wrong with the flow or with a flow that it calls.
pub(crate) fn read_flow(file: &str, text: &str) -> Result<Flow, Vec<Diagnostic>> {
    let flow = Flow::parse(file, text)?;
    let folder = Path::new(file).parent().unwrap_or_else(|| Path::new(""));
    let faulty = RefCell::new(Vec::new());
    let find = |name: &str| {
        let files = ["json", "yaml", "yml"].map(|extension| folder.join(format!("{name}.{extension}")));
        let (file, text) =
            files.iter().find_map(|file| Some((file.to_string_lossy(), fs::read_to_string(file).ok()?)))?;
        match Flow::parse(&file, &text) {
            Ok(flow) if flow.name() == name => Some(flow),
            Ok(flow) => {
                let message = format!("the flow in this file has the name {}, but {name} is expected", flow.name());
                faulty.borrow_mut().extend(Flow::locate(&file, &text, vec![Diagnostic::error("/name", message)]));
                None
            }
            Err(found) => {
                faulty.borrow_mut().extend(found);
                None
            }
        }
    };
    let linked = flow.link(&find);
    // A fault in a file is more useful than the report that there is no such flow.
    match (linked, faulty.take()) {
        (Err(found), faulty) if faulty.is_empty() => {
            let hint = "put a called flow into the folder of the flow that calls it, as NAME.json or NAME.yaml";
            let hinted = |one: Diagnostic| if one.next.is_empty() { one.hint(hint) } else { one };
            Err(Flow::locate(file, text, found.into_iter().map(hinted).collect()))
        }
        (Err(_), faulty) => Err(faulty),
        (linked, _) => linked,
    }
}
