//! The events of MediaValet (SkyHOOK), for libraries on the Enterprise plan: one row each, and aliases with a filter.
//!
//! MediaValet documents the envelope, a CloudEvent, and of its `data` that names begin with a capital, such as `LibraryId`
//! and `AssetId`. Assumed is that the data of `Asset.StatusUpdated` has the new `Status`, with the values of MediaValet's
//! search filter. An event without it does not start a run of `asset.approved` and is reported as a failed start.

use schemars::JsonSchema;
use trunkline_core::EventSpec;

/// What an event is about. It may have more members.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its schema is used")]
#[schemars(rename_all = "PascalCase")]
struct EventData {
    /// # Library
    library_id: Option<String>,
    /// # Asset
    asset_id: Option<String>,
    /// # Status
    /// 0 approved, 2 pending approval, 5 rejected, 7 expired, 9 checked out.
    status: Option<i64>,
}

const ACTIONS: [&str; 2] = ["webhook.subscribe", "webhook.unsubscribe"];

const EVENTS: [(&str, &str); 8] = [
    ("Asset.StatusUpdated", "The status of an asset has changed"),
    ("Asset.MediaFileAdded", "An asset has a new file"),
    ("Asset.KeywordsAdded", "An asset has new keywords"),
    ("Asset.KeywordRemoved", "A keyword was removed from an asset"),
    ("Asset.AttributesAdded", "An asset has new attributes"),
    ("Asset.VideoRenditionsAdded", "A video has new renditions"),
    ("Category.AssetsAssigned", "Assets were assigned to a category"),
    ("Category.AssetUnassigned", "An asset was removed from a category"),
];

/// The name of an alias, its title, the event that it stands for, and its filter.
const ALIASES: [(&str, &str, &str, &str); 1] =
    [("asset.approved", "An asset was approved", "Asset.StatusUpdated", "{{ input.event.data.Status == 0 }}")];

/// Returns all events and aliases.
pub(crate) fn events() -> Vec<EventSpec> {
    let mut all: Vec<_> = EVENTS.iter().map(|(name, title)| EventSpec::of::<EventData>(name, title, ACTIONS)).collect();
    for (name, title, of, filter) in ALIASES {
        let alias = all.iter().find(|event| event.name == of).map(|event| event.alias(name, title, filter));
        all.extend(alias);
    }
    all
}
