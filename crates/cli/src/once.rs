//! `once`: what a flow remembers of items across its runs.

use std::process::ExitCode;

use trunkline::{
    Runtime,
    core::{Error, ErrorKind, ForeignText, Result},
    engine::RememberedItem,
    operations::{
        Caller, PageQuery,
        remembered_items::{ForgetItems, ForgetRequest, ListRememberedItems, RememberedQuery},
    },
};

use crate::{
    args::OnceCommand,
    output::{Output, exit},
    sibling_flows::{flow_name, read_flow},
};

/// Runs a `once` command.
pub(crate) async fn once(runtime: &Runtime, command: OnceCommand, output: &Output) -> Result<ExitCode> {
    match command {
        OnceCommand::Show { flow, keys } => show(runtime, name(&flow)?, keys, output).await?,
        OnceCommand::Reset { flow, keys, all } => {
            let request = ForgetRequest { flow: name(&flow)?, keys, all };
            let done = runtime.execute::<ForgetItems>(&Caller::owner(), request).await?;
            output.show(&done, || {
                let mut text = format!("{} items are forgotten: the next run processes them again.", done.forgotten);
                for item in &done.unknown {
                    text +=
                        &format!("\nNot forgotten: {}. `trunkline runs resolve {}` resolves it.", line(item), item.run);
                }
                text
            });
        }
    }
    Ok(exit::DONE.into())
}

/// Returns the name of a flow that is given by its name, or as a file.
fn name(flow: &str) -> Result<String> {
    if flow != "-" && !flow.contains(['/', '\\', '.']) {
        return Ok(flow.to_owned());
    }
    flow_name(&read_flow(flow)?).ok_or_else(|| {
        let message = format!("the flow in {flow} cannot be read");
        Error::new(ErrorKind::InvalidInput, message).hint("`trunkline flow validate` says what is wrong with it")
    })
}

async fn show(runtime: &Runtime, flow: String, keys: Vec<String>, output: &Output) -> Result<()> {
    let mut query = RememberedQuery { flow, keys, limit: Some(PageQuery::MOST), cursor: None };
    let mut count = 0;
    loop {
        let page = runtime.execute::<ListRememberedItems>(&Caller::owner(), query.clone()).await?;
        count += page.items.len();
        for item in &page.items {
            output.line(item, || line(item))?;
        }
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    if count == 0 {
        output.info(&format!("no such item of a flow {} is remembered", query.flow));
    }
    Ok(())
}

fn line(item: &RememberedItem) -> String {
    let state = if item.unknown { "unknown" } else { "done" };
    let connections: Vec<_> = item.connections.iter().map(|(binding, name)| format!("{binding}={name}")).collect();
    let text = format!("{}  {state} in run {}  {}", item.step.join(&item.key), item.run, connections.join(" "));
    ForeignText(&text).to_string()
}
