//! What became of the items of runs, and runs that go over what failed.

use std::collections::BTreeMap;

use serde::Serialize;
use trunkline_core::{Error, ErrorKind, Result};
use trunkline_engine::{AcceptedRun, Flow, Item, Journal, RunHandle, RunId, StepPath};

use crate::Runtime;

/// How many items are read at a time.
const PAGE: usize = 500;

/// Some of the items of a run.
#[derive(Debug, Serialize)]
pub struct ItemPage {
    /// The items, by step and key.
    pub items: Vec<Item>,
    /// Where the next page begins; nothing if there is none.
    pub next: Option<String>,
}

impl Runtime {
    /// What became of the items of a run, 500 looked at a time: of all, or those with this status (`done`, `skipped`, `failed`,
    /// `unknown`), or of this `each` step, in whose path `*` stands for any item. `from` is the `next` of the page before; a
    /// page may be empty although there is a next one.
    pub async fn items(
        &self,
        run: &RunId,
        status: Option<&str>,
        step: Option<&str>,
        from: Option<String>,
    ) -> Result<ItemPage> {
        if let Some(status) = status.filter(|status| !["done", "skipped", "failed", "unknown"].contains(status)) {
            let message = format!("items are done, skipped, failed or unknown, not {status}");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let after = match from {
            None => None,
            Some(from) => Some(StepPath::from(&*from).split().ok_or_else(|| {
                Error::new(ErrorKind::InvalidInput, "no page begins there").hint("give the `next` of the page before")
            })?),
        };
        let mut items = self.store().items(run, status, after, PAGE).await?;
        let last = items.last().filter(|_| items.len() == PAGE);
        let next = last.map(|item| item.step.join(&item.key).as_str().to_owned());
        if let Some(step) = step {
            items.retain(|item| item.step.is_like(step));
        }
        Ok(ItemPage { items, next })
    }

    /// Begins a run that goes over what failed in an earlier one, with its connections; see
    /// [`Engine::retry`](trunkline_engine::Engine::retry). A slot that a corrected flow has more is filled by the only
    /// connection that fits.
    pub async fn rerun_failed(&self, id: &RunId, flow: Option<Flow>, unknown: bool) -> Result<RunHandle> {
        Ok(self.engine().begin(self.accept_rerun(id, flow, unknown).await?))
    }

    /// The same without beginning it.
    pub(crate) async fn accept_rerun(&self, id: &RunId, flow: Option<Flow>, unknown: bool) -> Result<AcceptedRun> {
        let run = self.engine().run(id).await?;
        let mut slots: BTreeMap<_, _> = run.connections;
        if let Some(flow) = &flow {
            slots.retain(|slot, _| flow.connections().contains_key(slot));
            slots = self.all_slots(flow, slots).await?;
            self.accept(flow, &slots).await?;
        }
        self.engine().accept_rerun(id, flow, self.fill(&slots).await?, unknown).await
    }
}
