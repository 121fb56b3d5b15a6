//! The outcomes of the items of runs, and reruns of failed items.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use trunkline_core::{Error, ErrorKind, Result, RunId, StepPath};
use trunkline_engine::{AcceptedRun, Item, RunHandle};
use trunkline_flow::Flow;

use crate::runtime::Runtime;

/// The number of items read at a time.
const PAGE: usize = 500;

/// A page of the items of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ItemPage {
    /// The items, by step and key.
    pub items: Vec<Item>,
    /// Where the next page starts; `None` after the last page.
    pub next: Option<String>,
}

impl Runtime {
    /// Returns a page of the items of a run and their outcomes, at most 500. `status` keeps only the items with that status
    /// (`done`, `skipped`, `failed`, `unknown`), `step` those of one `each` step, in whose path `*` stands for any item.
    /// `from` is the `next` of the previous page. A page can be empty although there is a next one.
    ///
    /// # Errors
    ///
    /// `invalid_input` if `status` or `from` is none of these, `not_found` if there is no such run.
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
                Error::new(ErrorKind::InvalidInput, "no page starts there").hint("pass the `next` of the previous page")
            })?),
        };
        let mut items = self.journal().items(run, status, after, PAGE).await?;
        let last = items.last().filter(|_| items.len() == PAGE);
        let next = last.map(|item| item.step.join(&item.key).as_str().to_owned());
        if let Some(step) = step {
            items.retain(|item| item.step.is_like(step));
        }
        Ok(ItemPage { items, next })
    }

    /// Reruns the failed items of a run as a new run with the same connections, see
    /// [`Engine::rerun_failed`](trunkline_engine::Engine::rerun_failed). A connection that only the corrected flow declares is
    /// bound to the only connection of its connector.
    ///
    /// # Errors
    ///
    /// `conflict` if the run has not ended, was rerun before, or has no failed items; `config` if the corrected flow does not
    /// fit.
    pub async fn rerun_failed(&self, id: &RunId, flow: Option<Flow>, unknown: bool) -> Result<RunHandle> {
        Ok(self.engine().begin(self.accept_rerun(id, flow, unknown).await?))
    }

    /// Accepts such a rerun without starting it. [`Engine::begin`](trunkline_engine::Engine::begin) starts it.
    ///
    /// # Errors
    ///
    /// As [`Runtime::rerun_failed`].
    pub async fn accept_rerun(&self, id: &RunId, flow: Option<Flow>, unknown: bool) -> Result<AcceptedRun> {
        let run = self.engine().run(id).await?;
        let mut bindings: BTreeMap<_, _> = run.connections;
        if let Some(flow) = &flow {
            bindings.retain(|binding, _| flow.connections().contains_key(binding));
            bindings = self.all_bindings(flow, bindings).await?;
            self.accept(flow, &bindings).await?;
        }
        self.engine().accept_rerun(id, flow, self.connect_all(&bindings).await?, unknown).await
    }
}
