//! The share of a service's quota that the rest of a list takes.
//!
//! The process that works on the run measures what one item takes, and notes it for displays. What a service does not
//! state is not known, so most runs have none.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_core::{StepPath, Timestamp};

use crate::run::ListProgress;

/// The number of items that have to end before it is known what one takes.
const MEASURED: u64 = 20;

/// A quota as a service has stated it last, and the requests of the run that it has counted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CountedQuota {
    pub(crate) limit: u64,
    pub(crate) left: u64,
    pub(crate) until: Timestamp,
    pub(crate) requests: u64,
}

/// What the items of a list take of a quota, as measured so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuotaUse {
    /// The list.
    pub list: StepPath,
    /// The number of requests for one item.
    pub per_item: f64,
    /// The connection to the service.
    pub connection: String,
    /// The number of requests that the service allows until the quota ends.
    pub limit: u64,
    /// How many of them are left.
    pub left: u64,
    /// When the quota ends and the next one begins.
    pub until: Timestamp,
}

/// The share of a quota that the rest of a list takes.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct QuotaShare {
    /// The connection to the service.
    pub connection: String,
    /// The share of the whole quota, about: 0.12 is 12 %; a lower bound while the list is not `complete`.
    pub share: f64,
    /// The share of the whole quota that is left.
    pub left: f64,
    /// When the quota ends and the next one begins.
    pub until: Timestamp,
}

impl QuotaUse {
    /// Returns the share that the rest of the list takes; nothing if no rest is known.
    pub fn share(&self, progress: &ListProgress) -> Option<QuotaShare> {
        let part = |requests: f64| (requests / self.limit as f64 * 1e4).round() / 1e4;
        let rest = progress.listed.checked_sub(progress.ended).filter(|rest| *rest > 0)?;
        Some(QuotaShare {
            connection: self.connection.clone(),
            share: part(rest as f64 * self.per_item),
            left: part(self.left as f64),
            until: self.until,
        })
    }
}

/// Measures what the items of the list take that a run works on.
#[derive(Debug, Default)]
pub(crate) struct QuotaMeter {
    /// The list, and what had ended and was counted when it was looked at first.
    began: Option<(StepPath, u64, BTreeMap<String, u64>)>,
}

impl QuotaMeter {
    /// Returns what an item of the list takes of the quota that it takes most of. Nothing is known if the run works on
    /// several lists at once, or no service has stated a quota.
    pub(crate) fn measure(
        &mut self,
        lists: &BTreeMap<StepPath, ListProgress>,
        quotas: &BTreeMap<String, CountedQuota>,
        now: Timestamp,
    ) -> Option<QuotaUse> {
        let mut open = lists.iter().filter(|(_, list)| !list.complete || list.ended < list.listed);
        let (Some((path, list)), None) = (open.next(), open.next()) else {
            self.began = None;
            return None;
        };
        if self.began.as_ref().is_none_or(|(of, ..)| of != path) {
            let counted = quotas.iter().map(|(connection, quota)| (connection.clone(), quota.requests)).collect();
            self.began = Some((path.clone(), list.ended, counted));
        }
        let (_, ended, counted) = self.began.as_ref()?;
        let ended = list.ended.checked_sub(*ended).filter(|ended| *ended >= MEASURED)?;
        let uses = quotas.iter().filter(|(_, quota)| quota.until > now).map(|(connection, quota)| {
            let requests = quota.requests - counted.get(connection).copied().unwrap_or_default();
            let CountedQuota { limit, left, until, .. } = *quota;
            let per_item = requests as f64 / ended as f64;
            QuotaUse { list: path.clone(), per_item, connection: connection.clone(), limit, left, until }
        });
        let share = |one: &QuotaUse| one.per_item / one.limit as f64;
        uses.max_by(|one, other| share(one).total_cmp(&share(other)))
    }
}
